//! Memory of the extension's own.

use plinth_extension_api::abi::{Error, Failure, MAX_RANGE};
use plinth_hal::page_table::Permissions;
use plinth_hal::{Arch, PAGE_SIZE, PhysicalMemory, Spa, UserContext};

use super::{Answer, DONE};
use crate::launch::platform::PrepareError;
use crate::memory::deferred_free::DeferredFree;
use crate::memory::frames::{FrameOwner, KernelFrames};
use crate::memory::host_space::HostSpace;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Gives the extension a zeroed page.
    pub(super) fn mem_allocate_page(&mut self) -> Answer {
        let memory = self.machine.memory;
        self.kernel.settle();
        let frame = self.kernel.frames.lock()?.take(1, FrameOwner::Kernel).map_err(|_| Error::OutOfMemory)?;
        memory.zero_page(frame);
        let at = self.extension.page_address(self.machine.pool, frame).raw();
        let mut frames = self.kernel.kernel_frames(memory);
        let mut detached = DeferredFree::new(&mut frames);
        let data = Permissions::READ | Permissions::WRITE;
        let mapped = match self.kernel.space.lock()?.as_mut() {
            Some(space) => space.map_user(memory, &mut detached, at, frame, 1, data),
            None => Err(PrepareError::BadContract),
        };
        if mapped.is_err() {
            self.kernel.retire(detached.take().chain([frame]));
            return Err(Error::OutOfMemory.into());
        }
        self.kernel.frames.lock()?.give(frame, 1);
        Ok([at, 0])
    }

    /// Gives the extension zeroed pages that lie side by side.
    pub(super) fn mem_allocate_huge(&mut self) -> Answer {
        let pages = self.run_of_pages(1)?;
        let memory = self.machine.memory;
        self.kernel.settle();
        let taken = self.kernel.frames.lock()?.take(pages as usize, FrameOwner::Kernel);
        let first = taken.map_err(|_| Error::OutOfMemory)?;
        for page in 0..pages {
            memory.zero_page(first.nth_page(page));
        }
        let at = self.extension.page_address(self.machine.pool, first).raw();
        let data = Permissions::READ | Permissions::WRITE;
        let mut frames = self.kernel.kernel_frames(memory);
        let mapped = match self.kernel.space.lock()?.as_mut() {
            Some(space) => map_pages(space, memory, &mut frames, (at, first, pages), data),
            None => Err(PrepareError::BadContract),
        };
        if mapped.is_err() {
            // Those that were mapped by then may be in some TLB.
            self.take_pages(at, first, pages)?;
            return Err(Error::OutOfMemory.into());
        }
        self.kernel.frames.lock()?.give(first, pages as usize);
        Ok([at, 0])
    }

    /// Takes pages back that lie side by side, all or none.
    pub(super) fn mem_free_huge(&mut self) -> Answer {
        let at = self.user.argument(1);
        let bad = |error| Failure::argument(1, error);
        let pages = self.run_of_pages(2)?;
        if !at.is_multiple_of(PAGE_SIZE) {
            return Err(bad(Error::InvalidArgument));
        }
        let (first, _) = self.user_frame(at).ok_or(bad(Error::NotMapped))?;
        self.kernel.frames.lock()?.claim_run(first, pages as usize).map_err(bad)?;
        self.take_pages(at, first, pages)?;
        DONE
    }

    /// How many pages the bytes in an argument are.
    fn run_of_pages(&self, register: u8) -> Result<u64, Failure> {
        let bytes = self.user.argument(usize::from(register));
        if bytes == 0 || bytes > MAX_RANGE || !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(Failure::argument(register, Error::InvalidArgument));
        }
        Ok(bytes / PAGE_SIZE)
    }

    /// Unmaps pages of the extension, and frees them once no TLB leads there. What it cannot unmap stays the kernel's.
    fn take_pages(&mut self, at: u64, first: Spa, pages: u64) -> Result<(), Failure> {
        let memory = self.machine.memory;
        for offset in (0..pages).map(|page| page.wrapping_mul(PAGE_SIZE)) {
            let mut frames = self.kernel.kernel_frames(memory);
            let mut detached = DeferredFree::new(&mut frames);
            if let Some(space) = self.kernel.space.lock()?.as_mut() {
                space.unmap_user(memory, &mut detached, at.wrapping_add(offset));
            }
            self.kernel.retire(detached.take().chain([first.wrapping_add(offset)]));
        }
        Ok(())
    }

    /// How much memory there is still to be had.
    pub(super) fn mem_query(&mut self) -> Answer {
        self.kernel.settle();
        Ok([(self.kernel.free_frames() as u64).saturating_mul(PAGE_SIZE), 0])
    }

    /// Takes a page back, if it is such a one and no VM maps it.
    pub(super) fn mem_free_page(&mut self) -> Answer {
        let at = self.user.argument(1);
        let bad = |error| Failure::argument(1, error);
        if !at.is_multiple_of(PAGE_SIZE) {
            return Err(bad(Error::InvalidArgument));
        }
        let (frame, _) = self.user_frame(at).ok_or(bad(Error::NotMapped))?;
        let memory = self.machine.memory;
        self.kernel.frames.lock()?.claim(frame).map_err(bad)?;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut detached = DeferredFree::new(&mut frames);
        if let Some(space) = self.kernel.space.lock()?.as_mut() {
            space.unmap_user(memory, &mut detached, at);
        }
        self.kernel.retire(detached.take().chain([frame]));
        DONE
    }
}

/// Maps pages of the extension one by one, so that each can be taken away without a frame for a table.
fn map_pages<A: Arch>(
    space: &mut HostSpace<A>,
    memory: A::Memory,
    frames: &mut KernelFrames<'_, A::Memory>,
    (at, first, pages): (u64, Spa, u64),
    permissions: Permissions,
) -> Result<(), PrepareError> {
    for offset in (0..pages).map(|page| page.wrapping_mul(PAGE_SIZE)) {
        space.map_user(
            memory,
            frames,
            at.wrapping_add(offset),
            first.wrapping_add(offset),
            1,
            permissions,
        )?;
    }
    Ok(())
}
