//! Compares every MSR and the ports of a PC's fixed devices with the bare machine's: it looks at them under Plinth, has the
//! hypervisor stop, and looks again. What differs must be in a list, with the reason.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use plinth_extension_api::abi::HYPERCALL_STOP;
use plinth_test_guests::msrs::{self, Access, Found};
use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, plinth, say, serial, trap};
use uefi::prelude::*;

/// MSRs, first and last, that a root VM finds other than the bare machine has them, and why.
const DIFFERENT: &[(u32, u32, &str)] = &[
    (0x3A, 0x3A, "VMX is off and locked"),
    (0x79, 0x79, "microcode is not loaded"),
    (0x140, 0x140, "CPUID faulting would reach the extension"),
    (0x1A0, 0x1A0, "debug store and PEBS write memory: they are shown as not there"),
    (0x277, 0x277, "QEMU shows a guest the kernel's own PAT"),
    (0x2B8, 0x2C7, "in-field scan reads memory"),
    (0x3F1, 0x3F7, "PEBS writes memory"),
    (0x480, 0x49F, "VMX is hidden"),
    (0x4F0, 0x4F0, "in-field scan reads memory"),
    (0x560, 0x587, "processor trace writes memory"),
    (0x600, 0x600, "debug store writes memory"),
    (0x1200, 0x121F, "last-branch records show the kernel's branches"),
    (0x14CE, 0x161F, "last-branch records show the kernel's branches"),
    (0x17D0, 0x17D4, "hardware feedback writes memory"),
    (0xC000_0104, 0xC000_0106, "TSC_RATIO is SVM's; lightweight profiling writes memory"),
    (0xC000_010E, 0xC000_010F, "last-branch records show the kernel's branches"),
    (0xC001_0114, 0xC001_0119, "SVM is off and locked"),
    (0xC001_011B, 0xC001_011E, "AVIC and SEV are SVM's"),
    (0xC001_0130, 0xC001_0130, "SEV is SVM's"),
    (0xC001_0137, 0xC001_0139, "SEV is SVM's"),
    (0xC001_0300, 0xC001_031F, "last-branch records show the kernel's branches"),
    (0xC001_1030, 0xC001_103D, "IBS shows the kernel's addresses"),
];

/// MSRs, first and last, that an OS writes: the rule for registers that the kernel does not know, that writes are refused, must
/// not meet them.
const WRITTEN: &[(u32, u32)] = &[
    (0x1B, 0x1B),
    (0x48, 0x48),
    (0x8B, 0x8B),
    (0x174, 0x176),
    (0x179, 0x17B),
    (0x1D9, 0x1D9),
    (0x200, 0x20F),
    (0x250, 0x250),
    (0x258, 0x259),
    (0x268, 0x26F),
    (0x2FF, 0x2FF),
    (0x400, 0x428),
    (0xDA0, 0xDA0),
    (0xC000_0080, 0xC000_0084),
    (0xC000_0100, 0xC000_0103),
];

/// The same on AMD's processors. An emulator of Intel's may take a write of any number, Bochs for one.
const WRITTEN_ON_AMD: &[(u32, u32)] = &[
    (0xC000_2000, 0xC000_2FFF),
    (0xC001_0010, 0xC001_0010),
    (0xC001_0015, 0xC001_001A),
    (0xC001_0111, 0xC001_0113),
    (0xC001_1029, 0xC001_1029),
];

/// MSRs of which another value is refused, with one: addresses at which the processor writes memory by itself, and switches of
/// where accesses go.
const REFUSED: &[(u32, u64)] = &[
    (0x140, 1),
    (0x560, 0x100_0000),
    (0x570, 1),
    (0x3F1, 1),
    (0x600, 0x100_0000),
    (0x17D0, 0x100_0001),
    (0x17D1, 1),
    (0xC001_0010, !0),
    (0xC001_0015, 1 << 35),
    (0xC001_0016, 0x100_0018),
    (0xC001_0017, 0xFFFF_FF00_0800),
    (0xC001_001A, 0x10_0000),
    (0xC001_001D, 0x10_0000),
    (0xC001_0058, 0x100_0001),
    (0xC001_0111, 0x100_0000),
    (0xC001_0112, 0x100_0000),
    (0xC001_0117, 0x100_0000),
    (0xC001_0132, 0x100_0000),
    (0x4B56_4D01, 0x100_0001),
    (0xC002_0000, 1),
];

/// Ports, first and last, whose reads have no effect: fixed devices of a PC but for the keyboard's, disks', serial ports' and the
/// emulator's own data, and what changes by itself (timers). A read of the floppy disks' data (0x3F5) ends what their
/// controller tells, which changes its status (0x3F4).
const PORTS: [(u16, u16); 12] = [
    (0x00, 0x3F),
    (0x44, 0x5F),
    (0x62, 0x63),
    (0x65, 0x6F),
    (0x80, 0x16F),
    (0x178, 0x1EF),
    (0x200, 0x2F7),
    (0x300, 0x3AF),
    (0x3E0, 0x3F3),
    (0x480, 0x4FF),
    (0xCF8, 0xCFB),
    (0xD00, 0xDFF),
];
const PORT_COUNT: usize = 0x1000;

/// What was found under Plinth: an MSR's value, and how its accesses ended; a port's value.
static VALUES: [AtomicU64; msrs::COUNT] = [const { AtomicU64::new(0) }; msrs::COUNT];
static ENDS: [AtomicU8; msrs::COUNT] = [const { AtomicU8::new(0) }; msrs::COUNT];
static PORT_VALUES: [AtomicU8; PORT_COUNT] = [const { AtomicU8::new(0) }; PORT_COUNT];

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("registers");
    if !plinth::is_there() {
        report.skip("registers", "there is no Plinth to compare the bare machine with");
        report.done()
    }
    refused(&mut report);
    cpu::without_interrupts(|| compare(&mut report));
    report.done()
}

fn is_in(list: &[(u32, u32)], number: u32) -> bool {
    list.iter().any(|(first, last)| (*first..=*last).contains(&number))
}

/// Whether an OS writes an MSR.
fn is_written(number: u32) -> bool {
    is_in(WRITTEN, number) || cpu::is_amd() && is_in(WRITTEN_ON_AMD, number)
}

fn refused(report: &mut Report) {
    const GENERAL_PROTECTION: Fault = Fault::general_protection(2);
    for &(number, value) in REFUSED {
        let before = cpu::read_msr(number);
        // SAFETY: It must fault; if it does not, the hypervisor is broken and so is this test.
        let written = unsafe { cpu::write_msr(number, value) };
        if written != Err(GENERAL_PROTECTION) || cpu::read_msr(number) != before {
            say!("registers: MSR {number:#x} takes {value:#x}: {written:x?}");
            return report.check("redirection-is-refused", false);
        }
    }
    report.check("redirection-is-refused", true);
}

fn compare(report: &mut Report) {
    for (index, number) in msrs::all().enumerate() {
        keep(index, msrs::poke(number));
    }
    each_port(|port| {
        PORT_VALUES[usize::from(port)].store(serial::read_port(port), Ordering::Relaxed);
        true
    });
    let stopped = plinth::hypercall(HYPERCALL_STOP, 0);
    check!(report, "stops", stopped, Ok(0));
    check!(report, "is-the-bare-machine", !plinth::is_there());
    let mut tally = Tally::default();
    for (index, number) in msrs::all().enumerate() {
        tally.look(number, kept(index), msrs::poke(number));
    }
    say!("registers: {tally:?}");
    check!(report, "msrs-are-the-machines", tally.wrong, 0);
    check!(report, "every-msr", tally.same + tally.different + tally.closed, msrs::COUNT as u32);
    let same =
        each_port(|port| PORT_VALUES[usize::from(port)].load(Ordering::Relaxed) == serial::read_port(port));
    check!(report, "ports-are-the-machines", same);
}

/// Does something for each port, whether that is right for all of them.
fn each_port(mut work: impl FnMut(u16) -> bool) -> bool {
    let ports = PORTS.into_iter().flat_map(|(first, last)| first..=last);
    ports.fold(true, |right, port| {
        let done = work(port);
        if !done {
            say!("registers: port {port:#x} reads otherwise");
        }
        right && done
    })
}

fn keep(index: usize, found: Found) {
    VALUES[index].store(found.value.unwrap_or(0), Ordering::Relaxed);
    ENDS[index].store(u8::from(found.value.is_some()) | (found.write as u8) << 1, Ordering::Relaxed);
}

fn kept(index: usize) -> Found {
    let ends = ENDS[index].load(Ordering::Relaxed);
    let value = (ends & 1 != 0).then(|| VALUES[index].load(Ordering::Relaxed));
    let write = [Access::Passes, Access::Faults, Access::Skipped][usize::from(ends >> 1)];
    Found { value, write }
}

/// How many MSRs are what.
#[derive(Debug, Default)]
struct Tally {
    /// As on the bare machine.
    same: u32,
    /// In the list of those that differ.
    different: u32,
    /// Read as on the bare machine, but the write is refused: the kernel does not know them.
    closed: u32,
    /// Different, for no known reason.
    wrong: u32,
}

impl Tally {
    fn look(&mut self, number: u32, here: Found, bare: Found) {
        let listed = DIFFERENT.iter().any(|(first, last, _)| (*first..=*last).contains(&number));
        let reads_alike = match (here.value, bare.value) {
            (Some(_), Some(_)) if msrs::is_volatile(number) => true,
            (here, bare) => here == bare,
        };
        let is_closed = here.write == Access::Faults && bare.write == Access::Passes && !is_written(number);
        match (reads_alike, here.write == bare.write) {
            (true, true) => self.same += 1,
            _ if listed => self.different += 1,
            (true, false) if is_closed => self.closed += 1,
            _ => {
                self.wrong += 1;
                if self.wrong < 20 {
                    say!("registers: MSR {number:#x}: {here:x?}, on the bare machine {bare:x?}");
                }
            }
        }
    }
}
