//! Preparing the launch: first the state that all PPs share, once, then the resources of each PP.

use core::sync::atomic::Ordering;

use plinth_hal::page_table::{Attributes, InputAddress, MapError, MemoryType, NotLoaded, PageTable};
use plinth_hal::page_table::{Permissions, PoolTables, PtFormat};
use plinth_hal::{Arch, ExitFrame, FrameSource, PAGE_SIZE, PhysicalMemory, Spa, SpaRange, VmHw};
use plinth_launch::LaunchStatus;

use crate::extension::STACK_PAGES;
use crate::extension::load::{load, take_frame};
use crate::ipi::mailbox::PpState;
use crate::kernel::{Kernel, Machine};
use crate::launch::choices;
use crate::launch::platform::{Platform, PpResources, PrepareError, range};
use crate::limits::{KERNEL_STACK_PAGES, MAX_PPS};
use crate::memory::host_space::{DATA, HostSpace};
use crate::memory::nested::GIB;
use crate::object::objects::Vm;
use crate::report::logger::Logger;

/// The root VM's TLB tag.
const ROOT_TAG: u16 = 1;

/// Logs that a PP that the root VM started stays off.
pub(crate) fn stays_off(pp: usize, status: LaunchStatus) {
    log::error!("pp {pp}: the root VM has started it, but it stays off: {status}");
}

impl<A: Arch> Kernel<A> {
    /// Creates everything that the PPs share: address space, extension, root VM. The first processor calls it
    /// once, before any processor launches.
    ///
    /// # Errors
    /// [`PrepareError`]; the machine is unchanged.
    pub fn prepare(&self, platform: Platform<A>) -> Result<(), PrepareError> {
        self.check(&platform)?;
        self.frames.lock()?.assign(range(platform.info.pool));
        self.extension.clear();
        self.extension.handle_seed.store(platform.info.entropy[1], Ordering::SeqCst);
        let memory = platform.memory;
        let mut frames = self.kernel_frames(memory);
        let (reservation, low_page) = (platform.reservation(), range(platform.info.low_page));
        let machine = Machine {
            memory,
            reservation,
            low_page,
            own_end: reservation.end().max(low_page.end()),
            pool: Spa::new(platform.info.pool.start),
            image: Spa::new(platform.info.kernel_segments[0].range.start),
            memory_end: platform.memory_end(),
            pp_count: platform.info.pp_count as usize,
            physical_end: platform.physical_end,
            zero_frame: frames.allocate(1)?,
            sink_frame: frames.allocate(1)?,
            trapped: platform.trapped,
            entry_pages: platform.entry.pages,
            turn_milliseconds: choices::turn_milliseconds(platform.command_line),
            answer_milliseconds: choices::answer_milliseconds(platform.command_line),
            may_stop: choices::may_stop(platform.command_line),
        };
        // The root VM may read the reservation uncached.
        memory.write_back(machine.zero_frame, PAGE_SIZE);
        memory.write_back(machine.sink_frame, PAGE_SIZE);
        self.prepare_root_vm(&platform, &machine)?;
        self.prepare_space(platform)?;
        self.machine.call_once(|| machine);
        Ok(())
    }

    fn check(&self, platform: &Platform<A>) -> Result<(), PrepareError> {
        let (pool, reservation) = (range(platform.info.pool), platform.reservation());
        let aligned = pool.start.is_aligned(PAGE_SIZE) && reservation.start.is_aligned(2 << 20);
        let inside = pool.start >= reservation.start && pool.end() <= reservation.end();
        let low = range(platform.info.low_page);
        let low_is_right = low.size == 0
            || low.size == PAGE_SIZE && low.start.is_aligned(PAGE_SIZE) && low.end() <= reservation.start;
        let log_is_right = platform.info.log.size == 0 || Logger::copy_place(&platform.info).is_some();
        if !aligned
            || !inside
            || !low_is_right
            || !log_is_right
            || reservation.end().raw() > platform.memory_end()
        {
            return Err(PrepareError::BadContract);
        }
        if platform.info.pp_count as usize > MAX_PPS { Err(PrepareError::TooManyProcessors) } else { Ok(()) }
    }

    fn prepare_space(&self, platform: Platform<A>) -> Result<(), PrepareError> {
        let mut frames = self.kernel_frames(platform.memory);
        let mut space = HostSpace::build(&platform, &mut frames)?;
        let window = frames.allocate(1)?;
        space.map_page_zero(platform.memory, &mut frames, window)?;
        load(&self.extension, &platform, &mut space, &mut frames)?;
        *self.space.lock()? = Some(space);
        Ok(())
    }

    /// Creates the root VM: all memory of the machine, one to one, except the reservation, which reads as
    /// zeroes.
    fn prepare_root_vm(&self, platform: &Platform<A>, machine: &Machine<A>) -> Result<(), PrepareError> {
        let memory = platform.memory;
        let mut frames = self.kernel_frames(memory);
        let mut nested =
            PageTable::new(&mut PoolTables { memory, frames: &mut frames }, platform.nested_format.clone())?;
        let end = platform.mapped_end();
        let reservation = machine.reservation;
        let all = Permissions::READ | Permissions::WRITE | Permissions::EXECUTE;
        let mut map = |start: u64, spa: u64, size: u64, permissions, memory_type| {
            let attributes = Attributes::new(permissions, memory_type);
            let tables = &mut PoolTables { memory, frames: &mut frames };
            let at = <A::NestedFormat as PtFormat>::Input::from_raw(start);
            nested.map(tables, &mut NotLoaded, at, Spa::new(spa), size, attributes)
        };
        let mut map_all = |mut start: u64, end: u64| {
            while start < end {
                let (memory_type, same_until) = A::memory_type(memory, Spa::new(start));
                let next = same_until.raw().min(end);
                map(start, start, next.saturating_sub(start), all, memory_type)?;
                start = next;
            }
            Ok(())
        };
        let low = machine.low_page;
        let free = [
            (0, low.start.raw()),
            (low.end().raw(), reservation.start.raw()),
            (reservation.end().raw(), end),
        ];
        for (start, end) in free {
            map_all(start, end)?;
        }
        // What lies above the map is there on demand, by the GiB. Where some of it is trapped, that is now.
        let trapped =
            platform.trapped.ranges().iter().filter(|range| range.end().raw() <= machine.physical_end);
        for start in trapped.clone().map(|range| range.start.raw() & !(GIB - 1)).filter(|start| *start >= end)
        {
            match map_all(start, start.saturating_add(GIB)) {
                Err(MapError::AlreadyMapped(_)) => {}
                mapped => mapped?,
            }
        }
        for own in [low, reservation] {
            for page in (own.start.raw()..own.end().raw()).step_by(PAGE_SIZE as usize) {
                map(page, machine.zero_frame.raw(), PAGE_SIZE, Permissions::READ, MemoryType::WriteBack)?;
            }
        }
        for range in trapped {
            let tables = &mut PoolTables { memory, frames: &mut frames };
            let at = <A::NestedFormat as PtFormat>::Input::from_raw(range.start.raw());
            let attributes = Attributes::new(Permissions::READ, A::memory_type(memory, range.start).0);
            nested.protect(tables, &mut NotLoaded, at, range.size, attributes)?;
        }
        let hw = A::Vm::create(memory, &mut frames, nested.root(), ROOT_TAG)?;
        let vm = Vm::new(nested, hw, ROOT_TAG);
        self.vms.insert(vm).map(|_| ()).map_err(|_| PrepareError::BadContract)
    }

    /// Creates the resources of one PP. Called on that PP before it launches; a second launch gets the same
    /// resources.
    ///
    /// # Errors
    /// [`PrepareError`]; the machine is unchanged.
    pub fn prepare_pp(&self, pp: usize, backend_pages: usize) -> Result<PpResources, PrepareError> {
        let machine = self.machine.get().ok_or(PrepareError::BadContract)?;
        let prepared = self.prepared.get(pp).ok_or(PrepareError::TooManyProcessors)?;
        if let Some(resources) = prepared.get() {
            for page in 0..backend_pages as u64 {
                machine.memory.zero_page(resources.backend.nth_page(page));
            }
            return Ok(*resources);
        }
        let resources = self.allocate_pp(machine, pp, backend_pages)?;
        Ok(*prepared.call_once(|| resources))
    }

    /// Registers a processor that the loader does not launch. The root VM may start it later, and
    /// [`plinth_hal::HostCpu::start_cold`] then brings it to [`Self::run_pp`]. Called on the boot processor
    /// before its launch, after [`Self::prepare_pp`] for the new processor: the resources are allocated now,
    /// so they are available at its start.
    ///
    /// # Errors
    /// [`PrepareError::TooManyProcessors`].
    pub fn expect_pp(&self, pp: usize, hardware_id: u32) -> Result<(), PrepareError> {
        let mailbox = self.mailboxes.get(pp).ok_or(PrepareError::TooManyProcessors)?;
        mailbox.hardware_id.store(hardware_id, Ordering::Relaxed);
        mailbox.set_state(PpState::Offline);
        Ok(())
    }

    /// Marks that a processor that the root VM started could not be launched. The root VM may start it again.
    pub fn refuse_pp(&self, pp: usize, status: LaunchStatus) {
        let Some(mailbox) = self.mailboxes.get(pp) else { return };
        if mailbox.state() == PpState::Starting {
            stays_off(pp, status);
            mailbox.set_state(PpState::Offline);
        }
    }

    /// Allocates a stack with a guard page below it, and returns its top. The backend keeps the stack for
    /// ever.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn stack(&self) -> Result<Spa, PrepareError> {
        let memory = self.machine.get().ok_or(PrepareError::BadContract)?.memory;
        let mut frames = self.kernel_frames(memory);
        let stack = frames.allocate(KERNEL_STACK_PAGES + 1)?;
        let mut space = self.space.lock()?;
        let space = space.as_mut().ok_or(PrepareError::BadContract)?;
        space.guard(memory, &mut frames, stack)?;
        Ok(stack.nth_page(KERNEL_STACK_PAGES as u64 + 1))
    }

    fn allocate_pp(
        &self,
        machine: &Machine<A>,
        pp: usize,
        backend_pages: usize,
    ) -> Result<PpResources, PrepareError> {
        let mut frames = self.kernel_frames(machine.memory);
        let stack_top = self.stack()?;
        let backend = frames.allocate(backend_pages)?;
        let exit_page = ExitFrame::new(self.map_extension_pp(machine.memory, pp)?);
        let mut space = self.space.lock()?;
        let space = space.as_mut().ok_or(PrepareError::BadContract)?;
        let entry = SpaRange::new(backend, machine.entry_pages.min(backend_pages) as u64 * PAGE_SIZE);
        space.map_entry(machine.memory, &mut frames, entry, DATA)?;
        let (host_root, user_root) = (space.table.root(), space.user_table().root());
        Ok(PpResources { pp, stack_top, backend, exit_page, host_root, user_root })
    }

    /// Maps the extension's stacks and exit page for a PP. Returns the frame of the exit page.
    pub(crate) fn map_extension_pp(&self, memory: A::Memory, pp: usize) -> Result<Spa, PrepareError> {
        let mut frames = self.kernel_frames(memory);
        let mut space = self.space.lock()?;
        let space = space.as_mut().ok_or(PrepareError::BadContract)?;
        let data = Permissions::READ | Permissions::WRITE;
        for top in [self.extension.stack(pp), self.extension.fail_stack(pp)] {
            for page in 1..=STACK_PAGES {
                let frame = take_frame(&mut frames)?;
                space.map_user(
                    memory,
                    &mut frames,
                    top.raw().wrapping_sub(page.wrapping_mul(PAGE_SIZE)),
                    frame,
                    1,
                    data,
                )?;
            }
        }
        let exit_page = take_frame(&mut frames)?;
        space.map_user(memory, &mut frames, self.extension.exit_page(pp).raw(), exit_page, 1, data)?;
        Ok(exit_page)
    }
}
