//! Writes a register that the kernel writes for it, with the value that is there, again and again, while the extension
//! `races` changes RCX on the second processor. A register that no root VM may write shows whether the kernel has written
//! what was never checked: a write whose number the kernel finds to be that register's raises #GP.

#![no_std]
#![no_main]

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_extensions::race::{RACE_END, RACE_LEAF, RACE_STRIKES, RACE_VICTIM, race_pair};
use plinth_test_guests::apic::Apic;
use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, plinth, probe, say, second, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::low_pages;

/// How often the register is written at least and at most, and how many of the writes must have met the other number: on a busy
/// host the two processors seldom run at the same time.
const ROUNDS: u32 = 5000;
const MOST_ROUNDS: u32 = 200_000;
const MEETINGS: u32 = 10;
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
fn write_and_lose(register: u32, value: u64) -> Result<(), Fault> {
    // SAFETY: the register has the value already; a fault is caught.
    let fault = unsafe {
        probe!("wrmsr";
            inout("rcx") u64::from(register) => _,
            inout("rax") value & 0xFFFF_FFFF => _,
            inout("rdx") value >> 32 => _)
    };
    fault.map_or(Ok(()), Err)
}

fn ask(what: u64) -> u64 {
    plinth::hypercall(TEST_HYPERCALL, what).unwrap_or(u64::MAX)
}

fn race(report: &mut Report) {
    let (_, register, closed) = race_pair();
    let (register, closed) = (register as u32, closed as u32);
    let (value, before) = (cpu::read_msr(register).unwrap_or(0), cpu::read_msr(closed));
    check!(report, "closed-register-has-another-value", before.is_ok_and(|before| before != value));
    // SAFETY: it is refused, or the next checks fail.
    check!(report, "closed-register-is-refused", unsafe { cpu::write_msr(closed, value) }.is_err());
    check!(report, "closed-register-is-kept", cpu::read_msr(closed), before);
    check!(report, "victim", ask(RACE_VICTIM), 0);
    check!(report, "strikes-begin", (0..PATIENCE).any(|_| ask(RACE_STRIKES) > 0));
    let (mut rounds, mut met, mut kept) = (0, 0, true);
    while kept && (rounds < ROUNDS || met < MEETINGS && rounds < MOST_ROUNDS) {
        rounds += 1;
        met += u32::from(write_and_lose(register, value).is_err());
        kept = cpu::read_msr(closed) == before;
    }
    let strikes = ask(RACE_STRIKES);
    ask(RACE_END);
    say!("{rounds} writes, {strikes} strikes meanwhile; {met} writes met the other number from the start");
    check!(report, "closed-register-is-nobodys", cpu::read_msr(closed), before);
    check!(report, "strikes-go-on", strikes > 1);
    check!(report, "both-numbers-are-met", met >= MEETINGS && met < rounds);
    check!(report, "register-is-what-it-was", cpu::read_msr(register), Ok(value));
}
