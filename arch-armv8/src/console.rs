//! UARTs at MMIO addresses, as the firmware left them: write only, polled, never waiting for ever.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_kernel::logger::Console;
use plinth_launch::{CONSOLE_CADENCE, CONSOLE_PL011};

/// How often the status is read before a byte is dropped: far longer than a byte takes at 9600 baud.
const TRIES: u32 = 1_000_000;

/// Where a kind of UART takes bytes and says that it is full.
#[derive(Clone, Copy)]
struct Layout {
    data: u64,
    status: u64,
    full: u32,
}

/// PL011 (Arm DDI 0183): UARTDR, UARTFR.TXFF.
const PL011: Layout = Layout { data: 0x00, status: 0x18, full: 1 << 5 };
/// Cadence UART (Zynq UltraScale+ TRM, UG1085): TX FIFO, channel status TXFULL.
const CADENCE: Layout = Layout { data: 0x30, status: 0x2C, full: 1 << 4 };

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

    fn layout(&self) -> Option<Layout> {
        match self.kind.load(Ordering::Relaxed) {
            CONSOLE_PL011 => Some(PL011),
            CONSOLE_CADENCE => Some(CADENCE),
            _ => None,
        }
    }
}

impl Default for MmioUart {
    fn default() -> Self {
        Self::new()
    }
}

fn write_byte(base: u64, layout: Layout, byte: u8) {
    let (data, status) = ((base + layout.data) as *mut u32, (base + layout.status) as *const u32);
    for _ in 0..TRIES {
        // SAFETY: `set` was told that a UART is there; reading its status changes nothing.
        if unsafe { status.read_volatile() } & layout.full == 0 {
            // SAFETY: as above; the byte goes out on the line.
            unsafe { data.write_volatile(u32::from(byte)) };
            return;
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
