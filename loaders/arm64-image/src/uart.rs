//! The console before there is a kernel: write only, polled.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_launch::{CONSOLE_NONE, UartLayout};

/// How often the status is read before a byte is dropped.
const TRIES: u32 = 1_000_000;

/// A UART, or none.
pub struct Uart {
    base: u64,
    layout: Option<UartLayout>,
}

static KIND: AtomicU64 = AtomicU64::new(CONSOLE_NONE);
static BASE: AtomicU64 = AtomicU64::new(0);

/// Makes a UART of a kind of the launch contract's the console; nothing for a kind that is not known.
///
/// # Safety
/// Such a UART is at `base`, set up by the firmware.
pub unsafe fn set(kind: u64, base: u64) {
    // Plain stores: there may be no MMU yet, and one processor runs this.
    KIND.store(kind, Ordering::Relaxed);
    BASE.store(base, Ordering::Relaxed);
    if let Some((offset, word)) = UartLayout::of(kind).and_then(|layout| layout.enable) {
        // SAFETY: the caller says that the UART is there; what it sends and receives goes on as it was set up.
        unsafe { ((base + offset) as *mut u32).write_volatile(word) };
    }
}

/// The console.
pub fn current() -> Uart {
    Uart { base: BASE.load(Ordering::Relaxed), layout: UartLayout::of(KIND.load(Ordering::Relaxed)) }
}

impl Uart {
    fn put(&self, byte: u8) {
        let Some(layout) = self.layout else { return };
        let (data, status) = (self.base + layout.data, self.base + layout.status);
        for _ in 0..TRIES {
            // SAFETY: `set` was told that a UART is there.
            let state = unsafe {
                if layout.words {
                    (status as *const u32).read_volatile()
                } else {
                    u32::from((status as *const u8).read_volatile())
                }
            };
            if state & layout.mask != layout.ready {
                continue;
            }
            // SAFETY: as above.
            unsafe {
                if layout.words {
                    (data as *mut u32).write_volatile(u32::from(byte));
                } else {
                    (data as *mut u8).write_volatile(byte);
                }
            }
            return;
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
