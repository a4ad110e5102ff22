//! Running the active VS, and the exits that the kernel itself has to see to.

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
use crate::ipi::mailbox::{PROMOTE, Standing};
use crate::kernel::{Kernel, Machine};
use crate::memory::nested::{GIB, allows};
use crate::object::objects::VsState;
use crate::object::table::Id;
use crate::pp::memory_types::retype;
use crate::pp::{Next, Pp, StartedBy, Upcall, guest_view};

impl<A: Arch> Pp<'_, A> {
    /// Runs the active VS until something else comes next.
    #[inline(always)]
    pub(crate) fn run_active(&mut self) -> Next {
        loop {
            if let Some(next) = self.run_rounds() {
                return next;
            }
        }
    }

    /// As [`Self::run_active`], as long as each exit is the extension's to decide and it decides by
    /// `VsAdvanceAndRunCurrent`; `None` where an exit was the kernel's and the VS runs on. The VS is the same all the
    /// while, and nothing that would have to be looked at again happens to it.
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
            // Behind the count: whoever sees that the guest has stopped must not take what follows for the turn before it.
            mailbox.leave_guest();
            if self.watches_runs || extension.crashed.load(Ordering::Relaxed) {
                return self.sort_exit(exit);
            }
            // Of hypercalls few are the kernel's.
            if is_kernels(exit.class)
                && (exit.class != ExitClass::Hypercall || may_be_kernels::<A>(self.page))
            {
                return self.sort_exit(exit);
            }
            let upcall = Upcall::of_exit(extension, &self.places, active.id, &exit);
            active.vs.hw.describe(&exit, self.page.writer());
            // Field by field: else the compiler copies the bytes between them too, by a call.
            let last = &mut self.last_exit;
            (last.class, last.number, last.detail) = (exit.class, exit.number, exit.detail);
            (self.last_vs, self.callback) = (active.id, Callback::Vmexit);
            epoch::begin(mailbox, extension, &mut self.cpu, &mut self.host_epoch);
            let stopped = self.cpu.enter_upcall(&mut self.user, upcall.entry, upcall.stack, upcall.arguments);
            // Looked at here: behind the store that other PPs see, the compiler would look for it in memory.
            let called = matches!(stopped, UserExit::Call);
            mailbox.leave_user();
            // The usual answer; with any other, or where it is refused, nothing has been done yet.
            let runs_on =
                called && is_running_on(&self.user, extension) && active.vs.hw.advance(&guest).is_ok();
            if !runs_on {
                return Some(self.stopped_otherwise(stopped));
            }
        }
    }

    /// What follows a run, by exception: the first one on this PP, or one with the timer set or the trace on.
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

    /// The active VS waits, or will never run again; unless what others have asked for changes that.
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

    /// The root VS has run for the first time on this PP; or the processor would not, and is given back.
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

    /// Sorts an exit that is not, or may not be, one for the extension; `Some` where something else comes next than
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

    /// Serves what is, or may be, the kernel's.
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

    /// Asks the extension, or the kernel's own pass-through once that is gone: it knows the root VM alone.
    #[cold]
    #[inline(never)]
    pub(crate) fn decide(&mut self, exit: Exit) -> Next {
        if self.extension.crashed.load(Ordering::Relaxed) {
            return if self.is_root() { self.pass_through(exit) } else { self.pass_through_root() };
        }
        self.upcall_vmexit(exit)
    }

    /// Another PP's kick; or, where that is an NMI, one of the guest's own.
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

    /// The root VM reaches memory or devices above what the machine's map showed: they are its own.
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

    /// Stops this PP, which must not or cannot run any guest again. Other PPs see it as failed.
    #[cold]
    #[inline(never)]
    pub(crate) fn stop_for_good(&mut self) -> ! {
        self.mailbox.rest();
        self.mailbox.set_standing(Standing::Failed);
        // BOUND: none. It has nothing to run any more, and no PP waits for one that runs no guest.
        loop {
            self.cpu.park(|| false);
        }
    }

    /// Makes a VS active, if it is not broken.
    fn can_run(&mut self, id: Id) -> bool {
        self.activate(id).is_ok()
            && self.active.as_ref().is_some_and(|active| active.vs.state != VsState::Broken)
    }

    /// Injects a non-maskable interrupt that was the guest's own.
    pub(crate) fn inject_nmi(&mut self) {
        self.inject(Event::Nmi);
    }
}

/// Whether exits of a class are, or may be, the kernel's: those that [`Pp::serve_exit`] names.
#[inline]
const fn is_kernels(class: ExitClass) -> bool {
    use ExitClass::{Cache, Hypercall, Kick, Memory, Processor, Reserved, Timer};
    // A set of seven takes one test.
    const KERNELS: u32 = 1 << Kick as u32
        | 1 << Processor as u32
        | 1 << Cache as u32
        | 1 << Reserved as u32
        | 1 << Memory as u32
        | 1 << Timer as u32
        | 1 << Hypercall as u32;
    KERNELS >> class as u32 & 1 != 0
}

/// Maps the GiB around an access one to one, unless the machine's map had it or it is mapped by now. Returns
/// whether the access can be tried again.
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
                    // Another PP was first, or the extension has taken the permission away.
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
