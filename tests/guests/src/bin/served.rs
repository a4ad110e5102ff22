//! Asks the kernel about itself, with an extension and, where that crashes at the test's hypercall, without.

#![no_std]
#![no_main]

use plinth_extension_api::abi::{BACKEND_SVM, BACKEND_VMX};
use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_extensions::served::{self, Expected, Guest, Page};
use plinth_test_guests::{Report, cpu, plinth, reservation, say, trap};
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::prelude::*;

/// The local interrupt controller, a device.
const APIC: u64 = 0xFEE0_0000;

struct Asks(Report);

impl Guest for Asks {
    fn call(&mut self, registers: [u64; 5]) -> [u64; 5] {
        plinth::kernel_call(registers).unwrap_or([u64::MAX; 5])
    }

    fn check(&mut self, name: &'static str, passed: bool) {
        self.0.check(name, passed);
    }
}

#[entry]
fn main() -> Status {
    trap::install();
    let mut guest = Asks(Report::new("served"));
    if !plinth::is_there() {
        guest.0.skip("served", "there is no Plinth to ask");
        guest.0.done();
    }
    let page = boot::allocate_pages(AllocateType::AnyPages, MemoryType::LOADER_DATA, 1);
    let Ok(page) = page else {
        guest.0.check("a-page", false);
        guest.0.done()
    };
    // SAFETY: the page is this program's, and nobody else has it.
    let page = unsafe { page.cast::<Page>().as_mut() };
    let own = reservation::find().map_or(0, |reservation| reservation.start);
    let expected = Expected {
        backend: if cpu::is_amd() { BACKEND_SVM } else { BACKEND_VMX },
        log: "launched; the OS is the root VM now",
        bad_pages: [own, APIC, 1 << 45],
    };
    served::check(&mut guest, page, &expected);
    let before = served::extension_state(&mut guest, page);
    let _ = plinth::hypercall(TEST_HYPERCALL, 0);
    let after = served::extension_state(&mut guest, page);
    say!("the extension's state is {before:?}, then {after:?}");
    served::check(&mut guest, page, &expected);
    guest.0.done()
}
