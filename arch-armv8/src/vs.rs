//! A virtual state (vCPU) at EL2: a page for its registers, and the EL2 configuration (HCR_EL2 and related registers) with
//! which it runs.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::{ELR_EL2, ESR_EL2, FAR_EL2, Readable, SPSR_EL2};
use plinth_extension_api::abi::{ExitPage, register};
use plinth_hal::{
    BadInstruction, BadRegister, Event, Exit, ExitClass, FrameSource, Gpa, GuestAccess, GuestMemory, Gva,
    OutOfFrames, PhysicalMemory, ProcessorEvent, Spa, UnknownTables, VsHw,
};

use crate::el1_context::{El1Context, MDSCR_EL1, SCTLR_EL1, SP_EL1};
use crate::el2::probe;
use crate::exit_registers::{ExitPageWriter, ExitRegisters, call_arguments, operand, set_results};
use crate::features::Features;
use crate::inject::{self, Exception, Place};
use crate::memory::IdentityMemory;
use crate::psci::power_state::POWER_STATES;
use crate::pstate::{Pstate, StepBit};
use crate::root_state::El2Root;
use crate::syndrome::{Syndrome, class};
use crate::trap_config::{HCR_TID3, MDCR_TDE, TrapConfig};
use crate::vm::{El2Vm, ROOT_TAG};
use crate::{El2, mpidr, power::handler, write_traps};

/// VTTBR_EL2.VMID.
const VMID: u64 = 0xFFFF << 48;
/// MDSCR_EL1.SS.
const MDSCR_STEP: u64 = 1;
/// HCR_EL2.VI and VF: the pending virtual IRQ and virtual FIQ.
pub(crate) const HCR_VI: u64 = 1 << 7;
const HCR_VF: u64 = 1 << 6;

/// The bits of [`El2Vs::before_entry`].
const FLUSH: u8 = 1;
const DEADLINE: u8 = 2;
const STEP: u8 = 4;
const GUEST: u8 = 8;

/// A VS at EL2.
#[derive(Debug)]
pub struct El2Vs {
    memory: IdentityMemory,
    page: Spa,
    /// The VM's [`El2Vm::traps`].
    traps: &'static AtomicU64,
    /// The VM's mask of [`write_traps`].
    write_mask: &'static AtomicU64,
    /// The EL2 configuration. HCR_EL2 includes [`HCR_VI`] and [`HCR_VF`] while these are pending.
    trap_config: TrapConfig,
    /// The root of the VM's nested tables, or of a view of them.
    nested_root: Spa,
    root: bool,
    place: Place,
    syndrome: Syndrome,
    fault_address: u64,
    /// After an exit for a read of an ID register: the CPU's own value.
    native: u64,
    /// What is to be done before the next entry: [`FLUSH`], [`STEP`] where stepping has begun or ended; before each [`DEADLINE`], and
    /// [`GUEST`] for another VM than the root VM.
    before_entry: u8,
    /// When it has to exit.
    deadline: Option<u64>,
    /// While the kernel single-steps the guest: the guest's own MDSCR_EL1.
    stepping: Option<u64>,
    /// While the kernel single-steps the guest: PSTATE.SS for the next entry.
    step: StepBit,
}

impl El2Vs {
    pub(crate) fn el1_context(&self) -> El1Context {
        El1Context::new(self.memory, self.page)
    }

    #[inline]
    pub(crate) fn syndrome(&self) -> Syndrome {
        self.syndrome
    }

    pub(crate) fn is_root(&self) -> bool {
        self.root
    }

    pub(crate) fn is_stepping(&self) -> bool {
        self.stepping.is_some()
    }

    /// The guest's own MDSCR_EL1, while the kernel single-steps the guest.
    pub(crate) fn stepped_mdscr(&self) -> Option<u64> {
        self.stepping
    }

    /// A system register by its encoding.
    fn system(&self, encoding: u64) -> Option<u64> {
        self.stepping
            .filter(|_| encoding == MDSCR_EL1)
            .or_else(|| self.el1_context().read_own(encoding, self.root))
    }

    /// Reads a system register by its ABI number. Out of line: inlined, it would make reads of the other registers spill.
    #[inline(never)]
    fn read_system(&self, number: u64) -> Result<u64, BadRegister> {
        self.system(system_register(number)?).ok_or(BadRegister)
    }

    /// Writes a system register by its encoding. While the kernel single-steps the guest, a write of MDSCR_EL1 keeps the
    /// step enabled.
    pub(crate) fn set_system(&mut self, encoding: u64, value: u64) -> Option<()> {
        match &mut self.stepping {
            Some(guest) if encoding == MDSCR_EL1 => {
                *guest = value;
                self.el1_context().write(encoding, value | MDSCR_STEP)
            }
            _ => self.el1_context().write_own(encoding, value, self.root),
        }
    }

    /// Carries out a write that is trapped only because the hardware traps the registers of a group together. Returns false
    /// for any other exit.
    #[inline]
    pub(crate) fn write_through(&mut self, exit: &Exit, registers: ExitRegisters) -> bool {
        if exit.class != ExitClass::RegisterWrite {
            return false;
        }
        let mask = self.write_mask.load(Ordering::Relaxed);
        write_traps::trapped_by_neighbour(exit.number, mask) && self.write_register(exit, registers)
    }

    /// Carries out a trapped write of a register of the bank, and skips the instruction. Returns false for one that is
    /// not in the bank.
    #[inline(never)]
    pub(crate) fn write_register(&mut self, exit: &Exit, registers: ExitRegisters) -> bool {
        let written = self.set_system(exit.number, operand(registers, exit.detail)).is_some();
        if written {
            self.skip();
        }
        written
    }

    /// The EL2 configuration for the next entry.
    #[inline]
    pub(crate) fn trap_config(&self) -> TrapConfig {
        let hcr = self.trap_config.hcr | self.traps.load(Ordering::Relaxed);
        TrapConfig { hcr, ..self.trap_config }
    }

    /// Whether the extension has asked for exits on ID register reads. Otherwise the kernel answers the reads that are
    /// trapped.
    #[inline]
    pub(crate) fn shows_id_reads(&self) -> bool {
        self.traps.load(Ordering::Relaxed) & HCR_TID3 != 0
    }

    /// The root of the nested tables by which the guest is translated.
    pub(crate) fn nested_root(&self) -> Spa {
        self.nested_root
    }

    /// Whether the next entry needs preparation.
    #[inline]
    pub(crate) fn has_preparations(&self) -> bool {
        self.before_entry != 0
    }

    /// Whether the TLB entries of its VM must be invalidated before the next entry. Clears the request.
    pub(crate) fn take_flush(&mut self) -> bool {
        let flush = self.before_entry & FLUSH != 0;
        self.before_entry &= !(FLUSH | STEP);
        flush
    }

    /// When it has to exit.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Sets the stage-2 root: that of the CPU on which the VS runs from now on.
    pub(crate) fn translate_by(&mut self, root: Spa) {
        self.trap_config.vttbr = self.trap_config.vttbr & VMID | root.raw();
    }

    /// Address and state for the next entry.
    #[inline]
    pub(crate) fn entry(&self) -> Place {
        Place { pstate: self.place.pstate.with(self.step), ..self.place }
    }

    /// Saves PC, PSTATE and syndrome of the exit.
    #[inline]
    pub(crate) fn exited(&mut self) {
        // While the kernel single-steps the guest, PSTATE.SS is the kernel's.
        let pstate = Pstate::saved(SPSR_EL2.get()).without(self.step);
        self.place = Place { pc: ELR_EL2.get(), pstate };
        self.syndrome = Syndrome(ESR_EL2.get());
        self.fault_address = FAR_EL2.get();
    }

    /// Stores the CPU's own value of the ID register that was read.
    #[inline]
    pub(crate) fn set_native(&mut self, value: u64) {
        self.native = value;
    }

    pub(crate) fn native(&self) -> u64 {
        self.native
    }

    /// Whether its data accesses are big-endian, at the exception level at which it runs (Arm ARM, SCTLR_EL1.EE and E0E).
    pub(crate) fn is_big_endian(&self) -> bool {
        let bit = if self.place.pstate.level() == 0 { 24 } else { 25 };
        self.el1_context().read(SCTLR_EL1).is_some_and(|control| control >> bit & 1 != 0)
    }

    /// Discards the syndrome: the guest did not cause the exit.
    pub(crate) fn forget_exit(&mut self) {
        self.syndrome = Syndrome::default();
    }

    /// Advances the PC past an instruction that the kernel has carried out.
    #[inline]
    pub(crate) fn skip(&mut self) {
        // After HVC the PC is already that of the next instruction; after a trapped instruction it is not. Every instruction
        // has four bytes.
        if self.syndrome.class() != class::HVC {
            self.place.pc = self.place.pc.wrapping_add(4);
        }
        self.place.pstate = self.place.pstate.skipped();
        self.syndrome = Syndrome::default();
    }

    /// Injects the exception of the exit into the guest, which has caused it for itself.
    pub(crate) fn reflect(&mut self) {
        let (class, details) = (self.syndrome.class(), self.syndrome.details());
        let exception = Exception { class, details, address: self.fault_address };
        self.place = inject::synchronous(&self.el1_context(), self.place, exception);
        self.syndrome = Syndrome::default();
    }
}

impl VsHw for El2Vs {
    type Arch = El2;

    fn create(
        memory: IdentityMemory,
        frames: &mut impl FrameSource,
        vm: &El2Vm,
    ) -> Result<Self, OutOfFrames> {
        let [traps, write_mask] = vm.traps().ok_or(OutOfFrames)?;
        let page = frames.allocate(El1Context::pages())?;
        let root = vm.tag() == ROOT_TAG;
        let vs = Self {
            memory,
            page,
            traps,
            write_mask,
            trap_config: TrapConfig::of_vm(&Features::current(), vm.tag() == ROOT_TAG, vm.tag()),
            nested_root: vm.nested_root(),
            root,
            place: Place { pc: 0, pstate: Pstate::RESET },
            syndrome: Syndrome::default(),
            fault_address: 0,
            native: 0,
            before_entry: FLUSH | if root { 0 } else { GUEST },
            deadline: None,
            stepping: None,
            step: StepBit::OFF,
        };
        vs.el1_context().reset();
        Ok(vs)
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.page, El1Context::pages());
    }

    fn init_root(&mut self, root: &El2Root, exit_page: ExitPageWriter) {
        self.place = Place { pc: root.pc, pstate: root.pstate };
        exit_page.set_all(|number| root.general.get(number).copied().unwrap_or(0));
        let el1_context = self.el1_context();
        if root.is_from_el1() {
            return el1_context.adopt();
        }
        // No VS has run on this CPU yet: its FP and SIMD registers are the OS's.
        el1_context.save_vectors();
        let _ = el1_context.write(SP_EL1, root.sp);
        if let Some(registers) = &root.registers {
            registers.lower(&el1_context);
        }
        if let Some(translation) = root.translation {
            el1_context.lower(&translation);
        }
    }

    #[inline]
    fn describe(&self, exit: &Exit, exit_page: ExitPageWriter) {
        let write = |offset, value| exit_page.set_field(offset, value);
        let native = match exit.class {
            ExitClass::IdRead => self.native,
            _ => 0,
        };
        write(offset_of!(ExitPage, code), self.syndrome.0);
        write(offset_of!(ExitPage, info), self.fault_address);
        write(offset_of!(ExitPage, info) + 8, native);
        write(offset_of!(ExitPage, event), 0);
        write(offset_of!(ExitPage, instruction_pointer), self.place.pc);
        write(offset_of!(ExitPage, flags), self.place.pstate.raw());
        write(offset_of!(ExitPage, privilege), self.place.pstate.level());
        write(offset_of!(ExitPage, number), exit.number);
        write(offset_of!(ExitPage, detail), exit.detail);
    }

    #[inline]
    fn advance(&mut self, _: &impl GuestMemory) -> Result<(), BadInstruction> {
        self.skip();
        Ok(())
    }

    fn inject(&mut self, event: Event) {
        let (exception, details) = match event {
            Event::Undefined => (0, 0),
            Event::Exception { vector, error_code } => {
                (u64::from(vector), u64::from(error_code.unwrap_or(0)))
            }
            // Arm has no NMI in this sense.
            Event::Nmi => return,
        };
        let mut place = self.place;
        if self.syndrome.class() == class::HVC {
            // The HVC counts as an undefined instruction: report its own address.
            place.pc = place.pc.wrapping_sub(4);
        }
        let address = self.fault_address;
        self.place =
            inject::synchronous(&self.el1_context(), place, Exception { class: exception, details, address });
        self.syndrome = Syndrome::default();
    }

    fn interrupt(&mut self, number: u8) -> bool {
        let free = self.trap_config.hcr & line(number) == 0;
        self.trap_config.hcr |= line(number);
        free
    }

    fn withdraw(&mut self, number: u8) {
        self.trap_config.hcr &= !line(number);
    }

    #[inline]
    fn read(&self, number: u64) -> Result<u64, BadRegister> {
        match number {
            register::INSTRUCTION_POINTER => Ok(self.place.pc),
            register::FLAGS => Ok(self.place.pstate.raw()),
            _ => self.read_system(number),
        }
    }

    fn write(&mut self, number: u64, value: u64) -> Result<(), BadRegister> {
        match number {
            register::INSTRUCTION_POINTER => self.place.pc = value,
            register::FLAGS => {
                let has_32 = probe::every_processor_has_aarch32();
                self.place.pstate = self.place.pstate.checked(value, has_32).ok_or(BadRegister)?;
            }
            _ => self.set_system(system_register(number)?, value).ok_or(BadRegister)?,
        }
        Ok(())
    }

    fn flush_tlb(&mut self) {
        self.before_entry |= FLUSH;
    }

    fn translate(
        &self,
        gva: Gva,
        access: GuestAccess,
        guest: &impl GuestMemory,
    ) -> Result<Option<Gpa>, UnknownTables> {
        let stage1 = self.el1_context().stage1();
        stage1.walk(gva, access, |entry| guest.read_u64(entry))
    }

    fn set_nested_root(&mut self, root: Spa) {
        self.nested_root = root;
        self.flush_tlb();
    }

    fn leave_pp(&mut self) {
        self.flush_tlb();
    }

    fn processor_control(
        &mut self,
        _: &Exit,
        _: &impl GuestMemory,
        registers: ExitRegisters,
    ) -> Result<ProcessorEvent, BadInstruction> {
        let writer = registers.writer();
        let (results, event) = handler::serve(call_arguments(registers));
        self.skip();
        set_results(writer, results);
        Ok(event)
    }

    fn reset(&mut self, page: ExitPageWriter) {
        self.single_step(false);
        self.el1_context().reset();
        self.place = Place { pc: 0, pstate: Pstate::RESET };
        self.trap_config.hcr &= !(HCR_VI | HCR_VF);
        self.syndrome = Syndrome::default();
        page.set_all(|_| 0);
        self.flush_tlb();
        // Mark the CPU as off only now: a CPU_ON that arrived before the reset would be lost.
        if self.root
            && let Some(pp) = POWER_STATES.find(mpidr::own_affinity())
        {
            POWER_STATES.stop(pp);
        }
    }

    fn start(&mut self, entry: u64, page: ExitPageWriter) {
        let context = POWER_STATES.find(mpidr::own_affinity()).map_or(0, |pp| POWER_STATES.arrive(pp).1);
        self.place.pc = entry;
        page.set_general(0, context);
    }

    fn single_step(&mut self, on: bool) {
        let el1_context = self.el1_context();
        match (on, self.stepping) {
            (true, None) => {
                self.before_entry |= STEP;
                let guest = el1_context.read(MDSCR_EL1).unwrap_or(0);
                self.stepping = Some(guest);
                self.step = StepBit::ON;
                self.trap_config.mdcr |= MDCR_TDE;
                let _ = el1_context.write(MDSCR_EL1, guest | MDSCR_STEP);
            }
            (false, Some(guest)) => {
                self.before_entry |= STEP;
                self.stepping = None;
                self.step = StepBit::OFF;
                self.trap_config.mdcr &= !MDCR_TDE;
                let _ = el1_context.write(MDSCR_EL1, guest);
            }
            _ => {}
        }
    }

    /// By the hypervisor's timer, where its interrupt reaches EL2: see [`crate::cpu`].
    fn set_deadline(&mut self, deadline: Option<u64>) {
        self.deadline = deadline;
        self.before_entry = self.before_entry & !DEADLINE | if deadline.is_some() { DEADLINE } else { 0 };
    }

    fn registers_at(&self) -> Spa {
        self.page
    }

    fn save_registers(&mut self, memory: &impl PhysicalMemory, registers: ExitRegisters) {
        registers.copy_to(memory, self.page);
        self.el1_context().save();
    }

    fn load_registers(&self, memory: &impl PhysicalMemory, exit_page: ExitPageWriter) {
        exit_page.copy_from(memory, self.page);
    }
}

/// The bit of HCR_EL2 for a virtual interrupt: 0 is the IRQ, 1 the FIQ.
fn line(number: u8) -> u64 {
    if number == 0 { HCR_VI } else { HCR_VF }
}

/// The encoding of the system register with this ABI number.
fn system_register(number: u64) -> Result<u64, BadRegister> {
    number.checked_sub(register::ARM_SYSTEM).filter(|encoding| *encoding < 0x1_0000).ok_or(BadRegister)
}
