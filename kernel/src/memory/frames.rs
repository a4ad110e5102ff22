//! The frame pool: the owner of each page that the loader reserved for the hypervisor.
//!
//! Every frame has exactly one owner, and isolation rests on this record. The kernel never maps a frame of
//! its own for the extension or a VM. A page of the extension that is mapped into a VM is counted, and cannot
//! be freed before the count is 0. A page that the extension gives up is quarantined first (see
//! `ipi::epoch`).

use core::ops::Range;

use plinth_extension_api::abi::Error;
use plinth_hal::{FrameSource, OutOfFrames, PAGE_SIZE, PhysicalMemory, Spa, SpaRange};

use crate::sync::Lock;

/// The maximum number of frames in a pool: 256 MiB.
pub const MAX_FRAMES: usize = 64 * 1024;

/// The owner of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameOwner {
    /// Free.
    Free,
    /// The kernel: page tables, VS state, intercept maps, its stacks.
    Kernel,
    /// The extension's image, stacks and exit pages: it can neither free nor share them.
    ExtensionImage,
    /// The extension, as a page that it allocated and may map into VMs.
    Extension,
    /// Quarantined: unmapped, but a stale TLB entry on some PP may still reach it.
    Leaving,
}

/// The record of one frame.
#[derive(Clone, Copy)]
struct Frame {
    owner: FrameOwner,
    /// The number of mappings of the frame in VMs.
    mapped: u16,
}

/// The pool. It allocates contiguous runs of zeroed frames.
pub struct FramePool {
    base: Spa,
    count: usize,
    free: usize,
    /// A range of indices that contains all quarantined frames.
    leaving: Option<Range<usize>>,
    /// The index at which the next search begins.
    next: usize,
    frames: [Frame; MAX_FRAMES],
}

impl FramePool {
    /// A pool without frames.
    pub const fn new() -> Self {
        let frame = Frame { owner: FrameOwner::Free, mapped: 0 };
        Self { base: Spa::new(0), count: 0, free: 0, leaving: None, next: 0, frames: [frame; MAX_FRAMES] }
    }

    /// Sets the memory of the pool. Frames beyond [`MAX_FRAMES`] stay unused.
    pub fn assign(&mut self, range: SpaRange) {
        self.base = range.start;
        self.count = ((range.size / PAGE_SIZE) as usize).min(MAX_FRAMES);
        self.free = self.count;
        self.leaving = None;
        self.next = 0;
    }

    /// The number of frames in the pool.
    pub fn frames(&self) -> usize {
        self.count
    }

    /// The number of free frames.
    pub fn free_frames(&self) -> usize {
        self.free
    }

    /// Allocates `pages` contiguous frames for `owner`.
    ///
    /// # Errors
    /// [`OutOfFrames`] if no free run is long enough.
    pub fn take(&mut self, pages: usize, owner: FrameOwner) -> Result<Spa, OutOfFrames> {
        let first = self.find(self.next, pages).or_else(|| self.find(0, pages)).ok_or(OutOfFrames)?;
        let end = first.saturating_add(pages);
        let left = self.free.checked_sub(pages).ok_or(OutOfFrames)?;
        self.frames.get_mut(first..end).ok_or(OutOfFrames)?.fill(Frame { owner, mapped: 0 });
        self.free = left;
        self.next = end;
        Ok(self.address(first))
    }

    /// Frees a run that [`Self::take`] allocated. Ignores frames outside the pool.
    pub fn release(&mut self, first: Spa, pages: usize) {
        let Some(index) = self.index(first) else { return };
        let run = self.run(first, pages);
        let freed = run.iter().filter(|frame| frame.owner != FrameOwner::Free).count();
        run.fill(Frame { owner: FrameOwner::Free, mapped: 0 });
        self.free = self.free.saturating_add(freed);
        self.next = self.next.min(index);
    }

    /// Moves an allocated page from the extension to the kernel, if no VM maps the page.
    ///
    /// # Errors
    /// [`Error::Busy`] if a VM maps the page; [`Error::Denied`] if the extension did not allocate it.
    pub fn claim(&mut self, at: Spa) -> Result<(), Error> {
        let frame = self.run(at, 1).first_mut().ok_or(Error::Denied)?;
        match frame.owner {
            FrameOwner::Extension if frame.mapped == 0 => frame.owner = FrameOwner::Kernel,
            FrameOwner::Extension => return Err(Error::Busy),
            _ => return Err(Error::Denied),
        }
        Ok(())
    }

    /// Moves `pages` allocated pages from `first` from the extension to the kernel: all or none.
    ///
    /// # Errors
    /// The error of the first page that cannot be moved.
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

    /// Moves `pages` frames from `first` from the kernel to the extension. The kernel allocates such frames
    /// as its own, maps them for the extension, and moves them last, so that another PP cannot free them
    /// half-way.
    pub fn give(&mut self, first: Spa, pages: usize) {
        for frame in self.run(first, pages) {
            frame.owner = FrameOwner::Extension;
        }
    }

    /// Quarantines a frame that no table maps any more, until [`Self::settle`].
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

    /// Whether any frame is quarantined.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Frees all quarantined frames. The caller has made sure that no TLB reaches them any more.
    pub fn settle(&mut self) {
        let Some(range) = self.leaving.take() else { return };
        self.next = self.next.min(range.start);
        let frames = self.frames.get_mut(range).unwrap_or_default().iter_mut();
        for frame in frames.filter(|frame| frame.owner == FrameOwner::Leaving) {
            frame.owner = FrameOwner::Free;
            self.free = self.free.saturating_add(1);
        }
    }

    /// Calls `work` for every frame with another owner than `owner`.
    pub(crate) fn each_but(&self, owner: FrameOwner, work: impl FnMut(Spa)) {
        let others = (0..self.count).zip(&self.frames).filter(|(_, frame)| frame.owner != owner);
        others.map(|(index, _)| self.address(index)).for_each(work);
    }

    /// The owner of the frame at `at`; `None` outside the pool.
    pub fn owner(&self, at: Spa) -> Option<FrameOwner> {
        self.index(at).map(|index| self.frames[index].owner)
    }

    /// The number of mappings of the frame in VMs.
    pub fn mapped(&self, at: Spa) -> u16 {
        self.index(at).map_or(0, |index| self.frames[index].mapped)
    }

    /// Counts one more mapping of each of `pages` frames from `first`: all or none.
    ///
    /// # Errors
    /// [`Error::Denied`] unless the extension allocated all of them; [`Error::Busy`] if a count would
    /// overflow.
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

    /// Counts one mapping less of each frame.
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

    /// The records of `pages` frames from `first`, or fewer at the end of the pool; none for an address
    /// outside.
    fn run(&mut self, first: Spa, pages: usize) -> &mut [Frame] {
        let Some(index) = self.index(first) else { return &mut [] };
        let end = index.saturating_add(pages).min(self.count);
        self.frames.get_mut(index..end).unwrap_or_default()
    }

    /// Whether a run of `pages` may begin at a frame. A run of a power of two is aligned to its size, as
    /// concatenated root tables require.
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

/// The pool as the backends and the page-table engine see it: frames that they allocate belong to the kernel.
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
        // If the pool's lock is lost, the frames stay the kernel's.
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
