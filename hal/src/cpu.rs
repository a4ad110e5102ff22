//! [`HostCpu`]: a physical processor under the hypervisor, as the kernel drives it.

use core::fmt;

use crate::addr::UserVa;
use crate::arch::{Arch, Page, Registers};
use crate::exit::Exit;
use crate::policy::IdPolicy;
use crate::user::{UserContext, UserExit};

/// Access to an MSR or system register caused a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostFault;

/// Whether the OS can go on with the bare processor (promotion) from the present state of a VS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TakeBack {
    /// Promotion is possible now.
    Now,
    /// An event is pending for the guest. Promotion is possible once the guest has taken the event.
    Later,
    /// Promotion is impossible, for this reason.
    Never(Obstacle),
}

impl TakeBack {
    /// [`Self::Now`] if the guest's page tables map what the last step of a promotion runs on.
    pub const fn now_if(they_do: bool) -> Self {
        if they_do { Self::Now } else { Self::Never(Obstacle::Tables) }
    }
}

/// The reason why a processor cannot be promoted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// The VS is not the root VS of this processor, or the root VS has not run yet.
    NotRoot,
    /// The VS waits for a start, or the hardware refuses its state.
    Stopped,
    /// The VS is in a processor mode that the last step of a promotion cannot return to.
    State,
    /// The guest's page tables do not map the code and stack of the last step, or the mode of the VS ignores
    /// these tables.
    Tables,
    /// The OS runs one exception level below the level at which it launched, and has not said that it can
    /// return there.
    LowerLevel,
    /// The processor was started under the hypervisor, so no state from before the launch exists.
    StartedBelow,
    /// Other processors run under the hypervisor that the OS did not bring to the launch.
    OthersRun,
    /// Other processors are held in a place that the OS does not know.
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

/// A physical processor (PP). Only the loop of that PP owns the value, so no method needs a lock.
///
/// The methods fall into groups: run something ([`run`](Self::run), [`enter_user`](Self::enter_user)), reach
/// other processors ([`kick`](Self::kick), [`flush_everywhere`](Self::flush_everywhere),
/// [`start_cold`](Self::start_cold)), preempt the extension ([`end_turn_after`](Self::end_turn_after),
/// [`interrupts_changed`](Self::interrupts_changed)), access registers for the extension, and leave the
/// hypervisor ([`can_promote`](Self::can_promote)).
pub trait HostCpu: Sized {
    /// The backend.
    type Arch: Arch;

    /// The id of this processor in the interrupt controller (APIC id, MPIDR affinity).
    fn hardware_id(&self) -> u32;

    /// Runs the extension in user mode until it makes a system call, causes a fault, or is preempted.
    fn enter_user(&mut self, context: &mut <Self::Arch as Arch>::User) -> UserExit;

    /// Enters the extension for an upcall, directly after a guest has run: [`UserContext::prepare_upcall`]
    /// and [`Self::enter_user`] in one. A backend overrides the default to load the argument registers
    /// directly, without storing them in `context` first.
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

    /// Runs a VS until it exits for a reason that neither the backend nor `policy` handles. Loads the general
    /// registers of the guest from the exit page and stores them there after the exit. Adds to `declared` the
    /// number of exits that `policy` answered.
    fn run(
        &mut self,
        vs: &mut <Self::Arch as Arch>::Vs,
        exit_page: Page<Self::Arch>,
        policy: &IdPolicy,
        guest: &impl crate::GuestMemory,
        declared: &mut u64,
    ) -> Exit;

    /// Whether a kick is an NMI, as on x86. Then an exit of class [`crate::ExitClass::Kick`] may also be an
    /// NMI of the guest.
    const KICK_IS_NMI: bool = true;

    /// Sends a kick to the PP with this hardware id. A PP that runs a VS exits with class
    /// [`crate::ExitClass::Kick`]; a parked PP wakes.
    fn kick(&self, hardware_id: u32);

    /// Invalidates the nested translations in the TLBs of all PPs, if the hardware can do that without the
    /// help of the other PPs. Returns false if it cannot, in general or this time; the caller then kicks each
    /// PP. After true, a PP that ran a guest executes no further guest instruction before it has exited with
    /// class [`crate::ExitClass::Kick`].
    fn flush_everywhere(&self) -> bool {
        false
    }

    /// Consumes the kicks that arrived while the kernel ran, and the guest's NMIs where a kick is an NMI.
    /// Returns their number. The kernel calls it only if [`Self::KICK_IS_NMI`].
    fn take_kicks(&mut self) -> u32 {
        0
    }

    /// Waits for a kick, unless `wake` already returns true. Returns whether a kick arrived.
    fn park(&mut self, wake: impl Fn() -> bool) -> bool;

    /// Resets the part of the interrupt controller that belongs to this PP: no interrupt pending, none
    /// enabled. Moves the state of the VS that the processor still holds back into the VS, so that the
    /// [`crate::VsHw::reset`] that follows clears it too. Returns whether a kick arrived meanwhile.
    fn reset_interrupts(&mut self) -> bool {
        false
    }

    /// The time counter of the machine (TSC, CNTPCT). It is monotonic and runs at the same rate on all PPs.
    fn counter(&self) -> u64;

    /// The frequency of the counter in Hz, if the machine reports it.
    fn frequency(&self) -> Option<u64>;

    /// Arms the preemption timer: the extension stops with [`UserExit::Clock`] after `ticks` of the counter,
    /// if the PP has a timer that the kernel may use. The extension may stop earlier for other reasons. A
    /// further call replaces the deadline, within the same turn of the extension or for the next one.
    fn end_turn_after(&mut self, ticks: u64) {
        let _ = ticks;
    }

    /// Re-evaluates whether interrupts of the root VM may preempt the extension with [`UserExit::Clock`],
    /// which bounds a turn where no other mechanism does. The kernel calls it when the launch has succeeded
    /// (`None`), and after an exit of class [`crate::ExitClass::Processor`] that changed which interrupts
    /// arrive.
    fn interrupts_changed(&mut self, by: Option<&Exit>) {
        let _ = by;
    }

    /// Gives the interrupts that preempted the extension back to the interrupt controller. The kernel calls
    /// it before a VS runs and before this PP leaves the hypervisor.
    fn return_interrupts(&mut self) {}

    /// A spin-loop hint (PAUSE, YIELD): lets another hardware thread use the core.
    fn relax(&self);

    /// Reads an MSR or system register for the extension.
    ///
    /// # Errors
    /// [`HostFault`] if the machine has no such register.
    fn read_register(&mut self, register: u64) -> Result<u64, HostFault>;

    /// Writes an MSR or system register for the extension.
    ///
    /// # Errors
    /// [`HostFault`] if the machine refuses the value.
    fn write_register(&mut self, register: u64, value: u64) -> Result<(), HostFault>;

    /// Whether the extension may read this MSR or system register.
    fn may_read(register: u64) -> bool;

    /// Whether the extension may write this MSR or system register.
    fn may_write(register: u64) -> bool;

    /// Invalidates the translations of the host page tables in the TLB of this PP.
    fn flush_host_tlb(&mut self);

    /// Completes an exit as the bare machine would, except that the guest sees no virtualization extension.
    /// Returns false for an exit that the backend cannot emulate.
    fn emulate(
        &mut self,
        vs: &mut <Self::Arch as Arch>::Vs,
        exit: &Exit,
        guest: &impl crate::GuestMemory,
        registers: Registers<Self::Arch>,
    ) -> bool;

    /// Applies a guest's request to a processor that does not run under the hypervisor, by the machine's own
    /// means.
    fn forward(&mut self, event: crate::ProcessorEvent);

    /// Starts the processor with this hardware id, which does not run under the hypervisor yet. The processor
    /// begins in the backend's start-up code, which brings it to the kernel. Returns false if the machine
    /// cannot start it.
    fn start_cold(&self, hardware_id: u32) -> bool {
        let _ = hardware_id;
        false
    }

    /// Repeats the start message for a processor that may have missed the first ([`Self::start_cold`]). A
    /// processor that heard the first ignores the second.
    fn start_again(&self, hardware_id: u32) {
        let _ = hardware_id;
    }

    /// Whether this processor can be promoted, which gives the bare machine to the OS in the present state of
    /// `vs`: the guest's page tables map what the last step runs on, and that step can return to the guest's
    /// mode. Also writes the VS's state that the processor holds lazily back to the processor. `registers`
    /// are the general registers of `vs`.
    fn can_promote(
        &mut self,
        vs: &<Self::Arch as Arch>::Vs,
        guest: &impl crate::GuestMemory,
        registers: Registers<Self::Arch>,
    ) -> TakeBack;

    /// Whether a promotion switches this PP off instead, because its root VS waits for a start. The OS later
    /// starts the processor by the firmware.
    fn can_turn_off(&self) -> bool {
        false
    }

    /// Restarts the machine.
    fn reset_machine(&mut self);
}
