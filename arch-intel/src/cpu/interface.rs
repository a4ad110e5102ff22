//! What the kernel asks of a processor.

#[cfg(feature = "fault-injection")]
use plinth_arch_x86::fault_injection::{self, Nmis};
use plinth_arch_x86::stopped_guest::{StoppedGuest, can_take_over, read_general, write_general};
use plinth_arch_x86::user::{self, UserRegisters};
use plinth_arch_x86::{ExitWords, cpuid};
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, HostCpu, IdPolicy, Spa, UserExit, VsHw};

use super::VmxCpu;
use crate::processor::GENERAL_PROTECTION;
use crate::vs::VmxVs;
use crate::{Vmx, control_registers, nmi};

/// MSRs that the extension may read: they tell about the machine, and nothing about the kernel.
const READABLE: [u32; 4] = [
    0x10,  // TSC
    0xFE,  // MTRR capabilities
    0x277, // PAT
    0x2FF, // MTRR default type
];

impl HostCpu for VmxCpu {
    type Arch = Vmx;

    plinth_arch_x86::common_host_methods!();

    #[inline]
    fn enter_user(&mut self, context: &mut UserRegisters) -> UserExit {
        self.load_host();
        // SAFETY: `new` was told that everything is loaded; `load_host` has put the hidden part back.
        let called = unsafe { user::run(self.per_cpu, context) };
        let exit = if called { UserExit::Call } else { self.not_called(context) };
        #[cfg(feature = "fault-injection")]
        fault_injection::serve(exit, context, Nmis { note: self.note, held_back: false });
        exit
    }

    #[inline]
    fn run(
        &mut self,
        vs: &mut VmxVs,
        ExitWords { frame: exit_page, .. }: ExitWords,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        loop {
            let exit_reason = match self.switch(vs, exit_page) {
                Ok(exit_reason) => exit_reason,
                Err(exit) => return exit,
            };
            if let Some(exit) = self.serve(vs, exit_reason, exit_page, policy, guest, declared) {
                return exit;
            }
        }
    }

    fn park(&mut self, wake: impl Fn() -> bool) -> bool {
        if !wake() {
            // SAFETY: the kernel's IDT is loaded and interrupts are off, as always in the kernel.
            unsafe { nmi::halt_until_nmi(self.note.flag()) };
        }
        self.note.take()
    }

    fn emulate(&mut self, vs: &mut VmxVs, exit: &Exit, guest: &impl GuestMemory, exit_page: Spa) -> bool {
        match exit.class {
            ExitClass::IdRead => {
                bare_cpuid(vs, exit_page);
                vs.advance(guest, exit_page).is_ok()
            }
            ExitClass::RegisterRead | ExitClass::RegisterWrite => {
                vs.inject(GENERAL_PROTECTION);
                true
            }
            ExitClass::Virtualization => {
                vs.inject(Event::Undefined);
                true
            }
            _ => false,
        }
    }

    fn can_promote(&mut self, vs: &VmxVs, guest: &impl GuestMemory) -> bool {
        self.load_host();
        let local = 0u8;
        can_take_over(&vs.paging(), guest, &raw const local as u64)
    }
}

fn bare_cpuid(vs: &VmxVs, exit_page: Spa) {
    let memory = vs.memory();
    let (leaf, subleaf) =
        (read_general(&memory, exit_page, 0) as u32, read_general(&memory, exit_page, 1) as u32);
    let cr4 = vs.with(control_registers::read_cr4);
    write_cpuid(vs, exit_page, cpuid::without_virtualization(leaf, subleaf, cr4));
}

fn write_cpuid(vs: &VmxVs, exit_page: Spa, [eax, ebx, ecx, edx]: [u32; 4]) {
    for (number, value) in [(0, eax), (3, ebx), (1, ecx), (2, edx)] {
        write_general(&vs.memory(), exit_page, number, u64::from(value));
    }
}

/// Serves CPUID from a declared answer. Returns false, and changes nothing, where none is declared.
#[inline]
pub(super) fn answer(vs: &mut VmxVs, exit_page: Spa, policy: &IdPolicy, guest: &impl GuestMemory) -> bool {
    let memory = vs.memory();
    let (leaf, subleaf) =
        (read_general(&memory, exit_page, 0) as u32, read_general(&memory, exit_page, 1) as u32);
    let Some(words) = cpuid::declared(policy, leaf, subleaf) else { return false };
    if vs.advance(guest, exit_page).is_err() {
        return false;
    }
    write_cpuid(vs, exit_page, words);
    true
}
