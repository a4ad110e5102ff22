//! The main loop of one physical processor (PP).
//!
//! A PP alternates between three things: it runs the active VS, it runs the extension, and in the end it
//! departs from the hypervisor. Each step returns a [`Next`], which names the following step, so nothing here
//! recurses. [`Pp`] holds the state of the loop. It belongs to this PP alone; other PPs reach only its
//! mailbox.
//!
//! The path of a common exit: `run` takes the exit from the backend and makes an upcall, the extension calls
//! `VsAdvanceAndRunCurrent`, and `run` enters the guest again, without leaving the inner loop. Every other
//! outcome takes the longer way through [`Next`].

pub(crate) mod cpu_control;
mod departure;
pub(crate) mod memory_types;
pub(crate) mod nested_fault;
mod open_pages;
mod passthrough;
mod policy_copy;
pub(crate) mod promotion;
mod reservation;
pub(crate) mod run;
mod timer;
mod trace;
mod turn_bound;
pub(crate) mod watchdog;

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{Error, INVALID_ID, TraceRecord};
use plinth_hal::{
    Arch, Event, Exit, ExitClass, HostCpu, Page, Registers, UserContext, UserExit, UserFault, UserVa, VsHw,
};
use plinth_launch::{LaunchError, LaunchStatus};

use crate::extension::end::End;
use crate::extension::{Callback, Extension, Places};
use crate::ipi::epoch;
use crate::ipi::mailbox::{Mailbox, PpState};
use crate::kernel::{Kernel, Machine};
use crate::launch::platform::PpResources;
use crate::launch::prepare::stays_off;
use crate::memory::guest_memory::GuestView;
use crate::object::objects::Vs;
use crate::object::table::Id;
use crate::pp::open_pages::OpenPages;
use crate::pp::policy_copy::PolicyCopy;
use crate::pp::turn_bound::TurnBound;

/// How a PP leaves the hypervisor. The backend's entry code carries it out.
pub enum Departure<A: Arch> {
    /// The launch failed: restore the processor to the saved state, and return this status.
    Abandon(LaunchStatus, A::RootState),
    /// The root VM gets the bare processor, with the state of this VS and these general registers.
    Promote(A::Vs, Registers<A>),
}

/// How a PP came to [`Kernel::run_pp`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StartedBy {
    /// By the loader: the OS continues as the root VM.
    Loader,
    /// By an INIT and SIPI of the root VM: the root VS begins in the reset state and waits for the start.
    Messages,
    /// By a firmware call of the root VM (PSCI CPU_ON) that names the entry point: the root state begins
    /// there.
    Call,
}

/// The next step of the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Enter the extension.
    User,
    /// Run the active VS.
    Run,
    /// Leave the hypervisor as [`Pp::departure`] says.
    Depart,
}

/// A call of one of the extension's callbacks.
pub(crate) struct Upcall {
    pub(crate) entry: UserVa,
    pub(crate) stack: UserVa,
    pub(crate) arguments: [u64; 3],
}

impl Upcall {
    /// The upcall of the vmexit callback for an exit of a VS.
    #[inline(always)]
    pub(crate) fn of_exit(extension: &Extension, places: &Places, vs: Id, exit: &Exit) -> Self {
        let entry = UserVa::new(extension.vmexit.load(Ordering::Relaxed));
        let arguments = [places.exit_page.raw(), vs.raw(), exit.class as u64];
        Self { entry, stack: places.stack, arguments }
    }
}

/// The VS that runs on this PP, taken out of the object table.
pub(crate) struct Active<A: Arch> {
    pub(crate) id: Id,
    pub(crate) vs: Vs<A>,
}

/// The state of one physical processor under the hypervisor.
pub(crate) struct Pp<'k, A: Arch> {
    pub(crate) kernel: &'k Kernel<A>,
    pub(crate) machine: &'k Machine<A>,
    pub(crate) extension: &'k Extension,
    pub(crate) index: usize,
    /// The mailbox in which other PPs post requests to this PP.
    pub(crate) mailbox: &'k Mailbox,
    pub(crate) cpu: A::Cpu,
    pub(crate) user: A::User,
    /// The exit page, resolved once by [`Arch::exit_page`]. Holds the general registers of the active VS.
    pub(crate) page: Page<A>,
    /// The addresses of the extension's stacks and exit page on this PP.
    pub(crate) places: Places,
    pub(crate) active: Option<Active<A>>,
    /// The root VS of this PP, which took over the state of the OS.
    pub(crate) root_vs: Option<Id>,
    /// The saved state of the OS on this PP, until the launch has succeeded.
    pub(crate) root: Option<A::RootState>,
    pub(crate) callback: Callback,
    /// The extension's context at its fault, for `ControlAgain` in the fail callback.
    pub(crate) interrupted: Option<(A::User, Callback)>,
    pub(crate) last_exit: Exit,
    /// The VS that caused `last_exit`.
    pub(crate) last_vs: Id,
    /// This PP's copy of the active VM's declared answers.
    pub(crate) policy: PolicyCopy,
    /// The pages of the reservation that are writable for one instruction of the root VM.
    pub(crate) open_pages: OpenPages,
    /// The address of the last access that the guest retried because of a break-before-make window.
    pub(crate) tried_again: Option<u64>,
    /// The departure that [`Next::Depart`] carries out.
    pub(crate) departure: Option<Departure<A>>,
    /// The epoch in which this PP last entered the extension (see `ipi::epoch`).
    pub(crate) host_epoch: u64,
    pub(crate) started_by: StartedBy,
    /// The time limit of a turn of the extension on this PP.
    pub(crate) turn_bound: TurnBound,
    /// The counter value at which the active VS must exit, if the timer is armed.
    pub(crate) deadline: Option<u64>,
    /// The single steps that the root VS has taken before a promotion.
    pub(crate) steps: u32,
    /// The trace record of the last exit, until a VS is about to run again.
    pub(crate) traced: Option<TraceRecord>,
    /// Check after the next run whether a promotion is possible now.
    pub(crate) comes_later: bool,
    /// The next exit needs extra work: it completes the launch, a timer is armed, the trace is on, or a
    /// promotion waits for the end of the run.
    pub(crate) watches_runs: bool,
}

impl<A: Arch> Kernel<A> {
    /// Runs a PP until it leaves the hypervisor. Calls the start or bootstrap callback of the extension,
    /// which turns `root` into a VS and runs it, then handles exits.
    ///
    /// On a PP that [`plinth_hal::HostCpu::start_cold`] started, the VS is reset first and waits for the
    /// start that the root VM requested.
    pub fn run_pp(&self, resources: PpResources, cpu: A::Cpu, root: A::RootState) -> Departure<A> {
        let mailbox = self.mailboxes.get(resources.pp);
        let is_starting = mailbox.is_some_and(|mailbox| mailbox.state() == PpState::Starting);
        let started_by = if is_starting { StartedBy::Messages } else { StartedBy::Loader };
        self.run_from(resources, cpu, root, started_by)
    }

    /// As [`Self::run_pp`] on a PP that the root VM started by a firmware call, which the backend
    /// intercepted. `root` holds the entry point. If the PP is abandoned, the backend switches it off again.
    pub fn run_called_pp(&self, resources: PpResources, cpu: A::Cpu, root: A::RootState) -> Departure<A> {
        self.run_from(resources, cpu, root, StartedBy::Call)
    }

    fn run_from(
        &self,
        resources: PpResources,
        cpu: A::Cpu,
        root: A::RootState,
        started_by: StartedBy,
    ) -> Departure<A> {
        let prepared = self.machine.get().and_then(|machine| {
            let mailbox = self.mailboxes.get(resources.pp)?;
            A::exit_page(machine.memory, resources.exit_page).map(|page| (machine, page, mailbox))
        });
        let Some((machine, page, mailbox)) = prepared.filter(|_| !self.rendezvous.is_over()) else {
            return Departure::Abandon(LaunchStatus::failed(LaunchError::NotPrepared, 0), root);
        };
        if started_by != StartedBy::Messages {
            mailbox.clear();
        }
        mailbox.hardware_id.store(cpu.hardware_id(), Ordering::Relaxed);
        let turn_bound = TurnBound::new(machine.turn_milliseconds, &cpu);
        let mut pp = Pp {
            kernel: self,
            machine,
            extension: &self.extension,
            index: resources.pp,
            mailbox,
            cpu,
            user: A::User::default(),
            page,
            places: self.extension.places(resources.pp),
            active: None,
            root_vs: None,
            root: Some(root),
            callback: Callback::Start,
            interrupted: None,
            last_exit: Exit::of(ExitClass::Other),
            last_vs: Id::from_raw(INVALID_ID),
            policy: PolicyCopy::new(),
            open_pages: OpenPages::default(),
            tried_again: None,
            departure: None,
            host_epoch: 0,
            started_by,
            turn_bound,
            deadline: None,
            steps: 0,
            traced: None,
            comes_later: false,
            watches_runs: true,
        };
        let departure = pp.work();
        mailbox.rest();
        match &departure {
            Departure::Abandon(status, _) if started_by == StartedBy::Messages => {
                self.refuse_pp(resources.pp, *status);
            }
            Departure::Abandon(status, _) if started_by == StartedBy::Call => {
                stays_off(resources.pp, *status);
                mailbox.set_state(PpState::Absent);
            }
            _ => mailbox.set_state(PpState::Absent),
        }
        departure
    }
}

impl<A: Arch> Pp<'_, A> {
    fn work(&mut self) -> Departure<A> {
        let mut next = self.begin();
        loop {
            if next == Next::Run {
                next = self.run_active();
            }
            // Common case: the extension decides the exit. Test for `User` first.
            if next == Next::User {
                next = self.user_turn();
            } else if next == Next::Depart {
                match self.departure.take() {
                    Some(departure) => return departure,
                    None => next = self.pass_through_root(),
                }
            }
        }
    }

    fn begin(&mut self) -> Next {
        let extension = self.extension;
        if extension.crashed.load(Ordering::SeqCst) && self.started_by != StartedBy::Loader {
            return self.begin_without_extension();
        }
        if extension.ready.load(Ordering::SeqCst) {
            return self.bootstrap();
        }
        if self.index != 0 {
            return self.abandon(LaunchError::NotPrepared, 0);
        }
        let entry = UserVa::new(extension.entry.load(Ordering::SeqCst));
        let arguments = [plinth_extension_api::abi::VERSION, 0, 0];
        self.user.prepare_upcall(entry, self.places.stack, arguments);
        self.begin_turn();
        Next::User
    }

    /// Calls the bootstrap callback.
    #[cold]
    #[inline(never)]
    pub(crate) fn bootstrap(&mut self) -> Next {
        self.callback = Callback::Bootstrap;
        let extension = self.extension;
        let entry = UserVa::new(extension.bootstrap.load(Ordering::SeqCst));
        let arguments = [self.index as u64, self.places.exit_page.raw(), 0];
        self.user.prepare_upcall(entry, self.places.stack, arguments);
        self.write_place(None);
        self.begin_turn();
        Next::User
    }

    /// Runs the extension. Invalidates the TLB first if a page was taken from the extension since the last
    /// entry.
    #[inline]
    pub(crate) fn enter_user(&mut self) -> UserExit {
        epoch::begin(self.mailbox, self.extension, &mut self.cpu, &mut self.host_epoch);
        let exit = self.cpu.enter_user(&mut self.user);
        // Compare before the store that other PPs see. After it the compiler would reload the value from
        // memory.
        let called = matches!(exit, UserExit::Call);
        self.mailbox.leave_user();
        if called { UserExit::Call } else { exit }
    }

    #[inline]
    fn user_turn(&mut self) -> Next {
        let stopped = self.enter_user();
        self.user_stopped(stopped)
    }

    /// The next step after the extension stopped with anything but the common answer.
    #[inline(never)]
    pub(crate) fn stopped_otherwise(&mut self, stopped: UserExit) -> Next {
        self.user_stopped(stopped)
    }

    #[inline(always)]
    fn user_stopped(&mut self, stopped: UserExit) -> Next {
        match stopped {
            UserExit::Call => self.dispatch(),
            UserExit::Fault(fault) => self.extension_faulted(fault),
            UserExit::Kick => self.kicked_in_turn(),
            UserExit::Clock => self.clock_in_turn(),
        }
    }

    /// Passes an exit to the extension's vmexit callback.
    pub(crate) fn upcall_vmexit(&mut self, exit: Exit) -> Next {
        let Some(active) = &self.active else { return self.fail(End::NoActiveVs, None) };
        active.vs.hw.describe(&exit, self.page.writer());
        (self.last_exit, self.last_vs, self.callback) = (exit, active.id, Callback::Vmexit);
        let upcall = Upcall::of_exit(self.extension, &self.places, active.id, &exit);
        self.user.prepare_upcall(upcall.entry, upcall.stack, upcall.arguments);
        Next::User
    }

    #[cold]
    #[inline(never)]
    fn extension_faulted(&mut self, fault: UserFault) -> Next {
        log::error!(
            "pp {}: the extension faulted in its {:?} callback: vector {} error {:#x} address {:#x} at {:#x}",
            self.index,
            self.callback,
            fault.vector,
            fault.error,
            fault.address,
            fault.instruction_pointer
        );
        self.fail(End::Faulted, Some(fault))
    }

    /// Handles an extension that cannot continue: calls the fail callback; without one, abandons the launch;
    /// after the launch, the kernel takes over.
    #[cold]
    #[inline(never)]
    pub(crate) fn fail(&mut self, end: End, fault: Option<UserFault>) -> Next {
        if self.root.is_some() {
            return match fault {
                Some(fault) => self.abandon(LaunchError::ExtensionFaulted, fault.vector),
                None => self.abandon(LaunchError::ExtensionExited, 0),
            };
        }
        let callback = self.extension.fail.load(Ordering::SeqCst);
        let crashed = self.extension.crashed.load(Ordering::SeqCst);
        if callback == 0 || self.callback == Callback::Fail || crashed || self.is_out_of_time() {
            return self.crash(end, fault);
        }
        self.upcall_fail(callback, fault)
    }

    fn upcall_fail(&mut self, callback: u64, fault: Option<UserFault>) -> Next {
        let interrupted = core::mem::take(&mut self.user);
        self.interrupted = Some((interrupted, self.callback));
        self.callback = Callback::Fail;
        let (vector, address) = fault.map_or((u64::MAX, 0), |fault| (fault.vector, fault.address));
        let arguments = [self.places.exit_page.raw(), vector, address];
        self.user.prepare_upcall(UserVa::new(callback), self.places.fail_stack, arguments);
        Next::User
    }

    /// Marks the extension as crashed. From then on the kernel passes the exits of the root VM through
    /// itself, on every PP.
    fn crash(&mut self, end: End, fault: Option<UserFault>) -> Next {
        if !self.extension.crashed.swap(true, Ordering::SeqCst) {
            self.extension.set_end(end, self.index, self.callback, fault);
            log::error!(
                "pp {}: the extension is gone ({end}); the kernel passes the root VM through without it",
                self.index
            );
        }
        self.pass_through_root()
    }

    /// Restores the processor to the OS, because the launch failed.
    #[cold]
    #[inline(never)]
    pub(crate) fn abandon(&mut self, error: LaunchError, detail: u64) -> Next {
        self.deactivate();
        let is_expected = self.started_by == StartedBy::Messages;
        self.mailbox.set_state(if is_expected { PpState::Starting } else { PpState::Absent });
        self.settle_kicks();
        self.kernel.discard_vss(self.index);
        match self.root.take() {
            Some(root) => {
                self.departure = Some(Departure::Abandon(LaunchStatus::failed(error, detail), root));
                Next::Depart
            }
            None => self.crash(End::FailedLate, None),
        }
    }

    /// Makes a VS active: takes it out of the table and copies its general registers to the exit page.
    pub(crate) fn activate(&mut self, id: Id) -> Result<(), Error> {
        if self.active.as_ref().is_some_and(|active| active.id == id) {
            return Ok(());
        }
        let own = |vs: &Vs<A>| if vs.pp == self.index { Ok(()) } else { Err(Error::Denied) };
        let mut vs = self.kernel.vss.take(id, own)?;
        self.deactivate();
        self.mailbox.set_active_vm(vs.vm);
        vs.hw.flush_tlb();
        vs.hw.load_registers(&self.machine.memory, self.page.writer());
        self.active = Some(Active { id, vs });
        self.refresh_policy();
        self.write_place(Some(id));
        Ok(())
    }

    /// Reloads the declared answers of the active VM if this PP's copy is old. Called when a VS becomes
    /// active, and on a `POLICY` request.
    pub(crate) fn refresh_policy(&mut self) {
        if let Some(active) = &self.active {
            self.policy.refresh(self.kernel, active.vs.vm);
        }
    }

    /// Puts the active VS back into the table.
    pub(crate) fn deactivate(&mut self) {
        if let Some(mut active) = self.active.take() {
            active.vs.hw.set_deadline(None);
            active.vs.hw.save_registers(&self.machine.memory, self.page.registers_once());
            self.kernel.vss.put_back(active.id, active.vs);
        }
    }

    /// Writes the ids of PP and VS to the exit page.
    fn write_place(&self, id: Option<Id>) {
        use core::mem::offset_of;
        use plinth_extension_api::abi::ExitPage;
        let place = self.active.as_ref().map(|active| (active.vs.vm.raw(), active.vs.vp.raw()));
        let (vm, vp) = place.unwrap_or((INVALID_ID, INVALID_ID));
        let vs = id.map_or(INVALID_ID, Id::raw);
        let write = |offset, value| self.page.writer().set_field(offset, value);
        write(offset_of!(ExitPage, pp), self.index as u64);
        write(offset_of!(ExitPage, vm), vm);
        write(offset_of!(ExitPage, vp), vp);
        write(offset_of!(ExitPage, vs), vs);
    }

    /// Injects an event into the active VS.
    pub(crate) fn inject(&mut self, event: Event) {
        if let Some(active) = &mut self.active {
            active.vs.hw.inject(event);
        }
    }
}

/// The memory of a VM: identity for the root VM, nested tables for any other.
#[inline]
pub(crate) fn guest_view<'v, A: Arch>(
    kernel: &'v Kernel<A>,
    machine: &'v Machine<A>,
    vm: Id,
) -> GuestView<'v, A> {
    if vm.raw() == plinth_extension_api::abi::ROOT_VM {
        return GuestView::Identity(machine);
    }
    GuestView::Tables { kernel, machine, vm }
}
