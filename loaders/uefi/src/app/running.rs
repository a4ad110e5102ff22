//! Talking to a Plinth that runs below this application: CPUID to see it, a hypercall to stop it.

use super::say;
use core::arch::asm;
use core::arch::x86_64::__cpuid;

/// The first hypervisor leaf: EBX, ECX, EDX hold the signature.
const SIGNATURE_LEAF: u32 = 0x4000_0000;
const SIGNATURE: &[u8; 12] = b"PlinthPlinth";
/// EAX: the ABI's version. EBX: how many processors are launched.
const STATUS_LEAF: u32 = 0x4000_0001;
/// RAX of the hypercall that promotes the processor it is executed on; it returns 0 on the bare processor.
const STOP: u64 = 0x504c_0000_0001_0001;

/// What [`stop_this_processor`] answers where there is no Plinth.
pub(crate) const NOT_RUNNING: u64 = u64::MAX - 1;

/// A running Plinth.
pub(crate) struct Plinth {
    pub(crate) abi_version: u32,
    pub(crate) processors: u32,
}

/// Looks below this processor.
pub(crate) fn detect() -> Option<Plinth> {
    let leaf = __cpuid(SIGNATURE_LEAF);
    let words = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
    if words.as_flattened() != SIGNATURE {
        return None;
    }
    let status = __cpuid(STATUS_LEAF);
    Some(Plinth { abi_version: status.eax, processors: status.ebx })
}

/// The `status` command.
pub(crate) fn report() {
    match detect() {
        Some(Plinth { abi_version, processors }) => {
            say!("Plinth runs: ABI version {abi_version}, launched on {processors} processor(s)");
        }
        None => say!("Plinth does not run on this machine; start the loader without arguments to launch it"),
    }
}

/// Promotes this processor: 0 when it runs bare again, [`NOT_RUNNING`] if it did already.
pub(crate) fn stop_this_processor() -> u64 {
    if detect().is_none() {
        return NOT_RUNNING;
    }
    // SAFETY: CPUID just said that Plinth is below, so the instruction is a hypercall and no #UD. The hypercall keeps every
    // register but RAX; it touches no memory of this application.
    unsafe { if is_intel() { vmcall(STOP) } else { vmmcall(STOP) } }
}

/// Whether the processor knows VMCALL and not VMMCALL (CPUID function 0, the vendor).
fn is_intel() -> bool {
    let leaf = __cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// # Safety
/// There must be a Plinth that answers VMMCALL.
unsafe fn vmmcall(call: u64) -> u64 {
    let result;
    // SAFETY: The caller's promise; and see `stop_this_processor` for what the hypercall keeps.
    unsafe { asm!("vmmcall", inout("rax") call => result) };
    result
}

/// # Safety
/// There must be a Plinth that answers VMCALL.
unsafe fn vmcall(call: u64) -> u64 {
    let result;
    // SAFETY: The caller's promise; and see `stop_this_processor` for what the hypercall keeps.
    unsafe { asm!("vmcall", inout("rax") call => result) };
    result
}
