//! Ends `_start` well, but has registered no callbacks.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use plinth_extension_api::abi::Call;
use plinth_extension_api::{runtime, syscall};

plinth_extension_api::__entry!(#[unsafe(no_mangle)] _start => start);

extern "C" fn start(_version: u64) -> ! {
    // SAFETY: The call takes no memory, and nothing of this function is left to do.
    let _ = unsafe { syscall::raw(Call::ControlWait.number(), [0; 6]) };
    syscall::exit()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    runtime::panic(info)
}
