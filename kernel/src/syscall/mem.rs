//! Memory of the extension's own.

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::page_table::Permissions;
use plinth_hal::{Arch, HostCpu, PAGE_SIZE, PhysicalMemory, UserContext};

use super::{Answer, DONE};
use crate::frames::FrameOwner;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Gives the extension a zeroed page.
    pub(super) fn mem_allocate_page(&mut self) -> Answer {
        let memory = self.machine.memory;
        let frame =
            self.kernel.frames.lock().take(1, FrameOwner::Extension).map_err(|_| Error::OutOfMemory)?;
        memory.zero_page(frame);
        let at = self.kernel.extension.page_address(self.machine.pool, frame).raw();
        let mut frames = self.kernel.kernel_frames(memory);
        let mut space = self.kernel.space.lock();
        let mapped = match space.as_mut() {
            Some(space) => {
                space.map_user(memory, &mut frames, at, frame, 1, Permissions::READ | Permissions::WRITE)
            }
            None => return Err(Error::WrongState.into()),
        };
        if mapped.is_err() {
            self.kernel.frames.lock().release(frame, 1);
            return Err(Error::OutOfMemory.into());
        }
        Ok([at, 0])
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
        {
            let mut pool = self.kernel.frames.lock();
            if pool.owner(frame) != Some(FrameOwner::Extension) {
                return Err(bad(Error::Denied));
            }
            if pool.mapped(frame) != 0 || !pool.count_mapping(frame) {
                return Err(bad(Error::Busy));
            }
        }
        if let Some(space) = self.kernel.space.lock().as_mut() {
            space.unmap_user(memory, &mut self.kernel.kernel_frames(memory), at);
        }
        self.cpu.flush_host_tlb();
        self.kernel.frames.lock().release(frame, 1);
        DONE
    }
}
