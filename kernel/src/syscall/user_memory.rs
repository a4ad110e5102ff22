//! Access to the extension's memory by system-call arguments.
//!
//! The kernel never dereferences a pointer of the extension. It looks each page up in the extension's page
//! tables and accesses the frame, so a bad pointer is an error and not a fault.

use plinth_extension_api::abi::Error;
use plinth_hal::{Arch, PAGE_SIZE, PhysicalMemory, Spa};

use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Reads `buffer.len()` bytes from the extension's memory at `address`.
    pub(super) fn copy_from_user(&self, address: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let mut at = address;
        let mut rest = buffer;
        while !rest.is_empty() {
            let room = (PAGE_SIZE - at % PAGE_SIZE) as usize;
            let (part, next) = rest.split_at_mut(room.min(rest.len()));
            self.read_user_page(at, part)?;
            at = at.checked_add(part.len() as u64).ok_or(Error::InvalidArgument)?;
            rest = next;
        }
        Ok(())
    }

    /// Reads from one page, and holds the lock that keeps the page the extension's.
    fn read_user_page(&self, at: u64, part: &mut [u8]) -> Result<(), Error> {
        let memory = self.machine.memory;
        let space = self.kernel.space.lock()?;
        let mut frames = self.kernel.kernel_frames(memory);
        let frame = space.as_ref().and_then(|space| space.user_frame(memory, &mut frames, at));
        let (spa, _) = frame.ok_or(Error::InvalidArgument)?;
        memory.read_bytes(spa, part);
        Ok(())
    }

    /// Writes `bytes` to the extension's memory at `address`, if the extension may write there.
    pub(super) fn copy_to_user(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = (PAGE_SIZE - at % PAGE_SIZE) as usize;
            let (part, next) = rest.split_at(room.min(rest.len()));
            self.write_user_page(at, part)?;
            at = at.checked_add(part.len() as u64).ok_or(Error::InvalidArgument)?;
            rest = next;
        }
        Ok(())
    }

    /// Writes to one page, and holds the lock that keeps the page the extension's.
    fn write_user_page(&self, at: u64, part: &[u8]) -> Result<(), Error> {
        let memory = self.machine.memory;
        let space = self.kernel.space.lock()?;
        let mut frames = self.kernel.kernel_frames(memory);
        let frame = space.as_ref().and_then(|space| space.user_frame(memory, &mut frames, at));
        let (spa, _) = frame.filter(|(_, writable)| *writable).ok_or(Error::InvalidArgument)?;
        memory.write_bytes(spa, part);
        Ok(())
    }

    /// The frame at an address of the extension, and whether the extension may write there.
    pub(super) fn user_frame(&self, at: u64) -> Option<(Spa, bool)> {
        let memory = self.machine.memory;
        let space = self.kernel.space.lock().ok()?;
        space.as_ref()?.user_frame(memory, &mut self.kernel.kernel_frames(memory), at)
    }
}
