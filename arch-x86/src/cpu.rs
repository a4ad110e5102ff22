//! What a processor does the same whichever vendor's it is: kicks, time, registers, starting others.

/// The methods of [`HostCpu`](plinth_hal::HostCpu) that both vendors' processors have in common. The type has a field
/// `apic`, its [`LocalApic`](crate::apic::LocalApic), a field `id`, which is that one's, and fields `interrupts`, `per_cpu` and
/// `note`; `load_host` brings what the processor holds of a guest back to that, and `accept_interrupts` takes what is pending.
/// In scope is its [`MsrTable`](crate::msr_table::MsrTable), `TABLE`.
#[macro_export]
macro_rules! common_host_methods {
    () => {
        fn hardware_id(&self) -> u32 {
            self.id
        }

        fn kick(&self, hardware_id: u32) {
            self.apic.send_nmi(hardware_id);
        }

        fn reset_interrupts(&mut self) -> bool {
            self.load_host();
            let note = self.note;
            self.apic.reset(|| {
                Self::accept_interrupts();
                note.take() != 0
            })
        }

        fn end_turn_after(&mut self, ticks: u64) {
            self.interrupts.continue_within(self.apic, ticks);
        }

        fn interrupts_changed(&mut self, by: Option<&Exit>) {
            if by.is_none_or(|exit| $crate::apic_access::changes_interrupts(exit.number)) {
                let come = self.interrupts.may_come(self.apic, by.is_some());
                self.let_interrupts_in(come);
            }
        }

        fn return_interrupts(&mut self) {
            self.interrupts.give_back(self.apic);
        }

        fn counter(&self) -> u64 {
            $crate::time::counter()
        }

        fn frequency(&self) -> Option<u64> {
            $crate::time::frequency()
        }

        fn relax(&self) {
            // BOUND: one pause, not a loop: each caller's loop names its own bound.
            ::core::hint::spin_loop();
        }

        fn read_register(&mut self, register: u64) -> Result<u64, ::plinth_hal::HostFault> {
            $crate::msr::read_guarded(u32::try_from(register).map_err(|_| ::plinth_hal::HostFault)?)
        }

        fn write_register(&mut self, _: u64, _: u64) -> Result<(), ::plinth_hal::HostFault> {
            // `may_write` lists none.
            Err(::plinth_hal::HostFault)
        }

        fn may_read(register: u64) -> bool {
            TABLE.is_readable(register)
        }

        fn may_write(_: u64) -> bool {
            false
        }

        fn flush_host_tlb(&mut self) {
            $crate::kpti::flush();
        }

        fn forward(&mut self, event: ::plinth_hal::ProcessorEvent) {
            self.apic.forward(event);
        }

        fn start_cold(&self, hardware_id: u32) -> bool {
            self.apic.start_cold(hardware_id)
        }

        fn start_again(&self, hardware_id: u32) {
            self.apic.start_again(hardware_id);
        }

        fn reset_machine(&mut self) {
            $crate::reset::machine();
        }
    };
}

/// What an implementation of [`HostCpu`](plinth_hal::HostCpu) with [`common_host_methods`] needs beside it.
#[macro_export]
macro_rules! interrupt_methods {
    () => {
        /// Something else than a call of its own has stopped the extension.
        #[cold]
        #[inline(never)]
        fn not_called(&mut self, context: &mut UserRegisters) -> UserExit {
            let stopped = context.stopped();
            match stopped {
                UserExit::Kick => $crate::nmi::unblock(),
                UserExit::Clock => return self.interrupted(context),
                _ => {}
            }
            stopped
        }

        /// An interrupt has, or what looks like one.
        fn interrupted(&mut self, context: &mut UserRegisters) -> UserExit {
            let stopped = self.interrupts.taken(self.apic, context);
            if self.interrupts.are_shut_out() {
                self.let_interrupts_in(false);
            }
            stopped
        }

        fn let_interrupts_in(&mut self, on: bool) {
            // SAFETY: the structure is this processor's, which runs here.
            unsafe { PerCpu::let_interrupts_in(self.per_cpu, on) };
        }
    };
}
