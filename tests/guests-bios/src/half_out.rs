//! One processor asks for the bare machine while the other one runs. Both get it, or neither does: one that was outside alone
//! would read the memory of the hypervisor that the other one still runs under.

#![no_std]
#![no_main]

use core::arch::global_asm;

use plinth_extension_api::abi::{HYPERCALL_REFUSED, HYPERCALL_STOP};
use plinth_test_guests::apic::Apic;
use plinth_test_guests::{Report, check, cpu, plinth, say, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::low_pages;
use plinth_test_guests_bios::real_mode::{NOTES, RealModePage};

global_asm!(
    ".section .rodata.plinth_half_out, \"a\"",
    ".globl plinth_half_out",
    "plinth_half_out:",
    ".code16",
    "cli",
    // EBX of the hypervisor's leaf, and how often it was asked for.
    "2: mov eax, 0x40000000",
    "cpuid",
    "mov cs:[0x800], ebx",
    "inc dword ptr cs:[0x804]",
    "jmp 2b",
    ".globl plinth_half_out_end",
    "plinth_half_out_end:",
    ".code64",
    ".text",
);

unsafe extern "C" {
    static plinth_half_out: u8;
    static plinth_half_out_end: u8;
}

/// What the second processor notes.
const SIGNATURE: u64 = NOTES;
const COUNT: u64 = NOTES + 4;

/// The hypervisor's leaf of CPUID.
const LEAF: u32 = 0x4000_0000;
/// The local APIC's id of the second processor, INIT and startup IPI.
const SECOND: u32 = 1;
const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600;
/// How often the second one must have asked before its answer counts, and how long it may take, in looks.
const ASKED: u32 = 10;
const PATIENCE: u32 = 1 << 28;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("half-out");
    match (low_pages(memory).next(), memory.reservation(), Apic::find()) {
        (Some(page), Some(reservation), Some(apic)) if plinth::is_there() => {
            let code = [&raw const plinth_half_out, &raw const plinth_half_out_end];
            // SAFETY: a usable page below 1 MiB; what the loader keeps there is not needed any more. The code is for real mode.
            let page = unsafe { RealModePage::place(page, code) };
            apic.send_to(SECOND, INIT);
            apic.send_to(SECOND, STARTUP | page.vector());
            leave(&mut report, page, reservation);
        }
        _ => report.check("machine-has-plinth-low-memory-and-an-apic", false),
    }
    report.done()
}

fn leave(report: &mut Report, second: RealModePage, reservation: (u64, u64)) {
    let [plinths, ..] = plinth::signature();
    check!(report, "second-sees-plinth", asked_again(second), Some(plinths));
    check!(report, "reservation-is-zero", words_not_zero(reservation), 0);
    let result = plinth::hypercall(HYPERCALL_STOP, 0);
    let here = cpu::cpuid(LEAF, 0)[1];
    // Before the other one is looked at, which may be on its way out.
    let words = words_not_zero(reservation);
    let there = asked_again(second);
    say!("the hypercall: {result:x?}; here {here:#x}, there {there:x?}, {words} words are not zero");
    check!(report, "second-sees-what-the-first-one-does", there, Some(here));
    check!(report, "result-says-which", result, Ok(if here == plinths { HYPERCALL_REFUSED } else { 0 }));
    check!(report, "no-memory-of-a-hypervisor-that-is-there", here != plinths || words == 0);
}

/// What the second processor is told now; nothing where it does not run.
fn asked_again(second: RealModePage) -> Option<u32> {
    let before = second.get(COUNT);
    let has_asked = (0..PATIENCE).any(|_| second.get(COUNT).wrapping_sub(before) >= ASKED);
    has_asked.then(|| second.get(SIGNATURE))
}

fn words_not_zero((start, size): (u64, u64)) -> usize {
    // SAFETY: the addresses are mapped, and whatever is there is only read.
    (0..size / 8).filter(|word| unsafe { ((start + word * 8) as *const u64).read_volatile() } != 0).count()
}
