//! One virtual state on VMX: a VMCS and a page for the registers that it does not hold.
//!
//! The VMCS of an active VS is current on its processor from the first entry until the VS is put to rest, so that
//! nothing is loaded again for an exit. Whoever looks at a VS at rest makes its VMCS current for a moment.

mod interface;
mod root;
pub(crate) mod timer;

use plinth_arch_x86::IdentityMemory;
use plinth_arch_x86::apic::GuestApic;
use plinth_arch_x86::exit_registers::{ExitPageWriter, ExitRegisters};
use plinth_arch_x86::extended_state::ExtendedState;
use plinth_arch_x86::msr_maps::MsrMaps;
use plinth_arch_x86::mtrr::MtrrWrite;
use plinth_arch_x86::root_state::RSP;
use plinth_arch_x86::single_step::{self, RESUME_FLAG, STEP_CAUSE, Step, TRAP_FLAG};
use plinth_hal::{Event, GuestMemory, Spa};

use crate::bitmaps::MsrBitmap;
use crate::current::Current;
use crate::events::{self, CutOff};
use crate::features::Features;
use crate::field::{
    EXIT_REASON, GUEST_DEBUG_CONTROL, GUEST_RFLAGS, GUEST_RIP, GUEST_RSP, INTERRUPTIBILITY, QUALIFICATION,
};
use crate::hidden::{self, Hidden};
use crate::vmx::{self, Scope};
use crate::{control_registers, exits, reflect, setup};

/// Where in the page of the saved registers the hidden ones are.
const HIDDEN: u64 = 2048;
/// A guest VM's turn ends with each of so many exceptions that the kernel delivers for it: see [`VmxVs::reflect`].
const REFLECTIONS: u8 = 64;

/// Bits of [`VmxVs::before_entry`]: forget translations; load the timer; look at the directory of PAE.
const FLUSH: u8 = 1;
const TIMER: u8 = 2;
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
    before_entry: u8,
    /// When the guest has to exit.
    deadline: Option<u64>,
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
    pub(crate) fn hidden(&self) -> *mut Hidden {
        self.registers.wrapping_add(HIDDEN).raw() as *mut Hidden
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

    /// Has the next entry find the directory of PAE as memory has it, if something has written a control register.
    #[inline]
    pub(crate) fn follow_directory(&mut self, guest: &impl GuestMemory) {
        if self.before_entry & DIRECTORY != 0 {
            self.load_directory(guest);
        }
    }

    #[cold]
    #[inline(never)]
    fn load_directory(&mut self, guest: &impl GuestMemory) {
        self.before_entry &= !DIRECTORY;
        let features = self.features;
        self.with(|vmcs| control_registers::follow_directory(vmcs, features, guest));
    }

    /// Makes the VS ready to be entered on this processor, with the stack pointer from the exit page. Returns whether
    /// it is entered by VMRESUME.
    #[inline]
    pub(crate) fn prepare_entry(&mut self, host: &setup::HostState, registers: ExitRegisters) -> bool {
        if !self.active {
            self.activate(host);
        }
        let [rsp] = registers.take([RSP]);
        if rsp != self.guest_rsp {
            self.guest_rsp = rsp;
            self.with(|vmcs| vmcs.write(GUEST_RSP, rsp));
        }
        if self.before_entry != 0 {
            self.prepare_specially();
        }
        core::mem::replace(&mut self.launched, true)
    }

    #[cold]
    fn activate(&mut self, host: &setup::HostState) {
        // SAFETY: the kernel runs in VMX root operation; a VS at rest is active on no processor. It fails only for an
        // address that is no VMCS region.
        let _ = unsafe { vmx::vmptrld(self.region) };
        self.active = true;
        if !core::mem::replace(&mut self.has_host_state, true) {
            // SAFETY: a VS stays with the processor that first ran it, until `leave_pp`.
            self.with(|vmcs| unsafe { setup::host(vmcs, host) });
        }
    }

    /// Takes over what the exit left: the stack pointer, and an event whose delivery was cut off. Returns the reason.
    #[inline]
    pub(crate) fn after_exit(&mut self, exit_page: ExitPageWriter) -> u32 {
        let (last, rsp) = self.with(|vmcs| {
            let reason = vmcs.read(EXIT_REASON);
            // An instruction that exits delivers nothing.
            if !exits::is_instruction(reason) {
                events::redeliver(vmcs);
            }
            let last = LastExit { reason, rip: vmcs.read(GUEST_RIP), flags: vmcs.read(GUEST_RFLAGS) };
            (last, vmcs.read(GUEST_RSP))
        });
        self.last = last;
        if rsp != self.guest_rsp {
            self.guest_rsp = rsp;
            exit_page.set_general(RSP, rsp);
        }
        last.reason
    }

    /// Something has written RIP or RFLAGS.
    pub(crate) fn refresh(&mut self) {
        if !self.active {
            return;
        }
        let (rip, flags) = self.with(|vmcs| (vmcs.read(GUEST_RIP), vmcs.read(GUEST_RFLAGS)));
        self.last = LastExit { rip, flags, ..self.last };
    }

    /// The entry did not happen: the VMCS has not been launched by it.
    pub(crate) fn not_entered(&mut self) {
        self.launched = false;
    }

    #[cold]
    #[inline(never)]
    fn prepare_specially(&mut self) {
        if self.before_entry & FLUSH != 0 {
            self.forget_translations();
        }
        self.before_entry &= !FLUSH;
        if let Some(deadline) = self.deadline {
            timer::load(self, deadline);
        }
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

    /// Ends the VMCS's time on this processor; also after an entry that was refused, when it does not matter whether
    /// the VMCS was launched before.
    pub(crate) fn put_to_rest(&mut self) {
        (self.active, self.launched) = (false, false);
        // SAFETY: the kernel runs in VMX root operation, and the region is active here or nowhere.
        let _ = unsafe { vmx::vmclear(self.region) };
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

    /// The guest can take an NMI now.
    pub(crate) fn nmi_window_opened(&mut self) {
        self.with(|vmcs| events::set_nmi_window(vmcs, false));
        if core::mem::take(&mut self.nmi_pending) {
            self.deliver(Event::Nmi);
        }
    }

    /// The guest can take an interrupt now.
    pub(crate) fn interrupt_window_opened(&mut self) {
        let waiting = self.interrupt_pending.take();
        self.with(|vmcs| {
            events::set_interrupt_window(vmcs, false);
            if let Some(vector) = waiting {
                events::interrupt(vmcs, vector);
            }
        });
    }

    fn set_interrupt(&mut self, waiting: Option<u8>) {
        self.interrupt_pending = waiting;
        self.with(|vmcs| events::set_interrupt_window(vmcs, waiting.is_some()));
    }

    pub(crate) fn deliver(&mut self, event: Event) {
        if self.with(|vmcs| events::inject(vmcs, event)) {
            self.nmi_pending = true;
        }
    }

    /// Delivers the exception that has just exited: see [`crate::reflect`]. Returns whether the turn of a guest VM has to end.
    ///
    /// If each delivery raises another exception, that comes before pending interrupts, which would end the turn.
    pub(crate) fn reflect(&mut self) -> bool {
        self.reflect_causes(u64::MAX)
    }

    /// A debug exception while the kernel single-steps. The guest gets it too, where it has causes of its own; the step ends in
    /// any case, since an instruction that has not been executed runs again after the guest's handler.
    pub(crate) fn sort_debug_exception(&mut self) {
        let Some(guest_flag) = self.stepping else { return };
        let flags = if guest_flag { TRAP_FLAG } else { 0 };
        let causes = self.with(|vmcs| vmcs.read(QUALIFICATION));
        if Step::begin(flags, 0).sort(causes).is_guests {
            self.reflect_causes(if guest_flag { u64::MAX } else { !STEP_CAUSE });
        }
    }

    /// Delivers an exception that has exited, of whose causes, if it is a debug exception, the guest finds these.
    fn reflect_causes(&mut self, causes: u64) -> bool {
        let (status, cut_off) = self.with(|vmcs| reflect::reflect(vmcs, hidden::read_dr6(), causes));
        hidden::write_dr6(status);
        match cut_off {
            CutOff::Interrupt(vector) => self.set_interrupt(Some(vector)),
            CutOff::Nmi => self.deliver(Event::Nmi),
            CutOff::Nothing | CutOff::Exception | CutOff::Instruction(_) => {}
        }
        self.reflections = self.reflections.wrapping_add(1);
        !self.is_root && self.reflections.is_multiple_of(REFLECTIONS)
    }

    /// Whether the kernel single-steps the guest.
    pub(crate) fn is_stepping(&self) -> bool {
        self.stepping.is_some()
    }

    fn set_stepping(&mut self, on: bool, guest_flag: bool) {
        self.with(|vmcs| {
            let flags = vmcs.read(GUEST_RFLAGS) & !TRAP_FLAG;
            vmcs.write(GUEST_RFLAGS, flags | if on || guest_flag { TRAP_FLAG } else { 0 });
            if on {
                // VM entry wants no one-instruction blocking beside the trap flag without a pending trap.
                vmcs.write(INTERRUPTIBILITY, vmcs.read(INTERRUPTIBILITY) & !events::BLOCKED_ONE);
            }
        });
        self.refresh();
    }
}
