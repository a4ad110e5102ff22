//! Returns from its bootstrap callback instead of resuming something.

#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::panic::PanicInfo;

use plinth_extension_api::runtime::{self, Callbacks};
use plinth_extension_api::{Exit, Extension, Resume, passthrough};

struct ReturnsFromBootstrap;

impl Extension for ReturnsFromBootstrap {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

plinth_extension_api::__entry!(#[unsafe(no_mangle)] _start => start);

extern "C" fn start(version: u64) -> ! {
    let callbacks = Callbacks { bootstrap: returns, vmexit: returns, fail: returns };
    runtime::start(&ReturnsFromBootstrap, version, callbacks)
}

/// Finds no return address: the stack is empty.
#[unsafe(naked)]
unsafe extern "C" fn returns() -> ! {
    naked_asm!("ret")
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    runtime::panic(info)
}
