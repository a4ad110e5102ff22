//! Each processor's own root of stage 2, by which a guest that takes no exit can be stopped.
//!
//! The interrupt controller is the root VM's, so no interrupt brings a kick to a processor. What every guest needs is
//! translation. So VTTBR_EL2 never points to a VM's root table, but to one of the processor's own: entries of the VM's
//! root, copied as the guest meets them. All tables below are the VM's, shared. Who empties that root and invalidates
//! has *recalled* the processor: it executes nothing more of its guest before it has been at EL2.
//!
//! Why no processor uses an entry that its VM's root has no more:
//!
//! * An entry is read from the VM's root and written to the copy under the copy's lock. Who edits a VM's root does it
//!   before it empties the copies, each under its lock. So a copy made before is emptied, and one made after reads, by
//!   the order of the lock, what was edited.
//! * The emptying comes before DSB ISHST, TLBI and DSB ISH in program order: what any walker or TLB had of it is gone
//!   when the edit's flush returns (Arm ARM, D8.14). Until then nothing is freed.
//! * An entry that changes goes through 0 and an invalidation, as break-before-make asks (Arm ARM, D8.14.1): after it was
//!   emptied, by whomever, the processor invalidates the tag of its VS before it fills the copy again.
//! * VTTBR_EL2.CnP is 0: a processor may have a root of its own under a tag that others use too (Arm ARM, VTTBR_EL2).

use plinth_hal::{PhysicalMemory, Spa};

use crate::paging::formats::RootShape;

/// A processor's root.
#[derive(Debug)]
pub(crate) struct PerCpuRoot<M> {
    memory: M,
    at: Spa,
    shape: RootShape,
    recalled: bool,
}

/// What a guest's translation fault means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// An entry that was not copied yet.
    Copied,
    /// A call to look what others want.
    Recalled,
    /// What its VM's tables say: there is nothing.
    Nothing,
}

impl<M: PhysicalMemory> PerCpuRoot<M> {
    /// An empty root in [`RootShape::pages`] zeroed pages at `at`, which are its alone: first the table, then a bit for
    /// each entry that guests have needed here, which is most likely what the next one needs.
    pub(crate) fn new(memory: M, at: Spa, shape: RootShape) -> Self {
        Self { memory, at, shape, recalled: false }
    }

    /// Makes it translate nothing, once the TLBs are told.
    pub(crate) fn empty(&mut self) {
        self.each_needed(|root, index| root.memory.write_u64(entry(root.at, index), 0));
    }

    /// Makes the processor come to EL2 before it executes more of its guest, once the TLBs are told.
    pub(crate) fn recall(&mut self) {
        self.empty();
        self.recalled = true;
    }

    /// Copies what was needed before from the root table at `source`. The processor's TLB holds nothing of what was here,
    /// under the tag of the VS that is about to run; a processor that is recalled stays so.
    pub(crate) fn fill(&mut self, source: Spa) {
        if !self.recalled {
            self.each_needed(|root, index| {
                root.copy(source, index);
            });
        }
    }

    /// The guest whose root table is at `source` has met a translation fault at `gpa`. One that was recalled finds the root
    /// still empty.
    pub(crate) fn miss(&mut self, source: Spa, gpa: u64) -> Miss {
        if core::mem::take(&mut self.recalled) {
            return Miss::Recalled;
        }
        let index = gpa.unbounded_shr(self.shape.shift);
        let here = index < self.shape.entries && self.memory.read_u64(entry(self.at, index)) == 0;
        if !here || !self.copy(source, index) {
            return Miss::Nothing;
        }
        let word = self.needed_at(index / 64);
        self.memory.write_u64(word, self.memory.read_u64(word) | 1 << (index % 64));
        Miss::Copied
    }

    /// Copies an entry. Returns whether it is one.
    fn copy(&self, source: Spa, index: u64) -> bool {
        let value = self.memory.read_u64(entry(source, index));
        self.memory.write_u64(entry(self.at, index), value);
        value != 0
    }

    /// Where the bits of 64 entries are.
    fn needed_at(&self, word: u64) -> Spa {
        entry(self.at, self.shape.entries.wrapping_add(word))
    }

    fn each_needed(&self, work: impl Fn(&Self, u64)) {
        for word in 0..self.shape.entries / 64 {
            let mut bits = self.memory.read_u64(self.needed_at(word));
            while bits != 0 {
                work(self, word * 64 + u64::from(bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
    }
}

/// Where an entry of a table is.
fn entry(table: Spa, index: u64) -> Spa {
    table.word(index)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::Stage2Format;
    use std::cell::RefCell;
    use std::vec;
    use std::vec::Vec;

    const OWN: Spa = Spa::new(0);
    const FIRST: Spa = Spa::new(0x4000);
    const SECOND: Spa = Spa::new(0x6000);
    const GIB: u64 = 1 << 30;

    std::thread_local! {
        static WORDS: RefCell<Vec<u64>> = RefCell::new(vec![0; 0x1000]);
    }

    /// The thread's words.
    #[derive(Clone, Copy)]
    struct Memory;

    impl PhysicalMemory for Memory {
        fn read_u64(&self, at: Spa) -> u64 {
            WORDS.with_borrow(|words| words[at.raw() as usize / 8])
        }

        fn write_u64(&self, at: Spa, value: u64) {
            WORDS.with_borrow_mut(|words| words[at.raw() as usize / 8] = value);
        }

        fn read_bytes(&self, _: Spa, _: &mut [u8]) {}
        fn write_bytes(&self, _: Spa, _: &[u8]) {}
        fn read_outside_u64(&self, _: Spa) -> Option<u64> {
            None
        }

        fn read_outside(&self, _: Spa, _: &mut [u8]) -> bool {
            false
        }

        fn write_outside(&self, _: Spa, _: &[u8]) -> bool {
            false
        }

        fn zero_page(&self, _: Spa) {}
        fn write_back(&self, _: Spa, _: u64) {}
        fn map_page_zero(&self, _: Spa) {}
    }

    /// A root of two tables, and two VMs' with entries 1, 600 and 1023.
    fn root() -> PerCpuRoot<Memory> {
        for index in [1, 600, 1023] {
            Memory.write_u64(entry(FIRST, index), 0x1_0000 + index);
            Memory.write_u64(entry(SECOND, index), 0x2_0000 + index);
        }
        PerCpuRoot::new(Memory, OWN, Stage2Format::new(40).root())
    }

    fn own(index: u64) -> u64 {
        Memory.read_u64(entry(OWN, index))
    }

    #[test]
    fn an_entry_is_copied_when_it_is_met() {
        let mut root = root();
        assert_eq!(root.miss(FIRST, GIB), Miss::Copied);
        assert_eq!(root.miss(FIRST, 600 * GIB + 0x1234), Miss::Copied);
        assert_eq!((own(1), own(600), own(1023)), (0x1_0001, 0x1_0258, 0));
        assert_eq!(root.miss(FIRST, GIB + 0x1000), Miss::Nothing, "the tables below have none");
        assert_eq!(root.miss(FIRST, 2 * GIB), Miss::Nothing, "the VM has none");
        assert_eq!(root.miss(FIRST, 1024 * GIB), Miss::Nothing, "beyond the table");
    }

    #[test]
    fn a_recalled_processor_is_told_once_and_goes_on_with_what_it_had() {
        let mut root = root();
        root.miss(FIRST, GIB);
        root.miss(FIRST, 1023 * GIB);
        root.recall();
        assert_eq!((own(1), own(1023)), (0, 0));
        root.fill(FIRST);
        assert_eq!(own(1), 0, "nothing undoes a recall but the way through EL2");
        assert_eq!(root.miss(FIRST, 1023 * GIB), Miss::Recalled);
        assert_eq!((own(1), own(1023)), (0, 0), "the TLB comes first");
        root.fill(FIRST);
        assert_eq!((own(1), own(1023)), (0x1_0001, 0x1_03FF));
        assert_eq!(root.miss(FIRST, 600 * GIB), Miss::Copied);
    }

    #[test]
    fn a_recall_shows_where_the_vm_has_nothing() {
        let mut root = root();
        root.recall();
        assert_eq!(root.miss(FIRST, 5 * GIB), Miss::Recalled);
        assert_eq!(root.miss(FIRST, 5 * GIB), Miss::Nothing);
    }

    #[test]
    fn nothing_stays_of_other_tables_or_of_an_entry_that_was_taken_away() {
        let mut root = root();
        root.miss(FIRST, GIB);
        root.miss(FIRST, 600 * GIB);
        root.empty();
        assert_eq!((own(1), own(600)), (0, 0));
        Memory.write_u64(entry(SECOND, 600), 0);
        root.fill(SECOND);
        assert_eq!((own(1), own(600)), (0x2_0001, 0));
        assert_eq!(root.miss(SECOND, 600 * GIB), Miss::Nothing);
    }

    #[test]
    fn its_pages_hold_the_table_and_the_bits() {
        for (bits, pages, entries) in
            [(39, 2, 512), (40, 4, 1024), (42, 16, 4096), (44, 2, 512), (48, 2, 512)]
        {
            let shape = Stage2Format::new(bits).root();
            assert_eq!((shape.pages(), shape.entries), (pages, entries), "{bits} bits");
        }
    }
}
