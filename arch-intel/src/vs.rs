//! One virtual state on VMX: a VMCS and a page for the registers that it does not hold.

use core::mem::offset_of;

use plinth_arch_x86::IdentityMemory;
use plinth_arch_x86::root_state::{RSP, RootState, TableRegister};
use plinth_extension_api::abi::{ExitPage, GENERAL_REGISTERS};
use plinth_hal::{
    BadInstruction, BadRegister, Event, Exit, FrameSource, GuestMemory, OutOfFrames, PAGE_SIZE,
    PhysicalMemory, ProcessorEvent, Spa, VsHw,
};

use crate::bitmaps::{ROOT_TAG, VmxVm, ept_pointer};
use crate::current::Current;
use crate::events::{self, TRAP_FLAG};
use crate::features::Features;
use crate::field::{
    EPT_POINTER, EXCEPTIONS, EXIT_REASON, GUEST_CR3, GUEST_DR7, GUEST_EFER, GUEST_GDTR_BASE,
    GUEST_GDTR_LIMIT, GUEST_IDTR_BASE, GUEST_IDTR_LIMIT, GUEST_PAT, GUEST_RFLAGS, GUEST_RIGHTS, GUEST_RIP,
    GUEST_RSP, INSTRUCTION_LENGTH, INTERRUPTIBILITY, PHYSICAL_ADDRESS, QUALIFICATION, VECTORING_EVENT,
};
use crate::hidden::{Hidden, VmxRoot};
use crate::vmx::{self, Scope};
use crate::{Vmx, control_registers, exits, processor, registers, reset, segments, setup};

/// The VMCS region, and behind it the page of the saved registers.
const PAGES: usize = 2;
/// Where in that page the hidden registers are.
const HIDDEN: u64 = 2048;
/// Exception bitmap: debug exceptions.
const DEBUG: u32 = 1 << 1;

/// A VS on VMX.
#[derive(Debug)]
pub struct VmxVs {
    region: u64,
    memory: IdentityMemory,
    registers: Spa,
    pub(crate) features: &'static Features,
    vpid: u16,
    ept_pointer: u64,
    pub(crate) is_root: bool,
    /// The VMCS stays active on the VS's processor, until the VS is put to rest.
    active: bool,
    launched: bool,
    has_host_state: bool,
    flush: bool,
    /// What the VMCS holds as the host's stack pointer, and as the guest's.
    pub(crate) host_rsp: u64,
    guest_rsp: u64,
    /// An NMI waits for the guest's window.
    nmi_pending: bool,
    /// The trap flag is the kernel's; what the guest's was.
    stepping: Option<bool>,
}

impl VmxVs {
    #[inline]
    pub(crate) fn memory(&self) -> IdentityMemory {
        self.memory
    }

    /// Works on the VMCS. At rest it is clear again afterwards.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&Current) -> R) -> R {
        // SAFETY: the kernel runs in VMX root operation. An active VS is owned by its processor, one at rest by whoever
        // holds the table's lock, and its VMCS is clear: so the region is active on no other processor.
        unsafe {
            if vmx::vmptrst() != self.region {
                // Fails only for an address that is no VMCS region.
                let _ = vmx::vmptrld(self.region);
            }
            let result = work(&Current::assume());
            if !self.active {
                let _ = vmx::vmclear(self.region);
            }
            result
        }
    }

    /// The registers that are in the processor while the kernel serves the guest.
    pub(crate) fn hidden(&self) -> *mut Hidden {
        (self.registers.raw() + HIDDEN) as *mut Hidden
    }

    fn hidden_copy(&self) -> Hidden {
        // SAFETY: the page is this VS's, identity mapped, and holds a `Hidden` from creation on; nobody else writes it
        // while the VS is borrowed.
        unsafe { self.hidden().read() }
    }

    fn set_hidden(&mut self, hidden: Hidden) {
        // SAFETY: as in `hidden_copy`.
        unsafe { self.hidden().write(hidden) };
    }

    /// Makes the VS ready to be entered on this processor, with the stack pointer from the exit page. Returns whether
    /// it is entered by VMRESUME.
    #[inline]
    pub(crate) fn prepare_entry(&mut self, host: &setup::HostState, exit_page: Spa) -> bool {
        self.active = true;
        let has_host_state = core::mem::replace(&mut self.has_host_state, true);
        let flush = core::mem::take(&mut self.flush);
        let rsp = self.memory.read_u64(Spa::new(exit_page.raw() + RSP as u64 * 8));
        self.with(|vmcs| {
            if !has_host_state {
                // SAFETY: the caller's processor is the one that the VS belongs to.
                unsafe { setup::host(vmcs, host) };
            }
            if rsp != self.guest_rsp {
                vmcs.write(GUEST_RSP, rsp);
            }
        });
        if flush {
            self.forget_translations();
        }
        core::mem::replace(&mut self.launched, true)
    }

    /// Takes over what the exit left: the stack pointer, and an event whose delivery was cut off. Returns the reason.
    #[inline]
    pub(crate) fn after_exit(&mut self, exit_page: Spa) -> u32 {
        let (reason, rsp) = self.with(|vmcs| {
            events::redeliver(vmcs);
            (vmcs.read(EXIT_REASON), vmcs.read(GUEST_RSP))
        });
        self.guest_rsp = rsp;
        self.memory.write_u64(Spa::new(exit_page.raw() + RSP as u64 * 8), rsp);
        reason
    }

    /// The entry did not happen: the VMCS has not been launched by it.
    pub(crate) fn not_entered(&mut self) {
        self.launched = false;
    }

    /// The entry was refused. Whether the VMCS was launched before does not matter once it is clear.
    pub(crate) fn entry_refused(&mut self) {
        self.launched = false;
        // SAFETY: the kernel runs in VMX root operation, and the VMCS is active here. It is loaded again when needed.
        let _ = unsafe { vmx::vmclear(self.region) };
    }

    #[cold]
    fn forget_translations(&self) {
        let scope = if self.features.invept_single { Scope::Single } else { Scope::All };
        // SAFETY: the kernel runs in VMX root operation, and `probe` has looked at the scopes.
        unsafe {
            vmx::invept(scope, self.ept_pointer);
            if self.features.vpid {
                vmx::invvpid(Scope::Single, self.vpid);
            }
        }
    }

    /// Ends the VMCS's time on this processor.
    pub(crate) fn put_to_rest(&mut self) {
        (self.active, self.launched) = (false, false);
        // SAFETY: the kernel runs in VMX root operation, and the region is active here or nowhere.
        let _ = unsafe { vmx::vmclear(self.region) };
    }

    /// Moves RIP past an instruction that was carried out for the guest: what the hardware does then.
    #[inline]
    pub(crate) fn advance_to(&mut self, next: u64) {
        let stepping = self.stepping.is_some();
        self.with(|vmcs| {
            vmcs.write(GUEST_RIP, next);
            events::instruction_done(vmcs, stepping);
        });
    }

    /// The guest can take an NMI now.
    pub(crate) fn nmi_window_opened(&mut self) {
        self.with(|vmcs| events::set_nmi_window(vmcs, false));
        if core::mem::take(&mut self.nmi_pending) {
            self.inject(Event::Nmi);
        }
    }

    /// Whether the kernel single-steps the guest.
    pub(crate) fn is_stepping(&self) -> bool {
        self.stepping.is_some()
    }

    fn set_stepping(&mut self, on: bool, guest_flag: bool) {
        self.with(|vmcs| {
            let flags = vmcs.read(GUEST_RFLAGS) & !TRAP_FLAG;
            vmcs.write(GUEST_RFLAGS, flags | if on || guest_flag { TRAP_FLAG } else { 0 });
            // SAFETY: one exception more or less that exits.
            unsafe { vmcs.control(EXCEPTIONS, if on { DEBUG } else { 0 }) };
            if on {
                // VM entry wants no one-instruction blocking beside the trap flag without a pending trap.
                vmcs.write(INTERRUPTIBILITY, vmcs.read(INTERRUPTIBILITY) & !events::BLOCKED_ONE);
            }
        });
    }

    /// The state of the processor that the guest takes back: the inverse of [`VsHw::init_root`].
    pub(crate) fn to_root(&self, exit_page: Spa) -> VmxRoot {
        let hidden = self.hidden_copy();
        let mut general = [0; 16];
        for (number, register) in general.iter_mut().enumerate() {
            *register = self.memory.read_u64(Spa::new(exit_page.raw() + number as u64 * 8));
        }
        self.with(|vmcs| {
            let table = |limit, base| TableRegister { limit: vmcs.read(limit) as u16, base: vmcs.read(base) };
            let state = RootState {
                registers: general,
                rip: vmcs.read(GUEST_RIP),
                rflags: vmcs.read(GUEST_RFLAGS),
                cr0: control_registers::read_cr0(vmcs, self.features),
                cr2: hidden.cr2,
                cr3: vmcs.read(GUEST_CR3),
                cr4: control_registers::read_cr4(vmcs),
                efer: vmcs.read(GUEST_EFER),
                dr6: hidden.dr6,
                dr7: vmcs.read(GUEST_DR7),
                pat: vmcs.read(GUEST_PAT),
                es: segments::read(vmcs, 0),
                cs: segments::read(vmcs, segments::CS),
                ss: segments::read(vmcs, segments::SS),
                ds: segments::read(vmcs, 3),
                gdtr: table(GUEST_GDTR_LIMIT, GUEST_GDTR_BASE),
                idtr: table(GUEST_IDTR_LIMIT, GUEST_IDTR_BASE),
            };
            VmxRoot::from_vmcs(state, hidden, vmcs)
        })
    }

    fn copy_registers(&self, memory: &impl PhysicalMemory, from: Spa, to: Spa) {
        for offset in (0..GENERAL_REGISTERS as u64 * 8).step_by(8) {
            let value = memory.read_u64(Spa::new(from.raw() + offset));
            memory.write_u64(Spa::new(to.raw() + offset), value);
        }
    }
}

impl VsHw for VmxVs {
    type Arch = Vmx;

    fn create(
        memory: IdentityMemory,
        frames: &mut impl FrameSource,
        vm: &VmxVm,
    ) -> Result<Self, OutOfFrames> {
        let first = frames.allocate(PAGES)?;
        let features = Features::current();
        memory.write_u64(first, u64::from(features.revision));
        let mut vs = Self {
            region: first.raw(),
            memory,
            registers: Spa::new(first.raw() + PAGE_SIZE),
            features,
            vpid: vm.tag(),
            ept_pointer: vm.ept_pointer(),
            is_root: vm.tag() == ROOT_TAG,
            active: false,
            launched: false,
            has_host_state: false,
            flush: true,
            host_rsp: 0,
            guest_rsp: 0,
            nmi_pending: false,
            stepping: None,
        };
        vs.put_to_rest();
        vs.set_hidden(Hidden { dr6: reset::DR6_RESET, ..Hidden::default() });
        vs.with(|vmcs| {
            // SAFETY: a VM is destroyed only after its VSs.
            unsafe { setup::controls(vmcs, features, vm, vm.tag()) };
            vmcs.write(GUEST_PAT, reset::PAT_RESET);
            reset::initialize(vmcs, features);
        });
        Ok(vs)
    }

    fn destroy(mut self, frames: &mut impl FrameSource) {
        self.put_to_rest();
        frames.free(Spa::new(self.region), PAGES);
    }

    fn init_root(&mut self, root: &VmxRoot, exit_page: Spa) {
        let features = self.features;
        self.with(|vmcs| reset::take_root(vmcs, features, root));
        self.set_hidden(root.hidden);
        for (number, register) in root.state.registers.iter().enumerate() {
            self.memory.write_u64(Spa::new(exit_page.raw() + number as u64 * 8), *register);
        }
    }

    #[inline]
    fn describe(&self, exit: &Exit, exit_page: Spa) {
        const DPL_SHIFT: u32 = 5;
        let page = exit_page.raw();
        let write = |offset: usize, value| self.memory.write_u64(Spa::new(page + offset as u64), value);
        self.with(|vmcs| {
            write(offset_of!(ExitPage, code), u64::from(vmcs.read(EXIT_REASON)));
            write(offset_of!(ExitPage, info), vmcs.read(QUALIFICATION));
            write(offset_of!(ExitPage, info) + 8, vmcs.read(PHYSICAL_ADDRESS));
            write(offset_of!(ExitPage, event), u64::from(vmcs.read(VECTORING_EVENT)));
            write(offset_of!(ExitPage, instruction_pointer), vmcs.read(GUEST_RIP));
            write(offset_of!(ExitPage, flags), vmcs.read(GUEST_RFLAGS));
            let rights = vmcs.read(GUEST_RIGHTS.nth(segments::SS));
            write(offset_of!(ExitPage, privilege), u64::from(rights >> DPL_SHIFT & 3));
        });
        write(offset_of!(ExitPage, number), exit.number);
        write(offset_of!(ExitPage, detail), exit.detail);
    }

    #[inline]
    fn advance(&mut self, _: &impl GuestMemory, _: Spa) -> Result<(), BadInstruction> {
        let (reason, rip, length) =
            self.with(|vmcs| (vmcs.read(EXIT_REASON), vmcs.read(GUEST_RIP), vmcs.read(INSTRUCTION_LENGTH)));
        if !exits::is_instruction(reason) {
            return Err(BadInstruction);
        }
        let mut next = rip.wrapping_add(u64::from(length));
        // Instruction pointers wrap at the end of what the mode can address.
        if (rip ^ next) >> 32 != 0 && !processor::is_64_bit(self) {
            next &= 0xffff_ffff;
        }
        self.advance_to(next);
        Ok(())
    }

    fn inject(&mut self, event: Event) {
        if self.with(|vmcs| events::inject(vmcs, event)) {
            self.nmi_pending = true;
        }
    }

    fn read(&self, register: u64) -> Result<u64, BadRegister> {
        let hidden = self.hidden_copy();
        self.with(|vmcs| registers::read(vmcs, &hidden, self.features, register)).ok_or(BadRegister)
    }

    fn write(&mut self, register: u64, value: u64) -> Result<(), BadRegister> {
        let mut hidden = self.hidden_copy();
        let features = self.features;
        self.with(|vmcs| registers::write(vmcs, &mut hidden, features, register, value))
            .ok_or(BadRegister)?;
        self.set_hidden(hidden);
        self.flush = true;
        Ok(())
    }

    fn flush_tlb(&mut self) {
        self.flush = true;
    }

    fn set_nested_root(&mut self, root: Spa) {
        self.ept_pointer = ept_pointer(root);
        let pointer = self.ept_pointer;
        // SAFETY: the tables are the VM's, which the kernel keeps as long as a VS uses them.
        self.with(|vmcs| unsafe { vmcs.control(EPT_POINTER, pointer) });
        self.flush = true;
    }

    /// The VMCS of a VS at rest is clear, so any processor may load it; but the host's state in it is the old one's.
    fn leave_pp(&mut self) {
        (self.has_host_state, self.host_rsp) = (false, 0);
        self.flush = true;
    }

    fn processor_control(
        &mut self,
        exit: &Exit,
        guest: &impl GuestMemory,
        exit_page: Spa,
    ) -> Result<ProcessorEvent, BadInstruction> {
        processor::control(self, exit, guest, exit_page)
    }

    fn reset(&mut self, exit_page: Spa) {
        if self.stepping.take().is_some() {
            self.set_stepping(false, false);
        }
        let features = self.features;
        self.with(|vmcs| reset::initialize(vmcs, features));
        (self.nmi_pending, self.guest_rsp, self.flush) = (false, 0, true);
        for number in 0..16 {
            self.memory.write_u64(Spa::new(exit_page.raw() + number * 8), 0);
        }
        // RDX holds the processor's family, model and stepping after a reset.
        let signature = core::arch::x86_64::__cpuid(1).eax;
        self.memory.write_u64(Spa::new(exit_page.raw() + 2 * 8), u64::from(signature));
    }

    fn start(&mut self, entry: u64) {
        self.with(|vmcs| reset::start(vmcs, entry));
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

    fn registers_at(&self) -> Spa {
        self.registers
    }

    fn save_registers(&mut self, memory: &impl PhysicalMemory, exit_page: Spa) {
        self.copy_registers(memory, exit_page, self.registers);
        self.put_to_rest();
    }

    fn load_registers(&self, memory: &impl PhysicalMemory, exit_page: Spa) {
        self.copy_registers(memory, self.registers, exit_page);
    }
}
