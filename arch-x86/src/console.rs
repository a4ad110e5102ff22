//! A 16550 UART at an I/O port, as the firmware left it: write only, polled, never waiting for ever.

use core::sync::atomic::{AtomicU16, Ordering};

use plinth_kernel::logger::Console;
use x86_64::instructions::port::Port;

/// Line status register: transmitter holding register empty (16550 data sheet, LSR bit 5).
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// How often the status is read before a byte is dropped: far longer than a byte takes at 9600 baud.
const TRIES: u32 = 1_000_000;

/// The UART.
#[derive(Debug)]
pub struct Uart16550 {
    base: AtomicU16,
}

impl Uart16550 {
    /// A UART at no port yet: it writes nothing.
    pub const fn new() -> Self {
        Self { base: AtomicU16::new(0) }
    }

    /// Says where it is.
    ///
    /// # Safety
    /// A 16550 is at `base`, set up, and using it disturbs nobody.
    pub unsafe fn set_base(&self, base: u16) {
        self.base.store(base, Ordering::Relaxed);
    }

    fn write_byte(base: u16, byte: u8) {
        let mut status = Port::<u8>::new(base.wrapping_add(5));
        let mut data = Port::<u8>::new(base);
        for _ in 0..TRIES {
            // SAFETY: `set_base` was told that a UART is there; reading its status changes nothing.
            if unsafe { status.read() } & TRANSMITTER_EMPTY != 0 {
                // SAFETY: as above; the byte goes out on the line.
                unsafe { data.write(byte) };
                return;
            }
        }
    }
}

impl Default for Uart16550 {
    fn default() -> Self {
        Self::new()
    }
}

impl Console for Uart16550 {
    fn write(&self, bytes: &[u8]) {
        let base = self.base.load(Ordering::Relaxed);
        if base != 0 {
            bytes.iter().for_each(|byte| Self::write_byte(base, *byte));
        }
    }
}
