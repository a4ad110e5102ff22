//! The consoles that a loader can hand over, and where those with registers in memory take their bytes.

/// No console: the ring in memory still records.
pub const CONSOLE_NONE: u64 = 0;
/// A 16550 UART at an I/O port.
pub const CONSOLE_16550_PORT: u64 = 1;
/// An Arm PL011 UART at an MMIO address.
pub const CONSOLE_PL011: u64 = 2;
/// A Cadence UART (Zynq) at an MMIO address.
pub const CONSOLE_CADENCE: u64 = 3;
/// A 16550 UART at an MMIO address, its registers one byte apart.
pub const CONSOLE_16550_MMIO: u64 = 4;
/// A 16550 UART at an MMIO address, its registers four bytes apart and accessed as words.
pub const CONSOLE_16550_MMIO32: u64 = 5;

/// Where a UART with registers in memory takes a byte, and how it says that it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UartLayout {
    /// The offset of the register that sends what is written to it, in bytes.
    pub data: u64,
    /// The offset of the status register, in bytes.
    pub status: u64,
    /// The status bit that matters.
    pub mask: u32,
    /// That bit while there is room for a byte.
    pub ready: u32,
    /// Registers are accessed as 32-bit words; else as bytes.
    pub words: bool,
    /// The offset of a register and the word that lets it send, where firmware may have left it off.
    pub enable: Option<(u64, u32)>,
}

impl UartLayout {
    /// The layout of a `console_kind`; `None` for one that is not known or has no registers in memory.
    pub const fn of(kind: u64) -> Option<Self> {
        let plain = Self { data: 0, status: 0, mask: 0, ready: 0, words: true, enable: None };
        Some(match kind {
            // Arm DDI 0183: UARTDR, UARTFR.TXFF.
            CONSOLE_PL011 => Self { status: 0x18, mask: 1 << 5, ..plain },
            // Zynq UltraScale+ TRM (UG1085): TX FIFO, channel status TXFULL, control TXEN and RXEN.
            CONSOLE_CADENCE => {
                Self { data: 0x30, status: 0x2C, mask: 1 << 4, enable: Some((0, 0x14)), ..plain }
            }
            // Transmitter holding register, line status THRE.
            CONSOLE_16550_MMIO => Self { status: 5, mask: 1 << 5, ready: 1 << 5, words: false, ..plain },
            CONSOLE_16550_MMIO32 => Self { status: 5 << 2, mask: 1 << 5, ready: 1 << 5, ..plain },
            _ => return None,
        })
    }
}
