//! A physical processor, from the kernel's side.

use core::fmt;

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
    Never(Obstacle),
}

impl TakeBack {
    /// [`Self::Now`], if the guest's tables lead there.
    pub const fn now_if(they_do: bool) -> Self {
        if they_do { Self::Now } else { Self::Never(Obstacle::Tables) }
    }
}

/// What keeps the bare machine from going on where a VS is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It is not the root VS of this processor, or that has not run yet.
    NotRoot,
    /// It waits for a start, or the hardware refuses its state.
    Stopped,
    /// It is in a state in which the last step cannot leave it.
    State,
    /// Its page tables do not map what the last step runs on, or it is in a state in which they do not count.
    Tables,
    /// The OS goes on one level below the one at which it launched, and does not say that it can go back up.
    LowerLevel,
    /// The processor was started under the hypervisor, and what it was before is not known.
    StartedBelow,
    /// Other processors run under the hypervisor that the OS did not launch there.
    OthersRun,
    /// Other processors are kept where the OS does not find them.
    OthersAreHeld,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRoot => "what runs on it is not its root VS, or that has not run yet",
            Self::Stopped => "its root VS waits for a start, or the hardware refuses its state",
            Self::State => "its root VS is not in the state of the firmware or the OS that launched; stop from there",
            Self::Tables => {
                "it is not in privileged code with page tables that map the last step's code and stack at their own addresses"
            }
            Self::LowerLevel => {
                "firmware at EL2 launched, and who asks does not say that it can go on there: an OS that has booted at EL1 stays \
                 there; stop before it boots"
            }
            Self::StartedBelow => "it was started under the hypervisor, and has nothing to go back to",
            Self::OthersRun => "other processors run that were started under the hypervisor; switch them off first",
            Self::OthersAreHeld => "the firmware's spin table is out of use; restart the machine",
        })
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
    /// `registers` are the VS's.
    fn can_promote(
        &mut self,
        vs: &<Self::Arch as Arch>::Vs,
        guest: &impl crate::GuestMemory,
        registers: Registers<Self::Arch>,
    ) -> TakeBack;

    /// Whether this PP, whose root VS waits for a start, is turned off instead of being taken back: the OS starts it again by the
    /// firmware.
    fn can_turn_off(&self) -> bool {
        false
    }

    /// Restarts the machine.
    fn reset_machine(&mut self);
}
