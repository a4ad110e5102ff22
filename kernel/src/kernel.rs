//! The kernel's state, shared by all PPs, and how it comes to be.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use plinth_extension_api::abi::{self, ExitClass};
use plinth_hal::page_table::{Attributes, InputAddress, MapError, MemoryType, NotLoaded, PageTable};
use plinth_hal::page_table::{Permissions, PoolTables, PtFormat};
use plinth_hal::{Arch, ExitFrame, FrameSource, PAGE_SIZE, PhysicalMemory, Spa, SpaRange, VmHw};
use plinth_launch::LaunchStatus;
// BOUND: what is put in is ready by then, so that the one who puts it is done at once; `get` does not wait.
use spin::Once;

use crate::extension::{self, Extension};
use crate::ipi::mailbox::{Mailbox, Standing};
use crate::ipi::wait;
use crate::launch::platform::{Platform, PrepareError, range};
use crate::memory::frames::{FrameOwner, FramePool, KernelFrames};
use crate::memory::host_space::{DATA, HostSpace};
use crate::memory::trapped::TrappedPages;
use crate::object::objects::{Vm, Vp, Vs};
use crate::object::table::Table;
use crate::pp::memory_types::GIB;
use crate::pp::promotion::{self, MayStop, Rendezvous};
use crate::pp::watchdog;
use crate::pp::{PpResources, stays_off};
use crate::report::logger::Logger;
use crate::report::trace::Traces;
use crate::sync::Lock;

/// The most physical processors.
pub const MAX_PPS: usize = abi::MAX_PPS as usize;
/// The most VMs, the root VM included.
pub const MAX_VMS: usize = abi::MAX_VMS as usize;
/// The most VPs of all VMs.
pub const MAX_VPS: usize = abi::MAX_VPS as usize;
/// The most VSs of all VPs.
pub const MAX_VSS: usize = abi::MAX_VSS as usize;

/// The root VM's TLB tag.
const ROOT_TAG: u16 = 1;

/// Pages in the kernel's stack of a PP, above its guard page.
pub const KERNEL_STACK_PAGES: usize = 16;

/// What stays as it was found at launch.
pub(crate) struct Machine<A: Arch> {
    pub(crate) memory: A::Memory,
    pub(crate) reservation: SpaRange,
    /// The page below 1 MiB, which is the hypervisor's too.
    pub(crate) low_page: SpaRange,
    /// From here on nothing is the hypervisor's: the shortest way to see it.
    pub(crate) own_end: Spa,
    pub(crate) pool: Spa,
    /// Where the kernel's own image begins.
    pub(crate) image: Spa,
    pub(crate) memory_end: u64,
    /// How many processors the loader means to launch.
    pub(crate) pp_count: usize,
    pub(crate) physical_end: u64,
    /// Reads of the reservation by the root VM end here.
    pub(crate) zero_frame: Spa,
    /// Writes of the root VM to the reservation end here.
    pub(crate) sink_frame: Spa,
    /// What a turn of the extension may take; 0 for no bound.
    pub(crate) turn_milliseconds: u64,
    /// How long a PP may take to answer another one.
    pub(crate) answer_milliseconds: u64,
    /// Who may have the bare machine back.
    pub(crate) may_stop: MayStop,
    /// Pages whose writes by the root VM the kernel must see.
    pub(crate) trapped: TrappedPages,
    /// How many of each PP's backend pages the extension's tables map, where they are its own.
    entry_pages: usize,
}

impl<A: Arch> Machine<A> {
    /// Whether this is the hypervisor's own memory, in which the root VM finds zeroes.
    #[inline]
    pub(crate) fn is_own(&self, at: Spa) -> bool {
        at < self.own_end && (self.reservation.contains(at) || self.low_page.contains(at))
    }
}

/// The microkernel. One static of it for each backend in the image; the launched one is used.
pub struct Kernel<A: Arch> {
    pub(crate) machine: Once<Machine<A>>,
    pub(crate) frames: Lock<FramePool>,
    pub(crate) space: Lock<Option<HostSpace<A>>>,
    pub(crate) extension: Extension,
    pub(crate) vms: Table<Vm<A>, MAX_VMS>,
    pub(crate) vps: Table<Vp, MAX_VPS>,
    pub(crate) vss: Table<Vs<A>, MAX_VSS>,
    pub(crate) mailboxes: [Mailbox; MAX_PPS],
    /// Every processor that the loader means to launch has been launched once.
    pub(crate) all_launched: AtomicBool,
    /// An exit that nobody understands, and a refused start of a processor, have been logged: the root VM may cause as many
    /// as it likes.
    pub(crate) unknown_exits: AtomicBool,
    pub(crate) refused_starts: AtomicBool,
    /// The same of a refused stop of the hypervisor.
    pub(crate) refused_stops: AtomicBool,
    /// Which obstacles to one have been logged, a bit for each.
    pub(crate) obstacles: AtomicU32,
    /// Where all PPs meet before they leave.
    pub(crate) rendezvous: Rendezvous,
    /// The machine's counter when the first PP was launched; 0 before.
    pub(crate) launched_at: AtomicU64,
    /// What PPs keep of their exits.
    pub(crate) traces: Traces,
    /// The root VM has been refused new memory types: as above.
    pub(crate) refused_types: AtomicBool,
    /// Changes whenever any VM's declared answers do.
    policy_version: AtomicU32,
    /// TLB tags in use, a bit for each; 0 is the host's and 1 the root VM's.
    tags: AtomicU32,
    pub(crate) prepared: [Once<PpResources>; MAX_PPS],
}

impl<A: Arch> Kernel<A> {
    /// A kernel that has not launched.
    pub const fn new() -> Self {
        Self {
            machine: Once::new(),
            frames: Lock::new(FramePool::new()),
            space: Lock::new(None),
            extension: Extension::new(),
            vms: Table::new(),
            vps: Table::new(),
            vss: Table::new(),
            mailboxes: [const { Mailbox::new() }; MAX_PPS],
            all_launched: AtomicBool::new(false),
            unknown_exits: AtomicBool::new(false),
            refused_starts: AtomicBool::new(false),
            refused_stops: AtomicBool::new(false),
            obstacles: AtomicU32::new(0),
            rendezvous: Rendezvous::new(),
            launched_at: AtomicU64::new(0),
            traces: Traces::new(),
            refused_types: AtomicBool::new(false),
            policy_version: AtomicU32::new(1),
            tags: AtomicU32::new(0b11),
            prepared: [const { Once::new() }; MAX_PPS],
        }
    }

    /// Makes everything that the PPs share: address space, extension, root VM. Called once, by the first
    /// processor, before any of them launches.
    ///
    /// # Errors
    /// [`PrepareError`]; the machine is as it was.
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
            turn_milliseconds: watchdog::option(platform.command_line),
            answer_milliseconds: wait::option(platform.command_line),
            may_stop: promotion::option(platform.command_line),
        };
        // The root VM may read the reservation past the caches.
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
        extension::load(&self.extension, &platform, &mut space, &mut frames)?;
        *self.space.lock()? = Some(space);
        Ok(())
    }

    /// The root VM: all of the machine's memory, one to one, but for the reservation, where it reads zeroes.
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

    /// Makes what one PP needs. Called on that PP, before it launches; a PP that launches again gets the same.
    ///
    /// # Errors
    /// [`PrepareError`]; the machine is as it was.
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

    /// Takes note of a processor that the loader does not launch: the root VM may start it, and then
    /// [`plinth_hal::HostCpu::start_cold`] brings it to [`Self::run_pp`]. Called on the boot processor before it
    /// launches, after [`Self::prepare_pp`] for that processor: what it needs is set aside now, so that nobody can have
    /// taken it when it starts.
    ///
    /// # Errors
    /// [`PrepareError::TooManyProcessors`].
    pub fn expect_pp(&self, pp: usize, hardware_id: u32) -> Result<(), PrepareError> {
        let mailbox = self.mailboxes.get(pp).ok_or(PrepareError::TooManyProcessors)?;
        mailbox.hardware_id.store(hardware_id, Ordering::Relaxed);
        mailbox.set_standing(Standing::Cold);
        Ok(())
    }

    /// A processor that the root VM has started cannot be launched. It may be started again.
    pub fn refuse_pp(&self, pp: usize, status: LaunchStatus) {
        let Some(mailbox) = self.mailboxes.get(pp) else { return };
        if mailbox.standing() == Standing::Starting {
            stays_off(pp, status);
            mailbox.set_standing(Standing::Cold);
        }
    }

    /// Makes a stack with a page below it that faults; the result is where it begins. The backend keeps it for ever.
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

    /// Frames for the kernel and its backends.
    pub(crate) fn kernel_frames(&self, memory: A::Memory) -> KernelFrames<'_, A::Memory> {
        KernelFrames { pool: &self.frames, memory, owner: FrameOwner::Kernel }
    }

    /// The version of all declared answers together.
    #[inline]
    pub(crate) fn policy_version(&self) -> u32 {
        self.policy_version.load(Ordering::Acquire)
    }

    /// Says that some declared answer changed.
    pub(crate) fn bump_policy(&self) {
        self.policy_version.fetch_add(1, Ordering::Release);
    }

    /// A TLB tag for a new VM, which no other has.
    pub(crate) fn take_tag(&self) -> Option<u16> {
        let free = |tags: u32| {
            1_u32
                .checked_shl(tags.trailing_ones())
                .filter(|_| tags.trailing_ones() <= MAX_VMS as u32)
                .map(|tag| tags | tag)
        };
        let before = self.tags.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).ok()?;
        Some(before.trailing_ones() as u16)
    }

    /// Takes back the tag of a VM that is gone. What TLBs still hold of it is flushed when the next VM that
    /// gets it becomes active.
    pub(crate) fn release_tag(&self, tag: u16) {
        self.tags.fetch_and(!1_u32.checked_shl(u32::from(tag)).unwrap_or(0), Ordering::SeqCst);
    }

    /// Exits of a class on a PP so far; 0 for a PP that is not there.
    pub fn exit_count(&self, pp: usize, class: ExitClass) -> u64 {
        self.mailboxes.get(pp).map_or(0, |mailbox| mailbox.exits(class))
    }

    /// How many PPs run under the hypervisor.
    pub fn launched_pps(&self) -> usize {
        self.mailboxes.iter().filter(|mailbox| mailbox.standing() == Standing::Launched).count()
    }

    /// How many frames of the pool are free.
    pub fn free_frames(&self) -> usize {
        self.frames.lock().map_or(0, |pool| pool.free_frames())
    }

    /// How many frames the pool has.
    pub(crate) fn pool_frames(&self) -> usize {
        self.frames.lock().map_or(0, |pool| pool.frames())
    }

    /// How many VMs, VPs and VSs there are.
    pub fn object_counts(&self) -> [usize; 3] {
        [self.vms.count(), self.vps.count(), self.vss.count()]
    }
}

impl<A: Arch> Default for Kernel<A> {
    fn default() -> Self {
        Self::new()
    }
}
