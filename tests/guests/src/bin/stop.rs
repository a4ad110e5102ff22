//! Has the processor given back to it: it goes on as the bare machine, with all of its state.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_extension_api::abi::HYPERCALL_STOP;
use plinth_test_guests::{Report, check, cpu, plinth, say, trap};
use uefi::prelude::*;

/// MSRs that the hypervisor used itself, with a value that each takes and nothing here needs: STAR, LSTAR, CSTAR,
/// SFMASK, kernel GS base, SYSENTER's.
const REGISTERS: [(u32, u64); 8] = [
    (0xC000_0081, 0x0023_0010_1234_5678),
    (0xC000_0082, 0xFFFF_8000_1234_5678),
    (0xC000_0083, 0x7FFF_1234_5678),
    (0xC000_0084, 0x4_7700),
    (0xC000_0102, 0xFFFF_9999_0000_0000),
    (0x174, 0x38),
    (0x175, 0x1111_2222_3000),
    (0x176, 0x1111_2222_4000),
];
/// CR4.DE.
const CR4_HARMLESS: u64 = 1 << 3;
const PAT: u32 = 0x277;
const PAT_AFTER_RESET: u64 = 0x0007_0406_0007_0406;
/// The task register among the selectors.
const TASK: usize = 7;

/// What must be the same before and after.
#[derive(Debug, PartialEq)]
struct State {
    control: [u64; 4],
    tables: [[u8; 10]; 2],
    selectors: [u16; 8],
    efer: u64,
    pat: u64,
    debug: [u64; 2],
}

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("stop");
    if plinth::is_there() {
        cpu::without_interrupts(|| stop(&mut report));
    } else {
        report.skip("stop", "there is no Plinth to leave");
    }
    check!(report, "stop-gone", !plinth::is_there());
    lives(&mut report);
    report.done()
}

fn stop(report: &mut Report) {
    let cr4 = cpu::read_cr4();
    // SAFETY: Debug extensions change nothing for code without breakpoints; the MSRs are used by nobody here.
    unsafe {
        cpu::write_cr4(cr4 | CR4_HARMLESS);
        for (number, value) in REGISTERS {
            let written = cpu::write_msr(number, value);
            check!(report, "stop-prepare", written, Ok(()));
        }
        asm!("mov dr0, {}", "mov dr6, {}", in(reg) 0x1234_5000u64, in(reg) 0xFFFF_4FF0u64, options(nostack));
    }
    let mut before = state();
    let nmis = trap::nmis();
    let result = plinth::hypercall(HYPERCALL_STOP, 0);
    say!("{} NMI(s) met the way back", trap::nmis().wrapping_sub(nmis));
    let mut after = state();
    if before.selectors[TASK] == 0 && !cpu::is_amd() {
        // LTR takes no null selector: on Intel nothing but a VM entry could bring it back.
        after.selectors[TASK] = 0;
    }
    if cpu::is_amd() {
        // The emulator shows a guest the hypervisor's own PAT; what the bare machine has is the OS's.
        before.pat = PAT_AFTER_RESET;
    }
    check!(report, "stop-hypercall", result, Ok(0));
    check!(report, "stop-keeps-state", after, before);
    for (number, value) in REGISTERS {
        let found = cpu::read_msr(number);
        check!(report, "stop-keeps-msr", found, Ok(value));
    }
    // SAFETY: As it was.
    unsafe {
        cpu::write_cr4(cr4);
        asm!("mov dr0, {0}", "mov dr6, {1}", in(reg) 0u64, in(reg) 0xFFFF_0FF0u64, options(nostack));
    }
}

/// CPUID tells of the virtualization extension again, exceptions and interrupts arrive.
fn lives(report: &mut Report) {
    const VMX: u32 = 1 << 5;
    const SVM: u32 = 1 << 2;
    let extension =
        if cpu::is_amd() { cpu::cpuid(0x8000_0001, 0)[2] & SVM } else { cpu::cpuid(1, 0)[2] & VMX };
    check!(report, "stop-extension-shows", extension != 0);
    let fault = plinth::hypercall(HYPERCALL_STOP, 0).map_err(|fault| fault.vector);
    check!(report, "stop-no-hypercall", fault, Err(6));
    (0..3).for_each(|_| cpu::halt());
    report.check("stop-interrupts", true);
    say!("the bare machine goes on");
}

fn state() -> State {
    let mut control = [0; 4];
    let (mut gdtr, mut idtr) = ([0; 10], [0; 10]);
    let mut selectors = [0; 8];
    let mut debug = [0; 2];
    // SAFETY: All of it only reads or stores to local variables, ten bytes for each table.
    unsafe {
        asm!("mov {0}, cr0", "mov {1}, cr3", "mov {2}, cr4", "mov {3}, cr8", out(reg) control[0], out(reg) control[1],
            out(reg) control[2], out(reg) control[3], options(nostack));
        asm!("sgdt [{}]", "sidt [{}]", in(reg) gdtr.as_mut_ptr(), in(reg) idtr.as_mut_ptr(), options(nostack));
        asm!("mov {0:x}, cs", "mov {1:x}, ss", "mov {2:x}, ds", "mov {3:x}, es", out(reg) selectors[0],
            out(reg) selectors[1], out(reg) selectors[2], out(reg) selectors[3], options(nostack));
        asm!("mov {0:x}, fs", "mov {1:x}, gs", "sldt {2:x}", "str {3:x}", out(reg) selectors[4], out(reg) selectors[5],
            out(reg) selectors[6], out(reg) selectors[7], options(nostack));
        asm!("mov {}, dr0", "mov {}, dr6", out(reg) debug[0], out(reg) debug[1], options(nostack));
    }
    let efer = cpu::read_msr(cpu::EFER).unwrap_or(0) & !cpu::EFER_SVME;
    let pat = cpu::read_msr(PAT).unwrap_or(0);
    State { control, tables: [gdtr, idtr], selectors, efer, pat, debug }
}
