//! The frame pool: who owns each page of the memory that the loader gave to the hypervisor.

use core::ops::Range;

use plinth_extension_api::abi::Error;
use plinth_hal::{FrameSource, OutOfFrames, PAGE_SIZE, PhysicalMemory, Spa, SpaRange};

use crate::sync::Lock;

/// The most frames a pool can have: 256 MiB of them.
pub const MAX_FRAMES: usize = 64 * 1024;

/// Whom a frame belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameOwner {
    /// Nobody.
    Free,
    /// The kernel: page tables, VS state, intercept maps, its stacks.
    Kernel,
    /// The extension's image, stacks and exit pages: it can neither free nor share them.
    ExtensionImage,
    /// The extension, as a page that it allocated and may map into VMs.
    Extension,
    /// Nobody, but some PP's TLB may still lead there: not to be given away yet.
    Leaving,
}

/// One frame's book-keeping.
#[derive(Clone, Copy)]
struct Frame {
    owner: FrameOwner,
    /// In how many places of VMs it is mapped.
    mapped: u16,
}

/// The pool. Frames are given in contiguous runs, zeroed.
pub struct FramePool {
    base: Spa,
    count: usize,
    free: usize,
    /// The frames set aside lie in this range of indices.
    leaving: Option<Range<usize>>,
    /// Where the next search starts.
    next: usize,
    frames: [Frame; MAX_FRAMES],
}

impl FramePool {
    /// A pool without frames.
    pub const fn new() -> Self {
        let frame = Frame { owner: FrameOwner::Free, mapped: 0 };
        Self { base: Spa::new(0), count: 0, free: 0, leaving: None, next: 0, frames: [frame; MAX_FRAMES] }
    }

    /// Takes `range` for its frames; what lies beyond [`MAX_FRAMES`] stays unused.
    pub fn assign(&mut self, range: SpaRange) {
        self.base = range.start;
        self.count = ((range.size / PAGE_SIZE) as usize).min(MAX_FRAMES);
        self.free = self.count;
        self.leaving = None;
        self.next = 0;
    }

    /// How many frames it has.
    pub fn frames(&self) -> usize {
        self.count
    }

    /// How many frames are free.
    pub fn free_frames(&self) -> usize {
        self.free
    }

    /// Gives `pages` contiguous frames to `owner`.
    ///
    /// # Errors
    /// [`OutOfFrames`] where no such run is left.
    pub fn take(&mut self, pages: usize, owner: FrameOwner) -> Result<Spa, OutOfFrames> {
        let first = self.find(self.next, pages).or_else(|| self.find(0, pages)).ok_or(OutOfFrames)?;
        let end = first.saturating_add(pages);
        let left = self.free.checked_sub(pages).ok_or(OutOfFrames)?;
        self.frames.get_mut(first..end).ok_or(OutOfFrames)?.fill(Frame { owner, mapped: 0 });
        self.free = left;
        self.next = end;
        Ok(self.address(first))
    }

    /// Takes back a run that [`Self::take`] gave. Frames outside the pool are ignored.
    pub fn release(&mut self, first: Spa, pages: usize) {
        let Some(index) = self.index(first) else { return };
        let run = self.run(first, pages);
        let freed = run.iter().filter(|frame| frame.owner != FrameOwner::Free).count();
        run.fill(Frame { owner: FrameOwner::Free, mapped: 0 });
        self.free = self.free.saturating_add(freed);
        self.next = self.next.min(index);
    }

    /// Takes an allocated page away from the extension, if it has no mapping in a VM; from now on it has
    /// none either.
    ///
    /// # Errors
    /// What is in the way.
    pub fn claim(&mut self, at: Spa) -> Result<(), Error> {
        let frame = self.run(at, 1).first_mut().ok_or(Error::Denied)?;
        match frame.owner {
            FrameOwner::Extension if frame.mapped == 0 => frame.owner = FrameOwner::Kernel,
            FrameOwner::Extension => return Err(Error::Busy),
            _ => return Err(Error::Denied),
        }
        Ok(())
    }

    /// Takes `pages` allocated pages from `first` on away from the extension: all or none.
    ///
    /// # Errors
    /// What is in the way.
    pub fn claim_run(&mut self, first: Spa, pages: usize) -> Result<(), Error> {
        self.index(first).ok_or(Error::Denied)?;
        let run = self.run(first, pages);
        if run.len() != pages {
            return Err(Error::NotMapped);
        }
        let obstacle = run.iter().find_map(|frame| match frame.owner {
            FrameOwner::Extension if frame.mapped == 0 => None,
            FrameOwner::Extension => Some(Error::Busy),
            FrameOwner::Free | FrameOwner::Leaving => Some(Error::NotMapped),
            FrameOwner::Kernel | FrameOwner::ExtensionImage => Some(Error::Denied),
        });
        if let Some(error) = obstacle {
            return Err(error);
        }
        run.iter_mut().for_each(|frame| frame.owner = FrameOwner::Kernel);
        Ok(())
    }

    /// Makes `pages` frames of the kernel's from `first` on pages that the extension allocated. Until the extension has
    /// them mapped they are the kernel's, so that nobody frees them half-way.
    pub fn give(&mut self, first: Spa, pages: usize) {
        for frame in self.run(first, pages) {
            frame.owner = FrameOwner::Extension;
        }
    }

    /// Sets a frame aside that nothing maps any more, until [`Self::settle`].
    pub fn retire(&mut self, at: Spa) {
        if let Some(index) = self.index(at)
            && let Some(frame) = self.frames.get_mut(index)
        {
            *frame = Frame { owner: FrameOwner::Leaving, mapped: 0 };
            self.leaving = Some(match self.leaving.take() {
                Some(others) => others.start.min(index)..others.end.max(index + 1),
                None => index..index + 1,
            });
        }
    }

    /// Whether frames are set aside.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Frees the frames that were set aside: no TLB leads to one any more.
    pub fn settle(&mut self) {
        let Some(range) = self.leaving.take() else { return };
        self.next = self.next.min(range.start);
        let frames = self.frames.get_mut(range).unwrap_or_default().iter_mut();
        for frame in frames.filter(|frame| frame.owner == FrameOwner::Leaving) {
            frame.owner = FrameOwner::Free;
            self.free = self.free.saturating_add(1);
        }
    }

    /// Calls `work` for every frame that is not `owner`'s.
    pub(crate) fn each_but(&self, owner: FrameOwner, work: impl FnMut(Spa)) {
        let others = (0..self.count).zip(&self.frames).filter(|(_, frame)| frame.owner != owner);
        others.map(|(index, _)| self.address(index)).for_each(work);
    }

    /// Whom the frame at `at` belongs to; `None` outside the pool.
    pub fn owner(&self, at: Spa) -> Option<FrameOwner> {
        self.index(at).map(|index| self.frames[index].owner)
    }

    /// In how many places of VMs the frame is mapped.
    pub fn mapped(&self, at: Spa) -> u16 {
        self.index(at).map_or(0, |index| self.frames[index].mapped)
    }

    /// Counts one more place where each of `pages` frames from `first` on is mapped: all of them or none.
    ///
    /// # Errors
    /// [`Error::Denied`] unless all are pages that the extension allocated; [`Error::Busy`] where a count is full.
    pub fn count_mappings(&mut self, first: Spa, pages: usize) -> Result<(), Error> {
        let run = self.run(first, pages);
        if run.len() != pages || run.iter().any(|frame| frame.owner != FrameOwner::Extension) {
            return Err(Error::Denied);
        }
        if run.iter().any(|frame| frame.mapped == u16::MAX) {
            return Err(Error::Busy);
        }
        run.iter_mut().for_each(|frame| frame.mapped = frame.mapped.saturating_add(1));
        Ok(())
    }

    /// Counts one place less for each.
    pub fn uncount_mappings(&mut self, first: Spa, pages: usize) {
        for frame in self.run(first, pages) {
            frame.mapped = frame.mapped.saturating_sub(1);
        }
    }

    fn find(&self, from: usize, pages: usize) -> Option<usize> {
        if pages == 0 || pages > self.free {
            return None;
        }
        let mut run = 0_usize;
        for (index, frame) in (from..self.count).zip(self.frames.get(from..self.count)?) {
            let may_start = run != 0 || self.is_aligned(index, pages);
            run = if may_start && frame.owner == FrameOwner::Free { run.saturating_add(1) } else { 0 };
            if run == pages {
                return index.saturating_add(1).checked_sub(pages);
            }
        }
        None
    }

    /// The frames from `first` on: `pages` of them, or fewer where the pool ends before; none for an address outside.
    fn run(&mut self, first: Spa, pages: usize) -> &mut [Frame] {
        let Some(index) = self.index(first) else { return &mut [] };
        let end = index.saturating_add(pages).min(self.count);
        self.frames.get_mut(index..end).unwrap_or_default()
    }

    /// Whether a run of `pages` may start at a frame: runs of a power of two are aligned to their size, which tables
    /// that are concatenated need.
    fn is_aligned(&self, index: usize, pages: usize) -> bool {
        !pages.is_power_of_two() || self.address(index).is_aligned((pages as u64).saturating_mul(PAGE_SIZE))
    }

    fn address(&self, index: usize) -> Spa {
        self.base.nth_page(index as u64)
    }

    fn index(&self, at: Spa) -> Option<usize> {
        let index = (at.raw().checked_sub(self.base.raw())? / PAGE_SIZE) as usize;
        (index < self.count).then_some(index)
    }
}

impl Default for FramePool {
    fn default() -> Self {
        Self::new()
    }
}

/// The pool as the backends and the page-table engine see it: what they allocate is the kernel's.
pub(crate) struct KernelFrames<'a, M> {
    pub(crate) pool: &'a Lock<FramePool>,
    pub(crate) memory: M,
    pub(crate) owner: FrameOwner,
}

impl<M: PhysicalMemory> FrameSource for KernelFrames<'_, M> {
    fn allocate(&mut self, pages: usize) -> Result<Spa, OutOfFrames> {
        let first = self.pool.lock()?.take(pages, self.owner)?;
        for page in 0..pages as u64 {
            self.memory.zero_page(first.nth_page(page));
        }
        Ok(first)
    }

    fn free(&mut self, first: Spa, pages: usize) {
        // Where the pool's lock is lost, they stay the kernel's.
        if let Ok(mut pool) = self.pool.lock() {
            pool.release(first, pages);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;

    fn pool(frames: u64) -> Box<FramePool> {
        let mut pool = Box::new(FramePool::new());
        pool.assign(SpaRange::new(Spa::new(0x10_0000), frames * PAGE_SIZE));
        pool
    }

    #[test]
    fn runs_are_contiguous_and_come_back() {
        let mut pool = pool(8);
        let first = pool.take(3, FrameOwner::Kernel).unwrap();
        let second = pool.take(5, FrameOwner::Extension).unwrap();
        assert_eq!(second.raw(), first.raw() + 3 * PAGE_SIZE);
        assert_eq!(pool.take(1, FrameOwner::Kernel), Err(OutOfFrames));
        pool.release(first, 3);
        assert_eq!(pool.free_frames(), 3);
        assert_eq!(pool.take(4, FrameOwner::Kernel), Err(OutOfFrames));
        assert_eq!(pool.take(3, FrameOwner::Kernel), Ok(first));
    }

    #[test]
    fn a_retired_frame_is_free_only_once_settled() {
        let mut pool = pool(1);
        let frame = pool.take(1, FrameOwner::Extension).unwrap();
        assert_eq!(pool.count_mappings(frame, 1), Ok(()));
        assert_eq!(pool.claim(frame), Err(Error::Busy));
        pool.uncount_mappings(frame, 1);
        assert_eq!(pool.claim(frame), Ok(()));
        assert_eq!(pool.claim(frame), Err(Error::Denied));
        pool.retire(frame);
        assert_eq!((pool.free_frames(), pool.is_leaving()), (0, true));
        assert_eq!(pool.take(1, FrameOwner::Kernel), Err(OutOfFrames));
        pool.settle();
        assert_eq!(pool.take(1, FrameOwner::Kernel), Ok(frame));
    }

    #[test]
    fn freeing_twice_or_elsewhere_changes_nothing() {
        let mut pool = pool(4);
        let frame = pool.take(1, FrameOwner::Kernel).unwrap();
        pool.release(frame, 1);
        pool.release(frame, 1);
        pool.release(Spa::new(0), 1);
        pool.release(Spa::new(!0xfff), 1);
        assert_eq!(pool.free_frames(), 4);
    }

    #[test]
    fn a_frame_knows_its_owner() {
        let mut pool = pool(2);
        let frame = pool.take(1, FrameOwner::Extension).unwrap();
        assert_eq!(pool.owner(frame), Some(FrameOwner::Extension));
        assert_eq!(pool.owner(frame.wrapping_add(PAGE_SIZE)), Some(FrameOwner::Free));
        assert_eq!(pool.owner(Spa::new(0)), None);
    }
}
