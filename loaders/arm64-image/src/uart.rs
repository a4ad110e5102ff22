//! The console before there is a kernel: write only, polled.

use core::fmt;

use plinth_launch::{CONSOLE_CADENCE, CONSOLE_PL011};

/// How often the status is read before a byte is dropped.
const TRIES: u32 = 1_000_000;

/// A UART, or none.
pub(crate) struct Uart {
    /// Data register, status register, its bit for "full".
    registers: Option<(u64, u64, u32)>,
}

impl Uart {
    /// A UART of a kind of the launch contract's; nothing for a kind that is not known.
    ///
    /// # Safety
    /// Such a UART is at `base`, set up by the firmware.
    pub(crate) unsafe fn new(kind: u64, base: u64) -> Self {
        let registers = match kind {
            CONSOLE_PL011 => Some((base, base + 0x18, 1 << 5)),
            CONSOLE_CADENCE => Some((base + 0x30, base + 0x2C, 1 << 4)),
            _ => None,
        };
        Self { registers }
    }

    fn put(&self, byte: u8) {
        let Some((data, status, full)) = self.registers else { return };
        for _ in 0..TRIES {
            // SAFETY: `new` was told that a UART is there.
            if unsafe { (status as *const u32).read_volatile() } & full == 0 {
                // SAFETY: as above.
                unsafe { (data as *mut u32).write_volatile(u32::from(byte)) };
                return;
            }
        }
    }
}

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}
