//! The UART that the device tree names: write only, polled.

use core::fmt::{self, Write};

use plinth_arm64_image::uart;
use plinth_device_tree::Tree;

/// Takes the UART that the device tree names.
pub(crate) fn set(tree: Tree<'_>) {
    let (kind, address) = tree.console();
    // SAFETY: the device tree says that the UART is there.
    unsafe { uart::set(kind, address) };
}

/// Writes text.
pub fn print(arguments: fmt::Arguments<'_>) {
    let _ = uart::current().write_fmt(arguments);
}

/// Writes a line.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($text)*)))
    };
}
