//! What a processor can do to the hypervisor by itself: touch its memory, execute its instructions, write its registers, call it.

use plinth_test_extensions::random::Random;

use super::{Storm, commands};
use crate::apic::{self, Apic};
use crate::{cpu, msrs, plinth, probe, trap, virtualization};

const PATTERN: u64 = 0x5A5A_5A5A_5A5A_5A5A;

/// Eight bytes of any address; `None` where this machine's own tables do not map it.
pub(super) fn read(at: u64) -> Option<u64> {
    let value;
    // SAFETY: Reading memory changes nothing; a fault is caught.
    let fault = unsafe { probe!("mov {value}, [{at}]"; value = out(reg) value, at = in(reg) at) };
    if fault.is_some() { None } else { Some(value) }
}

macro_rules! writes {
    ($($instruction:literal),* $(,)?) => {
        [$(|at: u64| {
            // SAFETY: What is written is the hypervisor's own memory, where nothing stays. String instructions have four words.
            unsafe {
                probe!($instruction; inout("rdi") at => _, inout("rax") PATTERN => _, inout("rcx") 4u64 => _,
                    inout("rdx") PATTERN => _)
            }
        }),*]
    };
}

/// Writes to the address in RDI, which is a multiple of 64 and has 64 bytes behind it in its page.
const WRITES: [fn(u64) -> Option<trap::Fault>; 12] = writes![
    "mov [rdi], rax",
    "mov [rdi + 1], eax",
    "mov [rdi], ax",
    "mov [rdi + 7], al",
    "mov qword ptr [rdi], 0x5A5A",
    "xchg [rdi], rax",
    "lock add [rdi], eax",
    "lock cmpxchg [rdi], rdx",
    "lock bts qword ptr [rdi], 5",
    "rep stosq",
    "lock xadd [rdi], rax",
    "not byte ptr [rdi + 3]",
];

/// Writes to the hypervisor's memory. Whether it takes it and reads as zeroes.
pub(super) fn memory((start, size): (u64, u64), random: &mut Random) -> bool {
    let at = start + random.below(size / 4096) * 4096 + random.below(63) * 64;
    let write = WRITES[random.below(WRITES.len() as u64) as usize];
    let fault = write(at);
    fault.is_none() && (0..8).all(|word| read(at + word * 8) == Some(0)) && cpu::flags() & 1 << 8 == 0
}

/// Executes one of the virtualization extension's. Whether it is undefined.
pub(super) fn instruction(random: &mut Random) -> bool {
    let all = virtualization::instructions();
    let instruction = all[random.below(all.len() as u64) as usize];
    instruction.run() == (Some(trap::Fault::undefined(instruction.length)), true)
}

/// Makes a hypercall that nobody knows. Whether it is undefined.
pub(super) fn hypercall(random: &mut Random) -> bool {
    plinth::hypercall(random.next(), random.next()) == Err(trap::Fault::undefined(3))
}

/// Writes to the interrupt controller's page where, or by widths with which, nothing is defined, and to its id. Whether nothing
/// comes of it; a start or an INIT that came of it would show in the end.
pub(super) fn apic(storm: &Storm, random: &mut Random) -> bool {
    let (apic, width) = (storm.apic, 1 << random.below(4));
    // Mostly around the interrupt command register.
    let offset = if random.below(2) == 0 { 0x2F0 + random.below(0x30) } else { random.below(4096 - 7) };
    let offset = if Apic::is_defined(offset, width) { apic::ID } else { offset };
    let commands = [commands::START | storm.stub.vector(), commands::INIT | commands::ASSERT, apic::NMI];
    let command = u64::from(commands[random.below(3) as usize]);
    let before = apic.state();
    apic.store(offset, width, command << (8 * random.below(4)) | 1 << 56);
    apic.state() == before
}

/// Touches the registers that are the virtualization extension's, or that it shares with all else.
pub(super) fn register(random: &mut Random) -> bool {
    match random.below(4) {
        0 => absent(random),
        1 => control(random),
        2 => efer(random),
        _ => any(random),
    }
}

/// Any MSR: writing back what it holds changes nothing, whether the write passes or faults.
fn any(random: &mut Random) -> bool {
    let index = random.below(msrs::COUNT as u64) as usize;
    let Some(number) = msrs::all().nth(index) else { return false };
    let found = msrs::poke(number);
    msrs::is_volatile(number) || cpu::read_msr(number).ok() == found.value
}

/// The extension's own registers: not there, or with the extension off and locked; and a write leaves them so.
fn absent(random: &mut Random) -> bool {
    const GENERAL_PROTECTION: trap::Fault = trap::Fault::general_protection(2);
    const SVM_OFF: u64 = 0x18;
    const FEATURE_CONTROL: u32 = 0x3A;
    const LOCKED_WITHOUT_VMX: u64 = 1;
    let capability = 0x480 + random.below(0x14) as u32;
    let numbers = if cpu::is_amd() { [cpu::VM_CR, cpu::VM_HSAVE_PA] } else { [capability, FEATURE_CONTROL] };
    let number = numbers[random.below(2) as usize];
    let before = cpu::read_msr(number);
    // SAFETY: It must fault, or change nothing.
    let written = unsafe { cpu::write_msr(number, random.next()) };
    let (is_right, takes_writes) = match number {
        cpu::VM_CR => (before == Ok(SVM_OFF), true),
        cpu::VM_HSAVE_PA => (before == Ok(0), false),
        FEATURE_CONTROL => (before.is_ok_and(|value| value & 7 == LOCKED_WITHOUT_VMX), false),
        _ => (before == Err(GENERAL_PROTECTION), false),
    };
    let ended = if takes_writes { Ok(()) } else { Err(GENERAL_PROTECTION) };
    is_right && written == ended && cpu::read_msr(number) == before
}

/// CR4 with one more or less of the bits that nothing here depends on: PVI, TSD, DE, PCE are the guest's, and change. On Intel
/// also VMXE, which must fault, and SMXE and three that are reserved: those change, or fault. QEMU's AMD would take reserved
/// bits, and then refuse to enter the guest.
fn control(random: &mut Random) -> bool {
    const BITS: [u32; 9] = [1, 2, 3, 8, 13, 14, 31, 32, 63];
    const KNOWN: u64 = 4;
    const VMXE: u64 = 1 << 13;
    let before = cpu::read_cr4();
    let index = random.below(if cpu::is_amd() { KNOWN } else { BITS.len() as u64 });
    let bit = 1 << BITS[index as usize];
    // SAFETY: Nothing here depends on the bit; a fault is caught.
    let fault = unsafe { probe!("mov cr4, rax"; in("rax") before ^ bit) };
    let after = cpu::read_cr4();
    // SAFETY: As it was.
    unsafe { cpu::write_cr4(before) };
    let takes = match fault {
        None => index < KNOWN || bit != VMXE,
        Some(fault) => index >= KNOWN && fault == trap::Fault::general_protection(3),
    };
    let expected = if fault.is_none() { before ^ bit } else { before };
    takes && after == expected && cpu::read_cr4() == before
}

/// EFER with SVME or reserved bits set: they are not there.
fn efer(random: &mut Random) -> bool {
    const MASK: u64 = !0xFFFF | cpu::EFER_SVME;
    let Ok(before) = cpu::read_msr(cpu::EFER) else { return false };
    // SAFETY: It must fault, or the bits not stay.
    let _ = unsafe { cpu::write_msr(cpu::EFER, before | random.next() & MASK) };
    cpu::read_msr(cpu::EFER) == Ok(before)
}
