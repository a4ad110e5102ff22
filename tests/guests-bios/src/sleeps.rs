//! Tries to put the machine to sleep with its memory on, by every width and place of a write that reaches the register, by INS and
//! OUTS, and with kinds that nobody knows: each write is refused, and the machine looks as if it had been woken at once.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, plinth, probe, say, trap};
use plinth_test_guests_bios as _;

/// PM1a_EVT, as SeaBIOS lays it on QEMU's q35, and Bochs' BIOS on its PIIX4 (ACPI specification 6.5, 4.8.3). PM1a_CNT is 4 ports
/// above both.
const EVENTS_QEMU: u16 = 0x600;
const EVENTS_BOCHS: u16 = 0xB000;
const CONTROL: u16 = 4;
/// PM1_STS: WAK_STS.
const WOKEN: u32 = 1 << 15;
/// PM1_CNT: SLP_EN, and where SLP_TYP begins.
const ENABLE: u32 = 1 << 13;
const KIND_SHIFT: u32 = 10;
/// The kind of S3 on both, and one that neither has.
const KINDS: [u32; 2] = [1, 7];

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(_: u64) -> ! {
    trap::install();
    let mut report = Report::new("sleeps");
    if !plinth::is_there() {
        report.skip("sleeps", "there is no Plinth that would refuse it");
        report.done()
    }
    let events = if cpu::is_amd() { EVENTS_QEMU } else { EVENTS_BOCHS };
    let before = read(events + CONTROL, 2);
    for kind in KINDS {
        say!("sleeps: kind {kind}");
        writes(&mut report, events, ENABLE | kind << KIND_SHIFT);
    }
    in_two_steps(&mut report, events, before);
    strings(&mut report, events);
    check!(report, "register-is-as-before", read(events + CONTROL, 2), before);
    check!(report, "still-under-plinth", plinth::is_there());
    report.done()
}

/// Every write that has the upper byte of the register among its bytes.
fn writes(report: &mut Report, events: u16, value: u32) {
    let upper = events + CONTROL + 1;
    for size in [1, 2, 4] {
        for lane in 0..size {
            let written = (value >> 8) << (8 * lane);
            check!(report, "write-raises-nothing", write(upper - lane, size, written), None);
            is_woken(report, events);
        }
    }
}

/// The kind first, which is no sleep yet, and then the start.
fn in_two_steps(report: &mut Report, events: u16, before: u32) {
    let kind = before | KINDS[0] << KIND_SHIFT;
    check!(report, "the-kind-alone-passes", write(events + CONTROL, 2, kind), None);
    check!(report, "nothing-sleeps-yet", read(events, 2) & WOKEN, 0);
    check!(report, "start-raises-nothing", write(events + CONTROL, 2, kind | ENABLE), None);
    is_woken(report, events);
    check!(report, "the-kind-before-passes", write(events + CONTROL, 2, before), None);
}

/// The status tells of a wake-up until it is cleared.
fn is_woken(report: &mut Report, events: u16) {
    check!(report, "looks-woken", read(events, 2) & WOKEN, WOKEN);
    // Bochs reads ones from a single byte.
    check!(report, "looks-woken-in-a-byte", read(events + 1, 1) & WOKEN >> 8, WOKEN >> 8);
    check!(report, "status-is-cleared", write(events, 2, WOKEN), None);
    check!(report, "stays-cleared", read(events, 2) & WOKEN, 0);
}

/// Whose value lies in memory.
fn strings(report: &mut Report, events: u16) {
    let port = events + CONTROL + 1;
    let mut buffer = [(ENABLE >> 8) as u8 | 4; 4];
    let at = buffer.as_mut_ptr();
    // SAFETY: the buffer has four bytes; the instructions fault, or read and write as many of them.
    let faults = unsafe {
        [
            probe!("outsb"; in("dx") port, inout("rsi") at => _),
            probe!("outsw"; in("dx") port - 1, inout("rsi") at => _),
            probe!("outsd"; in("dx") port - 1, inout("rsi") at => _),
            probe!("rep outsb"; in("dx") port, inout("rsi") at => _, inout("rcx") 4u64 => _),
            probe!("insb"; in("dx") port, inout("rdi") at => _),
        ]
    };
    let lengths = [1, 2, 1, 2, 1];
    check!(report, "strings-fault", faults, lengths.map(|length| Some(Fault::general_protection(length))));
}

/// Writes to ports, and returns the fault, if there is one.
fn write(port: u16, size: u16, value: u32) -> Option<Fault> {
    // SAFETY: the ports are those of power management; if a sleep is not refused, the hypervisor is broken and so is this test.
    unsafe {
        match size {
            1 => probe!("out dx, al"; in("dx") port, in("eax") value),
            2 => probe!("out dx, ax"; in("dx") port, in("eax") value),
            _ => probe!("out dx, eax"; in("dx") port, in("eax") value),
        }
    }
}

fn read(port: u16, size: u16) -> u32 {
    let mut value = 0u32;
    // SAFETY: reading the registers of power management has no effect.
    unsafe {
        match size {
            1 => {
                asm!("in al, dx", in("dx") port, inout("eax") value, options(nomem, nostack, preserves_flags))
            }
            _ => {
                asm!("in ax, dx", in("dx") port, inout("eax") value, options(nomem, nostack, preserves_flags))
            }
        }
    }
    value
}
