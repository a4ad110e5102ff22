//! A physical processor, from the kernel's side.

use crate::addr::UserVa;
use crate::arch::{Arch, Page, Registers};
use crate::exit::Exit;
use crate::policy::IdPolicy;
use crate::user::{UserContext, UserExit};

/// A register access faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostFault;

/// Whether the bare machine can go on from a VS's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TakeBack {
    /// It can.
    Now,
    /// An event is on its way to the guest: it can once that has arrived.
    Later,
    /// It cannot.
    Never,
}

impl TakeBack {
    /// [`Self::Now`], if that is so.
    pub const fn now_if(it_can: bool) -> Self {
        if it_can { Self::Now } else { Self::Never }
    }
}

/// The PP that the caller runs on. Owned by that PP's loop alone.
pub trait HostCpu: Sized {
    /// The backend.
    type Arch: Arch;

    /// The id by which the machine's interrupt controller knows it.
    fn hardware_id(&self) -> u32;

    /// Enters the extension and comes back when it makes a system call, faults or is stopped.
    fn enter_user(&mut self, context: &mut <Self::Arch as Arch>::User) -> UserExit;

    /// Enters the extension as [`UserContext::prepare_upcall`] says, where a guest has run just before. A backend whose
    /// registers can be set at once spares itself the way through the context.
    #[inline]
    fn enter_upcall(
        &mut self,
        context: &mut <Self::Arch as Arch>::User,
        entry: UserVa,
        stack: UserVa,
        arguments: [u64; 3],
    ) -> UserExit {
        context.prepare_upcall(entry, stack, arguments);
        self.enter_user(context)
    }

    /// Runs a VS until it exits with something that `policy` does not answer. The general registers go
    /// from and to the exit page. `declared` counts the answers given.
    fn run(
        &mut self,
        vs: &mut <Self::Arch as Arch>::Vs,
        exit_page: Page<Self::Arch>,
        policy: &IdPolicy,
        guest: &impl crate::GuestMemory,
        declared: &mut u64,
    ) -> Exit;

    /// Whether a kick looks like a non-maskable interrupt of the guest's own, which an exit with class
    /// [`crate::ExitClass::Kick`] may then be as well.
    const KICK_IS_NMI: bool = true;

    /// Makes the PP with this hardware id exit its VS with class [`crate::ExitClass::Kick`], or wakes it.
    fn kick(&self, hardware_id: u32);

    /// Drops what the TLBs of all PPs hold of nested tables, where the hardware can tell the others by itself. Returns
    /// false where it cannot, or cannot this time: each PP has to be kicked. Where it can, no other PP executes more of a guest, once this
    /// returns, before it has exited with class [`crate::ExitClass::Kick`].
    fn flush_everywhere(&self) -> bool {
        false
    }

    /// Takes kicks that have arrived while the kernel ran, and with them NMIs of the guest's own where the two look alike. Returns
    /// how many there were. Where kicks are no NMIs, nobody asks.
    fn take_kicks(&mut self) -> u32 {
        0
    }

    /// Sleeps until a kick, unless `wake` is true already. Returns whether a kick came.
    fn park(&mut self, wake: impl Fn() -> bool) -> bool;

    /// Puts this PP's own part of the interrupt controller into the state after a reset of the processor: nothing
    /// pending, nothing enabled. Returns whether a kick came meanwhile. [`crate::VsHw::reset`] of the root VS follows: what
    /// the processor holds of a VS goes back to that here.
    fn reset_interrupts(&mut self) -> bool {
        false
    }

    /// The machine's counter, which every PP sees run at one rate and never back.
    fn counter(&self) -> u64;

    /// The counter's ticks per second, where the machine says so.
    fn frequency(&self) -> Option<u64>;

    /// Has the extension stopped by [`UserExit::Clock`] after so many ticks of the counter, where the PP has a clock of its
    /// own to do so. It comes back sooner with other things; a later call is about the same turn, or the next.
    fn end_turn_after(&mut self, ticks: u64) {
        let _ = ticks;
    }

    /// From now on interrupts of the root VM's may stop the extension, by [`UserExit::Clock`], where its time could not be
    /// bounded otherwise: the launch has succeeded, or an exit of class [`crate::ExitClass::Processor`] has changed which come.
    fn interrupts_changed(&mut self, by: Option<&Exit>) {
        let _ = by;
    }

    /// Gives interrupts that have stopped the extension back, before a VS runs or this PP is the root VM's alone.
    fn return_interrupts(&mut self) {}

    /// Lets another hardware thread have the core for a moment.
    fn relax(&self);

    /// Reads an MSR or system register for the extension.
    ///
    /// # Errors
    /// [`HostFault`] where the machine has no such register.
    fn read_register(&mut self, register: u64) -> Result<u64, HostFault>;

    /// Writes an MSR or system register for the extension.
    ///
    /// # Errors
    /// [`HostFault`] where the machine refuses it.
    fn write_register(&mut self, register: u64, value: u64) -> Result<(), HostFault>;

    /// Whether the extension may read this MSR or system register.
    fn may_read(register: u64) -> bool;

    /// Whether the extension may write this MSR or system register.
    fn may_write(register: u64) -> bool;

    /// Forgets what this PP's TLB holds of the host's tables.
    fn flush_host_tlb(&mut self);

    /// Answers an exit as the bare machine would, but for the virtualization extension, which the guest
    /// finds missing. Returns false for an exit that it does not know.
    fn emulate(
        &mut self,
        vs: &mut <Self::Arch as Arch>::Vs,
        exit: &Exit,
        guest: &impl crate::GuestMemory,
        registers: Registers<Self::Arch>,
    ) -> bool;

    /// Carries out on the machine what a guest wants done to a processor that does not run under the hypervisor.
    fn forward(&mut self, event: crate::ProcessorEvent);

    /// Has the machine start the processor with this hardware id, which does not run under the hypervisor yet, in the
    /// backend's own code; that brings it to the kernel. Returns false where it cannot.
    fn start_cold(&self, hardware_id: u32) -> bool {
        let _ = hardware_id;
        false
    }

    /// Repeats the call for a processor that is on its way, in case it has not heard [`Self::start_cold`]. Does nothing
    /// to one that has.
    fn start_again(&self, hardware_id: u32) {
        let _ = hardware_id;
    }

    /// Whether the machine can take this VS back: its page tables still map what the last step runs on, and it is where that step
    /// can lead. Brings all of its state that is in the processor back into it.
    fn can_promote(&mut self, vs: &<Self::Arch as Arch>::Vs, guest: &impl crate::GuestMemory) -> TakeBack;

    /// Restarts the machine.
    fn reset_machine(&mut self);
}
