//! The first serial port, written directly: the firmware's console is not needed, and not in the way.

use core::arch::asm;
use core::fmt::{self, Write};

/// The data register of the first 16550 of a PC.
const DATA: u16 = 0x3f8;
/// Its line status register and the bit that says that it takes a byte (PC16550D data sheet, 8.4).
const LINE_STATUS: u16 = DATA + 5;
const READY: u8 = 1 << 5;

/// How often the port is asked before a byte is given up: there may be no port.
const TRIES: u32 = 100_000;

/// The port, for `write!`.
#[derive(Clone, Copy, Debug)]
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(write_byte);
        Ok(())
    }
}

fn write_byte(byte: u8) {
    for _ in 0..TRIES {
        if read_port(LINE_STATUS) & READY != 0 {
            break;
        }
    }
    write_port(DATA, byte);
}

/// Reads a byte from a port.
pub fn read_port(port: u16) -> u8 {
    let value;
    // SAFETY: Reading a port does not touch memory; the serial port's registers do no harm either.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Writes a byte to a port.
pub fn write_port(port: u16, value: u8) {
    // SAFETY: These applications write only to the serial port and to the emulator's exit device.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Writes two bytes to a port.
pub fn write_port_u16(port: u16, value: u16) {
    // SAFETY: As in `write_port`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) }
}

/// Prints a line on the serial port.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {{
        use ::core::fmt::Write;
        // The serial port takes everything.
        let _ = ::core::writeln!($crate::serial::Serial, "{}\r", ::core::format_args!($($argument)*));
    }};
}
