//! A guest VM beside this one: it comes to its end, none of this processor's FPU and debug registers is another one
//! afterwards, and this VM's interrupts come through.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_extension_guest_vm::{FAILED, RUN, RUNNING};
use plinth_test_guests::apic::{self, Apic};
use plinth_test_guests::{Report, check, cpu, plinth, trap};
use uefi::prelude::*;

/// More turns than any guest needs.
const MANY: u32 = 1000;
/// TSC_AUX, which RDTSCP shows.
const TSC_AUX: u32 = 0xC000_0103;

/// What FXSAVE stores.
#[repr(C, align(16))]
struct Image([u8; 512]);

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("guest-vm");
    if !plinth::is_there() {
        report.skip("guest-vm", "there is no Plinth to run it beside");
        report.done()
    }
    interrupt(&mut report);
    check!(report, "first-run", finish(), 0);
    registers(&mut report);
    report.done()
}

fn run() -> u64 {
    plinth::hypercall(RUN, 0).unwrap_or(FAILED)
}

/// Lets the guest run to its end. Returns what it ends with.
fn finish() -> u64 {
    (0..MANY).map(|_| run()).find(|result| *result != RUNNING).unwrap_or(RUNNING)
}

/// An interrupt that waits for this VM ends the guest's turn before it has begun.
fn interrupt(report: &mut Report) {
    let Some(apic) = Apic::find() else {
        return report.skip("interrupt", "the interrupt controller has no page");
    };
    let result = cpu::without_interrupts(|| {
        apic.send(apic::SELF | u32::from(trap::TEST_VECTOR));
        let result = run();
        check!(report, "interrupt-waits", trap::interrupts(), 0);
        result
    });
    check!(report, "guest-is-interrupted", result, RUNNING);
    cpu::pause(1_000_000);
    check!(report, "interrupt-comes", trap::interrupts(), 1);
}

/// The guest fills the same registers with its own values.
fn registers(report: &mut Report) {
    let debug = [0x1000, 0x2000, 0x3000, 0x4000];
    let (kept, aux) = (store(), cpu::read_msr(TSC_AUX));
    load(&pattern());
    set_debug(debug);
    // SAFETY: Nothing in a UEFI application reads it; it is put back.
    let has_aux = unsafe { cpu::write_msr(TSC_AUX, 0x5A5A) }.is_ok();
    let before = store();
    let result = finish();
    let (after, found) = (store(), debug_registers());
    let aux_after = cpu::read_msr(TSC_AUX);
    load(&kept);
    set_debug([0; 4]);
    if has_aux {
        // SAFETY: As it was.
        let _ = unsafe { cpu::write_msr(TSC_AUX, aux.unwrap_or(0)) };
        check!(report, "tsc-aux", aux_after, Ok(0x5A5A));
    }
    check!(report, "second-run", result, 0);
    check!(report, "debug-registers", found, debug);
    // Control and status words, then MXCSR, then registers; between them is where the last x87 instruction was.
    let same = |range: core::ops::Range<usize>| before.0[range.clone()] == after.0[range];
    check!(report, "fpu-control", (same(0..6), same(24..28)), (true, true));
    check!(report, "x87-registers", same(32..160));
    check!(report, "xmm-registers", same(160..416));
}

/// Every register with a value of its own; the default control words, and a status flag.
fn pattern() -> Image {
    const CONTROL_WORD: [u8; 2] = [0x7F, 3];
    const MXCSR: [u8; 2] = [0xA1, 0x1F];
    const REGISTERS: usize = 32;
    const XMM: usize = 160;
    let mut image = Image([0; 512]);
    image.0[..2].copy_from_slice(&CONTROL_WORD);
    image.0[4] = 0xFF;
    image.0[24..26].copy_from_slice(&MXCSR);
    for (index, byte) in image.0[REGISTERS..416].iter_mut().enumerate() {
        // Registers of x87 have 10 bytes of 16.
        if index % 16 < 10 || index + REGISTERS >= XMM {
            *byte = (index as u8).wrapping_mul(7).wrapping_add(1);
        }
    }
    image
}

fn load(image: &Image) {
    // SAFETY: The image is one that FXSAVE stored, or as it would; this program itself uses no FPU.
    unsafe { asm!("fxrstor64 [{}]", in(reg) &raw const *image, options(nostack, preserves_flags)) }
}

fn store() -> Image {
    let mut image = Image([0; 512]);
    // SAFETY: It writes the image, which is aligned as it has to be.
    unsafe { asm!("fxsave64 [{}]", in(reg) &raw mut image, options(nostack, preserves_flags)) }
    image
}

fn set_debug([zero, one, two, three]: [u64; 4]) {
    // SAFETY: The breakpoints are off.
    unsafe {
        asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}", in(reg) zero, in(reg) one, in(reg) two,
            in(reg) three, options(nomem, nostack, preserves_flags));
    }
}

fn debug_registers() -> [u64; 4] {
    let [zero, one, two, three]: [u64; 4];
    // SAFETY: Reading them changes nothing.
    unsafe {
        asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3", out(reg) zero, out(reg) one, out(reg) two,
            out(reg) three, options(nomem, nostack, preserves_flags));
    }
    [zero, one, two, three]
}
