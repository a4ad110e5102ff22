//! UARTs at MMIO addresses, as the firmware left them: write only, polled, never waiting for ever.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_kernel::logger::Console;
use plinth_launch::UartLayout;

/// How often the status is read before a byte is dropped: far longer than a byte takes at 9600 baud.
const TRIES: u32 = 1_000_000;

/// The UART.
#[derive(Debug)]
pub struct MmioUart {
    base: AtomicU64,
    kind: AtomicU64,
}

impl MmioUart {
    /// A UART that is nowhere yet: it writes nothing.
    pub const fn new() -> Self {
        Self { base: AtomicU64::new(0), kind: AtomicU64::new(0) }
    }

    /// Says what it is and where, by the launch contract's terms. Returns false for a kind that is not known.
    ///
    /// # Safety
    /// A UART of that kind is at `base`, set up and mapped, and using it disturbs nobody.
    pub unsafe fn set(&self, kind: u64, base: u64) -> bool {
        self.kind.store(kind, Ordering::Relaxed);
        let known = self.layout().is_some();
        self.base.store(if known { base } else { 0 }, Ordering::Relaxed);
        known
    }

    fn layout(&self) -> Option<UartLayout> {
        UartLayout::of(self.kind.load(Ordering::Relaxed))
    }
}

impl Default for MmioUart {
    fn default() -> Self {
        Self::new()
    }
}

fn write_byte(base: u64, layout: UartLayout, byte: u8) {
    for _ in 0..TRIES {
        // SAFETY: `set` was told that a UART of this layout is there; reading its status changes nothing.
        if unsafe { read(base.wrapping_add(layout.status), layout.words) } & layout.mask == layout.ready {
            // SAFETY: as above; the byte goes out on the line.
            unsafe { write(base.wrapping_add(layout.data), layout.words, byte) };
            return;
        }
    }
}

/// # Safety
/// A device's register of that width is mapped at `at`, and reading it disturbs nobody.
unsafe fn read(at: u64, word: bool) -> u32 {
    // SAFETY: forwarded to the caller.
    unsafe {
        if word { (at as *const u32).read_volatile() } else { u32::from((at as *const u8).read_volatile()) }
    }
}

/// # Safety
/// A device's register of that width is mapped at `at`, and writing it disturbs nobody.
unsafe fn write(at: u64, word: bool, byte: u8) {
    // SAFETY: forwarded to the caller.
    unsafe {
        if word {
            (at as *mut u32).write_volatile(u32::from(byte));
        } else {
            (at as *mut u8).write_volatile(byte);
        }
    }
}

impl Console for MmioUart {
    fn write(&self, bytes: &[u8]) {
        let base = self.base.load(Ordering::Relaxed);
        if let Some(layout) = self.layout()
            && base != 0
        {
            for byte in bytes {
                if *byte == b'\n' {
                    write_byte(base, layout, b'\r');
                }
                write_byte(base, layout, *byte);
            }
        }
    }
}
