//! Simulated memory: made when first touched, shared by all processors, word by word.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use plinth_hal::{ExitFrame, PAGE_SIZE, PhysicalMemory, Spa};

use crate::machine::Memory;

const WORDS: usize = PAGE_SIZE as usize / 8;

type Page = Box<[AtomicU64; WORDS]>;

/// One contiguous piece of memory.
struct Bank {
    start: u64,
    pages: Vec<OnceLock<Page>>,
}

impl Bank {
    fn new(range: Range<u64>) -> Self {
        let count = (range.end - range.start) / PAGE_SIZE;
        Self { start: range.start, pages: (0..count).map(|_| OnceLock::new()).collect() }
    }

    fn page(&self, at: Spa) -> Option<&OnceLock<Page>> {
        self.pages.get(usize::try_from(at.raw().checked_sub(self.start)? / PAGE_SIZE).ok()?)
    }
}

/// The machine's memory.
pub struct Ram {
    banks: Vec<Bank>,
    pool: Range<u64>,
}

impl Ram {
    /// Zeroed memory at `banks`, of which the kernel may write to `pool`.
    pub fn new(banks: &[Range<u64>], pool: Range<u64>) -> Self {
        Self { banks: banks.iter().cloned().map(Bank::new).collect(), pool }
    }

    /// Whether there is memory at `at`.
    pub fn has(&self, at: Spa) -> bool {
        self.page(at).is_some()
    }

    /// Reads the aligned word at `at`: all ones where there is no memory, as on a bus that nobody drives.
    pub fn load(&self, at: Spa) -> u64 {
        match self.page(at) {
            None => u64::MAX,
            Some(page) => page.get().map_or(0, |page| page[word(at)].load(Ordering::SeqCst)),
        }
    }

    /// Writes the aligned word at `at`, as hardware does: wherever there is memory.
    pub fn store(&self, at: Spa, value: u64) {
        if let Some(page) = self.page(at) {
            let page = page.get_or_init(|| Box::new([const { AtomicU64::new(0) }; WORDS]));
            page[word(at)].store(value, Ordering::SeqCst);
        }
    }

    /// Reads bytes from `at` on.
    pub fn load_bytes(&self, at: Spa, buffer: &mut [u8]) {
        for (address, byte) in (at.raw()..).zip(buffer) {
            *byte = self.load(aligned(address)).to_le_bytes()[address as usize % 8];
        }
    }

    /// Writes bytes from `at` on, as hardware does.
    pub fn store_bytes(&self, at: Spa, bytes: &[u8]) {
        for (address, byte) in (at.raw()..).zip(bytes) {
            let mut word = self.load(aligned(address)).to_le_bytes();
            word[address as usize % 8] = *byte;
            self.store(aligned(address), u64::from_le_bytes(word));
        }
    }

    /// Panics unless the kernel may write `size` bytes at `at`.
    pub fn check_pool(&self, at: Spa, size: u64) {
        let inside = at.raw() >= self.pool.start && at.raw() + size <= self.pool.end;
        assert!(inside, "the kernel writes {size} bytes at {at}, outside its pool {:#x?}", self.pool);
    }

    fn page(&self, at: Spa) -> Option<&OnceLock<Page>> {
        self.banks.iter().find_map(|bank| bank.page(at))
    }
}

/// The words of a page of the pool.
#[derive(Clone, Copy)]
pub struct PageWords {
    memory: Memory,
    frame: Spa,
}

impl PageWords {
    /// Those at `frame`.
    pub fn new(memory: Memory, frame: ExitFrame) -> Self {
        Self { memory, frame: frame.exit_frame_address() }
    }

    fn at(&self, index: usize) -> Spa {
        Spa::new(self.frame.raw() + (index % WORDS) as u64 * 8)
    }
}

impl plinth_hal::PageWords for PageWords {
    fn load(&self, index: usize) -> u64 {
        self.memory.read_u64(self.at(index))
    }

    fn store(&self, index: usize, value: u64) {
        self.memory.write_u64(self.at(index), value);
    }
}

fn aligned(address: u64) -> Spa {
    Spa::new(address & !7)
}

fn word(at: Spa) -> usize {
    assert!(at.is_aligned(8), "a word access at {at} is not aligned");
    at.page_offset() as usize / 8
}
