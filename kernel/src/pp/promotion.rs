//! The way back to the bare machine: all PPs leave together, or none does.
//!
//! A PP outside reads and writes all memory, the hypervisor's too. So one that is to leave asks all others to come: each stops
//! its guest between two instructions, looks whether the bare machine can go on from there, and waits. Where all are there in
//! time, the one that asked destroys every secret, and they leave; else all go on as before, and the call fails.
//!
//! What is not destroyed is what the last steps run on: the kernel's image with its log, the host's tables, the stacks'
//! uppermost pages and the backends' pages, and the root VM's own state. It holds addresses and the root VM's own registers.

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{Error, Failure, GENERAL_REGISTERS, register};
use plinth_hal::page_table::PoolTables;
use plinth_hal::{
    Arch, ExitClass, ExitFrame, HostCpu, Obstacle, PAGE_SIZE, PhysicalMemory, Spa, TakeBack, VmHw, VsHw,
};

use crate::ipi::mailbox::{Mailbox, PROMOTE, PpState};
use crate::ipi::rendezvous::{Outcome, PATIENCE, Phase, Rendezvous, bit};
use crate::ipi::wait::{CpuClock, Deadline};
use crate::kernel::Kernel;
use crate::launch::choices::MayStop;
use crate::limits::KERNEL_STACK_PAGES;
use crate::memory::frames::FrameOwner;
use crate::object::objects::VsState;
use crate::object::table::Id;
use crate::pp::{Departure, Next, Pp, guest_view};

/// How often a guest that has an event on its way may take another step first.
const STEPS: u32 = 16;
impl<A: Arch> Pp<'_, A> {
    /// Gives the machine back to the root VM: the active root VS goes on behind its instruction, with 0 in its first general
    /// register, and so do the other PPs' wherever they are.
    ///
    /// # Errors
    /// [`Error::Denied`] where that is not allowed, this is not the PP's root VS or the bare machine cannot go on from some VS's
    /// state; [`Error::Busy`] while a PP is on its way; [`Error::Unresponsive`] where one does not come.
    pub(crate) fn promote(&mut self) -> Result<Next, Failure> {
        self.may_promote()?;
        self.stop_stepping();
        match self.take_back() {
            TakeBack::Now => {}
            TakeBack::Never(obstacle) => {
                self.log_obstacle(obstacle);
                return Err(Error::Denied.into());
            }
            TakeBack::Later => return Err(Error::Denied.into()),
        }
        let back = self.skip_for_good()?;
        let met = match self.kernel.rendezvous.begin(self.index) {
            Some(number) => self.meet(number),
            // Another PP has asked: this one comes.
            None => self
                .kernel
                .rendezvous
                .asked()
                .is_some_and(|number| self.wait_for_others(number))
                .then_some(())
                .ok_or(Error::Busy),
        };
        match met {
            Ok(()) => {
                self.page.writer().set_general(0, 0);
                Ok(self.leave())
            }
            Err(error) => {
                self.go_back(back);
                Err(error.into())
            }
        }
    }

    fn may_promote(&self) -> Result<(), Error> {
        let launched = self.kernel.all_launched.load(Ordering::SeqCst);
        if self.machine.may_stop == MayStop::Never && launched {
            if !self.kernel.refused_stops.swap(true, Ordering::Relaxed) {
                log::warn!(
                    "pp {}: the root VM asks for the bare machine, which may-stop=never refuses; more are not logged",
                    self.index
                );
            }
            return Err(Error::Denied);
        }
        Ok(())
    }

    /// Says why no PP leaves, once for each reason: the root VM can ask as often as it likes.
    fn log_obstacle(&self, obstacle: Obstacle) {
        let bit = 1_u32.wrapping_shl(obstacle as u32);
        if self.kernel.obstacles.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            log::error!("pp {}: no PP leaves: {obstacle}; more such refusals are not logged", self.index);
        }
    }

    /// Whether the active VS is this PP's root VS, and the bare machine can go on from its state.
    fn take_back(&mut self) -> TakeBack {
        let (root, launching) = (self.root_vs, self.root.is_some());
        let Some(active) = self.active.as_mut().filter(|active| Some(active.id) == root && !launching) else {
            return TakeBack::Never(Obstacle::NotRoot);
        };
        match active.vs.state {
            VsState::Runnable => {}
            VsState::WaitsForStart if self.cpu.can_turn_off() => return TakeBack::Now,
            VsState::WaitsForStart | VsState::Broken => return TakeBack::Never(Obstacle::Stopped),
        }
        let guest = guest_view(self.kernel, self.machine, active.vs.vm);
        self.cpu.can_promote(&active.vs.hw, &guest, self.page.registers_once())
    }

    /// Skips the instruction at which the active VS exited. Returns where it was.
    fn skip_for_good(&mut self) -> Result<u64, Error> {
        let active = self.active.as_mut().ok_or(Error::WrongState)?;
        let back = active.vs.hw.read(register::INSTRUCTION_POINTER).map_err(|_| Error::Denied)?;
        let guest = guest_view(self.kernel, self.machine, active.vs.vm);
        active.vs.hw.advance(&guest).map_err(|_| Error::Denied)?;
        Ok(back)
    }

    fn go_back(&mut self, back: u64) {
        if let Some(active) = &mut self.active {
            // It has just been read from there.
            let _ = active.vs.hw.write(register::INSTRUCTION_POINTER, back);
        }
    }

    /// Calls all others, and waits until they are there.
    fn meet(&mut self, number: u64) -> Result<(), Error> {
        let met = self.call_others(number);
        let phase = if met.is_ok() { Phase::Met } else { Phase::None };
        let decided = self.kernel.rendezvous.go_on(number, Phase::Asked, phase);
        met?;
        if !decided {
            return Err(Error::Denied);
        }
        self.kernel.destroy_secrets();
        self.kernel.rendezvous.go_on(number, Phase::Met, Phase::Over);
        Ok(())
    }

    fn call_others(&self, number: u64) -> Result<(), Error> {
        let others = self.others()?;
        for (_, mailbox) in self.members(others) {
            mailbox.post(PROMOTE);
            if mailbox.start_kick() {
                self.cpu.kick(mailbox.hardware_id.load(Ordering::Relaxed));
            }
        }
        let rendezvous = &self.kernel.rendezvous;
        let clock = CpuClock(&self.cpu);
        let deadline = Deadline::after(&clock, self.kernel.answer_limit(&self.cpu));
        let is_refused = || rendezvous.asked() != Some(number);
        let in_time = deadline.wait(|| rendezvous.are_here(others) || is_refused());
        if in_time {
            return if is_refused() { Err(Error::Denied) } else { Ok(()) };
        }
        for (pp, mailbox) in self.members(others).filter(|(pp, _)| !rendezvous.are_here(bit(*pp))) {
            let lost = mailbox.is_deaf_to(PROMOTE) && mailbox.set_lost();
            log::error!(
                "pp {pp}: it does not come, as pp {} has asked it to, to leave{}; all others go on",
                self.index,
                if lost { ": it is lost" } else { "" }
            );
        }
        Err(Error::Unresponsive)
    }

    /// The PPs that have to come, a bit for each.
    fn others(&self) -> Result<u64, Error> {
        let mut others = 0;
        for (pp, mailbox) in self.kernel.mailboxes.iter().enumerate().filter(|(pp, _)| *pp != self.index) {
            match mailbox.state() {
                PpState::Absent | PpState::Offline => {}
                PpState::Starting => return Err(Error::Busy),
                PpState::Failed => {
                    log::error!("pp {pp}: it has stopped for good, so that no other one leaves");
                    return Err(Error::Denied);
                }
                PpState::Online if mailbox.is_lost() => return Err(Error::Unresponsive),
                PpState::Online => others |= bit(pp),
            }
        }
        Ok(others)
    }

    fn members(&self, pps: u64) -> impl Iterator<Item = (usize, &Mailbox)> {
        self.kernel.mailboxes.iter().enumerate().filter(move |(pp, _)| pps & bit(*pp) != 0)
    }

    /// Another PP has asked this one to leave with it. `None`: it goes on.
    #[cold]
    #[inline(never)]
    pub(crate) fn asked_to_leave(&mut self) -> Option<Next> {
        let number = self.kernel.rendezvous.asked()?;
        let before = self.active.as_ref().map(|active| active.id).filter(|id| Some(*id) != self.root_vs);
        let can = self.root_vs.is_some_and(|root| self.activate(root).is_ok());
        self.stop_stepping();
        let take_back = if can { self.take_back() } else { TakeBack::Never(Obstacle::NotRoot) };
        if take_back == TakeBack::Later && self.steps < STEPS {
            return self.step_first();
        }
        self.steps = 0;
        if take_back == TakeBack::Now {
            if self.wait_for_others(number) {
                return Some(self.leave());
            }
        } else {
            match take_back {
                TakeBack::Never(obstacle) => self.log_obstacle(obstacle),
                _ => log::error!("pp {}: no PP leaves: an event does not reach its root VS", self.index),
            }
            self.kernel.rendezvous.go_on(number, Phase::Asked, Phase::None);
        }
        before.and_then(|before| self.activate_again(before))
    }

    /// An event is on its way to the root VS: it takes one more step before.
    fn step_first(&mut self) -> Option<Next> {
        self.steps += 1;
        self.comes_later = true;
        self.watch_timer();
        if self.mailbox.start_kick() {
            self.cpu.kick(self.cpu.hardware_id());
        }
        None
    }

    /// Comes to a meeting and waits for its end. Returns whether all PPs leave. Does not return where the kernel has failed on
    /// the PP that asked after all had come: this PP has no tables left on which it could run a guest.
    fn wait_for_others(&mut self, number: u64) -> bool {
        let (rendezvous, clock) = (&self.kernel.rendezvous, CpuClock(&self.cpu));
        let (pp, asker) = (self.index, Rendezvous::asker(number));
        rendezvous.come(pp);
        let limit = self.kernel.answer_limit(&self.cpu).saturating_mul(PATIENCE);
        let asker_failed =
            || self.kernel.mailboxes.get(asker).is_none_or(|mailbox| mailbox.state() == PpState::Failed);
        let overdue =
            || log::error!("pp {pp}: pp {asker} has not destroyed all secrets in time; it is waited for");
        match rendezvous.wait_for_end(number, &clock, limit, asker_failed, overdue) {
            Outcome::Leave => true,
            Outcome::GoOn => false,
            Outcome::Failed => {
                log::error!(
                    "pp {pp}: pp {asker} has failed while it destroyed the VMs' tables; the processor stops"
                );
                self.stop_for_good()
            }
        }
    }

    /// Makes the VS active again that was. It may be gone.
    fn activate_again(&mut self, id: Id) -> Option<Next> {
        match self.activate(id) {
            Ok(()) => None,
            Err(_) => Some(self.report(ExitClass::Attention)),
        }
    }

    /// Leaves with the active root VS.
    fn leave(&mut self) -> Next {
        let Some(active) = self.active.take() else { return self.pass_through_root() };
        self.settle_kicks();
        self.cpu.return_interrupts();
        match active.vs.state {
            VsState::WaitsForStart => log::info!("pp {}: turned off, as the OS has left it", self.index),
            _ => log::info!("pp {}: promoted; it runs the bare machine again", self.index),
        }
        self.kernel.vss.forget_taken(active.id);
        (self.user, self.interrupted) = (A::User::default(), None);
        for offset in (GENERAL_REGISTERS * 8..PAGE_SIZE as usize).step_by(8) {
            self.page.writer().set_field(offset, 0);
        }
        self.clear_stack();
        self.departure = Some(Departure::Promote(active.vs.hw, self.page.registers_once()));
        Next::Depart
    }

    /// Clears what calls have left on this PP's stack, below what is in use.
    #[inline(never)]
    fn clear_stack(&self) {
        let local = 0_u8;
        let used = Spa::new(&raw const local as u64).page().raw();
        let Some(resources) = self.kernel.prepared.get(self.index).and_then(spin::Once::get) else { return };
        let top = resources.stack_top.raw();
        let bottom = top.saturating_sub(KERNEL_STACK_PAGES as u64 * PAGE_SIZE);
        if (bottom..top).contains(&used) {
            // The page below is for what clears the others.
            (bottom..used.saturating_sub(PAGE_SIZE))
                .step_by(PAGE_SIZE as usize)
                .for_each(|page| self.machine.memory.zero_page(Spa::new(page)));
        }
    }
}

impl<A: Arch> Kernel<A> {
    /// Destroys all that is the extension's or a guest VM's, and every VM's tables: no PP runs a guest any more. The root VSs
    /// that leave are taken.
    fn destroy_secrets(&self) {
        let Some(machine) = self.machine.get() else { return };
        let memory = machine.memory;
        let mut frames = self.kernel_frames(memory);
        while let Some(vs) = self.vss.remove_where(|_| true) {
            vs.hw.destroy(&mut frames);
        }
        while self.vps.remove_where(|_| true).is_some() {}
        while let Some(vm) = self.vms.remove_where(|_| true) {
            while let Some(view) = vm.views.remove_where(|_| true) {
                view.nested.destroy(&mut PoolTables { memory, frames: &mut frames });
            }
            vm.nested.destroy(&mut PoolTables { memory, frames: &mut frames });
            vm.hw.destroy(&mut frames);
        }
        memory.zero_page(machine.sink_frame);
        self.traces.clear(memory);
        let exit_pages = self.prepared.iter().filter_map(spin::Once::get).map(|pp| pp.exit_page);
        let is_exit_page = |at: Spa| exit_pages.clone().any(|page| page == ExitFrame::new(at));
        match self.frames.lock() {
            Ok(pool) => pool.each_but(FrameOwner::Kernel, |at| {
                if !is_exit_page(at) {
                    memory.zero_page(at);
                }
            }),
            Err(lost) => log::error!("what the pool holds stays in memory: {lost:?}"),
        }
    }
}
