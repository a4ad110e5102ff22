//! What happens to a VS right before an entry and right after an exit.

use plinth_arch_x86::exit_registers::{ExitPageWriter, ExitRegisters};
use plinth_arch_x86::root_state::RSP;
use plinth_hal::GuestMemory;

use super::{DIRECTORY, FLUSH, LastExit, VmxVs};
use crate::vmcs::field::{EXIT_REASON, GUEST_RFLAGS, GUEST_RIP, GUEST_RSP};
use crate::vmcs::setup;
use crate::vmx::{self, Scope};
use crate::{control_registers, deadline, events, exit};

impl VmxVs {
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
            if !exit::is_instruction(reason) {
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
            deadline::load(self, deadline);
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
}
