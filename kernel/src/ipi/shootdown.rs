//! TLB shootdown: invalidating the nested translations of a VM on all PPs.
//!
//! Before the kernel frees a nested page table, or a page that a VM had mapped, no PP may use a cached
//! translation of it. So the kernel posts `FLUSH` to every other PP, kicks the PPs that run a VS of the VM,
//! and waits until each of them has left its guest. A PP takes the request before its next entry, and that
//! entry invalidates the TLB. The result is a [`Forgotten`], the proof that frees whatever the old tables
//! referred to. A PP that does not react within the limit is lost: the call fails, and the memory is never
//! reused. Hardware that broadcasts the invalidation (Arm) needs no kicks.

use core::sync::atomic::Ordering;

use plinth_hal::{Arch, HostCpu};

use crate::ipi::mailbox::{FLUSH, Mailbox};
use crate::ipi::wait::{self, CpuClock, Question, Unheard};
use crate::kernel::Kernel;
use crate::object::table::Id;

/// Proof that no PP runs a guest of a VM with translations from before an edit of its nested tables. Required
/// to free whatever only the old translations reached.
#[must_use]
pub(crate) struct Forgotten(());

impl Forgotten {
    /// For a VM that has never run: no TLB holds a translation of it.
    pub(crate) const NEVER_RUN: Self = Self(());
}

impl<A: Arch> Kernel<A> {
    /// Invalidates the nested translations of a VM on every other PP, and waits until that is done.
    ///
    /// # Errors
    /// [`Unheard`]: a lost PP may still use an old translation.
    pub(crate) fn shoot_down(&self, vm: Id, own: usize, cpu: &A::Cpu) -> Result<Forgotten, Unheard> {
        self.tell_others(FLUSH, vm, own, cpu).map(|()| Forgotten(()))
    }

    /// Posts `request` to every other PP, and waits until no guest of the VM runs that has not seen it.
    ///
    /// # Errors
    /// [`Unheard`]: a guest on a lost PP may still run without it.
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

    /// The time in counter ticks within which a PP must react to another PP.
    pub(crate) fn answer_limit(&self, cpu: &A::Cpu) -> u64 {
        let milliseconds = self.machine.get().map_or(0, |machine| machine.answer_milliseconds);
        wait::ticks(milliseconds, cpu)
    }
}
