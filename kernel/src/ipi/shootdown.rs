//! TLB shootdown and other questions to all PPs: the one that asks waits until no guest runs on what was before.

use core::sync::atomic::Ordering;

use plinth_hal::{Arch, HostCpu};

use crate::ipi::mailbox::{FLUSH, Mailbox};
use crate::ipi::wait::{self, CpuClock, Question, Unheard};
use crate::kernel::Kernel;
use crate::object::table::Id;

/// Proof that no PP executes a guest of a VM with what it had cached of nested tables before: what only led there may be given
/// away.
#[must_use]
pub(crate) struct Forgotten(());

impl Forgotten {
    /// The VM has never run: nobody has cached anything of it.
    pub(crate) const NEVER_RUN: Self = Self(());
}

impl<A: Arch> Kernel<A> {
    /// Makes every other PP forget what it has cached of a VM's nested tables, and waits until it has.
    ///
    /// # Errors
    /// [`Unheard`]: a PP that is lost may still use it.
    pub(crate) fn shoot_down(&self, vm: Id, own: usize, cpu: &A::Cpu) -> Result<Forgotten, Unheard> {
        self.tell_others(FLUSH, vm, own, cpu).map(|()| Forgotten(()))
    }

    /// Leaves a request with every other PP, and waits until no guest of the VM executes anything that has not seen it.
    ///
    /// # Errors
    /// [`Unheard`]: one on a PP that is lost may.
    pub(crate) fn tell_others(&self, request: u32, vm: Id, own: usize, cpu: &A::Cpu) -> Result<(), Unheard> {
        let others = self.mailboxes.iter().enumerate().filter(|(index, _)| *index != own);
        for (_, mailbox) in others.clone() {
            mailbox.post(request & !FLUSH);
        }
        if cpu.flush_everywhere() {
            return Ok(());
        }
        let question = Question {
            request,
            vm,
            kick: |mailbox: &Mailbox| cpu.kick(mailbox.hardware_id.load(Ordering::Relaxed)),
            clock: &CpuClock(cpu),
            limit: self.answer_limit(cpu),
        };
        question.ask(others, |pp| {
            let what = if request == FLUSH { "forget translations" } else { "take new answers" };
            log::error!(
                "pp {pp}: it does not answer pp {own}, which has asked it to {what} of VM {:#x}: it is lost, and nothing \
                 that it may still reach is used again",
                vm.raw()
            );
        })
    }

    /// How long a PP may take to answer another one, in ticks of the counter.
    pub(crate) fn answer_limit(&self, cpu: &A::Cpu) -> u64 {
        let milliseconds = self.machine.get().map_or(0, |machine| machine.answer_milliseconds);
        wait::ticks(milliseconds, cpu)
    }
}
