//! What the kernel asks of a processor.

use plinth_arch_x86::acpi_sleep::PortAccess;
use plinth_arch_x86::cpuid;
use plinth_arch_x86::exit_registers::{CpuidQuery, ExitPage, ExitRegisters, answer_cpuid};
#[cfg(feature = "fault-injection")]
use plinth_arch_x86::fault_injection::{self, Nmis};
use plinth_arch_x86::port_table;
use plinth_arch_x86::stopped_guest::can_take_over;
use plinth_arch_x86::user::{self, UserRegisters};
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, HostCpu, IdPolicy, Spa, TakeBack, UserExit, VsHw};

use super::VmxCpu;
use crate::field::IO_BITMAP_A;
use crate::launch::BackendPages;
use crate::msr_table::TABLE;
use crate::processor::GENERAL_PROTECTION;
use crate::vs::VmxVs;
use crate::{Vmx, bitmaps, control_registers, events, nmi};

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
        exit_page: ExitPage,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        vs.follow_directory(guest);
        loop {
            let exit_reason = match self.switch(vs, exit_page) {
                Ok(exit_reason) => exit_reason,
                Err(exit) => return exit,
            };
            if let Some(exit) =
                self.serve(vs, exit_reason, exit_page.registers_once(), policy, guest, declared)
            {
                return exit;
            }
        }
    }

    fn park(&mut self, wake: impl Fn() -> bool) -> bool {
        if !wake() {
            // BOUND: the root VM's to set, which starts this processor, or nobody's. No PP waits for a parked PP.
            // SAFETY: the kernel's IDT is loaded and interrupts are off, as always in the kernel.
            unsafe { nmi::halt_until_nmi(self.note.flag()) };
        }
        self.note.take() != 0
    }

    fn take_kicks(&mut self) -> u32 {
        self.note.take()
    }

    fn emulate(
        &mut self,
        vs: &mut VmxVs,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: ExitRegisters,
    ) -> bool {
        match exit.class {
            ExitClass::IdRead => {
                bare_cpuid(vs, registers);
                vs.advance(guest).is_ok()
            }
            // It exits because the extension asked to see it: now the guest gets what the table says.
            ExitClass::RegisterRead | ExitClass::RegisterWrite => {
                if !vs.maps.forget(exit.number) {
                    vs.inject(GENERAL_PROTECTION);
                }
                true
            }
            ExitClass::PortRead | ExitClass::PortWrite if vs.is_root && !PortAccess::of(exit).wraps() => {
                let (memory, bitmap) = (vs.memory(), vs.with(|vmcs| vmcs.read(IO_BITMAP_A)));
                port_table::without_extension(exit)
                    .for_each(|(port, exits)| bitmaps::set_port(&memory, Spa::new(bitmap), port, exits));
                true
            }
            ExitClass::Virtualization => {
                vs.inject(Event::Undefined);
                true
            }
            _ => false,
        }
    }

    fn can_promote(&mut self, vs: &VmxVs, guest: &impl GuestMemory, _: ExitRegisters) -> TakeBack {
        self.load_host();
        if vs.with(events::expects_one) {
            return TakeBack::Later;
        }
        let local = 0u8;
        let (stack, way) = (&raw const local as u64, BackendPages::of(self.per_cpu).way());
        let pages = core::iter::once(way).chain(self.apic.mapped_page());
        TakeBack::now_if(can_take_over(vs, guest, stack, vs.features.five_levels, pages))
    }
}

fn bare_cpuid(vs: &VmxVs, registers: ExitRegisters) {
    let writer = registers.writer();
    let CpuidQuery { leaf, subleaf } = CpuidQuery::take(registers);
    let cr4 = vs.with(control_registers::read_cr4);
    answer_cpuid(writer, cpuid::without_virtualization(leaf, subleaf, cr4));
}

/// Serves CPUID from a declared answer. Returns false, and changes nothing, where none is declared.
#[inline]
pub(super) fn answer(
    vs: &mut VmxVs,
    registers: ExitRegisters,
    policy: &IdPolicy,
    guest: &impl GuestMemory,
) -> bool {
    let writer = registers.writer();
    let CpuidQuery { leaf, subleaf } = CpuidQuery::take(registers);
    let Some(words) = cpuid::declared(policy, leaf, subleaf) else { return false };
    if vs.advance(guest).is_err() {
        return false;
    }
    answer_cpuid(writer, words);
    true
}
