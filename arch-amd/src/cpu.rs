//! A processor with SVM, while the kernel runs on it.

use plinth_arch_x86::acpi_sleep;
use plinth_arch_x86::apic::LocalApic;
use plinth_arch_x86::exit_registers::{ExitPage, ExitRegisters};
#[cfg(feature = "fault-injection")]
use plinth_arch_x86::fault_injection::{self, Nmis};
use plinth_arch_x86::halt;
use plinth_arch_x86::interrupts::Interrupts;
use plinth_arch_x86::nested_misconfig::{self, Answer};
use plinth_arch_x86::nmi::NmiNote;
use plinth_arch_x86::per_cpu::PerCpu;
use plinth_arch_x86::stopped_guest::can_take_over;
use plinth_arch_x86::user::{self, UserRegisters};
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, HostCpu, IdPolicy, Spa, TakeBack, UserExit, VsHw};

use crate::fast_path::FastPath;
use crate::launch::BackendPages;
use crate::msr_table::TABLE;
use crate::vmcb::{EVENT_VALID, Vmcb, exit_code};
use crate::vs::SvmVs;
use crate::{Svm, deadline, emulate, exit, msr_exits, switch};

/// The processor.
#[derive(Debug)]
pub struct SvmCpu {
    per_cpu: *mut PerCpu,
    host_state: u64,
    /// The VMCB whose hidden state the processor holds; `None`: the host's.
    hidden_of: Option<u64>,
    note: &'static NmiNote,
    apic: LocalApic,
    id: u32,
    interrupts: Interrupts,
}

impl SvmCpu {
    /// The processor that the caller runs on.
    ///
    /// # Safety
    /// The kernel's address space, descriptor tables and system-call MSRs are loaded, SVM is on, the global interrupt
    /// flag is clear, and `pages` holds this processor's structures.
    pub(crate) unsafe fn new(pages: BackendPages) -> Self {
        let apic = LocalApic::current();
        Self {
            per_cpu: pages.per_cpu(),
            host_state: pages.host_state(),
            hidden_of: None,
            note: pages.nmi_note(),
            apic,
            id: apic.announce(),
            interrupts: Interrupts::default(),
        }
    }

    /// Sorts an exit; `None` where the guest just runs on.
    #[inline]
    fn left(&mut self, vs: &mut SvmVs, registers: ExitRegisters, guest: &impl GuestMemory) -> Option<Exit> {
        match vs.view().control.exit_code as u32 {
            // By far the most frequent one.
            exit_code::CPUID => return Some(Exit::of(ExitClass::IdRead)),
            exit_code::IRET => {
                vs.interrupt_return();
                if vs.deadline.is_some() {
                    return deadline::exit(vs);
                }
            }
            exit_code::INVD => {
                // Caches are written back, never just dropped: the kernel's own data is in them.
                emulate::write_back_caches();
                if vs.advance(guest).is_err() {
                    vs.inject(Event::Undefined);
                }
            }
            exit_code::NMI => {
                return Some(NmiNote::kick(self.take_pending_nmis()));
            }
            exit_code::MSR => return msr_exits::serve(vs, registers, guest),
            exit_code::EXCEPTION_DB if vs.has_step() => return vs.debug_exception(),
            exit_code::EXCEPTION_DB | exit_code::EXCEPTION_AC => return self.exception(vs),
            exit_code::IOIO if acpi_sleep::may_concern(exit::port(vs)) => {
                return sleep_port(vs, guest, registers);
            }
            exit_code::INTR if vs.deadline.is_some() => return deadline::exit(vs),
            exit_code::NESTED_PAGE_FAULT if exit::is_broken_entry(vs) => return broken_entry(vs),
            _ => return Some(exit::classify(vs)),
        }
        None
    }

    /// An exception that the guest gets. Between two of these kicks, the timer and, for a guest VM, interrupts have their turn.
    #[cold]
    fn exception(&mut self, vs: &mut SvmVs) -> Option<Exit> {
        let ends_turn = vs.reflect();
        match self.take_pending_nmis() {
            0 => {}
            count => return Some(NmiNote::kick(count)),
        }
        deadline::reached(vs).or(ends_turn.then_some(Exit::of(ExitClass::Interrupt)))
    }

    /// Takes NMIs that are held back. Returns how many there were.
    fn take_pending_nmis(&mut self) -> u32 {
        self.load_host();
        // SAFETY: the kernel's IDT is loaded (#VMEXIT restored it), interrupts are off, and so is the TSS with the NMI's
        // stack.
        unsafe { halt::take_pending_nmi() };
        self.note.take()
    }

    /// Puts the guest's hidden state away and the host's in its place.
    #[inline]
    fn load_host(&mut self) {
        if let Some(vmcb) = self.hidden_of.take() {
            // SAFETY: the VMCB is the one it was loaded from; a VS is destroyed only after a turn of the
            // extension, which begins here.
            unsafe {
                switch::vmsave(vmcb);
                switch::vmload(self.host_state);
            }
        }
    }

    /// An NMI came in the kernel, on the way to or from the extension: once more, to be held back until it meets the guest.
    #[cold]
    fn meet_again(&self) {
        self.apic.send_nmi(self.id);
    }

    plinth_arch_x86::interrupt_methods!();

    /// Takes the interrupts that are pending, NMIs too.
    fn accept_interrupts() {
        // SAFETY: the kernel's IDT and TSS are loaded, with a stub for every interrupt, and interrupts are off. EFER.SVME is set.
        unsafe {
            switch::stgi();
            halt::accept_interrupts();
            switch::clgi();
        }
    }

    #[inline]
    fn load_guest(&mut self, vs: &mut SvmVs) {
        let vmcb = vs.physical();
        if self.hidden_of == Some(vmcb) {
            return;
        }
        self.load_host();
        // SAFETY: a VS's VMCB has hidden state from its creation on. The one that ran before has been put to rest, and with
        // it its extended state.
        unsafe {
            switch::vmload(vmcb);
            vs.extended.load();
        }
        self.hidden_of = Some(vmcb);
    }
}

/// An access to a port close to those that put the machine to sleep. All but the root VM's to these are the extension's to decide.
#[cold]
fn sleep_port(vs: &mut SvmVs, guest: &impl GuestMemory, registers: ExitRegisters) -> Option<Exit> {
    let access = exit::port_access(vs);
    let served = vs.is_root && acpi_sleep::serve(vs, &access, guest, registers);
    (!served).then(|| access.exit())
}

/// The kernel's own tables are broken: see [`plinth_arch_x86::nested_misconfig`].
#[cold]
fn broken_entry(vs: &mut SvmVs) -> Option<Exit> {
    let Vmcb { control, save } = vs.view();
    let delivering = control.exit_interrupt_info & EVENT_VALID != 0;
    let (root, at) = (Spa::new(control.nested_cr3), control.exit_info[1]);
    let memory = vs.memory();
    let answer = if vs.features.five_levels {
        nested_misconfig::answer::<5>(&memory, root, at, save.cr4, delivering)
    } else {
        nested_misconfig::answer::<4>(&memory, root, at, save.cr4, delivering)
    };
    match answer {
        Answer::Raise(event) => vs.inject(event),
        Answer::ShutDown => return Some(Exit::of(ExitClass::Shutdown)),
    }
    None
}

impl HostCpu for SvmCpu {
    type Arch = Svm;

    plinth_arch_x86::common_host_methods!();

    #[inline]
    fn enter_user(&mut self, context: &mut UserRegisters) -> UserExit {
        self.load_host();
        // SAFETY: `new` was told that everything is loaded, the NMI handler too; `load_host` has put the hidden part back.
        // Maskable interrupts are off but in ring 3, so that NMIs alone come in here while the global interrupt flag is set.
        let called = unsafe {
            switch::stgi();
            let called = user::run(self.per_cpu, context);
            switch::clgi();
            called
        };
        let exit = if called { UserExit::Call } else { self.not_called(context) };
        if self.note.take() != 0 {
            self.meet_again();
        }
        #[cfg(feature = "fault-injection")]
        fault_injection::serve(exit, context, Nmis { note: self.note, held_back: true });
        exit
    }

    #[inline]
    fn run(
        &mut self,
        vs: &mut SvmVs,
        exit_page: ExitPage,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        loop {
            self.load_guest(vs);
            vs.load_rax_rsp(exit_page.registers_once());
            let interruptible = !vs.is_root;
            if interruptible {
                // SAFETY: the global interrupt flag is clear; `cli` follows the exit.
                unsafe { switch::sti() };
            }
            // SAFETY: the guest's hidden state has just been loaded; the kernel runs with SVM on, no interrupt arrives in it
            // and the host save area is set.
            unsafe { FastPath { vs: &mut *vs, exit_page, policy, guest, declared: &mut *declared }.run() };
            if interruptible {
                switch::cli();
            }
            vs.store_rax_rsp(exit_page.writer());
            if let Some(exit) = self.left(vs, exit_page.registers_once(), guest) {
                return exit;
            }
        }
    }

    fn park(&mut self, wake: impl Fn() -> bool) -> bool {
        if wake() {
            return false;
        }
        self.load_host();
        // BOUND: the root VM's to set, which starts this processor, or nobody's. No other one waits for one that sleeps here.
        // SAFETY: the kernel's IDT and TSS are loaded and interrupts are off, as always in the kernel.
        unsafe { halt::halt_until_nmi() };
        self.note.take() != 0
    }

    fn take_kicks(&mut self) -> u32 {
        self.take_pending_nmis()
    }

    fn emulate(
        &mut self,
        vs: &mut SvmVs,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: ExitRegisters,
    ) -> bool {
        emulate::as_bare_machine(vs, exit, guest, registers)
    }

    fn can_promote(&mut self, vs: &SvmVs, guest: &impl GuestMemory, _: ExitRegisters) -> TakeBack {
        self.load_host();
        if vs.expects_event() {
            return TakeBack::Later;
        }
        let local = 0u8;
        let stack = &raw const local as u64;
        TakeBack::now_if(can_take_over(vs, guest, stack, vs.features.five_levels, []))
    }
}
