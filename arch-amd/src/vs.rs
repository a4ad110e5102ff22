//! One virtual state on SVM: a VMCB and a place for the general registers while it is not active.

use core::mem::offset_of;

use plinth_arch_x86::IdentityMemory;
use plinth_arch_x86::apic::GuestApic;
use plinth_arch_x86::exit_registers::number::{RAX, RDX, RSP};
use plinth_arch_x86::exit_registers::{ExitPageWriter, ExitRegisters};
use plinth_arch_x86::extended_state::ExtendedState;
use plinth_arch_x86::msr;
use plinth_arch_x86::msr_maps::MsrMaps;
use plinth_arch_x86::single_step::{self, RESUME_FLAG, STEP_CAUSE, Step, TRAP_FLAG};
use plinth_arch_x86::stopped_guest::{self as guest_view, StoppedGuest};
use plinth_extension_api::abi::ExitPage;
use plinth_hal::{
    BadInstruction, BadRegister, Event, Exit, ExitClass, FrameSource, Gpa, GuestAccess, GuestMemory, Gva,
    OutOfFrames, PAGE_SIZE, PhysicalMemory, ProcessorEvent, Spa, UnknownTables, VsHw,
};

use crate::features::Features;
use crate::guest_nmi::{Delivery, GuestNmi};
use crate::reflect::CutOff;
use crate::root_state::{self, SvmRoot};
use crate::vm::{Msrpm, ROOT_TAG, SvmVm};
use crate::vmcb::{self, EVENT_VALID, Vmcb, clean, misc, setup};
use crate::{Svm, deadline, next_rip, reflect, registers, reset, stopped_guest};

/// The VMCB, and behind it the page of the saved general registers. Behind these the extended state.
const PAGES: usize = 2;

/// The vector of NMIs.
const NMI_VECTOR: u64 = 2;
/// Exception vector 1.
const DEBUG_VECTOR: u8 = 1;
/// A guest VM's turn ends with each of so many exceptions that the kernel delivers for it: see [`SvmVs::reflect`].
const REFLECTIONS: u8 = 64;

/// A VS on SVM.
#[derive(Debug)]
pub struct SvmVs {
    vmcb: &'static mut Vmcb,
    memory: IdentityMemory,
    registers: Spa,
    pub(crate) features: Features,
    asid: u32,
    pub(crate) is_root: bool,
    pub(crate) extended: ExtendedState,
    pub(crate) maps: MsrMaps<Msrpm>,
    pub(crate) nmi: GuestNmi,
    /// The trap flag is the kernel's.
    step: Option<Step>,
    /// The kernel single-steps beside what NMIs need.
    is_stepping: bool,
    /// How the guest has its local APIC.
    pub(crate) apic: GuestApic,
    /// Counts exceptions that the kernel delivers.
    reflections: u8,
    /// When the guest has to exit: see [`crate::deadline`].
    pub(crate) deadline: Option<u64>,
}

impl SvmVs {
    #[inline]
    pub(crate) fn vmcb(&mut self) -> &mut Vmcb {
        self.vmcb
    }

    #[inline]
    pub(crate) fn view(&self) -> &Vmcb {
        self.vmcb
    }

    #[inline]
    pub(crate) fn memory(&self) -> IdentityMemory {
        self.memory
    }

    /// Where the processor finds the VMCB.
    #[inline]
    pub(crate) fn physical(&self) -> u64 {
        &raw const *self.vmcb as u64
    }

    /// Says which parts of the VMCB the processor must read again.
    pub(crate) fn changed(&mut self, bits: u64) {
        self.vmcb.control.clean &= !bits;
    }

    /// Whether an event is on its way to the guest, or is held back from it.
    pub(crate) fn expects_event(&self) -> bool {
        let control = &self.vmcb.control;
        let injected = control.event_injection & vmcb::EVENT_VALID != 0;
        let virtual_nmi = control.interrupt_control & (vmcb::VIRTUAL_NMI | vmcb::VIRTUAL_NMI_BLOCKED) != 0;
        injected || virtual_nmi || control.interrupt_shadow != 0 || self.nmi.is_under_way(self.vmcb.save.rip)
    }

    /// Moves RIP past an instruction that was carried out for the guest: what the hardware does then.
    pub(crate) fn advance_to(&mut self, next: u64) {
        self.vmcb.save.rip = next;
        self.vmcb.control.interrupt_shadow = 0;
        if self.vmcb.save.rflags & (TRAP_FLAG | RESUME_FLAG) != 0 {
            self.complete();
        }
    }

    /// What comes of the flags that are about debugging at the end of an instruction that has been carried out.
    #[cold]
    fn complete(&mut self) {
        // Without virtualization of last branches the register stays in the processor (AMD APM vol. 2, 15.23).
        let debug_control = msr::read_guarded(msr::index::DEBUG_CONTROL).unwrap_or(0);
        let flags = self.vmcb.save.rflags;
        self.vmcb.save.rflags &= !RESUME_FLAG;
        if self.step.is_none() && single_step::traps(flags, debug_control) {
            self.raise_debug(self.vmcb.save.dr6 | STEP_CAUSE);
        }
    }

    /// Delivers a debug exception whose handler finds this in DR6.
    fn raise_debug(&mut self, status: u64) {
        self.vmcb.save.dr6 = status;
        self.vmcb.control.interrupt_shadow = 0;
        self.changed(clean::DEBUG_REGISTERS);
        self.inject(Event::Exception { vector: DEBUG_VECTOR, error_code: None });
    }

    /// An IRET is about to be executed: the guest's NMI handler may end.
    pub(crate) fn interrupt_return(&mut self) {
        self.vmcb.control.intercept_misc &= !misc::IRET;
        self.changed(clean::INTERCEPTS);
        if self.nmi.returns(self.vmcb.save.rip) {
            self.begin_step();
        }
    }

    /// Delivers an NMI as soon as the guest can take it.
    fn raise_nmi(&mut self) {
        if self.features.virtual_nmi {
            self.vmcb.control.interrupt_control |= vmcb::VIRTUAL_NMI;
            return self.changed(clean::VIRTUAL_INTERRUPT);
        }
        let busy = self.vmcb.control.event_injection & EVENT_VALID != 0;
        match self.nmi.raise(self.vmcb.save.rip, busy) {
            Delivery::Now => self.vmcb.control.event_injection = EVENT_VALID | vmcb::EVENT_NMI | NMI_VECTOR,
            Delivery::AfterStep => self.begin_step(),
            Delivery::AfterReturn => {}
        }
        self.intercept_returns();
    }

    /// Has IRET exit, if an NMI needs that.
    fn intercept_returns(&mut self) {
        if self.nmi.intercepts_return() {
            self.vmcb.control.intercept_misc |= misc::IRET;
            self.changed(clean::INTERCEPTS);
        }
    }

    /// Has the guest exit after its next instruction.
    fn begin_step(&mut self) {
        if self.step.is_some() {
            return;
        }
        let save = &mut self.vmcb.save;
        let step = Step::begin(save.rflags, save.dr6);
        save.rflags |= TRAP_FLAG;
        save.dr6 = step.clear_status();
        self.step = Some(step);
        self.changed(clean::DEBUG_REGISTERS);
    }

    /// A debug exception during a single step. Returns an exit where the kernel steps for more than an NMI.
    #[cold]
    pub(crate) fn debug_exception(&mut self) -> Option<Exit> {
        let step = self.step?;
        let exception = step.sort(self.vmcb.save.dr6);
        let returned = exception.ends_step && self.nmi.stepped();
        // The flags that an IRET has loaded are the guest's own.
        let guest_flag = if returned { self.vmcb.save.rflags & TRAP_FLAG != 0 } else { step.guest_flag };
        self.end_step(exception.status, guest_flag);
        if exception.is_guests {
            self.raise_debug(exception.status);
        }
        if returned {
            self.raise_nmi();
        } else {
            // An IRET that has not been executed exits again, after the handler of what came instead.
            self.nmi.is_not_executed();
            self.intercept_returns();
        }
        if !self.is_stepping {
            return None;
        }
        self.begin_step();
        Some(Exit::of(ExitClass::Reserved))
    }

    /// Whether the trap flag is the kernel's.
    pub(crate) fn has_step(&self) -> bool {
        self.step.is_some()
    }

    /// Delivers the exception that has just exited: see [`crate::reflect`]. Returns whether the turn of a guest VM has to end.
    ///
    /// If each delivery raises another exception, that comes before pending interrupts, which would end the turn.
    pub(crate) fn reflect(&mut self) -> bool {
        match reflect::reflect(&mut self.vmcb.control) {
            CutOff::Interrupt(vector) => self.set_virtual_interrupt(Some(vector)),
            CutOff::Nmi => self.raise_nmi(),
            CutOff::Nothing => {}
        }
        self.reflections = self.reflections.wrapping_add(1);
        !self.is_root && self.reflections.is_multiple_of(REFLECTIONS)
    }

    /// Ends a single step, with the guest's own trap flag and DR6.
    fn end_step(&mut self, status: u64, guest_flag: bool) {
        self.step = None;
        self.vmcb.save.dr6 = status;
        if !guest_flag {
            self.vmcb.save.rflags &= !TRAP_FLAG;
        }
        self.changed(clean::DEBUG_REGISTERS);
    }

    /// Has an interrupt wait, or none.
    fn set_virtual_interrupt(&mut self, vector: Option<u8>) {
        const VECTOR: u64 = 0xFF << vmcb::VIRTUAL_VECTOR_SHIFT;
        let control = &mut self.vmcb.control.interrupt_control;
        *control &= !(vmcb::VIRTUAL_INTERRUPT | VECTOR);
        if let Some(vector) = vector {
            *control |= vmcb::VIRTUAL_INTERRUPT | u64::from(vector) << vmcb::VIRTUAL_VECTOR_SHIFT;
        }
        self.changed(clean::VIRTUAL_INTERRUPT);
    }
}

impl VsHw for SvmVs {
    type Arch = Svm;

    fn create(
        memory: IdentityMemory,
        frames: &mut impl FrameSource,
        vm: &SvmVm,
    ) -> Result<Self, OutOfFrames> {
        let first = frames.allocate(PAGES + ExtendedState::pages())?;
        // SAFETY: two fresh pages of the pool, zeroed and identity mapped, which nobody but this VS knows; all
        // zeroes is a valid `Vmcb`.
        let vmcb = unsafe { &mut *(first.raw() as *mut Vmcb) };
        let features = Features::current();
        let asid = 1 + u32::from(vm.tag()).saturating_sub(1) % (features.asids.max(2) - 1);
        let registers = first.wrapping_add(PAGE_SIZE);
        let mut vs = Self {
            vmcb,
            memory,
            registers,
            features,
            asid,
            maps: vm.maps(),
            is_root: vm.tag() == ROOT_TAG,
            // SAFETY: fresh pages of the pool, zeroed and identity mapped, which nobody but this VS knows.
            extended: unsafe { ExtendedState::new(first.nth_page(PAGES as u64)) },
            nmi: GuestNmi::default(),
            step: None,
            is_stepping: false,
            apic: GuestApic::default(),
            reflections: 0,
            deadline: None,
        };
        vs.init_control(vm);
        reset::initialize(&mut vs.vmcb.save);
        Ok(vs)
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(Spa::new(self.physical()), PAGES + ExtendedState::pages());
    }

    fn init_root(&mut self, root: &SvmRoot, exit_page: ExitPageWriter) {
        root_state::take_root(self.vmcb, root);
        // SAFETY: no VS has run on this processor yet: what is there is the OS's.
        unsafe { self.extended.adopt() };
        for (number, register) in root.state.registers.iter().enumerate() {
            exit_page.set_general(number, *register);
        }
        self.changed(clean::ALL);
    }

    #[inline]
    fn describe(&self, exit: &Exit, exit_page: ExitPageWriter) {
        let write = |offset, value| exit_page.set_field(offset, value);
        let (control, save) = (&self.vmcb.control, &self.vmcb.save);
        write(offset_of!(ExitPage, code), control.exit_code);
        write(offset_of!(ExitPage, info), control.exit_info[0]);
        write(offset_of!(ExitPage, info) + 8, control.exit_info[1]);
        write(offset_of!(ExitPage, event), control.exit_interrupt_info);
        write(offset_of!(ExitPage, instruction_pointer), save.rip);
        write(offset_of!(ExitPage, flags), save.rflags);
        write(offset_of!(ExitPage, privilege), u64::from(save.cpl));
        write(offset_of!(ExitPage, number), exit.number);
        write(offset_of!(ExitPage, detail), exit.detail);
    }

    #[inline]
    fn advance(&mut self, guest: &impl GuestMemory) -> Result<(), BadInstruction> {
        let next = next_rip::next_rip(self, guest)?;
        self.advance_to(next);
        Ok(())
    }

    fn inject(&mut self, event: Event) {
        const UNDEFINED_VECTOR: u64 = 6;
        let raw = match event {
            Event::Nmi => return self.raise_nmi(),
            Event::Undefined => vmcb::EVENT_EXCEPTION | UNDEFINED_VECTOR,
            Event::Exception { vector, error_code: None } => vmcb::EVENT_EXCEPTION | u64::from(vector),
            Event::Exception { vector, error_code: Some(code) } => {
                vmcb::EVENT_EXCEPTION | vmcb::EVENT_ERROR_CODE | u64::from(vector) | u64::from(code) << 32
            }
        };
        self.vmcb.control.event_injection = EVENT_VALID | raw;
    }

    fn interrupt(&mut self, number: u8) -> bool {
        if self.vmcb.control.interrupt_control & vmcb::VIRTUAL_INTERRUPT != 0 {
            return false;
        }
        self.set_virtual_interrupt(Some(number));
        true
    }

    fn withdraw(&mut self, number: u8) {
        if (self.vmcb.control.interrupt_control >> vmcb::VIRTUAL_VECTOR_SHIFT) as u8 == number {
            self.set_virtual_interrupt(None);
        }
    }

    fn read(&self, register: u64) -> Result<u64, BadRegister> {
        registers::read(&self.vmcb.save, register).ok_or(BadRegister)
    }

    fn write(&mut self, register: u64, value: u64) -> Result<(), BadRegister> {
        registers::write(&mut self.vmcb.save, register, value).ok_or(BadRegister)?;
        self.changed(clean::ALL);
        Ok(())
    }

    fn flush_tlb(&mut self) {
        let one = self.features.flush_by_asid;
        self.vmcb.control.tlb_control = if one { vmcb::FLUSH_ASID } else { vmcb::FLUSH_ALL };
    }

    fn translate(
        &self,
        gva: Gva,
        access: GuestAccess,
        guest: &impl GuestMemory,
    ) -> Result<Option<Gpa>, UnknownTables> {
        Ok(guest_view::translate(&self.paging(), gva, access, guest))
    }

    fn set_nested_root(&mut self, root: Spa) {
        self.vmcb.control.nested_cr3 = root.raw();
        self.changed(clean::NESTED_PAGING);
        self.flush_tlb();
    }

    fn leave_pp(&mut self) {
        self.changed(clean::ALL);
        self.flush_tlb();
    }

    fn processor_control(
        &mut self,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: ExitRegisters,
    ) -> Result<ProcessorEvent, BadInstruction> {
        stopped_guest::control(self, exit, guest, registers)
    }

    fn reset(&mut self, page: ExitPageWriter) {
        reset::initialize(&mut self.vmcb.save);
        self.nmi = GuestNmi::default();
        self.vmcb.control.interrupt_control &= !(vmcb::VIRTUAL_NMI | vmcb::VIRTUAL_NMI_BLOCKED);
        // The kernel says it again before the VS runs.
        self.set_deadline(None);
        // SAFETY: the VS runs on this processor alone, and the kernel runs at privilege level 0 with no breakpoint on.
        unsafe { self.extended.reset_debug() };
        self.vmcb.control.intercept_misc &= !misc::IRET;
        self.vmcb.control.event_injection = 0;
        self.vmcb.control.interrupt_shadow = 0;
        self.is_stepping = false;
        if self.step.is_some() {
            self.end_step(self.vmcb.save.dr6, false);
        }
        page.set_all(|_| 0);
        // RDX holds the processor's family, model and stepping after a reset (AMD APM vol. 2, table 14-1).
        let signature = core::arch::x86_64::__cpuid(1).eax;
        page.set_general(RDX, u64::from(signature));
        self.changed(clean::ALL);
    }

    fn start(&mut self, entry: u64, _: ExitPageWriter) {
        let cs = &mut self.vmcb.save.cs;
        cs.selector = (entry << 8) as u16;
        cs.base = entry << 12;
        self.vmcb.save.rip = 0;
        self.changed(clean::ALL);
    }

    fn single_step(&mut self, on: bool) {
        self.is_stepping = on;
        match self.step {
            None if on => self.begin_step(),
            Some(step) if !on && !self.nmi.is_stepping() => self.end_step(step.status(), step.guest_flag),
            _ => {}
        }
    }

    fn set_deadline(&mut self, deadline: Option<u64>) {
        deadline::set(self, deadline);
    }

    fn registers_at(&self) -> Spa {
        self.registers
    }

    fn save_registers(&mut self, memory: &impl PhysicalMemory, registers: ExitRegisters) {
        registers.copy_to(memory, self.registers);
        // SAFETY: the kernel puts a VS to rest on its own processor.
        unsafe { self.extended.save() };
    }

    fn load_registers(&self, memory: &impl PhysicalMemory, exit_page: ExitPageWriter) {
        exit_page.copy_from(memory, self.registers);
    }
}

impl SvmVs {
    fn init_control(&mut self, vm: &SvmVm) {
        let control = &mut self.vmcb.control;
        setup::controls(control, &self.features, self.is_root);
        control.msrpm_base = vm.msrpm().raw();
        control.iopm_base = vm.iopm().raw();
        control.asid = self.asid;
        control.nested_cr3 = vm.nested_root().raw();
        self.flush_tlb();
    }

    /// Takes RAX and RSP, which the VMCB holds, from the exit page.
    #[inline]
    pub(crate) fn load_rax_rsp(&mut self, registers: ExitRegisters) {
        [self.vmcb.save.rax, self.vmcb.save.rsp] = registers.take([RAX, RSP]);
    }

    /// Puts them back.
    #[inline]
    pub(crate) fn store_rax_rsp(&self, exit_page: ExitPageWriter) {
        exit_page.set_general(RAX, self.vmcb.save.rax);
        exit_page.set_general(RSP, self.vmcb.save.rsp);
    }
}
