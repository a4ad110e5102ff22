//! Plinth, seen from the root VM.

use plinth_extension_api::abi::{CPUID_SIGNATURE, CPUID_SIGNATURE_LEAF};

use crate::cpu::{cpuid, is_amd};
use crate::probe;
use crate::trap::Fault;

/// EBX, ECX and EDX of the leaf by which an extension shows that Plinth is here.
pub const fn signature() -> [u32; 3] {
    CPUID_SIGNATURE
}

/// Whether an extension shows Plinth's signature here.
pub fn is_there() -> bool {
    let [_, ebx, ecx, edx] = cpuid(CPUID_SIGNATURE_LEAF, 0);
    [ebx, ecx, edx] == signature()
}

/// Makes a hypercall, with an argument in RBX; the result is RAX.
///
/// # Errors
/// The fault that it raises: #UD where nobody takes it.
pub fn hypercall(number: u64, argument: u64) -> Result<u64, Fault> {
    if is_amd() { vmmcall(number, argument) } else { vmcall(number, argument) }
}

/// The same, with a second argument in RDX.
///
/// # Errors
/// As [`hypercall`].
pub fn hypercall_with(number: u64, argument: u64, second: u64) -> Result<u64, Fault> {
    if is_amd() { vmmcall_with(number, argument, second) } else { vmcall_with(number, argument, second) }
}

/// Makes one of the hypercalls that the kernel answers: the number and up to four arguments. Returns the result and those that
/// follow it.
///
/// # Errors
/// As [`hypercall`].
pub fn kernel_call([number, first, second, third, fourth]: [u64; 5]) -> Result<[u64; 5], Fault> {
    let mut all = [number, first, second, third, fourth];
    let [rax, rdi, rsi, rdx, r10] = &mut all;
    macro_rules! by {
        ($bytes:literal) => {
            // SAFETY: It changes these registers or faults, which is caught; memory only where an argument says so, which is the
            // caller's own or none that can be written.
            unsafe {
                probe!($bytes; inout("rax") *rax, inout("rdi") *rdi, inout("rsi") *rsi, inout("rdx") *rdx,
                    inout("r10") *r10)
            }
        };
    }
    let fault = if is_amd() { by!(".byte 0x0f, 0x01, 0xd9") } else { by!(".byte 0x0f, 0x01, 0xc1") };
    fault.map_or(Ok(all), Err)
}

/// Defines a hypercall by the instruction of one vendor.
macro_rules! hypercall_by {
    ($(#[$doc:meta])* $name:ident, $with:ident, $bytes:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// The fault that it raises: #UD where nobody takes it.
        pub fn $name(number: u64, argument: u64) -> Result<u64, Fault> {
            $with(number, argument, 0)
        }

        fn $with(number: u64, argument: u64, second: u64) -> Result<u64, Fault> {
            let result;
            // SAFETY: It changes RAX or faults, which is caught. RBX, which the compiler keeps for itself, is put back.
            let fault = unsafe {
                probe!("xchg rbx, {argument}", $bytes; finally "xchg rbx, {argument}";
                    argument = inout(reg) argument => _,
                    in("rdx") second,
                    // The extension `races` may have changed it.
                    out("rcx") _,
                    inout("rax") number => result)
            };
            fault.map_or(Ok(result), Err)
        }
    };
}

hypercall_by! {
    /// A hypercall by AMD's instruction.
    vmmcall, vmmcall_with, ".byte 0x0f, 0x01, 0xd9"
}

hypercall_by! {
    /// A hypercall by Intel's instruction.
    vmcall, vmcall_with, ".byte 0x0f, 0x01, 0xc1"
}
