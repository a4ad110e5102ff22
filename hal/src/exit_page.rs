//! The exit page of a physical processor, which the extension can write at any time, from any processor.
//!
//! The page holds the general registers of the active VS. The extension could change a value between a check
//! and a second read (a double fetch). So neither the kernel nor a backend reads the page as memory. An
//! [`ExitPage`] hands out [`ExitRegisters`] once for each decision, and a read consumes them. The result is a
//! value of the kernel's own. A holder of [`ExitRegisters`] cannot read twice:
//!
//! ```compile_fail,E0382
//! fn decide<W: plinth_hal::PageWords>(registers: plinth_hal::ExitRegisters<W>) -> bool {
//!     let [checked] = registers.take([1]);
//!     let [used] = registers.take([1]);
//!     checked == used
//! }
//! ```
//!
//! Code cannot copy the right to read, and cannot regain it from the [`ExitPageWriter`] that takes the answer:
//!
//! ```compile_fail,E0599
//! fn decide<W: plinth_hal::PageWords>(registers: plinth_hal::ExitRegisters<W>) -> [u64; 1] {
//!     registers.clone().take([1])
//! }
//! ```
//!
//! ```compile_fail,E0599
//! fn decide<W: plinth_hal::PageWords>(writer: plinth_hal::ExitPageWriter<W>) -> [u64; 1] {
//!     writer.registers_once().take([1])
//! }
//! ```
//!
//! `cargo xtask lint` lists the files that may call [`ExitPage::registers_once`] and the other accessors.

use core::fmt::{self, Debug, Formatter};
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::abi::GENERAL_REGISTERS;

use crate::addr::{PAGE_SIZE, Spa};
use crate::memory::PhysicalMemory;

/// Access to the 64-bit words of a page, as the backend implements it.
pub trait PageWords: Copy {
    /// Reads the word with this index.
    fn load(&self, index: usize) -> u64;

    /// Writes the word with this index.
    fn store(&self, index: usize, value: u64);
}

/// The number of words in a page.
const WORDS: usize = PAGE_SIZE as usize / 8;

impl PageWords for &'static [AtomicU64; WORDS] {
    #[inline(always)]
    fn load(&self, index: usize) -> u64 {
        self[index % WORDS].load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn store(&self, index: usize, value: u64) {
        self[index % WORDS].store(value, Ordering::Relaxed);
    }
}

/// The frame of an exit page, or of a page with the same layout. The type is not an address, so that no code
/// reads the frame as ordinary memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExitFrame(Spa);

impl ExitFrame {
    /// The exit page at `frame`.
    pub const fn new(frame: Spa) -> Self {
        Self(frame)
    }

    /// The address of the frame, for the backend that looks the page up.
    pub const fn exit_frame_address(self) -> Spa {
        self.0
    }
}

impl Debug for ExitFrame {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ExitFrame({:#x})", self.0.raw())
    }
}

/// An exit page that the backend has looked up.
#[derive(Clone, Copy)]
pub struct ExitPage<W>(W);

impl<W: PageWords> ExitPage<W> {
    /// The exit page with these words.
    pub const fn new(words: W) -> Self {
        Self(words)
    }

    /// The general registers of the VS that exited, which the holder can read once. One call for each
    /// decision.
    #[inline(always)]
    pub fn registers_once(&self) -> ExitRegisters<W> {
        ExitRegisters(self.0)
    }

    /// Write-only access to the page.
    #[inline(always)]
    pub fn writer(&self) -> ExitPageWriter<W> {
        ExitPageWriter(self.0)
    }

    /// The words, for the world switch, which loads the guest's registers from the page and stores them
    /// there.
    #[inline(always)]
    pub fn world_switch_words(&self) -> W {
        self.0
    }

    /// The field at this byte offset, for a report to a person. The extension may have overwritten it.
    pub fn field_for_a_report(&self, offset: usize) -> u64 {
        self.0.load(offset / 8)
    }
}

impl<W> Debug for ExitPage<W> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ExitPage")
    }
}

/// The general registers of a VS that exited, before the kernel has read any of them. They can be read once.
#[must_use]
pub struct ExitRegisters<W>(W);

impl<W: PageWords> ExitRegisters<W> {
    /// Reads the registers with these numbers.
    #[inline(always)]
    pub fn take<const N: usize>(self, numbers: [usize; N]) -> [u64; N] {
        numbers.map(|number| self.0.load(number % GENERAL_REGISTERS))
    }

    /// Copies all registers, in order, to a frame of the pool.
    pub fn copy_to(self, memory: &impl PhysicalMemory, frame: Spa) {
        for number in 0..GENERAL_REGISTERS {
            memory.write_u64(frame.word(number as u64), self.0.load(number));
        }
    }

    /// Write-only access, for an answer.
    #[inline(always)]
    pub fn writer(&self) -> ExitPageWriter<W> {
        ExitPageWriter(self.0)
    }
}

impl<W> Debug for ExitRegisters<W> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ExitRegisters")
    }
}

/// Write-only access to an exit page.
#[derive(Clone, Copy)]
pub struct ExitPageWriter<W>(W);

impl<W: PageWords> ExitPageWriter<W> {
    /// Sets a general register.
    #[inline(always)]
    pub fn set_general(&self, number: usize, value: u64) {
        self.0.store(number % GENERAL_REGISTERS, value);
    }

    /// Sets all general registers.
    pub fn set_all(&self, value: impl Fn(usize) -> u64) {
        for number in 0..GENERAL_REGISTERS {
            self.0.store(number, value(number));
        }
    }

    /// Sets all general registers from a frame that holds them in the same order.
    pub fn copy_from(&self, memory: &impl PhysicalMemory, frame: Spa) {
        self.set_all(|number| memory.read_u64(frame.word(number as u64)));
    }

    /// Sets the field at this offset in bytes.
    #[inline(always)]
    pub fn set_field(&self, offset: usize, value: u64) {
        self.0.store(offset / 8, value);
    }
}

impl<W> Debug for ExitPageWriter<W> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ExitPageWriter")
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// A page whose every word becomes another one as soon as it is read, as a hostile extension makes it.
    #[derive(Clone, Copy)]
    struct Hostile<'a>(&'a Cell<u64>);

    impl PageWords for Hostile<'_> {
        fn load(&self, index: usize) -> u64 {
            self.0.set(self.0.get() + 1);
            self.0.get() << 32 | index as u64
        }

        fn store(&self, _: usize, _: u64) {}
    }

    #[test]
    fn each_register_is_read_once() {
        let reads = Cell::new(0);
        let page = ExitPage::new(Hostile(&reads));
        let taken = page.registers_once().take([1, 0, 2]);
        assert_eq!(reads.get(), 3);
        assert_eq!(taken, [1 << 32 | 1, 2 << 32, 3 << 32 | 2]);
    }

    #[test]
    fn a_number_beyond_the_registers_reaches_no_other_field() {
        let reads = Cell::new(0);
        let [value] = ExitPage::new(Hostile(&reads)).registers_once().take([GENERAL_REGISTERS + 3]);
        assert_eq!(value as u32, 3);
    }
}
