//! The kernel's state that all PPs share.

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

/// Facts about the machine, constant after the launch.
pub(crate) struct Machine<A: Arch> {
    pub(crate) memory: A::Memory,
    pub(crate) reservation: SpaRange,
    /// The start-up page below 1 MiB, which also belongs to the hypervisor.
    pub(crate) low_page: SpaRange,
    /// The end of all hypervisor memory. Lets `is_own` reject most addresses with one comparison.
    pub(crate) own_end: Spa,
    pub(crate) pool: Spa,
    /// The address of the kernel's image.
    pub(crate) image: Spa,
    pub(crate) memory_end: u64,
    /// The number of processors that the loader will launch.
    pub(crate) pp_count: usize,
    pub(crate) physical_end: u64,
    /// The frame of zeroes that the root VM reads in place of the reservation.
    pub(crate) zero_frame: Spa,
    /// The frame that takes the root VM's writes to the reservation.
    pub(crate) sink_frame: Spa,
    /// The time limit of a turn of the extension; 0 for none.
    pub(crate) turn_milliseconds: u64,
    /// The time within which a PP must react to another PP.
    pub(crate) answer_milliseconds: u64,
    /// Who may stop the hypervisor.
    pub(crate) may_stop: MayStop,
    /// Device pages whose writes by the root VM trap to the kernel.
    pub(crate) trapped: TrappedPages,
    /// The number of each PP's backend pages that the extension's own tables map (KPTI).
    pub(crate) entry_pages: usize,
}

impl<A: Arch> Machine<A> {
    /// Whether the address belongs to the hypervisor. The root VM reads zeroes there.
    #[inline]
    pub(crate) fn is_own(&self, at: Spa) -> bool {
        at < self.own_end && (self.reservation.contains(at) || self.low_page.contains(at))
    }
}

/// The microkernel. The image has one static for each backend, and uses that of the launched backend.
pub struct Kernel<A: Arch> {
    pub(crate) machine: Once<Machine<A>>,
    pub(crate) frames: Lock<FramePool>,
    pub(crate) space: Lock<Option<HostSpace<A>>>,
    pub(crate) extension: Extension,
    pub(crate) vms: Table<Vm<A>, MAX_VMS>,
    pub(crate) vps: Table<Vp, MAX_VPS>,
    pub(crate) vss: Table<Vs<A>, MAX_VSS>,
    pub(crate) mailboxes: [Mailbox; MAX_PPS],
    /// Every processor that the loader launches has been launched once.
    pub(crate) all_launched: AtomicBool,
    /// An unknown exit has been logged, and a refused start of a processor (`refused_starts`). Each is logged
    /// once, since the root VM can cause any number.
    pub(crate) unknown_exits: AtomicBool,
    pub(crate) refused_starts: AtomicBool,
    /// A refused stop of the hypervisor has been logged.
    pub(crate) refused_stops: AtomicBool,
    /// The obstacles to a stop that have been logged, a bit for each.
    pub(crate) obstacles: AtomicU32,
    /// The meeting of all PPs before they leave.
    pub(crate) rendezvous: Rendezvous,
    /// The counter at the launch of the first PP; 0 before.
    pub(crate) launched_at: AtomicU64,
    /// The trace rings of all PPs.
    pub(crate) traces: Traces,
    /// A refused change of memory types by the root VM has been logged.
    pub(crate) refused_types: AtomicBool,
    /// Changes with every declared answer of any VM.
    policy_version: AtomicU32,
    /// The TLB tags in use, a bit for each: 0 is the host, 1 the root VM.
    tags: AtomicU32,
    pub(crate) prepared: [Once<PpResources>; MAX_PPS],
}

impl<A: Arch> Kernel<A> {
    /// A kernel before its launch.
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

    /// Quarantines frames that the host tables no longer map. They become free once no TLB reaches them (see
    /// `ipi::epoch`).
    pub(crate) fn retire(&self, frames: impl Iterator<Item = Spa>) {
        // If the pool's lock is lost, the frames keep their owner.
        let Ok(mut pool) = self.frames.lock() else { return };
        frames.for_each(|frame| pool.retire(frame));
        self.extension.epoch.fetch_add(1, Ordering::SeqCst);
        drop(pool);
        self.settle();
    }

    /// Frees the quarantined frames, if no PP still runs the extension in an older epoch.
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

    /// Marks that some declared answer has changed.
    pub(crate) fn bump_policy(&self) {
        self.policy_version.fetch_add(1, Ordering::Release);
    }

    /// Allocates a TLB tag for a new VM.
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

    /// Frees the tag of a destroyed VM. TLBs may still hold entries with the tag; they are invalidated when
    /// the next VM with this tag becomes active.
    pub(crate) fn release_tag(&self, tag: u16) {
        self.tags.fetch_and(!1_u32.checked_shl(u32::from(tag)).unwrap_or(0), Ordering::SeqCst);
    }

    /// The number of exits of a class on a PP; 0 for an unknown PP.
    pub fn exit_count(&self, pp: usize, class: ExitClass) -> u64 {
        self.mailboxes.get(pp).map_or(0, |mailbox| mailbox.exits(class))
    }

    /// The number of PPs under the hypervisor.
    pub fn launched_pps(&self) -> usize {
        self.mailboxes.iter().filter(|mailbox| mailbox.state() == PpState::Online).count()
    }

    /// The number of free frames in the pool.
    pub fn free_frames(&self) -> usize {
        self.frames.lock().map_or(0, |pool| pool.free_frames())
    }

    /// The number of frames in the pool.
    pub(crate) fn pool_frames(&self) -> usize {
        self.frames.lock().map_or(0, |pool| pool.frames())
    }

    /// The numbers of VMs, VPs and VSs.
    pub fn object_counts(&self) -> [usize; 3] {
        [self.vms.count(), self.vps.count(), self.vss.count()]
    }
}

impl<A: Arch> Default for Kernel<A> {
    fn default() -> Self {
        Self::new()
    }
}
