//! Returns from `_start`, to where nobody called it.

#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::panic::PanicInfo;

use plinth_extension_api::runtime;

/// Finds no return address: the stack is empty.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() {
    naked_asm!("ret")
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    runtime::panic(info)
}
