//! Accesses of MSRs that the kernel carries out for the root VM, as the table says.

use core::sync::atomic::{AtomicBool, Ordering};

use plinth_extension_api::abi::register as number;
use plinth_hal::HostFault;

use crate::msr;
use crate::msr_table::{MsrTable, Read, Write};

/// What a backend must do about a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadAnswer {
    /// The guest gets this value.
    Value(u64),
    /// The guest gets the value that its VS holds.
    Saved,
    /// The guest gets #GP.
    Fault,
}

/// What a backend must do about a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteAnswer {
    /// Nothing more: the register has the value, or it needs none.
    Done,
    /// The VS gets the value.
    Saved,
    /// The MTRR is written, if the hypervisor's memory keeps its type by it.
    MemoryType,
    /// The guest gets #GP.
    Fault,
}

/// Carries out a read of the root VM, but for what a VS holds. The kernel's IDT must be loaded.
pub fn read(table: &MsrTable, register: u32) -> ReadAnswer {
    match table.root_read(register) {
        Read::Native if vs_register(register).is_some() => ReadAnswer::Saved,
        Read::Saved => ReadAnswer::Saved,
        Read::Absent => ReadAnswer::Fault,
        rule => msr::read_guarded(register)
            .map_or(ReadAnswer::Fault, |value| ReadAnswer::Value(shown(rule, value))),
    }
}

/// Carries out a write of the root VM, but for what a VS holds and for MTRRs. The kernel's IDT must be loaded.
pub fn write(table: &MsrTable, register: u32, value: u64) -> WriteAnswer {
    let done = match table.root_write(register) {
        Write::Native if vs_register(register).is_some() => return WriteAnswer::Saved,
        Write::Saved => return WriteAnswer::Saved,
        Write::MemoryType => return WriteAnswer::MemoryType,
        // SAFETY: the table says that the register changes nothing of the kernel's.
        Write::Native => unsafe { msr::write_guarded(register, value) },
        Write::Filtered { may_change } => {
            write_filtered(table.root_read(register), register, value, may_change)
        }
        Write::Ignored => Ok(()),
        // The kernel's exits of the class Processor come before; by the extension's leave nobody writes these.
        Write::Processor | Write::Absent => Err(HostFault),
    };
    log_once(table, register, value, done.is_err());
    done.map_or(WriteAnswer::Fault, |()| WriteAnswer::Done)
}

fn write_filtered(read: Read, register: u32, value: u64, may_change: u64) -> Result<(), HostFault> {
    let current = msr::read_guarded(register)?;
    match filter(read, current, value, may_change) {
        None => Err(HostFault),
        Some(next) if next == current => Ok(()),
        // SAFETY: only bits change that the table lets.
        Some(next) => unsafe { msr::write_guarded(register, next) },
    }
}

/// What a read shows of a value.
const fn shown(rule: Read, value: u64) -> u64 {
    match rule {
        Read::Filtered { clear, set } => value & !clear | set,
        _ => value,
    }
}

/// What a register becomes that holds `current` when `value` is written; `None` where a bit would change that may not. A bit
/// that reads do not show stays as it is.
const fn filter(rule: Read, current: u64, value: u64, may_change: u64) -> Option<u64> {
    if (value ^ shown(rule, current)) & !may_change != 0 {
        return None;
    }
    Some(current & !may_change | value & may_change)
}

/// Logs the first write that was refused, and the first that does nothing: the OS may have meant it well.
fn log_once(table: &MsrTable, register: u32, value: u64, refused: bool) {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    static IGNORED: AtomicBool = AtomicBool::new(false);
    let ignored = table.root_write(register) == Write::Ignored;
    if !refused && !ignored {
        return;
    }
    let (logged, what) = if refused { (&REFUSED, "refused") } else { (&IGNORED, "ignored") };
    if logged.swap(true, Ordering::Relaxed) {
        return;
    }
    let (name, reason) = table
        .find(register)
        .map_or(("not in the table", "closed until it is"), |range| (range.name, range.reason));
    log::warn!(
        "the root VM writes {value:#x} to MSR {register:#x} ({name}): {what}, {reason}; more are not logged"
    );
}

/// Has the processor stop what the table keeps from the root VM, whatever ran before the launch has begun: `quiet` lists MSRs
/// and the bits that are cleared in them. The kernel's IDT must be loaded.
pub fn make_quiet(quiet: &[(u32, u64)]) {
    for &(register, bits) in quiet {
        if let Ok(value) = msr::read_guarded(register)
            && value & bits != 0
        {
            log::warn!("MSR {register:#x} is {value:#x} at the launch: {:#x} from now on", value & !bits);
            // SAFETY: less is switched on; nothing of the kernel's depends on it.
            let _ = unsafe { msr::write_guarded(register, value & !bits) };
        }
    }
}

/// The ABI's number of the register of a VS that an MSR is, where the control structure holds it: while the kernel runs, the
/// processor has the kernel's value.
pub const fn vs_register(register: u32) -> Option<u64> {
    const FS_BASE: u64 = number::X86_ES + 4 * 4 + 1;
    const GS_BASE: u64 = number::X86_ES + 5 * 4 + 1;
    Some(match register {
        msr::index::SYSENTER_CS => number::X86_SYSENTER_CS,
        msr::index::SYSENTER_ESP => number::X86_SYSENTER_ESP,
        msr::index::SYSENTER_EIP => number::X86_SYSENTER_EIP,
        msr::index::PAT => number::X86_PAT,
        msr::index::EFER => number::X86_EFER,
        msr::index::STAR => number::X86_STAR,
        msr::index::LSTAR => number::X86_LSTAR,
        msr::index::CSTAR => number::X86_CSTAR,
        msr::index::SFMASK => number::X86_SFMASK,
        msr::index::FS_BASE => FS_BASE,
        msr::index::GS_BASE => GS_BASE,
        msr::index::KERNEL_GS_BASE => number::X86_KERNEL_GS_BASE,
        _ => return None,
    })
}

/// Whether WRMSR takes a value for one of the MSRs of [`vs_register`], EFER aside, on a processor whose linear addresses have
/// [`linear_bits`] (Intel SDM vol. 2, WRMSR; vol. 3A, PAT).
pub fn fits(register: u32, value: u64, linear_bits: u32) -> bool {
    match register {
        msr::index::SYSENTER_ESP
        | msr::index::SYSENTER_EIP
        | msr::index::LSTAR
        | msr::index::CSTAR
        | msr::index::FS_BASE
        | msr::index::GS_BASE
        | msr::index::KERNEL_GS_BASE => matches!((value as i64) >> (linear_bits - 1), 0 | -1),
        msr::index::PAT => value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7)),
        msr::index::SFMASK | msr::index::SYSENTER_CS => value >> 32 == 0,
        _ => true,
    }
}

/// How wide this processor's linear addresses can be. The check of a value does not hang on CR4.LA57.
pub fn linear_bits() -> u32 {
    const LA57: u32 = 1 << 16;
    if core::arch::x86_64::__cpuid_count(7, 0).ecx & LA57 != 0 { 57 } else { 48 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_change_changes() {
        let rule = Read::Native;
        assert_eq!(filter(rule, 0b1010, 0b1010, 0), Some(0b1010), "the same value is no fault");
        assert_eq!(filter(rule, 0b1010, 0b1011, 0), None);
        assert_eq!(filter(rule, 0b1010, 0b1011, 1), Some(0b1011));
        assert_eq!(filter(rule, 0b1010, 0b0011, 1), None);
    }

    #[test]
    fn what_a_read_shows_can_be_written_back() {
        let rule = Read::Filtered { clear: 0b100, set: 0b1 };
        let current = 0b1110;
        assert_eq!(shown(rule, current), 0b1011);
        assert_eq!(filter(rule, current, shown(rule, current), 0), Some(current));
        assert_eq!(filter(rule, current, shown(rule, current) & !0b1000, 0b1000), Some(0b0110));
        assert_eq!(filter(rule, current, current, 0), None, "bits that do not show cannot be guessed right");
    }

    #[test]
    fn values_are_checked_as_wrmsr_does() {
        let fits = |register, value| fits(register, value, 48);
        assert!(fits(msr::index::LSTAR, 0xFFFF_8000_0000_0000));
        assert!(!fits(msr::index::LSTAR, 0x0000_8000_0000_0000));
        assert!(super::fits(msr::index::LSTAR, 0x0000_8000_0000_0000, 57));
        assert!(fits(msr::index::PAT, 0x0007_0406_0007_0406));
        assert!(!fits(msr::index::PAT, 0x0007_0406_0007_0402), "type 2 is reserved");
        assert!(!fits(msr::index::PAT, 0x0807_0406_0007_0406));
        assert!(!fits(msr::index::SFMASK, 1 << 32));
    }

    #[test]
    fn a_vs_holds_what_the_table_opens_as_its_own() {
        for register in [0x174, 0x277, 0xC000_0080, 0xC000_0084, 0xC000_0100, 0xC000_0102] {
            assert!(vs_register(register).is_some(), "{register:#x}");
        }
        assert_eq!(vs_register(0xC000_0103), None, "TSC_AUX stays in the processor");
    }
}
