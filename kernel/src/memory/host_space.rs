//! The host address space: the kernel, identity mapped, and the extension above it.
//!
//! The kernel runs at its physical address. So launch and promotion need no trampoline: the same address is
//! mapped under the OS's page tables and under the kernel's. All memory is mapped as data for the kernel
//! alone, and each segment of the kernel's image has exactly its own permissions. Page 0 is not mapped, so
//! that a null pointer faults; the kernel reaches the root VM's data in page 0 through a window at another
//! address.
//!
//! On some processors the extension has page tables of its own, because the hardware requires it (Arm without
//! EL2&0) or leaks memory that permissions deny (KPTI against Meltdown). These tables contain nothing of the
//! kernel except what [`Entry`](crate::Entry) names.

use plinth_hal::page_table::{Attributes, MemoryType, NotLoaded, PageTable, Permissions, PoolTables};
use plinth_hal::page_table::{InputAddress, PtFormat};
use plinth_hal::{Arch, FrameSource, PAGE_SIZE, PhysicalMemory, Spa, SpaRange};
use plinth_launch::{SEGMENT_EXECUTE, SEGMENT_WRITE};

use crate::launch::platform::{Platform, PrepareError, range};
use crate::memory::frames::KernelFrames;

/// The address type of the host's tables.
pub(crate) type HostInput<A> = <<A as Arch>::HostFormat as PtFormat>::Input;

/// Permissions of the kernel's data.
pub(crate) const DATA: Permissions = Permissions::READ.union(Permissions::WRITE);

/// A host page table under construction or in use.
pub(crate) struct HostSpace<A: Arch> {
    pub(crate) table: PageTable<A::HostFormat>,
    /// The extension's tables, if user mode has its own.
    user: Option<PageTable<A::HostFormat>>,
}

impl<A: Arch> HostSpace<A> {
    /// Builds the kernel's part.
    pub(crate) fn build(
        platform: &Platform<A>,
        frames: &mut KernelFrames<'_, A::Memory>,
    ) -> Result<Self, PrepareError> {
        let memory = platform.memory;
        let table = PageTable::new(&mut PoolTables { memory, frames }, platform.host_format.clone())?;
        let user = match platform.host_format.user_side() {
            Some(format) => Some(PageTable::new(&mut PoolTables { memory, frames }, format)?),
            None => None,
        };
        let mut space = Self { table, user };
        let end = platform.mapped_end();
        let mut start = PAGE_SIZE;
        while start < end {
            let (memory_type, same_until) = A::host_memory_type(Spa::new(start));
            let next = same_until.raw().min(end);
            let range = SpaRange::new(Spa::new(start), next.saturating_sub(start));
            space.identity(memory, frames, range, Attributes::new(DATA, memory_type))?;
            start = next;
        }
        space.map_image(platform, frames)?;
        space.map_devices(platform, frames)?;
        space.map_start_page(platform, frames)?;
        let code = platform.entry.code;
        space.map_entry(memory, frames, code, Permissions::READ | Permissions::EXECUTE)?;
        Ok(space)
    }

    fn map_image(
        &mut self,
        platform: &Platform<A>,
        frames: &mut KernelFrames<'_, A::Memory>,
    ) -> Result<(), PrepareError> {
        let count = (platform.info.kernel_segment_count as usize).min(platform.info.kernel_segments.len());
        for segment in &platform.info.kernel_segments[..count] {
            let permissions = match segment.flags {
                flags if flags & SEGMENT_WRITE != 0 => DATA,
                flags if flags & SEGMENT_EXECUTE != 0 => Permissions::READ | Permissions::EXECUTE,
                _ => Permissions::READ,
            };
            let attributes = Attributes::new(permissions, MemoryType::WriteBack);
            self.reprotect(platform.memory, frames, range(segment.range), attributes)?;
        }
        Ok(())
    }

    fn map_devices(
        &mut self,
        platform: &Platform<A>,
        frames: &mut KernelFrames<'_, A::Memory>,
    ) -> Result<(), PrepareError> {
        for device in platform.devices.into_iter().flatten() {
            let attributes = Attributes::new(DATA, MemoryType::Uncached);
            // On some boards devices lie above all memory.
            if device.end().raw() <= platform.mapped_end() {
                self.reprotect(platform.memory, frames, device, attributes)?;
            } else {
                self.identity(platform.memory, frames, device, attributes)?;
            }
        }
        Ok(())
    }

    /// Makes the start-up page of processors executable and read-only for the kernel.
    fn map_start_page(
        &mut self,
        platform: &Platform<A>,
        frames: &mut KernelFrames<'_, A::Memory>,
    ) -> Result<(), PrepareError> {
        let Some(page) = platform.start_page else { return Ok(()) };
        let attributes = Attributes::new(Permissions::READ | Permissions::EXECUTE, MemoryType::WriteBack);
        self.reprotect(platform.memory, frames, SpaRange::new(page, PAGE_SIZE), attributes)
    }

    fn identity(
        &mut self,
        memory: A::Memory,
        frames: &mut KernelFrames<'_, A::Memory>,
        range: SpaRange,
        attributes: Attributes,
    ) -> Result<(), PrepareError> {
        let at = HostInput::<A>::from_raw(range.start.raw());
        let tables = &mut PoolTables { memory, frames };
        Ok(self.table.map(tables, &mut NotLoaded, at, range.start, range.size, attributes)?)
    }

    fn reprotect(
        &mut self,
        memory: A::Memory,
        frames: &mut KernelFrames<'_, A::Memory>,
        range: SpaRange,
        attributes: Attributes,
    ) -> Result<(), PrepareError> {
        let at = HostInput::<A>::from_raw(range.start.raw());
        let tables = &mut PoolTables { memory, frames };
        Ok(self.table.protect(tables, &mut NotLoaded, at, range.size, attributes)?)
    }

    /// Maps page 0 for the kernel at the address of `window`, a frame that has no other use.
    pub(crate) fn map_page_zero(
        &mut self,
        memory: A::Memory,
        frames: &mut KernelFrames<'_, A::Memory>,
        window: Spa,
    ) -> Result<(), PrepareError> {
        self.guard(memory, frames, window)?;
        let at = HostInput::<A>::from_raw(window.raw());
        let zero = Spa::new(0);
        let attributes = Attributes::new(DATA, A::host_memory_type(zero).0);
        let tables = &mut PoolTables { memory, frames };
        self.table.map(tables, &mut NotLoaded, at, zero, PAGE_SIZE, attributes)?;
        memory.map_page_zero(window);
        Ok(())
    }

    /// Unmaps a page from the kernel's tables, so that an access faults (a guard page below a stack).
    pub(crate) fn guard(
        &mut self,
        memory: A::Memory,
        frames: &mut KernelFrames<'_, A::Memory>,
        page: Spa,
    ) -> Result<(), PrepareError> {
        let at = HostInput::<A>::from_raw(page.raw());
        Ok(self.table.unmap(&mut PoolTables { memory, frames }, &mut NotLoaded, at, PAGE_SIZE)?)
    }

    /// The tables that the extension runs on.
    pub(crate) fn user_table(&self) -> &PageTable<A::HostFormat> {
        self.user.as_ref().unwrap_or(&self.table)
    }

    fn user_table_mut(&mut self) -> &mut PageTable<A::HostFormat> {
        self.user.as_mut().unwrap_or(&mut self.table)
    }

    /// Maps the code and data that enter and leave user mode in the extension's own tables, at the same
    /// address as in the kernel's. Does nothing if both share one tree.
    pub(crate) fn map_entry(
        &mut self,
        memory: A::Memory,
        frames: &mut KernelFrames<'_, A::Memory>,
        range: SpaRange,
        permissions: Permissions,
    ) -> Result<(), PrepareError> {
        let Some(user) = self.user.as_mut().filter(|_| range.size != 0) else { return Ok(()) };
        let at = HostInput::<A>::from_raw(range.start.raw());
        let attributes = Attributes::new(permissions, MemoryType::WriteBack);
        let tables = &mut PoolTables { memory, frames };
        Ok(user.map(tables, &mut NotLoaded, at, range.start, range.size, attributes)?)
    }

    /// Maps `pages` frames from `spa` for the extension at `at`.
    pub(crate) fn map_user(
        &mut self,
        memory: A::Memory,
        frames: &mut impl FrameSource,
        at: u64,
        spa: Spa,
        pages: u64,
        permissions: Permissions,
    ) -> Result<(), PrepareError> {
        let attributes = Attributes::new(permissions | Permissions::USER, MemoryType::WriteBack);
        let at = HostInput::<A>::from_raw(at);
        let tables = &mut PoolTables { memory, frames };
        Ok(self.user_table_mut().map(tables, &mut NotLoaded, at, spa, pages * PAGE_SIZE, attributes)?)
    }

    /// Unmaps one page of the extension. The caller invalidates the TLBs.
    pub(crate) fn unmap_user(&mut self, memory: A::Memory, frames: &mut impl FrameSource, at: u64) {
        let at = HostInput::<A>::from_raw(at);
        // The kernel has just found this page mapped, and a single page needs no split, so the unmap cannot
        // fail.
        let _ =
            self.user_table_mut().unmap(&mut PoolTables { memory, frames }, &mut NotLoaded, at, PAGE_SIZE);
    }

    /// The frame at an address of the extension, and whether the extension may write there.
    pub(crate) fn user_frame(
        &self,
        memory: A::Memory,
        frames: &mut KernelFrames<'_, A::Memory>,
        at: u64,
    ) -> Option<(Spa, bool)> {
        let mapping =
            self.user_table().query(&PoolTables { memory, frames }, HostInput::<A>::from_raw(at))?;
        let permissions = mapping.attributes.permissions;
        permissions
            .contains(Permissions::USER)
            .then(|| (mapping.spa, permissions.contains(Permissions::WRITE)))
    }
}
