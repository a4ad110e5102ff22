//! The exit path: running the active VS and dispatching its exits.
//!
//! The inner loop `run_rounds` handles the common case. It marks the PP as in the guest, calls
//! [`HostCpu::run`], counts the exit, writes its details to the exit page and enters the extension. If the
//! extension answers with `VsAdvanceAndRunCurrent`, the loop skips the instruction and runs the guest again.
//! It looks the VS up once, takes no lock, and leaves only for an exit that the kernel handles, for a posted
//! request, or for another answer.
//!
//! Exits that the kernel handles (kicks, processor control, cache control, accesses to the reservation, the
//! timer, hypercalls of the root VM, mapping on demand) go through `serve_exit`. `decide` passes every other
//! exit to the extension, or to the pass-through once the extension has crashed.

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{Call, ROOT_VM};
use plinth_hal::page_table::{Attributes, InputAddress, MapError, NotLoaded, Permissions};
use plinth_hal::page_table::{PoolTables, PtFormat};
use plinth_hal::{Arch, Event, Exit, ExitClass, HostCpu, Spa, UserContext, UserExit, VsHw};
use plinth_launch::LaunchError;

use crate::extension::Callback;
use crate::extension::Extension;
use crate::extension::end::End;
use crate::hypercall::may_be_kernels;
use crate::ipi::epoch;
use crate::ipi::mailbox::{PROMOTE, PpState};
use crate::kernel::{Kernel, Machine};
use crate::memory::nested::{GIB, allows};
use crate::object::objects::VsState;
use crate::object::table::Id;
use crate::pp::memory_types::retype;
use crate::pp::{Next, Pp, StartedBy, Upcall, guest_view};

impl<A: Arch> Pp<'_, A> {
    /// Runs the active VS until another step follows.
    #[inline(always)]
    pub(crate) fn run_active(&mut self) -> Next {
        loop {
            if let Some(next) = self.run_rounds() {
                return next;
            }
        }
    }

    /// As [`Self::run_active`], as long as the extension decides each exit and answers with
    /// `VsAdvanceAndRunCurrent`. Returns `None` after an exit that the kernel handled and after which the VS
    /// runs on. The active VS stays the same throughout, so its state is checked once.
    #[inline(always)]
    fn run_rounds(&mut self) -> Option<Next> {
        let (mailbox, extension) = (self.mailbox, self.extension);
        let Some(active) = &mut self.active else { return Some(self.fail(End::RunsNoVs, None)) };
        if active.vs.state != VsState::Runnable {
            return self.not_runnable();
        }
        let guest = guest_view(self.kernel, self.machine, active.vs.vm);
        // BOUND: not a wait: each round runs the guest.
        loop {
            if !mailbox.enter_guest() {
                return self.serve_requests();
            }
            let mut declared = 0;
            let exit =
                self.cpu.run(&mut active.vs.hw, self.page, self.policy.answers(), &guest, &mut declared);
            if declared != 0 {
                mailbox.count(ExitClass::Declared, declared);
            }
            mailbox.count(exit.class, 1);
            // Count first, then clear `in_guest`: a watchdog that sees the guest stopped must already see the
            // new count, or it would charge this turn with the time of the previous one.
            mailbox.leave_guest();
            if self.watches_runs || extension.crashed.load(Ordering::Relaxed) {
                return self.sort_exit(exit);
            }
            // The kernel handles only a few hypercalls.
            if is_kernels(exit.class)
                && (exit.class != ExitClass::Hypercall || may_be_kernels::<A>(self.page))
            {
                return self.sort_exit(exit);
            }
            let upcall = Upcall::of_exit(extension, &self.places, active.id, &exit);
            active.vs.hw.describe(&exit, self.page.writer());
            // Copy field by field: a struct copy includes the padding and becomes a call to memcpy.
            let last = &mut self.last_exit;
            (last.class, last.number, last.detail) = (exit.class, exit.number, exit.detail);
            (self.last_vs, self.callback) = (active.id, Callback::Vmexit);
            epoch::begin(mailbox, extension, &mut self.cpu, &mut self.host_epoch);
            let stopped = self.cpu.enter_upcall(&mut self.user, upcall.entry, upcall.stack, upcall.arguments);
            // Compare before the store that other PPs see. After it the compiler would reload the value from
            // memory.
            let called = matches!(stopped, UserExit::Call);
            mailbox.leave_user();
            // The common answer. For any other answer, or a refused one, nothing has been done yet.
            let runs_on =
                called && is_running_on(&self.user, extension) && active.vs.hw.advance(&guest).is_ok();
            if !runs_on {
                return Some(self.stopped_otherwise(stopped));
            }
        }
    }

    /// The extra work after a run for which `watches_runs` is set: the first run on this PP, an armed timer,
    /// a trace or a promotion.
    #[cold]
    #[inline(never)]
    fn has_run(&mut self, exit: Exit) -> Option<Next> {
        if self.is_traced() {
            self.trace_exit(exit);
        }
        if self.root.is_some()
            && let Some(refused) = self.finish_launch(exit)
        {
            return Some(refused);
        }
        if core::mem::take(&mut self.comes_later) {
            self.mailbox.post(PROMOTE);
        }
        self.watch_timer();
        None
    }

    /// The next step for an active VS that waits for a start or is broken, unless a request changes that.
    #[cold]
    #[inline(never)]
    fn not_runnable(&mut self) -> Option<Next> {
        if self.mailbox.has_requests() {
            return self.serve_requests();
        }
        match self.active.as_ref().map(|active| active.vs.state) {
            Some(VsState::WaitsForStart) => self.wait_for_start(),
            Some(VsState::Broken) => Some(self.pass_through_root()),
            Some(VsState::Runnable) | None => None,
        }
    }

    /// Completes the launch of this PP after the first run of its root VS, or abandons it if the processor
    /// refused the entry.
    fn finish_launch(&mut self, exit: Exit) -> Option<Next> {
        if exit.class == ExitClass::EntryRefused {
            log::error!("pp {}: the processor refuses the root VS's state: {exit:?}", self.index);
            return Some(self.abandon(LaunchError::EntryRefused, exit.number));
        }
        self.root = None;
        let launched_at = &self.kernel.launched_at;
        let _ = launched_at.compare_exchange(0, self.cpu.counter(), Ordering::Relaxed, Ordering::Relaxed);
        self.interrupts_changed(None);
        if self.started_by == StartedBy::Messages {
            log::info!("pp {}: started by the root VM", self.index);
        } else {
            log::info!("pp {}: launched; the OS is the root VM now", self.index);
        }
        None
    }

    /// Dispatches an exit that the kernel handles, or may handle. Returns `Some` if another step follows than
    /// running on.
    #[inline(never)]
    fn sort_exit(&mut self, exit: Exit) -> Option<Next> {
        if self.watches_runs
            && let Some(refused) = self.has_run(exit)
        {
            return Some(refused);
        }
        self.serve_exit(exit)
    }

    /// Handles an exit that belongs to the kernel, or may belong to it.
    #[inline]
    fn serve_exit(&mut self, exit: Exit) -> Option<Next> {
        match exit.class {
            ExitClass::Kick => self.kicked(exit),
            ExitClass::Processor => self.processor_control(exit),
            ExitClass::Cache => self.cache_control(exit),
            ExitClass::Reserved => self.end_reserved_writes(),
            ExitClass::Timer => self.timer_exit(),
            ExitClass::Hypercall if self.is_root() => self.root_hypercall(exit),
            ExitClass::Memory if self.is_reserved(exit) => self.reserved_access(exit),
            ExitClass::Memory if self.map_on_demand(exit) || self.was_changing(exit) => None,
            _ => Some(self.decide(exit)),
        }
    }

    /// Passes the exit to the extension. Once the extension has crashed, the pass-through handles the root
    /// VM, the only VM that it knows.
    #[cold]
    #[inline(never)]
    pub(crate) fn decide(&mut self, exit: Exit) -> Next {
        if self.extension.crashed.load(Ordering::Relaxed) {
            return if self.is_root() { self.pass_through(exit) } else { self.pass_through_root() };
        }
        self.upcall_vmexit(exit)
    }

    /// Handles a kick of another PP. Where a kick is an NMI, the exit may also be an NMI of the guest.
    #[cold]
    #[inline(never)]
    fn kicked(&mut self, exit: Exit) -> Option<Next> {
        let is_alone = exit.number == 0;
        if self.mailbox.finish_kick() && is_alone || !A::Cpu::KICK_IS_NMI {
            return None;
        }
        Some(self.decide(Exit::of(ExitClass::Nmi)))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.vs.vm.raw() == ROOT_VM)
    }

    /// Maps memory or devices that the root VM reaches above the end of the machine's memory map: they belong
    /// to the root VM.
    #[cold]
    #[inline(never)]
    fn map_on_demand(&mut self, exit: Exit) -> bool {
        if !self.is_root() {
            return false;
        }
        let view = self.active.as_ref().and_then(|active| active.vs.view);
        let mapped = map_gibibyte(self.kernel, self.machine, view, exit);
        if mapped {
            log::debug!("pp {}: mapped the GiB around {:#x} for the root VM", self.index, exit.number);
        }
        mapped
    }

    /// Runs the root VS of this PP without the extension.
    #[cold]
    #[inline(never)]
    pub(crate) fn pass_through_root(&mut self) -> Next {
        let Some(root) = self.root_vs.filter(|root| self.can_run(*root)) else {
            log::error!("pp {}: it has no root VS that can run; the processor stops", self.index);
            self.stop_for_good()
        };
        let unanswered = self.last_vs == root && self.callback != Callback::Bootstrap;
        self.callback = Callback::Vmexit;
        if unanswered { self.pass_through(self.last_exit) } else { Next::Run }
    }

    /// Stops this PP, which must not or cannot run a guest again. Other PPs see it as failed.
    #[cold]
    #[inline(never)]
    pub(crate) fn stop_for_good(&mut self) -> ! {
        self.mailbox.rest();
        self.mailbox.set_state(PpState::Failed);
        // BOUND: none. It has nothing to run any more, and no PP waits for one that runs no guest.
        loop {
            self.cpu.park(|| false);
        }
    }

    /// Makes a VS active. Returns whether it can run.
    fn can_run(&mut self, id: Id) -> bool {
        self.activate(id).is_ok()
            && self.active.as_ref().is_some_and(|active| active.vs.state != VsState::Broken)
    }

    /// Injects an NMI that was meant for the guest.
    pub(crate) fn inject_nmi(&mut self) {
        self.inject(Event::Nmi);
    }
}

/// Whether the kernel handles exits of a class, or may: the classes that [`Pp::serve_exit`] names.
#[inline]
const fn is_kernels(class: ExitClass) -> bool {
    use ExitClass::{Cache, Hypercall, Kick, Memory, Processor, Reserved, Timer};
    // One bit test for seven classes.
    const KERNELS: u32 = 1 << Kick as u32
        | 1 << Processor as u32
        | 1 << Cache as u32
        | 1 << Reserved as u32
        | 1 << Memory as u32
        | 1 << Timer as u32
        | 1 << Hypercall as u32;
    KERNELS >> class as u32 & 1 != 0
}

/// Maps the GiB around an access one to one, unless the machine's memory map covers it. Returns whether the
/// guest can retry the access.
fn map_gibibyte<A: Arch>(kernel: &Kernel<A>, machine: &Machine<A>, view: Option<Id>, exit: Exit) -> bool {
    let start = exit.number & !(GIB - 1);
    if start < machine.memory_end || start >= machine.physical_end {
        return false;
    }
    let memory = machine.memory;
    let mut frames = kernel.kernel_frames(memory);
    let all = Permissions::READ | Permissions::WRITE | Permissions::EXECUTE;
    kernel
        .vms
        .with(Id::from_raw(ROOT_VM), |vm| {
            let tables = &mut PoolTables { memory, frames: &mut frames };
            let input = <A::NestedFormat as PtFormat>::Input::from_raw;
            let attributes = Attributes::new(all, A::memory_type(memory, Spa::new(start)).0);
            let mapped = vm.each_table(|table| {
                match table.map(tables, &mut NotLoaded, input(start), Spa::new(start), GIB, attributes) {
                    Ok(()) => {
                        retype::<A>(table, tables, &mut NotLoaded, memory, start..start.saturating_add(GIB))
                    }
                    // Another PP has mapped it first, or the extension has removed the permission.
                    Err(MapError::AlreadyMapped(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            });
            let by_view = view.and_then(|view| {
                vm.views.with(view, |view| view.nested.query(tables, input(exit.number))).ok()
            });
            let found = by_view.unwrap_or_else(|| vm.nested.query(tables, input(exit.number)));
            mapped.is_ok() && found.is_some_and(|mapping| allows(mapping.attributes.permissions, exit.detail))
        })
        .unwrap_or(false)
}

/// Whether the extension calls `VsAdvanceAndRunCurrent` with its handle. That is not looked up, since it ends most exits:
/// whoever may not call its group has no VS that it could resume.
#[inline]
pub(crate) fn is_running_on(user: &impl UserContext, extension: &Extension) -> bool {
    user.call_number() == Call::VsAdvanceAndRunCurrent.number() && has_handle(user, extension)
}

/// Whether REG0 is the handle that the extension opened.
#[inline]
pub(crate) fn has_handle(user: &impl UserContext, extension: &Extension) -> bool {
    let handle = extension.handle.load(Ordering::Relaxed);
    handle != 0 && user.argument(0) == handle
}
