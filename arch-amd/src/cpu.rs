//! A processor with SVM, while the kernel runs on it.

use plinth_arch_x86::acpi_sleep;
use plinth_arch_x86::cpu::{CpuCore, Vendor};
use plinth_arch_x86::exit_registers::{ExitPage, ExitRegisters};
use plinth_arch_x86::halt;
use plinth_arch_x86::msr_table::MsrTable;
use plinth_arch_x86::nested_misconfig::{self, Answer};
use plinth_arch_x86::nmi::NmiNote;
use plinth_arch_x86::stopped_guest::can_take_over;
use plinth_arch_x86::user::{self, UserRegisters};
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, IdPolicy, Spa, TakeBack, VsHw};

use crate::fast_path::FastPath;
use crate::launch::BackendPages;
use crate::msr_table::TABLE;
use crate::vmcb::{EVENT_VALID, Vmcb, exit_code};
use crate::vs::SvmVs;
use crate::{Svm, deadline, emulate, exit, msr_exits, switch};

/// A processor with SVM.
#[derive(Debug)]
pub struct SvmCpu {
    core: CpuCore,
    host_state: u64,
    /// The VMCB whose hidden state the processor holds; `None`: the host's.
    hidden_of: Option<u64>,
}

impl SvmCpu {
    /// The processor that the caller runs on.
    ///
    /// # Safety
    /// The kernel's address space, descriptor tables and system-call MSRs are loaded, SVM is on, the global interrupt
    /// flag is clear, and `pages` holds this processor's structures.
    pub(crate) unsafe fn new(pages: BackendPages) -> Self {
        // SAFETY: the pages are this processor's, and loaded, says the caller.
        let core = unsafe { CpuCore::new(pages.per_cpu(), pages.nmi_note()) };
        Self { core, host_state: pages.host_state(), hidden_of: None }
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
        self.core.note().take()
    }

    /// An NMI arrived while the kernel was switching to or from the extension. GIF = 0 holds the new one until the next VMRUN
    /// delivers it.
    #[cold]
    fn send_own_nmi(&self) {
        self.core.send_own_nmi();
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

impl Vendor for SvmCpu {
    type Arch = Svm;

    const MSRS: &'static MsrTable = &TABLE;
    const HOLDS_NMIS: bool = true;

    #[inline]
    fn core(&self) -> &CpuCore {
        &self.core
    }

    #[inline]
    fn core_mut(&mut self) -> &mut CpuCore {
        &mut self.core
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

    fn accept_interrupts() {
        // SAFETY: the kernel's IDT and TSS are loaded, with a stub for every interrupt, and interrupts are off. EFER.SVME is set.
        unsafe {
            switch::stgi();
            halt::accept_interrupts();
            switch::clgi();
        }
    }

    #[inline]
    fn run_extension(&mut self, context: &mut UserRegisters) -> bool {
        // SAFETY: `new` was told that everything is loaded, the NMI handler too; `load_host` has put the hidden part back.
        // Maskable interrupts are off but in ring 3, so that NMIs alone come in here while the global interrupt flag is set.
        unsafe {
            switch::stgi();
            let called = user::run(self.core.per_cpu(), context);
            switch::clgi();
            called
        }
    }

    #[inline]
    fn resend_nmi(&mut self) {
        if self.core.note().take() != 0 {
            self.send_own_nmi();
        }
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
        self.core.note().take() != 0
    }

    fn take_kicks(&mut self) -> u32 {
        self.take_pending_nmis()
    }

    fn emulate(vs: &mut SvmVs, exit: &Exit, guest: &impl GuestMemory, registers: ExitRegisters) -> bool {
        emulate::as_bare_machine(vs, exit, guest, registers)
    }

    fn can_promote(&self, vs: &SvmVs, guest: &impl GuestMemory) -> TakeBack {
        if vs.expects_event() {
            return TakeBack::Later;
        }
        let local = 0u8;
        let stack = &raw const local as u64;
        TakeBack::now_if(can_take_over(vs, guest, stack, vs.features.five_levels, []))
    }
}
