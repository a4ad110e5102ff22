//! Declares no group for the machine, and tries to open registers and ports of the machine to a guest VM. Says which it could
//! and which it could not.

#![no_std]
#![no_main]

use plinth_extension_api::{
    Error, Exit, Extension, Failure, Plinth, Resume, VmId, extension, log, passthrough,
};

/// Registers that redirect memory, hold addresses at which the processor writes memory, or are the processor's: numbers of the
/// other vendor's are nobody's.
#[cfg(target_arch = "x86_64")]
const CLOSED: &[u64] = &[
    0x10,
    0x1B,
    0x3A,
    0x48,
    0x79,
    0x140,
    0x1A0,
    0x200,
    0x2FF,
    0x400,
    0x480,
    0x560,
    0x570,
    0x600,
    0x6E0,
    0x830,
    0xDA0,
    0x17D0,
    0x4000_0000,
    0xC000_0105,
    0xC000_2001,
    0xC001_0010,
    0xC001_0015,
    0xC001_0016,
    0xC001_001A,
    0xC001_0020,
    0xC001_0058,
    0xC001_0112,
    0xC001_0114,
    0xC001_0117,
];
/// Registers that each VS has to itself: SYSENTER's, PAT, STAR and LSTAR, FS_BASE and its like, TSC_AUX.
#[cfg(target_arch = "x86_64")]
const OPEN: &[u64] = &[0x174, 0x277, 0xC000_0081, 0xC000_0082, 0xC000_0100, 0xC000_0102, 0xC000_0103];
/// Interrupt and keyboard controllers, DMA, resets, system management mode, configuration of devices, a serial port.
#[cfg(target_arch = "x86_64")]
const CLOSED_PORTS: &[u16] = &[0x00, 0x20, 0x60, 0x64, 0x87, 0x92, 0xB2, 0xCF8, 0xCF9, 0xCFC, 0x3F8];
/// The port of codes of the start.
#[cfg(target_arch = "x86_64")]
const OPEN_PORTS: &[u16] = &[0x80];

/// No line of Arm's tables opens a register to a guest VM that is the machine's.
#[cfg(target_arch = "aarch64")]
const CLOSED: &[u64] = &[];
#[cfg(target_arch = "aarch64")]
const OPEN: &[u64] = &[];
#[cfg(target_arch = "aarch64")]
const CLOSED_PORTS: &[u16] = &[];
#[cfg(target_arch = "aarch64")]
const OPEN_PORTS: &[u16] = &[];

const DENIED: Result<(), Failure> = Err(Failure::argument(2, Error::Denied));

struct Opens;

impl Extension for Opens {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        let vm = plinth.vm_create()?;
        let wrong = wrong_registers(plinth, vm) + wrong_ports(plinth, vm);
        plinth.vm_destroy(vm)?;
        let all = CLOSED.len() + OPEN.len() + CLOSED_PORTS.len() + OPEN_PORTS.len();
        log::info!("opens: {wrong} of {all} answers are wrong");
        Ok(())
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

fn wrong_registers(plinth: Plinth, vm: VmId) -> usize {
    let set = |register, reads, writes| plinth.vm_intercept_registers(vm, register, 1, reads, writes);
    let closed = CLOSED.iter().filter(|register| {
        let answers = [set(**register, true, false), set(**register, true, true)];
        is_wrong("register", **register, answers, [DENIED, Ok(())])
    });
    let open = OPEN.iter().filter(|register| {
        let answers = [set(**register, false, false), set(**register, true, true)];
        is_wrong("register", **register, answers, [Ok(()), Ok(())])
    });
    closed.count() + open.count()
}

fn wrong_ports(plinth: Plinth, vm: VmId) -> usize {
    let set = |port, exit| plinth.vm_intercept_ports(vm, port, 1, exit);
    let closed = CLOSED_PORTS.iter().filter(|port| {
        is_wrong("port", u64::from(**port), [set(**port, false), set(**port, true)], [DENIED, Ok(())])
    });
    let open = OPEN_PORTS.iter().filter(|port| {
        is_wrong("port", u64::from(**port), [set(**port, false), set(**port, true)], [Ok(()), Ok(())])
    });
    closed.count() + open.count()
}

fn is_wrong(
    what: &str,
    number: u64,
    answers: [Result<(), Failure>; 2],
    expected: [Result<(), Failure>; 2],
) -> bool {
    if answers != expected {
        log::warn!("opens: {what} {number:#x}: {answers:?}");
    }
    answers != expected
}

extension!(Opens, groups: [VM, VP, VS]);
