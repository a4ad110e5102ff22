//! The instructions of VMX, with their failure flags turned into an error (Intel SDM vol. 3C, "VMX Instruction
//! Reference").

use core::arch::asm;

/// The instruction failed: the current VMCS holds the reason, if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct VmFail;

const fn outcome(failed: u8) -> Result<(), VmFail> {
    if failed == 0 { Ok(()) } else { Err(VmFail) }
}

/// An instruction whose operand is the address of a page.
macro_rules! on_page {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        pub(crate) unsafe fn $name(page: u64) -> Result<(), VmFail> {
            let failed: u8;
            // SAFETY: forwarded to the caller.
            unsafe {
                asm!(
                    concat!($instruction, " [{page}]"),
                    "setbe {failed}",
                    page = in(reg) &raw const page,
                    failed = lateout(reg_byte) failed,
                    options(nostack),
                );
            }
            outcome(failed)
        }
    };
}

on_page! {
    /// Enters VMX operation.
    ///
    /// # Safety
    /// CR4.VMXE is set, CR0 and CR4 are as VMX wants them, and `page` is a VMXON region of this processor's own.
    vmxon, "vmxon"
}

on_page! {
    /// Makes a VMCS current.
    ///
    /// # Safety
    /// The processor is in VMX root operation; `page` is a VMCS region that is active on no other processor.
    vmptrld, "vmptrld"
}

on_page! {
    /// Writes what the processor caches of a VMCS to memory, and makes it inactive.
    ///
    /// # Safety
    /// The processor is in VMX root operation; `page` is a VMCS region that no other processor uses.
    vmclear, "vmclear"
}

/// Leaves VMX operation.
///
/// # Safety
/// The processor is in VMX root operation, and no VMCS is active on it.
pub(crate) unsafe fn vmxoff() {
    // SAFETY: forwarded to the caller.
    unsafe { asm!("vmxoff", options(nostack)) };
}

/// The address of the current VMCS; all ones where there is none.
///
/// # Safety
/// The processor is in VMX root operation.
#[inline]
pub(crate) unsafe fn vmptrst() -> u64 {
    let mut pointer = 0u64;
    // SAFETY: writes eight bytes to a local variable.
    unsafe { asm!("vmptrst [{}]", in(reg) &raw mut pointer, options(nostack)) };
    pointer
}

#[cfg(test)]
pub(crate) use crate::vmcs::in_memory::{vmread, vmwrite};

/// Reads a field of the current VMCS; 0 where it does not exist.
///
/// # Safety
/// The processor is in VMX root operation.
#[cfg(not(test))]
#[inline(always)]
pub(crate) unsafe fn vmread(encoding: u64) -> u64 {
    let value: u64;
    // SAFETY: reading changes nothing but, on failure, the flags and the error field. The output starts as 0.
    unsafe {
        asm!("vmread {value}, {encoding}", value = inout(reg) 0u64 => value, encoding = in(reg) encoding,
             options(nostack));
    }
    value
}

/// Writes a field of the current VMCS.
///
/// # Safety
/// The processor is in VMX root operation, and what the field does with the value breaks nothing.
#[cfg(not(test))]
#[inline(always)]
pub(crate) unsafe fn vmwrite(encoding: u64, value: u64) {
    // SAFETY: forwarded to the caller.
    unsafe {
        asm!("vmwrite {encoding}, {value}", encoding = in(reg) encoding, value = in(reg) value, options(nostack))
    };
}

/// How much INVEPT and INVVPID forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Scope {
    /// What belongs to one EPT pointer or VPID.
    Single = 1,
    /// Everything.
    All = 2,
}

/// Forgets translations by EPT.
///
/// # Safety
/// The processor is in VMX root operation and offers INVEPT with this scope.
pub(crate) unsafe fn invept(scope: Scope, pointer: u64) {
    let descriptor = [pointer, 0];
    // SAFETY: reads sixteen bytes; forgetting cached translations is always right.
    unsafe { asm!("invept {}, [{}]", in(reg) scope as u64, in(reg) &raw const descriptor, options(nostack)) };
}

/// Forgets translations of linear addresses.
///
/// # Safety
/// The processor is in VMX root operation and offers INVVPID with this scope.
pub(crate) unsafe fn invvpid(scope: Scope, vpid: u16) {
    let descriptor = [u64::from(vpid), 0];
    // SAFETY: as in `invept`.
    unsafe {
        asm!("invvpid {}, [{}]", in(reg) scope as u64, in(reg) &raw const descriptor, options(nostack))
    };
}
