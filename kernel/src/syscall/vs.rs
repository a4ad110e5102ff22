//! System calls of the group VS: create, destroy, initialize, run, advance, inject, migrate, promote.

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{
    EVENT_ERROR_CODE, EVENT_EXCEPTION, EVENT_INTERRUPT, EVENT_NMI, EVENT_WITHDRAW, Error, Failure, ROOT_VM,
};
use plinth_hal::{Arch, Event, UserContext, VsHw};

use super::{Answer, DONE, Resumption, about};
use crate::extension::Callback;
use crate::ipi::mailbox::PpState;
use crate::kernel::Kernel;
use crate::limits::MAX_PPS;
use crate::memory::frames::KernelFrames;
use crate::object::objects::{Vp, Vs, VsState};
use crate::object::table::Id;
use crate::pp::cpu_control::reset;
use crate::pp::{Next, Pp, StartedBy, guest_view};

impl<A: Arch> Pp<'_, A> {
    /// Creates a VS of a VP, for one PP.
    pub(super) fn vs_create(&mut self) -> Answer {
        let (vp, pp) = (self.id(1), self.user.argument(2));
        if pp >= MAX_PPS as u64 {
            return Err(Failure::argument(2, Error::InvalidArgument));
        }
        Ok([self.create_vs(vp, pp as usize)?.raw(), 0])
    }

    pub(crate) fn create_vs(&self, vp: Id, pp: usize) -> Result<Id, Failure> {
        let vm = self.kernel.vps.with(vp, |vp| vp.vm).map_err(about(1))?;
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let created = self.kernel.vms.with(vm, |vm| A::Vs::create(memory, &mut frames, &vm.hw));
        let hw = created.map_err(about(1))?.map_err(|_| Error::OutOfMemory)?;
        let vs = Vs { hw, vm, vp, pp, state: VsState::Runnable, view: None, stepping: false, is_root: false };
        self.kernel.insert_vs(vs, &mut frames)
    }

    /// Destroys a VS that is not active.
    pub(super) fn vs_destroy(&mut self) -> Answer {
        let id = self.id(1);
        if self.active.as_ref().is_some_and(|active| active.id == id) {
            return Err(Failure::argument(1, Error::Busy));
        }
        let not_launched = self.root_vs == Some(id) && self.root.is_some();
        let allowed = |vs: &Vs<A>| if vs.is_root && !not_launched { Err(Error::Denied) } else { Ok(()) };
        let mut vs = self.kernel.vss.remove(id, allowed).map_err(about(1))?;
        self.kernel.leave_view(&mut vs);
        if not_launched {
            self.root_vs = None;
        }
        let _ = self.kernel.vps.with(vs.vp, |vp| vp.vss = vp.vss.saturating_sub(1));
        vs.hw.destroy(&mut self.kernel.kernel_frames(self.machine.memory));
        DONE
    }

    /// Initializes a VS of the root VM with the state of the OS on this PP. Once, before the VS runs.
    pub(super) fn vs_init_as_root(&mut self) -> Answer {
        self.init_as_root(self.id(1))?;
        DONE
    }

    pub(crate) fn init_as_root(&mut self, id: Id) -> Result<(), Failure> {
        if self.root.is_none() || self.root_vs.is_some() {
            return Err(Error::WrongState.into());
        }
        // The exit page is about to take the root VS's general registers.
        self.deactivate();
        let root = self.root.as_ref().ok_or(Error::WrongState)?;
        let initialized = self.kernel.vss.with(id, |vs| {
            if vs.pp != self.index || vs.vm.raw() != ROOT_VM {
                return Err(Error::Denied);
            }
            vs.hw.init_root(root, self.page.writer());
            if self.started_by == StartedBy::Messages {
                reset(vs, self.page.writer());
            }
            vs.hw.save_registers(&self.machine.memory, self.page.registers_once());
            vs.is_root = true;
            Ok(())
        });
        initialized.flatten().map_err(about(1))?;
        self.root_vs = Some(id);
        Ok(())
    }

    /// Injects an event into a VS.
    pub(super) fn vs_inject(&mut self) -> Answer {
        let raw = self.user.argument(2);
        let delivery = delivery::<A>(raw).ok_or(Failure::argument(2, Error::InvalidArgument))?;
        self.with_state(|vs| deliver(vs, delivery))??;
        DONE
    }

    /// Switches single-stepping of a VS on or off.
    pub(super) fn vs_step(&mut self) -> Answer {
        let on = match self.user.argument(2) {
            0 => false,
            1 => true,
            _ => return Err(Failure::argument(2, Error::InvalidArgument)),
        };
        self.with_state(|vs| {
            vs.stepping = on;
            vs.hw.single_step(on);
        })?;
        DONE
    }

    /// Runs a VS.
    pub(super) fn vs_run(&mut self) -> Resumption {
        self.activate(self.id(1)).map_err(about(1))?;
        self.run_current()
    }

    /// Makes a VS active without running it.
    pub(super) fn vs_activate(&mut self) -> Answer {
        self.activate(self.id(1)).map_err(about(1))?;
        DONE
    }

    /// Skips the instruction at which the active VS exited.
    pub(super) fn vs_advance(&mut self) -> Answer {
        self.advance()?;
        DONE
    }

    /// Skips the instruction at which the active VS exited, and runs another VS.
    pub(super) fn vs_advance_and_run(&mut self) -> Resumption {
        let id = self.id(1);
        let runs_here = |vs: &mut Vs<A>| if vs.pp == self.index { Ok(()) } else { Err(Error::Denied) };
        if self.active.as_ref().is_none_or(|active| active.id != id) {
            self.kernel.vss.with(id, runs_here).flatten().map_err(about(1))?;
        }
        self.advance()?;
        self.activate(id).map_err(about(1))?;
        self.run_current()
    }

    #[inline]
    fn advance(&mut self) -> Result<(), Failure> {
        let active = self.active.as_mut().ok_or(Error::WrongState)?;
        let guest = guest_view(self.kernel, self.machine, active.vs.vm);
        active.vs.hw.advance(&guest).map_err(|_| Error::Denied)?;
        Ok(())
    }

    /// Invalidates the TLB entries of a VS's memory.
    pub(super) fn vs_flush(&mut self) -> Answer {
        self.with_vs(VsHw::flush_tlb)?;
        DONE
    }

    /// Moves a VS that is not active to another PP.
    pub(super) fn vs_migrate(&mut self) -> Answer {
        let (id, pp) = (self.id(1), self.user.argument(2));
        if pp >= MAX_PPS as u64 {
            return Err(Failure::argument(2, Error::InvalidArgument));
        }
        if self.active.as_ref().is_some_and(|active| active.id == id) {
            return Err(Failure::argument(1, Error::Busy));
        }
        let moved = self.kernel.vss.with(id, |vs| {
            if vs.is_root {
                return Err(Error::Denied);
            }
            vs.hw.leave_pp();
            vs.pp = pp as usize;
            Ok(())
        });
        moved.flatten().map_err(about(1))?;
        DONE
    }

    /// Runs the active VS.
    pub(super) fn vs_run_current(&mut self) -> Resumption {
        self.run_current()
    }

    /// Skips the instruction that caused the exit, and resumes the active VS.
    #[inline]
    pub(super) fn vs_advance_and_run_current(&mut self) -> Resumption {
        self.advance()?;
        self.run_current()
    }

    #[inline]
    fn run_current(&mut self) -> Resumption {
        let active = self.active.as_ref().ok_or(Error::WrongState)?;
        if self.root.is_some() {
            self.begin_launch(active.id)?;
        }
        Ok(Next::Run)
    }

    /// Checks that the first run on this PP is its root VS, with which the OS continues as the root VM.
    #[cold]
    #[inline(never)]
    pub(crate) fn begin_launch(&mut self, id: Id) -> Result<(), Failure> {
        if self.root_vs != Some(id) || self.callback != Callback::Bootstrap {
            return Err(Error::WrongState.into());
        }
        self.mailbox.set_state(PpState::Online);
        if self.kernel.launched_pps() >= self.machine.pp_count {
            self.kernel.all_launched.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Promotes the named VS on this PP and the root VSs of all other PPs: the root VM gets the bare machine.
    pub(super) fn vs_promote(&mut self) -> Resumption {
        if self.root.is_some() {
            return Err(Error::WrongState.into());
        }
        self.activate(self.id(1)).map_err(about(1))?;
        self.promote().map_err(|failure| match failure.error {
            Error::Denied => Failure::argument(1, Error::Denied),
            _ => failure,
        })
    }

    /// Calls `work` on the hardware state of the VS in REG1, active on this PP or inactive.
    pub(super) fn with_vs<R>(&mut self, work: impl FnOnce(&mut A::Vs) -> R) -> Result<R, Failure> {
        self.with_state(|vs| work(&mut vs.hw))
    }

    /// Calls `work` on the VS in REG1, active on this PP or inactive.
    fn with_state<R>(&mut self, work: impl FnOnce(&mut Vs<A>) -> R) -> Result<R, Failure> {
        let id = self.id(1);
        match &mut self.active {
            Some(active) if active.id == id => Ok(work(&mut active.vs)),
            _ => self.with_state_at_rest(id, work),
        }
    }

    /// Separate, so that the path to the active VS saves no registers for this one.
    #[inline(never)]
    fn with_state_at_rest<R>(&self, id: Id, work: impl FnOnce(&mut Vs<A>) -> R) -> Result<R, Failure> {
        self.kernel.vss.with(id, work).map_err(about(1))
    }
}

/// An event that the extension injects into a VS.
enum Delivery {
    Event(Event),
    Interrupt(u8),
    Withdrawal(u8),
}

fn delivery<A: Arch>(raw: u64) -> Option<Delivery> {
    let number = raw as u8;
    match raw & 0x700 {
        EVENT_NMI => Some(Delivery::Event(Event::Nmi)),
        EVENT_EXCEPTION if A::is_exception(number) => {
            let error_code = (raw & EVENT_ERROR_CODE != 0).then_some((raw >> 32) as u32);
            Some(Delivery::Event(Event::Exception { vector: number, error_code }))
        }
        EVENT_INTERRUPT if A::is_interrupt(number) => Some(Delivery::Interrupt(number)),
        EVENT_WITHDRAW if A::is_interrupt(number) => Some(Delivery::Withdrawal(number)),
        _ => None,
    }
}

/// The root VM gets its interrupts from the machine; the extension cannot inject one.
fn deliver<A: Arch>(vs: &mut Vs<A>, delivery: Delivery) -> Result<(), Failure> {
    let is_root = vs.vm.raw() == ROOT_VM;
    match delivery {
        Delivery::Event(event) => vs.hw.inject(event),
        Delivery::Interrupt(_) | Delivery::Withdrawal(_) if is_root => {
            return Err(Failure::argument(1, Error::Denied));
        }
        Delivery::Interrupt(number) if !vs.hw.interrupt(number) => {
            return Err(Failure::argument(2, Error::Busy));
        }
        Delivery::Interrupt(_) => {}
        Delivery::Withdrawal(number) => vs.hw.withdraw(number),
    }
    Ok(())
}

impl<A: Arch> Kernel<A> {
    fn insert_vs(&self, vs: Vs<A>, frames: &mut KernelFrames<'_, A::Memory>) -> Result<Id, Failure> {
        let vp = vs.vp;
        if let Err(error) = self.vps.with(vp, |vp| vp.vss = vp.vss.saturating_add(1)) {
            vs.hw.destroy(frames);
            return Err(Failure::argument(1, error));
        }
        self.vss.insert(vs).map_err(|vs| {
            let _ = self.vps.with(vp, |vp| vp.vss = vp.vss.saturating_sub(1));
            vs.hw.destroy(frames);
            Error::OutOfObjects.into()
        })
    }

    /// Destroys the VSs of a PP that will not run any.
    pub(crate) fn discard_vss(&self, pp: usize) {
        let Some(machine) = self.machine.get() else { return };
        while let Some(mut vs) = self.vss.remove_where(|vs| vs.pp == pp) {
            self.leave_view(&mut vs);
            vs.hw.destroy(&mut self.kernel_frames(machine.memory));
            self.leave_vp(vs.vp);
        }
    }

    /// Removes a VS from its VP because the PP left. The VP is destroyed with its last VS.
    fn leave_vp(&self, id: Id) {
        let _ = self.vps.with(id, |vp| vp.vss = vp.vss.saturating_sub(1));
        let unused = |vp: &Vp| if vp.vss == 0 { Ok(()) } else { Err(Error::Busy) };
        if let Ok(vp) = self.vps.remove(id, unused) {
            let _ = self.vms.with(vp.vm, |vm| vm.vps = vm.vps.saturating_sub(1));
        }
    }
}
