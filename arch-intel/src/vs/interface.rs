//! What the kernel asks of a VS.

use core::mem::offset_of;

use plinth_arch_x86::IdentityMemory;
use plinth_arch_x86::apic::GuestApic;
use plinth_arch_x86::exit_registers::number::RDX;
use plinth_arch_x86::exit_registers::{ExitPageWriter, ExitRegisters};
use plinth_arch_x86::extended_state::ExtendedState;
use plinth_arch_x86::single_step::TRAP_FLAG;
use plinth_arch_x86::stopped_guest::{self, StoppedGuest};
use plinth_extension_api::abi::{ExitPage, register as number};
use plinth_hal::{
    BadInstruction, BadRegister, Event, Exit, FrameSource, Gpa, GuestAccess, GuestMemory, Gva, OutOfFrames,
    PhysicalMemory, ProcessorEvent, Spa, UnknownTables, VsHw,
};

use super::{DIRECTORY, FLUSH, LastExit, VmxVs, timer};
use crate::bitmaps::{ROOT_TAG, VmxVm, ept_pointer};
use crate::current::Current;
use crate::features::Features;
use crate::field::{
    EPT_POINTER, GUEST_RFLAGS, GUEST_RIGHTS, INSTRUCTION_LENGTH, PHYSICAL_ADDRESS, QUALIFICATION,
    VECTORING_EVENT,
};
use crate::hidden::{Hidden, VmxRoot};
use crate::{Vmx, exits, memory_types, processor, registers, reset, segments, setup};

/// The VMCS region, and behind it the page of the saved registers. Behind these the extended state.
const PAGES: usize = 2;

impl VsHw for VmxVs {
    type Arch = Vmx;

    fn create(
        memory: IdentityMemory,
        frames: &mut impl FrameSource,
        vm: &VmxVm,
    ) -> Result<Self, OutOfFrames> {
        let first = frames.allocate(PAGES + ExtendedState::pages())?;
        let features = Features::current();
        memory.write_u64(first, u64::from(features.revision));
        let mut vs = Self {
            region: first.raw(),
            memory,
            registers: first.nth_page(1),
            // SAFETY: fresh pages of the pool, zeroed and identity mapped, which nobody but this VS knows.
            extended: unsafe { ExtendedState::new(first.nth_page(PAGES as u64)) },
            maps: vm.maps(),
            features,
            vpid: vm.tag(),
            ept_pointer: vm.ept_pointer(),
            is_root: vm.tag() == ROOT_TAG,
            active: false,
            launched: false,
            has_host_state: false,
            before_entry: FLUSH,
            deadline: None,
            mtrr_before: None,
            host_rsp: 0,
            guest_rsp: 0,
            last: LastExit::default(),
            nmi_pending: false,
            interrupt_pending: None,
            stepping: None,
            apic: GuestApic::default(),
            reflections: 0,
        };
        vs.put_to_rest();
        vs.set_hidden(Hidden::reset());
        vs.with(|vmcs| {
            // SAFETY: a VM is destroyed only after its VSs.
            unsafe { setup::controls(vmcs, features, vm, vm.tag()) };
            reset::power_up(vmcs);
            reset::initialize(vmcs, features);
        });
        Ok(vs)
    }

    fn destroy(mut self, frames: &mut impl FrameSource) {
        self.put_to_rest();
        frames.free(Spa::new(self.region), PAGES + ExtendedState::pages());
    }

    fn init_root(&mut self, root: &VmxRoot, exit_page: ExitPageWriter) {
        let features = self.features;
        self.with(|vmcs| reset::take_root(vmcs, features, root));
        self.set_hidden(root.hidden);
        // SAFETY: no VS has run on this processor yet: what is there is the OS's.
        unsafe { self.extended.adopt() };
        self.refresh();
        for (number, register) in root.state.registers.iter().enumerate() {
            exit_page.set_general(number, *register);
        }
    }

    #[inline]
    fn describe(&self, exit: &Exit, exit_page: ExitPageWriter) {
        const DPL_SHIFT: u32 = 5;
        let write = |offset, value| exit_page.set_field(offset, value);
        let LastExit { reason, rip, flags } = self.last;
        let has_more = !exits::is_told_by_class(reason);
        self.with(|vmcs| {
            let rights = vmcs.read(GUEST_RIGHTS.nth(segments::SS));
            write(offset_of!(ExitPage, privilege), u64::from(rights >> DPL_SHIFT & 3));
            let more = if has_more { details(vmcs) } else { [0; 3] };
            write(offset_of!(ExitPage, info), more[0]);
            write(offset_of!(ExitPage, info) + 8, more[1]);
            write(offset_of!(ExitPage, event), more[2]);
        });
        write(offset_of!(ExitPage, code), u64::from(reason));
        write(offset_of!(ExitPage, instruction_pointer), rip);
        write(offset_of!(ExitPage, flags), flags);
        write(offset_of!(ExitPage, number), exit.number);
        write(offset_of!(ExitPage, detail), exit.detail);
    }

    #[inline]
    fn advance(&mut self, _: &impl GuestMemory) -> Result<(), BadInstruction> {
        let LastExit { reason, rip, .. } = self.last;
        if !exits::is_instruction(reason) {
            return Err(BadInstruction);
        }
        let mut next = rip.wrapping_add(u64::from(self.with(|vmcs| vmcs.read(INSTRUCTION_LENGTH))));
        // Instruction pointers wrap at the end of what the mode can address.
        if (rip ^ next) >> 32 != 0 && !processor::is_64_bit(self) {
            next &= 0xffff_ffff;
        }
        self.advance_to(next);
        Ok(())
    }

    fn inject(&mut self, event: Event) {
        self.deliver(event);
    }

    fn interrupt(&mut self, number: u8) -> bool {
        let free = self.interrupt_pending.is_none();
        if free {
            self.set_interrupt(Some(number));
        }
        free
    }

    fn withdraw(&mut self, number: u8) {
        if self.interrupt_pending == Some(number) {
            self.set_interrupt(None);
        }
    }

    fn read(&self, register: u64) -> Result<u64, BadRegister> {
        let hidden = self.hidden_copy();
        self.with(|vmcs| registers::read(vmcs, &hidden, register)).ok_or(BadRegister)
    }

    fn write(&mut self, register: u64, value: u64) -> Result<(), BadRegister> {
        let mut hidden = self.hidden_copy();
        let features = self.features;
        self.with(|vmcs| registers::write(vmcs, &mut hidden, features, register, value))
            .ok_or(BadRegister)?;
        self.set_hidden(hidden);
        if forgets(register) {
            self.flush_tlb();
            self.before_entry |= DIRECTORY;
        }
        self.refresh();
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
        Ok(stopped_guest::translate(&self.paging(), gva, access, guest))
    }

    fn set_nested_root(&mut self, root: Spa) {
        let pointer = ept_pointer(root);
        self.ept_pointer = pointer;
        // SAFETY: the tables are the VM's, which the kernel keeps as long as a VS uses them.
        self.with(|vmcs| unsafe { vmcs.control(EPT_POINTER, pointer) });
        self.flush_tlb();
    }

    /// The VMCS of a VS at rest is clear, so any processor may load it; but the host's state in it is the old one's.
    fn leave_pp(&mut self) {
        (self.has_host_state, self.host_rsp) = (false, 0);
        self.flush_tlb();
    }

    fn processor_control(
        &mut self,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: ExitRegisters,
    ) -> Result<ProcessorEvent, BadInstruction> {
        processor::control(self, exit, guest, registers)
    }

    fn refuse_memory_types(&mut self) {
        memory_types::refuse(self);
    }

    fn reset(&mut self, page: ExitPageWriter) {
        if self.stepping.take().is_some() {
            self.set_stepping(false, false);
        }
        let features = self.features;
        self.with(|vmcs| reset::initialize(vmcs, features));
        (self.nmi_pending, self.interrupt_pending, self.guest_rsp) = (false, None, 0);
        let Hidden { cr2, dr6, .. } = Hidden::reset();
        self.set_hidden(Hidden { cr2, dr6, ..self.hidden_copy() });
        // SAFETY: the VS runs on this processor alone, and the kernel runs at privilege level 0 with no breakpoint on.
        unsafe { self.extended.reset_debug() };
        self.flush_tlb();
        self.refresh();
        page.set_all(|_| 0);
        // RDX holds the processor's family, model and stepping after a reset.
        let signature = core::arch::x86_64::__cpuid(1).eax;
        page.set_general(RDX, u64::from(signature));
    }

    fn start(&mut self, entry: u64, _: ExitPageWriter) {
        self.with(|vmcs| reset::start(vmcs, entry));
        self.refresh();
    }

    fn single_step(&mut self, on: bool) {
        match (on, self.stepping) {
            (true, None) => {
                let guest_flag = self.with(|vmcs| vmcs.read(GUEST_RFLAGS)) & TRAP_FLAG != 0;
                self.stepping = Some(guest_flag);
                self.set_stepping(true, guest_flag);
            }
            (false, Some(guest_flag)) => {
                self.stepping = None;
                self.set_stepping(false, guest_flag);
            }
            _ => {}
        }
    }

    fn set_deadline(&mut self, deadline: Option<u64>) {
        timer::set(self, deadline);
    }

    fn registers_at(&self) -> Spa {
        self.registers
    }

    fn save_registers(&mut self, memory: &impl PhysicalMemory, registers: ExitRegisters) {
        registers.copy_to(memory, self.registers);
        self.put_to_rest();
        // SAFETY: the kernel puts a VS to rest on its own processor.
        unsafe { self.extended.save() };
    }

    fn load_registers(&self, memory: &impl PhysicalMemory, exit_page: ExitPageWriter) {
        exit_page.copy_from(memory, self.registers);
    }
}

/// What the hardware says of an exit beside its reason: qualification, guest-physical address, event under delivery.
fn details(vmcs: &Current) -> [u64; 3] {
    [vmcs.read(QUALIFICATION), vmcs.read(PHYSICAL_ADDRESS), u64::from(vmcs.read(VECTORING_EVENT))]
}

/// Registers on which the guest's translations depend: writing one on the bare machine forgets them.
const fn forgets(register: u64) -> bool {
    matches!(
        register,
        number::X86_CR0 | number::X86_CR3 | number::X86_CR4 | number::X86_EFER | number::X86_PAT
    )
}
