//! Guarded accesses to memory outside the hypervisor: an abort becomes a result, not a kernel fault.
//!
//! Memory that the device tree describes may still be reserved by the firmware (a bus error), or be defective (an
//! uncorrectable error). Each access here is a single instruction with a label. If it takes a synchronous exception, the
//! vectors ask [`recovery`], and resume at the end of the function, which reports the abort. The vectors preserve the
//! registers that a function call preserves.
//!
//! Such an exception overwrites ELR_EL2, SPSR_EL2, ESR_EL2 and FAR_EL2. The guest's values in them have been saved before
//! the kernel accesses the guest's memory.

use core::arch::naked_asm;

use crate::kernel_fault::OwnFault;

/// The result of a guarded load, in X0 and X1 by the procedure call standard.
#[repr(C)]
struct Loaded {
    value: u64,
    /// 1 if the access succeeded, 0 if it was aborted.
    done: u64,
}

/// Reads an aligned word; `None` where the access is aborted.
///
/// # Safety
/// The address is mapped.
pub(crate) unsafe fn read_u64(at: u64) -> Option<u64> {
    // SAFETY: forwarded to the caller.
    let loaded = unsafe { load_word(at) };
    (loaded.done != 0).then_some(loaded.value)
}

/// Reads a byte; `None` where the access is aborted.
///
/// # Safety
/// The address is mapped.
pub(crate) unsafe fn read_u8(at: u64) -> Option<u8> {
    // SAFETY: forwarded to the caller.
    let loaded = unsafe { load_byte(at) };
    (loaded.done != 0).then_some(loaded.value as u8)
}

/// Writes a byte. Returns whether the access was carried out, as far as that is known at once.
///
/// # Safety
/// The address is mapped for writing, and no Rust object is there.
pub(crate) unsafe fn write_u8(at: u64, value: u8) -> bool {
    // SAFETY: forwarded to the caller.
    unsafe { store_byte(at, u64::from(value)) != 0 }
}

/// Reads a register of a device of 32 bits; `None` where the access is aborted.
///
/// # Safety
/// The address is mapped and aligned.
pub(crate) unsafe fn read_device(at: u64) -> Option<u32> {
    // SAFETY: forwarded to the caller.
    let loaded = unsafe { load_half(at) };
    (loaded.done != 0).then_some(loaded.value as u32)
}

/// Writes `size` bytes to a device. Returns whether the access was carried out, as far as that is known at once.
///
/// # Safety
/// The address is mapped for writing, a multiple of `size`, and no Rust object is there.
pub(crate) unsafe fn write_device(at: u64, size: u64, value: u64) -> bool {
    // SAFETY: forwarded to the caller.
    let done = unsafe {
        match size {
            1 => store_byte(at, value),
            2 => store_quarter(at, value),
            4 => store_half(at, value),
            8 => store_word(at, value),
            _ => 0,
        }
    };
    done != 0
}

/// Where the kernel goes on after an exception of its own, if that was an access of this file's.
pub(crate) fn recovery(fault: &OwnFault) -> Option<u64> {
    let loads: [unsafe extern "C" fn(u64) -> Loaded; 3] = [load_word, load_half, load_byte];
    let stores: [unsafe extern "C" fn(u64, u64) -> u64; 4] =
        [store_word, store_half, store_quarter, store_byte];
    let mut accesses =
        loads.iter().map(|load| *load as usize).chain(stores.iter().map(|store| *store as usize));
    let guarded = fault.access().is_some() && accesses.any(|access| access as u64 == fault.instruction);
    guarded.then_some(aborted as *const () as u64)
}

macro_rules! accesses {
    (loads $($load:ident = $load_instruction:literal)*; stores $($store:ident = $store_instruction:literal)*;) => {
        $(
            /// Its first instruction is the access.
            #[unsafe(naked)]
            unsafe extern "C" fn $load(at: u64) -> Loaded {
                naked_asm!($load_instruction, "mov x1, #1", "ret")
            }
        )*
        $(
            /// Its first instruction is the access. Returns 1, or 0 where that was aborted.
            #[unsafe(naked)]
            unsafe extern "C" fn $store(at: u64, value: u64) -> u64 {
                naked_asm!($store_instruction, "mov x0, #1", "ret")
            }
        )*
    };
}

accesses! {
    loads load_word = "ldr x0, [x0]" load_half = "ldr w0, [x0]" load_byte = "ldrb w0, [x0]";
    stores store_word = "str x1, [x0]" store_half = "str w1, [x0]" store_quarter = "strh w1, [x0]"
        store_byte = "strb w1, [x0]";
}

/// The end of each of them after an exception: nothing was done.
#[unsafe(naked)]
unsafe extern "C" fn aborted() {
    naked_asm!("mov x0, #0", "mov x1, #0", "ret")
}
