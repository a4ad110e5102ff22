//! Events that the kernel delivers to the guest: at once, or when the guest's window for them opens; the exceptions that
//! it reflects; and its single step.

use plinth_arch_x86::single_step::{STEP_CAUSE, Step, TRAP_FLAG};
use plinth_hal::Event;

use super::{REFLECTIONS, VmxVs};
use crate::events::{self, CutOff};
use crate::vmcs::field::{GUEST_RFLAGS, INTERRUPTIBILITY, QUALIFICATION};
use crate::{lazy_state, reflect};

impl VmxVs {
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

    pub(super) fn set_interrupt(&mut self, waiting: Option<u8>) {
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
        let (status, cut_off) = self.with(|vmcs| reflect::reflect(vmcs, lazy_state::read_dr6(), causes));
        lazy_state::write_dr6(status);
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

    pub(super) fn set_stepping(&mut self, on: bool, guest_flag: bool) {
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
