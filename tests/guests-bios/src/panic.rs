//! A panic is a failed test.

use core::panic::PanicInfo;

use plinth_test_guests::{report, say};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("the guest panicked: {info}");
    report::end(report::FAILED)
}
