//! Running the active VS, and the exits that the kernel itself has to see to.

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{MemoryAccess, ROOT_VM};
use plinth_hal::page_table::{Attributes, InputAddress, MemoryType, NotLoaded, Permissions, PoolTables};
use plinth_hal::page_table::{PageTable, PtFormat};
use plinth_hal::{Arch, Event, Exit, ExitClass, HostCpu, PAGE_SIZE, ProcessorEvent, Spa, Target, VsHw};

use crate::handle::Id;
use crate::kernel::{Kernel, Machine};
use crate::mailbox::{FLUSH, Mailbox, RESET, START};
use crate::objects::VsState;
use crate::pp::{Next, Pp, guest_view};

impl<A: Arch> Pp<'_, A> {
    /// Runs the active VS until an exit is the extension's to decide.
    pub(crate) fn run_active(&mut self) -> Next<A> {
        loop {
            if let Some(next) = self.run_once() {
                return next;
            }
        }
    }

    #[inline]
    fn run_once(&mut self) -> Option<Next<A>> {
        let mailbox = &self.kernel.mailboxes[self.index];
        if mailbox.has_requests() {
            self.serve_requests();
        }
        let Some(active) = &mut self.active else { return Some(self.fail("it runs no VS", None)) };
        match active.vs.state {
            VsState::Runnable => {}
            VsState::WaitsForStart => return self.wait_for_start(),
            VsState::Broken => return Some(self.pass_through_root()),
        }
        if !mailbox.enter_guest() {
            return None;
        }
        let guest = guest_view(self.kernel, self.machine, active.vs.vm);
        let mut declared = 0;
        let exit = self.cpu.run(&mut active.vs.hw, self.exit_page, &self.policy, &guest, &mut declared);
        mailbox.leave_guest();
        if declared != 0 {
            mailbox.count(ExitClass::Declared, declared);
        }
        mailbox.count(exit.class, 1);
        self.sort_exit(exit)
    }

    /// Serves what is the kernel's; `Some` where something else comes next than running on.
    #[inline]
    fn sort_exit(&mut self, exit: Exit) -> Option<Next<A>> {
        match exit.class {
            ExitClass::Kick => self.kicked(),
            ExitClass::Processor => self.processor_control(exit),
            ExitClass::Cache => None,
            ExitClass::Reserved => self.close_reserved_page(),
            ExitClass::Memory if self.is_reserved(exit) => self.open_reserved_page(exit),
            ExitClass::Memory if self.map_on_demand(exit) => None,
            _ => Some(self.decide(exit)),
        }
    }

    /// Asks the extension, or the kernel's own pass-through once that is gone.
    #[inline]
    fn decide(&mut self, exit: Exit) -> Next<A> {
        if self.kernel.extension.crashed.load(Ordering::Relaxed) {
            return self.pass_through(exit);
        }
        self.upcall_vmexit(exit)
    }

    fn serve_requests(&mut self) {
        let mailbox = &self.kernel.mailboxes[self.index];
        let requests = mailbox.take_requests();
        let Some(active) = &mut self.active else { return };
        if requests & FLUSH != 0 {
            active.vs.hw.flush_tlb();
        }
        if requests & RESET != 0 {
            active.vs.hw.reset(self.exit_page);
            active.vs.state = VsState::WaitsForStart;
        }
        if requests & START != 0 && active.vs.state == VsState::WaitsForStart {
            active.vs.hw.start(mailbox.start_entry());
            active.vs.state = VsState::Runnable;
            log::debug!("pp {}: its root VS starts at {:#x}", self.index, mailbox.start_entry());
        }
    }

    fn wait_for_start(&mut self) -> Option<Next<A>> {
        let mailbox = &self.kernel.mailboxes[self.index];
        if self.cpu.park(|| mailbox.has_requests()) {
            mailbox.finish_kick();
        }
        None
    }

    /// An NMI, or its like on other machines: another PP's kick, else the guest's own.
    fn kicked(&mut self) -> Option<Next<A>> {
        if self.kernel.mailboxes[self.index].finish_kick() {
            return None;
        }
        Some(self.decide(Exit::of(ExitClass::Nmi)))
    }

    fn processor_control(&mut self, exit: Exit) -> Option<Next<A>> {
        let Some(active) = &mut self.active else { return None };
        let guest = guest_view(self.kernel, self.machine, active.vs.vm);
        match active.vs.hw.processor_control(&exit, &guest, self.exit_page) {
            Ok(ProcessorEvent::Done) => {}
            Ok(event @ ProcessorEvent::Reset(target)) => {
                self.post(event, target, |mailbox| mailbox.post(RESET));
            }
            Ok(event @ ProcessorEvent::Start { target, entry }) => {
                self.post(event, target, |mailbox| mailbox.post_start(entry));
            }
            Err(_) => return Some(self.decide(exit)),
        }
        None
    }

    /// Leaves a request with every PP that the guest means.
    fn post(&mut self, event: ProcessorEvent, target: Target, request: impl Fn(&Mailbox) -> bool) {
        let mut met = false;
        for (index, mailbox) in self.kernel.mailboxes.iter().enumerate() {
            let meant = mailbox.launched.load(Ordering::Acquire)
                && match target {
                    Target::Id(id) => mailbox.is(id),
                    Target::Others => index != self.index,
                    Target::All => true,
                    Target::Logical(_) | Target::Nobody => false,
                };
            if !meant {
                continue;
            }
            met = true;
            if request(mailbox) && index != self.index {
                self.cpu.kick(mailbox.hardware_id.load(Ordering::Relaxed));
            }
        }
        if !met && !matches!(target, Target::Others | Target::Nobody) {
            self.outside(event);
        }
    }

    /// The guest means a processor that does not run under Plinth. While the loader is still launching, that is
    /// how the firmware gets at the next one; afterwards it would be a way around the hypervisor.
    fn outside(&mut self, event: ProcessorEvent) {
        if !self.kernel.all_launched.load(Ordering::SeqCst) {
            self.cpu.forward(event);
            return;
        }
        log::warn!(
            "pp {}: the root VM asks for {event:x?}, but that processor does not run under Plinth: not done",
            self.index
        );
    }

    fn is_root(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.vs.vm.raw() == ROOT_VM)
    }

    fn is_reserved(&self, exit: Exit) -> bool {
        let write = exit.detail & MemoryAccess::WRITE.bits() != 0;
        write && self.is_root() && self.machine.reservation.contains(Spa::new(exit.number))
    }

    /// A write to the reservation vanishes: for this one instruction the page is one that nobody reads.
    fn open_reserved_page(&mut self, exit: Exit) -> Option<Next<A>> {
        let page = Spa::new(exit.number).page().raw();
        self.close_reserved();
        self.map_reserved(page, self.machine.sink_frame, Permissions::READ | Permissions::WRITE);
        self.open_page = Some(page);
        if let Some(active) = &mut self.active {
            active.vs.hw.single_step(true);
            active.vs.hw.flush_tlb();
        }
        None
    }

    fn close_reserved_page(&mut self) -> Option<Next<A>> {
        self.close_reserved();
        if let Some(active) = &mut self.active {
            active.vs.hw.single_step(false);
            active.vs.hw.flush_tlb();
        }
        None
    }

    fn close_reserved(&mut self) {
        use plinth_hal::PhysicalMemory;
        if let Some(page) = self.open_page.take() {
            self.machine.memory.zero_page(self.machine.sink_frame);
            self.map_reserved(page, self.machine.zero_frame, Permissions::READ);
            self.kernel.shoot_down(self.index, &self.cpu);
        }
    }

    fn map_reserved(&self, page: u64, frame: Spa, permissions: Permissions) {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let _ = self.kernel.vms.with(Id::from_raw(ROOT_VM), |vm| {
            let at = <A::NestedFormat as PtFormat>::Input::from_raw(page);
            let tables = &mut PoolTables { memory, frames: &mut frames };
            let attributes = Attributes::new(permissions, MemoryType::WriteBack);
            // The page is mapped by 4 KiB leaves from the start: replacing one needs no frame and cannot fail.
            let _ = vm.nested.unmap(tables, &mut NotLoaded, at, PAGE_SIZE);
            let _ = vm.nested.map(tables, &mut NotLoaded, at, frame, PAGE_SIZE, attributes);
        });
    }

    /// The root VM reaches memory or devices above what the machine's map showed: they are its own.
    fn map_on_demand(&mut self, exit: Exit) -> bool {
        if !self.is_root() || !self.kernel.root_is_identity.load(Ordering::Relaxed) {
            return false;
        }
        let mapped = map_gibibyte(self.kernel, self.machine, exit.number);
        if mapped {
            log::debug!("pp {}: mapped the GiB around {:#x} for the root VM", self.index, exit.number);
        }
        mapped
    }

    /// Runs the root VS of this PP without the extension.
    pub(crate) fn pass_through_root(&mut self) -> Next<A> {
        if let Some(root) = self.root_vs
            && self.activate(root).is_ok()
            && self.active.as_ref().is_some_and(|active| active.vs.state != VsState::Broken)
        {
            if self.callback == crate::pp::Callback::Vmexit || self.callback == crate::pp::Callback::Fail {
                self.callback = crate::pp::Callback::Vmexit;
                return self.pass_through(self.last_exit);
            }
            return Next::Run;
        }
        log::error!("pp {}: it has no root VS that can run; the processor stops", self.index);
        loop {
            self.cpu.park(|| false);
        }
    }

    /// Injects a non-maskable interrupt that was the guest's own.
    pub(crate) fn inject_nmi(&mut self) {
        self.inject(Event::Nmi);
    }
}

/// Maps the GiB around `at` one to one, if nothing of it is mapped and it is not the hypervisor's.
fn map_gibibyte<A: Arch>(kernel: &Kernel<A>, machine: &Machine<A>, at: u64) -> bool {
    const GIB: u64 = 1 << 30;
    let start = at & !(GIB - 1);
    if start < machine.memory_end || start >= machine.physical_end {
        return false;
    }
    let memory = machine.memory;
    let mut frames = kernel.kernel_frames(memory);
    let all = Permissions::READ | Permissions::WRITE | Permissions::EXECUTE;
    kernel
        .vms
        .with(Id::from_raw(ROOT_VM), |vm| {
            let table: &mut PageTable<A::NestedFormat> = &mut vm.nested;
            let tables = &mut PoolTables { memory, frames: &mut frames };
            let at = <A::NestedFormat as PtFormat>::Input::from_raw(start);
            let attributes = Attributes::new(all, MemoryType::WriteBack);
            table.map(tables, &mut NotLoaded, at, Spa::new(start), GIB, attributes).is_ok()
        })
        .unwrap_or(false)
}

impl<A: Arch> Kernel<A> {
    /// Makes every other PP forget what it has cached of nested tables, and waits until it has.
    pub(crate) fn shoot_down(&self, own: usize, cpu: &A::Cpu) {
        let others = || self.mailboxes.iter().enumerate().filter(|(index, _)| *index != own);
        for (_, mailbox) in others() {
            if mailbox.post_before_entry(FLUSH) && mailbox.start_kick() {
                cpu.kick(mailbox.hardware_id.load(Ordering::Relaxed));
            }
        }
        for (_, mailbox) in others() {
            while mailbox.is_deaf_to(FLUSH) {
                cpu.relax();
            }
        }
    }
}
