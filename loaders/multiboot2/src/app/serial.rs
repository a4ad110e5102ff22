//! The first serial port, where everything that goes wrong is told.

use core::arch::asm;
use core::fmt::{self, Write};

/// COM1.
pub(crate) const PORT: u16 = 0x3F8;
/// How often the status is read before a byte is dropped.
const TRIES: u32 = 100_000;

fn out(port: u16, value: u8) {
    // SAFETY: the loader owns the machine; the registers of a serial port, if there is one, affect nothing else.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

fn read(port: u16) -> u8 {
    let value: u8;
    // SAFETY: as in `out`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Sets the port to 115200 baud, 8 bits, no parity.
pub(crate) fn start() {
    for (offset, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 3)] {
        out(PORT + offset, value);
    }
}

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const EMPTY: u8 = 1 << 5;
        for byte in text.bytes() {
            for _ in 0..TRIES {
                if read(PORT + 5) & EMPTY != 0 {
                    out(PORT, byte);
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Writes a line.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    // Writing to the port cannot fail.
    let _ = Serial.write_fmt(format_args!("plinth: {line}\r\n"));
}
