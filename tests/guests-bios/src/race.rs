//! Writes a register that the kernel writes for it, with the value that is there, again and again, while the extension
//! `races` changes RCX on the second processor. TSC_AUX, which nobody writes, shows whether the kernel has written what was
//! never checked.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_extensions::race::{
    APIC_BASE, MTRR_DEF_TYPE, RACE_COUNT, RACE_LEAF, RACE_STRIKES, RACE_VICTIM, TSC_AUX,
};
use plinth_test_guests::apic::Apic;
use plinth_test_guests::{Report, check, cpu, plinth, say, second, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::low_pages;

/// How often the register is written.
const ROUNDS: u32 = 5000;
/// How long the other processor may take to begin, in looks at it.
const PATIENCE: u32 = 1_000_000;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("race");
    match (low_pages(memory).next(), Apic::find()) {
        (Some(page), Some(apic)) if plinth::is_there() => {
            // SAFETY: a usable page below 1 MiB. What the loader keeps there is not needed any more.
            unsafe { second::start(apic, page, RACE_LEAF) };
            race(&mut report);
        }
        _ => report.check("machine-has-plinth-low-memory-and-an-apic", false),
    }
    report.done()
}

/// Writes a register. The extension changes RCX meanwhile, so that nothing is expected to be there afterwards.
fn write_and_lose(register: u32, value: u64) {
    // SAFETY: the register has the value already.
    unsafe {
        asm!(
            "wrmsr",
            inout("ecx") register => _,
            inout("eax") value as u32 => _,
            inout("edx") (value >> 32) as u32 => _,
            options(nostack)
        );
    }
}

fn ask(what: u64) -> u64 {
    plinth::hypercall(TEST_HYPERCALL, what).unwrap_or(u64::MAX)
}

fn race(report: &mut Report) {
    let register = if cpu::is_amd() { APIC_BASE } else { MTRR_DEF_TYPE } as u32;
    let (value, before) = (cpu::read_msr(register).unwrap_or(0), cpu::read_msr(TSC_AUX as u32));
    check!(report, "tsc-aux-is-there", before.is_ok_and(|before| before != value));
    check!(report, "victim", ask(RACE_VICTIM), 0);
    check!(report, "strikes-begin", (0..PATIENCE).any(|_| ask(RACE_STRIKES) > 0));
    let hit = (0..ROUNDS).find(|_| {
        // Refused or not: with another number in RCX it is no write of this register.
        write_and_lose(register, value);
        cpu::read_msr(TSC_AUX as u32) != before
    });
    let strikes = ask(RACE_STRIKES);
    let met = ask(RACE_COUNT);
    say!("{ROUNDS} writes, {strikes} strikes meanwhile; {met} writes met the other number from the start");
    check!(report, "tsc-aux-is-nobodys", hit, None);
    check!(report, "strikes-go-on", strikes > 1);
    check!(report, "register-is-what-it-was", cpu::read_msr(register), Ok(value));
}
