//! The caller's frame, and the root VM's first state: where the image was called from, and how the OS continues.

use plinth_launch::LaunchStatus;

use crate::caller::CallerRegisters;
use crate::caller::el1::{self, El1Caller};
use crate::caller::el2::El2Caller;
use crate::caller::el2_state::El2State;
use crate::caller::way_back::CallerFrame;
use crate::features::Features;
use crate::machine::device_tree::GicKind;
use crate::paging::lowered::Translation;
use crate::pstate::Pstate;

/// What the image's entry point leaves on the caller's stack: the registers that a call preserves.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EntryFrame {
    x29: u64,
    x30: u64,
    /// X19 to X28.
    saved: [u64; 10],
}

/// Who has called the image's entry point.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// Firmware or a loader at EL2.
    El2(&'a EntryFrame),
    /// An OS at EL1.
    El1(&'a CallerFrame),
}

/// The state with which the OS continues at EL1 as the root VM.
#[derive(Debug)]
pub struct El2Root {
    /// X0 to X30.
    pub(crate) general: [u64; 31],
    pub(crate) sp: u64,
    pub(crate) pc: u64,
    pub(crate) pstate: Pstate,
    /// The caller's translation, if it had any; without, the MMU is off.
    pub(crate) translation: Option<Translation>,
    /// What else it goes on with, if it was a caller.
    pub(crate) registers: Option<CallerRegisters>,
    /// The caller, if there is one to go back to.
    pub(crate) caller: Option<Caller>,
}

/// The caller that gets the CPU back when a launch fails, or after a stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// Firmware or a loader.
    El2(El2Caller),
    /// An OS at EL1, all of whose registers stay in the processor but the general ones.
    El1(El1Caller),
}

impl El2Root {
    /// The caller of the image's entry point, as if the call had answered 0.
    ///
    /// # Errors
    /// Why it cannot be the root VM.
    ///
    /// # Safety
    /// The caller's registers are loaded, but for those of an [`CallerFrame`].
    pub(crate) unsafe fn of_caller(frame: Frame<'_>, gic: GicKind) -> Result<Self, LaunchStatus> {
        let features = Features::current();
        match frame {
            // SAFETY: forwarded to the caller.
            Frame::El2(frame) => Ok(unsafe { Self::at_el2(frame, El2State::current(&features, gic)) }),
            Frame::El1(frame) => Ok(Self::at_el1(El1Caller::of(frame, El2State::current(&features, gic))?)),
        }
    }

    /// # Safety
    /// As [`Self::of_caller`].
    unsafe fn at_el2(frame: &EntryFrame, state: El2State) -> Self {
        let mut general = [0; 31];
        general[19..29].copy_from_slice(&frame.saved);
        general[29] = frame.x29;
        general[30] = frame.x30;
        let sp = (&raw const *frame as u64).wrapping_add(size_of::<EntryFrame>() as u64);
        let caller = El2Caller::current(state);
        let translation = caller.translation();
        // SAFETY: forwarded to the caller.
        let registers = Some(unsafe { CallerRegisters::take() });
        let (pc, pstate) = (frame.x30, Pstate::RESET);
        Self { general, sp, pc, pstate, translation, registers, caller: Some(Caller::El2(caller)) }
    }

    fn at_el1(caller: El1Caller) -> Self {
        let (pc, pstate) = (caller.frame().pc(), caller.frame().pstate());
        Self { pc, pstate, caller: Some(Caller::El1(caller)), ..Self::started(0, 0) }
    }

    /// A processor that PSCI starts at `entry`.
    pub(crate) fn started(entry: u64, context: u64) -> Self {
        let mut general = [0; 31];
        general[0] = context;
        let pstate = Pstate::RESET;
        Self { general, sp: 0, pc: entry, pstate, translation: None, registers: None, caller: None }
    }

    /// Whether the processor holds the OS's registers of EL1.
    pub(crate) fn is_from_el1(&self) -> bool {
        matches!(self.caller, Some(Caller::El1(_)))
    }

    /// How the processor is given back once it has run under Plinth, if it is.
    pub(crate) fn way_back(&self) -> Option<Caller> {
        let as_first = || el1::first().map(|first| Caller::El1(first.on_this_processor()));
        self.caller.or_else(as_first)
    }
}
