//! The kernel's state, shared by all PPs, and how it comes to be.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use plinth_extension_api::abi::ExitClass;
use plinth_hal::{Arch, Spa, SpaRange};
// BOUND: what is put in is ready by then, so that the one who puts it is done at once; `get` does not wait.
use spin::Once;

use crate::extension::Extension;
use crate::ipi::mailbox::{Mailbox, PpState};
use crate::ipi::rendezvous::Rendezvous;
use crate::launch::choices::MayStop;
use crate::launch::platform::PpResources;
use crate::limits::{MAX_PPS, MAX_VMS, MAX_VPS, MAX_VSS};
use crate::memory::frames::{FrameOwner, FramePool, KernelFrames};
use crate::memory::host_space::HostSpace;
use crate::memory::trapped::TrappedPages;
use crate::object::objects::{Vm, Vp, Vs};
use crate::object::table::Table;
use crate::report::trace::Traces;
use crate::sync::Lock;

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
    pub(crate) entry_pages: usize,
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

    /// Frames for the kernel and its backends.
    pub(crate) fn kernel_frames(&self, memory: A::Memory) -> KernelFrames<'_, A::Memory> {
        KernelFrames { pool: &self.frames, memory, owner: FrameOwner::Kernel }
    }

    /// Gives up frames that the host's tables no longer lead to. They are free as soon as that is true of
    /// the TLBs as well.
    pub(crate) fn retire(&self, frames: impl Iterator<Item = Spa>) {
        // Where the pool's lock is lost, they stay whose they are.
        let Ok(mut pool) = self.frames.lock() else { return };
        frames.for_each(|frame| pool.retire(frame));
        self.extension.epoch.fetch_add(1, Ordering::SeqCst);
        drop(pool);
        self.settle();
    }

    /// Frees retired frames, if it is time.
    pub(crate) fn settle(&self) {
        let Ok(mut pool) = self.frames.lock() else { return };
        let epoch = self.extension.epoch.load(Ordering::SeqCst);
        if pool.is_leaving() && !self.mailboxes.iter().any(|mailbox| mailbox.is_behind(epoch)) {
            pool.settle();
        }
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
        self.mailboxes.iter().filter(|mailbox| mailbox.state() == PpState::Online).count()
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
