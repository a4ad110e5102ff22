//! Recording exits while the trace is on: see [`crate::report::trace`].

use plinth_extension_api::abi::{BACKEND_EL2, Failure, TraceRecord, register};
use plinth_hal::{Arch, Exit, ExitClass, HostCpu, VsHw};

use crate::ipi::mailbox::TRACE;
use crate::kernel::{Kernel, Machine};
use crate::pp::Pp;

impl<A: Arch> Kernel<A> {
    /// Allocates a ring for each PP that has none.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](plinth_extension_api::abi::Error::OutOfMemory); no ring is allocated.
    pub(crate) fn open_traces(&self, machine: &Machine<A>) -> Result<(), Failure> {
        let numbers = self.pp_numbers().max(machine.pp_count);
        self.traces.open(&mut self.kernel_frames(machine.memory), numbers)
    }
}

impl<A: Arch> Pp<'_, A> {
    /// Whether exits of the root VM on this PP are traced.
    pub(crate) fn is_traced(&self) -> bool {
        self.kernel.traces.classes() != 0
    }

    /// Begins the record of an exit, if its class is traced. The record is published before the next run.
    pub(crate) fn trace_exit(&mut self, exit: Exit) {
        let counter = self.cpu.counter();
        let Some(active) = self.active.as_ref().filter(|_| self.is_root()) else { return };
        if self.kernel.traces.classes() >> exit.class as u64 & 1 == 0 {
            return;
        }
        let instruction_pointer = active.vs.hw.read(register::INSTRUCTION_POINTER).unwrap_or(0);
        let number = match exit.class {
            ExitClass::IdRead | ExitClass::Hypercall
                if A::BACKEND != BACKEND_EL2 || exit.class == ExitClass::Hypercall =>
            {
                let [number] = self.page.registers_once().take([0]);
                number
            }
            _ => exit.number,
        };
        let detail = u16::try_from(exit.detail).unwrap_or(u16::MAX);
        let class = exit.class as u16;
        self.traced = Some(TraceRecord { counter, number, instruction_pointer, duration: 0, detail, class });
        self.mailbox.post(TRACE);
    }

    /// Publishes the record before a run, and re-evaluates whether the trace is on.
    pub(crate) fn trace_entry(&mut self) {
        if let Some(record) = self.traced.take() {
            let ticks = self.cpu.counter().saturating_sub(record.counter);
            let record = TraceRecord { duration: u32::try_from(ticks).unwrap_or(u32::MAX), ..record };
            self.kernel.traces.write(self.machine.memory, self.index, zerocopy::transmute!(record));
        }
        self.watch_timer();
    }
}
