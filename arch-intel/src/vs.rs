//! One virtual state on VMX: a VMCS and a page for the registers that it does not hold.
//!
//! The VMCS of an active VS is current on its processor from the first entry until the VS is put to rest, so that
//! nothing is loaded again for an exit. Whoever looks at a VS at rest makes its VMCS current for a moment.

mod entry;
mod inject;

use core::mem::offset_of;

use plinth_arch_x86::IdentityMemory;
use plinth_arch_x86::apic::GuestApic;
use plinth_arch_x86::exit_registers::number::RDX;
use plinth_arch_x86::exit_registers::{ExitPageWriter, ExitRegisters};
use plinth_arch_x86::extended_state::ExtendedState;
use plinth_arch_x86::msr_maps::MsrMaps;
use plinth_arch_x86::mtrr::MtrrWrite;
use plinth_arch_x86::single_step::{self, RESUME_FLAG, TRAP_FLAG};
use plinth_arch_x86::stopped_guest::{self as guest_view, StoppedGuest};
use plinth_extension_api::abi::{ExitPage, register as number};
use plinth_hal::{
    BadInstruction, BadRegister, Event, Exit, FrameSource, Gpa, GuestAccess, GuestMemory, Gva, OutOfFrames,
    PhysicalMemory, ProcessorEvent, Spa, UnknownTables, VsHw,
};

use crate::features::Features;
use crate::lazy_state::LazyState;
use crate::root_state::{self, VmxRoot};
use crate::vm::{MsrBitmap, ROOT_TAG, VmxVm, ept_pointer};
use crate::vmcs::current::Current;
use crate::vmcs::field::{
    EPT_POINTER, GUEST_DEBUG_CONTROL, GUEST_RFLAGS, GUEST_RIGHTS, GUEST_RIP, INSTRUCTION_LENGTH,
    PHYSICAL_ADDRESS, QUALIFICATION, VECTORING_EVENT,
};
use crate::vmcs::setup;
use crate::vmx;
use crate::{Vmx, deadline, events, exit, memory_types, registers, reset, segments, stopped_guest};

/// The VMCS region, and behind it the page of the saved registers. Behind these the extended state.
const PAGES: usize = 2;

/// Where in the page of the saved registers the lazily switched ones are.
const LAZY_STATE: u64 = 2048;
/// A guest VM's turn ends with each of so many exceptions that the kernel delivers for it: see [`VmxVs::reflect`].
const REFLECTIONS: u8 = 64;

/// Bits of [`VmxVs::before_entry`]: forget translations; load the timer; look at the directory of PAE.
const FLUSH: u8 = 1;
pub(crate) const TIMER: u8 = 2;
const DIRECTORY: u8 = 4;

/// What the last exit left that is asked for again and again. The VMCS holds the same.
#[derive(Clone, Copy, Debug, Default)]
struct LastExit {
    reason: u32,
    rip: u64,
    flags: u64,
}

/// A VS on VMX.
#[derive(Debug)]
pub struct VmxVs {
    region: u64,
    memory: IdentityMemory,
    registers: Spa,
    pub(crate) extended: ExtendedState,
    /// Which accesses of MSRs exit, and which of them the extension has asked to see.
    pub(crate) maps: MsrMaps<MsrBitmap>,
    pub(crate) features: &'static Features,
    vpid: u16,
    ept_pointer: u64,
    pub(crate) is_root: bool,
    /// The VMCS is current on the VS's processor, until the VS is put to rest.
    active: bool,
    launched: bool,
    has_host_state: bool,
    /// What is to be done before the next entry: [`FLUSH`] and [`DIRECTORY`], and [`TIMER`] before each.
    pub(crate) before_entry: u8,
    /// When the guest has to exit.
    pub(crate) deadline: Option<u64>,
    /// What undoes the write of an MTRR that the kernel has been told of last.
    pub(crate) mtrr_before: Option<MtrrWrite>,
    /// What the VMCS holds as the host's stack pointer, and as the guest's. Between entry and exit the exit page has
    /// the same.
    pub(crate) host_rsp: u64,
    guest_rsp: u64,
    last: LastExit,
    /// An NMI waits for the guest's window.
    nmi_pending: bool,
    /// An interrupt that waits for the guest's other window.
    interrupt_pending: Option<u8>,
    /// The trap flag is the kernel's; what the guest's was.
    stepping: Option<bool>,
    /// How the guest has its local APIC.
    pub(crate) apic: GuestApic,
    /// Counts exceptions that the kernel delivers.
    reflections: u8,
}

impl VmxVs {
    #[inline]
    pub(crate) fn memory(&self) -> IdentityMemory {
        self.memory
    }

    /// Where the nested tables start by which it sees memory.
    pub(crate) fn nested_root(&self) -> Spa {
        Spa::new(self.ept_pointer).page()
    }

    /// Works on the VMCS.
    #[inline(always)]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&Current) -> R) -> R {
        if self.active {
            // SAFETY: the VMCS of an active VS is current on its processor, which is the only one that uses the VS.
            let current = unsafe { Current::assume() };
            return work(&current);
        }
        self.with_at_rest(work)
    }

    /// Makes the VMCS current for the moment; afterwards it is clear again, and what was current before is so again.
    #[cold]
    fn with_at_rest<R>(&self, work: impl FnOnce(&Current) -> R) -> R {
        const NONE: u64 = u64::MAX;
        // SAFETY: the kernel runs in VMX root operation. A VS at rest is owned by whoever holds the table's lock, and its
        // VMCS is clear: so the region is active on no other processor. The one that was current is this processor's.
        unsafe {
            let before = vmx::vmptrst();
            // These fail only for an address that is no VMCS region.
            let _ = vmx::vmptrld(self.region);
            let result = work(&Current::assume());
            let _ = vmx::vmclear(self.region);
            if before != NONE && before != self.region {
                let _ = vmx::vmptrld(before);
            }
            result
        }
    }

    /// The registers that are in the processor while the kernel serves the guest.
    pub(crate) fn lazy_state(&self) -> *mut LazyState {
        self.registers.wrapping_add(LAZY_STATE).raw() as *mut LazyState
    }

    pub(crate) fn lazy_state_copy(&self) -> LazyState {
        // SAFETY: the page is this VS's, identity mapped, and holds a `LazyState` from creation on; nobody else writes it
        // while the VS is borrowed.
        unsafe { self.lazy_state().read() }
    }

    fn set_lazy_state(&mut self, lazy: LazyState) {
        // SAFETY: as in `lazy_state_copy`.
        unsafe { self.lazy_state().write(lazy) };
    }

    /// Moves RIP past an instruction that was carried out for the guest: what the hardware does then.
    #[inline]
    pub(crate) fn advance_to(&mut self, next: u64) {
        self.with(|vmcs| {
            vmcs.write(GUEST_RIP, next);
            events::instruction_done(vmcs);
        });
        self.last.rip = next;
        if self.last.flags & (TRAP_FLAG | RESUME_FLAG) != 0 {
            self.complete();
        }
    }

    /// What comes of the flags that are about debugging at the end of an instruction that has been carried out.
    #[cold]
    fn complete(&mut self) {
        let (flags, is_stepping) = (self.last.flags, self.is_stepping());
        self.with(|vmcs| {
            vmcs.write(GUEST_RFLAGS, flags & !RESUME_FLAG);
            if !is_stepping && single_step::traps(flags, vmcs.read(GUEST_DEBUG_CONTROL)) {
                events::trap(vmcs);
            }
        });
        self.last.flags = flags & !RESUME_FLAG;
    }
}

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
        vs.set_lazy_state(LazyState::reset());
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
        self.with(|vmcs| root_state::take_root(vmcs, features, root));
        self.set_lazy_state(root.lazy);
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
        let has_more = !exit::is_told_by_class(reason);
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
        if !exit::is_instruction(reason) {
            return Err(BadInstruction);
        }
        let mut next = rip.wrapping_add(u64::from(self.with(|vmcs| vmcs.read(INSTRUCTION_LENGTH))));
        // Instruction pointers wrap at the end of what the mode can address.
        if (rip ^ next) >> 32 != 0 && !stopped_guest::is_64_bit(self) {
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
        let lazy = self.lazy_state_copy();
        self.with(|vmcs| registers::read(vmcs, &lazy, register)).ok_or(BadRegister)
    }

    fn write(&mut self, register: u64, value: u64) -> Result<(), BadRegister> {
        let mut lazy = self.lazy_state_copy();
        let features = self.features;
        self.with(|vmcs| registers::write(vmcs, &mut lazy, features, register, value)).ok_or(BadRegister)?;
        self.set_lazy_state(lazy);
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
        Ok(guest_view::translate(&self.paging(), gva, access, guest))
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
        stopped_guest::control(self, exit, guest, registers)
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
        let LazyState { cr2, dr6, .. } = LazyState::reset();
        self.set_lazy_state(LazyState { cr2, dr6, ..self.lazy_state_copy() });
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
        deadline::set(self, deadline);
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
