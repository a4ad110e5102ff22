//! Processor control: INIT and SIPI of the root VM, and the requests that other PPs posted to this PP.

use core::sync::atomic::Ordering;

use plinth_hal::{Arch, Exit, ExitClass, ExitFrame, HostCpu, PageWriter, ProcessorEvent, Target, VsHw};

use crate::ipi::mailbox::{
    ATTENTION, FLUSH, INTERRUPTS, Mailbox, NMI, POLICY, PROMOTE, PpCall, PpState, RESET, START, TRACE,
};
use crate::object::objects::{Vs, VsState};
use crate::pp::{Next, Pp, guest_view};

impl<A: Arch> Pp<'_, A> {
    /// Handles the requests that other PPs posted.
    #[cold]
    #[inline(never)]
    pub(crate) fn serve_requests(&mut self) -> Option<Next> {
        let mailbox = self.mailbox;
        let requests = mailbox.take_requests();
        if mailbox.is_found() {
            log::warn!("pp {}: it was lost, and answers again: it goes on", self.index);
        }
        if requests & INTERRUPTS != 0 {
            self.cpu.return_interrupts();
        }
        if requests & TRACE != 0 {
            self.trace_entry();
        }
        if requests & FLUSH != 0
            && let Some(active) = &mut self.active
        {
            active.vs.hw.flush_tlb();
        }
        if requests & POLICY != 0 {
            self.refresh_policy();
        }
        if requests & RESET != 0 {
            // First: this saves the state of the VS that the processor still holds, which the reset would
            // miss otherwise.
            if self.cpu.reset_interrupts() {
                mailbox.finish_kick();
            }
            self.with_root(reset);
        }
        if requests & START != 0
            && let Some(entry) = mailbox.take_start_entry()
        {
            let index = self.index;
            self.with_root(|vs, page| start(vs, index, entry, page));
        }
        if requests & NMI != 0 {
            // Re-send the guest's own NMI to this CPU. It arrives after any event that is queued for
            // injection.
            self.cpu.kick(self.cpu.hardware_id());
        }
        if requests & PROMOTE != 0
            && let Some(next) = self.asked_to_leave()
        {
            return Some(next);
        }
        let (crashed, launching) = (self.extension.crashed.load(Ordering::Relaxed), self.root.is_some());
        if requests & ATTENTION != 0 && !crashed && !launching {
            return Some(self.report(ExitClass::Attention));
        }
        if requests & (RESET | START) != 0 && !self.is_root() {
            // The root VM stops or starts this processor, so another VM must not keep it.
            return Some(self.report(ExitClass::Interrupt));
        }
        if crashed {
            self.set_timer(None);
        }
        if launching { None } else { self.look_at_timer() }
    }

    /// Ends the run of the active VS with an exit that has a cause outside the VS.
    pub(crate) fn report(&mut self, class: ExitClass) -> Next {
        self.watch_timer();
        self.mailbox.count(class, 1);
        self.decide(Exit::of(class))
    }

    /// Calls `work` on the root VS of this PP, which need not be active, and on its general registers.
    fn with_root(&mut self, work: impl FnOnce(&mut Vs<A>, PageWriter<A>)) {
        match &mut self.active {
            Some(active) if Some(active.id) == self.root_vs => work(&mut active.vs, self.page.writer()),
            _ => {
                let (Some(root), memory) = (self.root_vs, self.machine.memory) else { return };
                let _ = self.kernel.vss.with(root, |vs| {
                    let page = A::exit_page(memory, ExitFrame::new(vs.hw.registers_at()));
                    // Every VS has this page.
                    if let Some(page) = page {
                        work(vs, page.writer());
                    }
                });
            }
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn wait_for_start(&mut self) -> Option<Next> {
        let mailbox = self.mailbox;
        mailbox.rest();
        // BOUND: the root VM's to set, which starts this processor. No other PP waits for one that runs no guest.
        if self.cpu.park(|| mailbox.has_requests()) {
            mailbox.finish_kick();
        }
        self.watch_timer();
        None
    }

    /// Handles a guest access that addresses processors.
    #[inline(never)]
    pub(crate) fn processor_control(&mut self, exit: Exit) -> Option<Next> {
        self.watch_others();
        let Some(active) = &mut self.active else { return None };
        let guest = guest_view(self.kernel, self.machine, active.vs.vm);
        match active.vs.hw.processor_control(&exit, &guest, self.page.registers_once()) {
            Ok(ProcessorEvent::Done) => self.interrupts_changed(Some(&exit)),
            Ok(ProcessorEvent::KickLost) => {
                self.repeat_kick();
                self.interrupts_changed(Some(&exit));
            }
            Ok(event @ (ProcessorEvent::Reset(target) | ProcessorEvent::Start { target, .. })) => {
                self.post(event, target);
            }
            Err(_) => return Some(self.decide(exit)),
        }
        None
    }

    /// Posts the event to every PP that the guest addresses.
    fn post(&mut self, event: ProcessorEvent, target: Target) {
        let mut met = false;
        for (index, mailbox) in self.kernel.mailboxes.iter().enumerate() {
            if matches!(mailbox.state(), PpState::Absent | PpState::Failed)
                || !self.is_meant(target, index, mailbox)
            {
                continue;
            }
            met = true;
            self.request(event, index, mailbox);
        }
        if !met && !matches!(target, Target::Others | Target::Nobody) {
            self.outside(event);
        }
    }

    /// Posts the event to one PP. A PP needs no kick from itself, and must not mark one as in flight.
    fn request(&self, event: ProcessorEvent, index: usize, mailbox: &Mailbox) {
        match event {
            ProcessorEvent::Start { entry, .. } if index == self.index => _ = mailbox.post_start(entry),
            ProcessorEvent::Start { entry, .. } => mailbox.start(entry, |call| self.call(call, mailbox)),
            // A PP that waits for its first start is in the reset state already.
            ProcessorEvent::Reset(_) if mailbox.state() != PpState::Offline => {
                mailbox.post_reset();
                let launched = mailbox.state() == PpState::Online;
                if index != self.index && launched && mailbox.start_kick() {
                    self.call(PpCall::Kick, mailbox);
                }
            }
            ProcessorEvent::Reset(_) | ProcessorEvent::Done | ProcessorEvent::KickLost => {}
        }
    }

    /// Re-sends a kick to this PP that may have been lost; no PP would send another while one is marked as in
    /// flight. If the first was not lost, both arrive as one, since the hardware holds them back while the
    /// kernel runs.
    fn repeat_kick(&self) {
        if self.mailbox.expects_kick() {
            self.cpu.kick(self.cpu.hardware_id());
        }
    }

    /// Sends a message to a PP. Returns false if the machine cannot.
    fn call(&self, call: PpCall, mailbox: &Mailbox) -> bool {
        let id = mailbox.hardware_id.load(Ordering::Relaxed);
        match call {
            PpCall::Kick => self.cpu.kick(id),
            PpCall::StartAgain => self.cpu.start_again(id),
            PpCall::StartCold => {
                let can = self.cpu.start_cold(id);
                if !can {
                    log::error!("pp {}: the machine cannot start the processor with id {id:#x}", self.index);
                }
                return can;
            }
        }
        true
    }

    fn is_meant(&self, target: Target, index: usize, mailbox: &Mailbox) -> bool {
        match target {
            Target::Id(id) => mailbox.is(id),
            Target::Others => index != self.index,
            Target::All => true,
            Target::Logical(_) | Target::Nobody => false,
        }
    }

    /// Handles a request to a processor outside the hypervisor. During the launch the firmware reaches the
    /// next processor this way, so the kernel forwards the request. Afterwards the request would be a way
    /// around the hypervisor, so the kernel refuses it.
    fn outside(&mut self, event: ProcessorEvent) {
        if !self.kernel.all_launched.load(Ordering::SeqCst) {
            self.cpu.forward(event);
            return;
        }
        if !self.kernel.refused_starts.swap(true, Ordering::Relaxed) {
            log::warn!(
                "pp {}: the root VM asks for {event:x?}, but that processor does not run under Plinth: not done, and more \
                 are not logged",
                self.index
            );
        }
    }
}

/// Puts a VS into the state after a reset, in which it waits for a start.
pub(crate) fn reset<A: Arch>(vs: &mut Vs<A>, page: PageWriter<A>) {
    vs.hw.single_step(false);
    vs.stepping = false;
    vs.hw.reset(page);
    vs.state = VsState::WaitsForStart;
}

fn start<A: Arch>(vs: &mut Vs<A>, pp: usize, entry: u64, page: PageWriter<A>) {
    if vs.state == VsState::WaitsForStart {
        vs.hw.start(entry, page);
        vs.state = VsState::Runnable;
        log::debug!("pp {pp}: its root VS starts at {entry:#x}");
    }
}
