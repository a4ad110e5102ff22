//! Kicks reach a processor whatever its kernel has done to its local APIC: given it another id, turned it off, and on again,
//! changed its mode. And they leave one whose own APIC is off.

#![no_std]
#![no_main]

use core::arch::global_asm;

use plinth_test_extensions::{KICK_OTHERS, KICKS_SEEN, TEST_HYPERCALL};
use plinth_test_guests::apic::{Apic, ID};
use plinth_test_guests::{Report, check, cpu, plinth, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::real_mode::{NOTES, RealModePage, TOLD};
use plinth_test_guests_bios::{flat_data, low_pages};

global_asm!(
    ".section .rodata.plinth_kick_modes, \"a\"",
    ".globl plinth_kick_modes",
    "plinth_kick_modes:",
    ".code16",
    "cli",
    flat_data!(),
    "mov dword ptr cs:[0x800], 1",
    // It counts, and never exits, until there is something to do.
    "2: inc dword ptr cs:[0x804]",
    "mov eax, cs:[0x910]",
    "cmp eax, cs:[0x808]",
    "je 2b",
    "cmp dword ptr cs:[0x914], 0",
    "je 3f",
    // Another id.
    "mov esi, cs:[0x914]",
    "mov dword ptr [esi], 0x07000000",
    "jmp 4f",
    // Another mode.
    "3: mov ecx, 0x1B",
    "rdmsr",
    "and eax, cs:[0x918]",
    "or eax, cs:[0x91C]",
    "wrmsr",
    "4: mov eax, cs:[0x910]",
    "mov cs:[0x808], eax",
    "jmp 2b",
    ".globl plinth_kick_modes_end",
    "plinth_kick_modes_end:",
    ".code64",
    ".text",
);

unsafe extern "C" {
    static plinth_kick_modes: u8;
    static plinth_kick_modes_end: u8;
}

/// What the code notes: that it runs, its steps, and the number of the last change that it has made.
const RUNS: u64 = NOTES;
const STEPS: u64 = NOTES + 4;
const MADE: u64 = NOTES + 8;
/// What it is told: the number of the next change; the address of the id register to be written, or 0; and what stays and what is
/// set in IA32_APIC_BASE.
const NEXT: u64 = TOLD;
const ID_REGISTER: u64 = TOLD + 4;
const STAYS: u64 = TOLD + 8;
const SET: u64 = TOLD + 12;

/// The local APIC's id of the second processor, INIT and startup IPI.
const SECOND: u32 = 1;
const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600;
/// IA32_APIC_BASE, its bits that turn the APIC on and have it in x2APIC mode, and CPUID leaf 1's ECX bit that says there is one.
const BASE: u32 = 0x1B;
const ON: u32 = 1 << 11;
const X2APIC: u32 = 1 << 10;
const HAS_X2APIC: u32 = 1 << 21;
/// How often it is looked whether a kick was seen.
const PATIENCE: u64 = 100_000;

fn ask(what: u64) -> u64 {
    plinth::hypercall(TEST_HYPERCALL, what).unwrap_or(u64::MAX)
}

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("kick-modes");
    match (low_pages(memory).next(), Apic::find()) {
        (Some(page), Some(apic)) if plinth::is_there() => {
            let code = [&raw const plinth_kick_modes, &raw const plinth_kick_modes_end];
            // SAFETY: a usable page below 1 MiB; what the loader keeps there is not needed any more. The code is for real mode.
            let page = unsafe { RealModePage::place(page, code) };
            apic.send_to(SECOND, INIT);
            apic.send_to(SECOND, STARTUP | page.vector());
            report.check("second-runs", page.becomes(RUNS, 1));
            Kicked { page, kicks: 0 }.run(&mut report, apic);
        }
        _ => report.check("machine-has-plinth-low-memory-and-an-apic", false),
    }
    report.done()
}

/// The second processor.
struct Kicked {
    page: RealModePage,
    kicks: u64,
}

impl Kicked {
    fn run(&mut self, report: &mut Report, apic: Apic) {
        report.check("kick-as-it-is", self.takes_kicks());
        self.page.put(ID_REGISTER, apic.address(ID) as u32);
        report.check("id-is-written", self.changes());
        report.check("kick-after-another-id", self.takes_kicks());
        self.page.put(ID_REGISTER, 0);
        report.check("apic-goes-off", self.turns(!ON, 0));
        report.check("kick-while-off", self.takes_kicks());
        report.check("apic-goes-on", self.turns(!0, ON));
        report.check("kick-after-off-and-on", self.takes_kicks());
        if cpu::cpuid(1, 0)[2] & HAS_X2APIC == 0 {
            report.skip("kick-in-x2apic-mode", "the processor has none");
        } else {
            self.by_x2apic(report);
        }
        self.by_one_that_is_off(report);
    }

    fn by_x2apic(&mut self, report: &mut Report) {
        report.check("apic-goes-to-x2apic-mode", self.turns(!0, X2APIC));
        report.check("kick-in-x2apic-mode", self.takes_kicks());
        report.check("apic-goes-off-in-x2apic-mode", self.turns(!(ON | X2APIC), 0));
        report.check("kick-while-off-in-x2apic-mode", self.takes_kicks());
        report.check("apic-comes-back-to-xapic-mode", self.turns(!X2APIC, ON));
        report.check("kick-back-in-xapic-mode", self.takes_kicks());
    }

    /// This processor's APIC is off, that of the second one on.
    fn by_one_that_is_off(&mut self, report: &mut Report) {
        let base = cpu::read_msr(BASE).unwrap_or(0);
        // SAFETY: no interrupt is waited for.
        let off = unsafe { cpu::write_msr(BASE, base & !u64::from(ON)) };
        report.check("kick-from-one-that-is-off", off.is_ok() && self.takes_kicks());
        // SAFETY: as it was.
        let on = unsafe { cpu::write_msr(BASE, base) };
        report.check("kick-from-one-that-is-on-again", on.is_ok() && self.takes_kicks());
        // SAFETY: it must fault.
        let moved = unsafe { cpu::write_msr(BASE, base + 0x1000) };
        check!(report, "the-page-stays", moved.is_err());
    }

    /// Has it change what it is told. Whether it does.
    fn changes(&self) -> bool {
        let next = self.page.get(NEXT) + 1;
        self.page.put(NEXT, next);
        self.page.becomes(MADE, next)
    }

    /// Has it write IA32_APIC_BASE. Whether it does, and goes on.
    fn turns(&self, stays: u32, set: u32) -> bool {
        self.page.put(STAYS, stays);
        self.page.put(SET, set);
        self.changes()
    }

    /// Kicks it some times. Whether it sees each kick once, and goes on.
    fn takes_kicks(&mut self) -> bool {
        (0..3).all(|_| {
            self.kicks += 1;
            let steps = self.page.get(STEPS);
            let kicked = ask(KICK_OTHERS) == 1;
            kicked
                && (0..PATIENCE).any(|_| ask(KICKS_SEEN) == self.kicks)
                && (0..PATIENCE).any(|_| self.page.get(STEPS) != steps)
        })
    }
}
