//! Asks the kernel about itself, with an extension and, where that crashes at the test's hypercall, without.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use plinth_extension_api::abi::BACKEND_EL2;
use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_extensions::served::{self, Expected, Guest, Page};
use plinth_test_guests_armv8::{Machine, Report, calls, entry, say, trap};

/// Below all memory of every board that this runs on: flash, or nothing.
const NO_MEMORY: u64 = 0x1000;

struct Asks(Report);

impl Guest for Asks {
    fn call(&mut self, registers: [u64; 5]) -> [u64; 5] {
        calls::kernel_call(registers)
    }

    fn check(&mut self, name: &'static str, passed: bool) {
        self.0.check(name, passed);
    }
}

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut guest = Asks(Report::new("served", &machine));
    let Some(own) = machine.reservation() else {
        guest.0.skip("served", "there is no Plinth to ask");
        guest.0.done(&machine)
    };
    let mut page = Page([0; 4096]);
    let bad_pages = [own.start, NO_MEMORY, machine.memory_end().next_multiple_of(4096)];
    let expected = Expected { backend: BACKEND_EL2, log: "launched; the OS is the root VM now", bad_pages };
    served::check(&mut guest, &mut page, &expected);
    let before = served::extension_state(&mut guest, &mut page);
    let _ = trap::catch(|| _ = calls::hvc([TEST_HYPERCALL, 0, 0, 0]));
    let after = served::extension_state(&mut guest, &mut page);
    say!("the extension's state is {before:?}, then {after:?}");
    served::check(&mut guest, &mut page, &expected);
    guest.0.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST served panicked FAILED: {info}");
    entry::stop()
}
