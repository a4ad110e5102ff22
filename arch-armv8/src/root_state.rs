//! What the kernel is called from and what the OS goes on with: the caller's frame, and the root VM's first state.

use plinth_launch::LaunchStatus;

use crate::caller::CallerRegisters;
use crate::el1_caller::{self, El1Caller, El1Frame};
use crate::el2_state::El2State;
use crate::fdt::GicKind;
use crate::features::Features;
use crate::host::HostRegisters;
use crate::pstate::Pstate;
use crate::regime::{HCR_E2H, SCTLR_RESET};

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
    El1(&'a El1Frame),
}

/// Where the OS goes on at EL1 once it is the root VM.
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

/// A translation at EL2 as EL1 has it: the caller goes on one level below, at the same addresses.
///
/// What EL2 must not write or may not execute, EL1 need not respect: that is two bits of each descriptor apart. But
/// where the tables allow EL0 to write (AP\[1\], which EL2 ignores), EL1 does not execute (Arm ARM, D8.4): a loader
/// leaves that bit 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translation {
    pub(crate) mair: u64,
    pub(crate) tcr: u64,
    pub(crate) ttbr: u64,
    pub(crate) sctlr: u64,
    pub(crate) vbar: u64,
}

impl Translation {
    fn of_caller(caller: &HostRegisters) -> Option<Self> {
        // M, A, C, SA, I and WXN mean the same at both levels (Arm ARM, SCTLR_EL1 and SCTLR_EL2).
        const COMMON: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;
        let sctlr = SCTLR_RESET | caller.sctlr & COMMON;
        let HostRegisters { mair, ttbr, vbar, .. } = *caller;
        // With E2H, EL2's registers are laid out as those of EL1. The upper half of the addresses is not taken over.
        let with_upper = caller.hcr & HCR_E2H != 0;
        let tcr = if with_upper { caller.tcr | NO_UPPER } else { lowered(caller.tcr) };
        (caller.sctlr & 1 != 0).then_some(Self { mair, tcr, ttbr, sctlr, vbar })
    }
}

/// TCR_EL1.EPD1.
const NO_UPPER: u64 = 1 << 23;

/// TCR_EL2 as TCR_EL1: T0SZ, IRGN0, ORGN0, SH0 and TG0 are where they were; PS, TBI, HA and HD move; the upper half of
/// the addresses has no tables (EPD1).
const fn lowered(tcr: u64) -> u64 {
    tcr & 0xFFFF | NO_UPPER | (tcr >> 16 & 7) << 32 | (tcr >> 20 & 1) << 37 | (tcr >> 21 & 3) << 39
}

/// Who goes on where a launch fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// Firmware or a loader, on its own stack.
    El2 {
        /// As it was.
        registers: HostRegisters,
        /// The same.
        state: El2State,
        /// Where its [`EntryFrame`] is.
        frame: u64,
    },
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
    /// The caller's registers are loaded, but for those of an [`El1Frame`].
    pub(crate) unsafe fn of_caller(frame: Frame<'_>, gic: GicKind) -> Result<Self, LaunchStatus> {
        let features = Features::current();
        match frame {
            // SAFETY: forwarded to the caller.
            Frame::El2(frame) => Ok(unsafe { Self::at_el2(frame, &features) }),
            Frame::El1(frame) => Ok(Self::at_el1(El1Caller::of(frame, El2State::current(&features, gic))?)),
        }
    }

    /// # Safety
    /// As [`Self::of_caller`].
    unsafe fn at_el2(frame: &EntryFrame, features: &Features) -> Self {
        let mut general = [0; 31];
        general[19..29].copy_from_slice(&frame.saved);
        general[29] = frame.x29;
        general[30] = frame.x30;
        let at = &raw const *frame as u64;
        let registers = HostRegisters::current();
        let translation = Translation::of_caller(&registers);
        // The interface of a GICv3 stays as it is made at launch, which any caller can work with.
        let caller = Caller::El2 { registers, state: El2State::current(features, GicKind::None), frame: at };
        let sp = at.wrapping_add(size_of::<EntryFrame>() as u64);
        // SAFETY: forwarded to the caller.
        let registers = Some(unsafe { CallerRegisters::take() });
        let (pc, pstate) = (frame.x30, Pstate::RESET);
        Self { general, sp, pc, pstate, translation, registers, caller: Some(caller) }
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
    pub(crate) fn way_back(&self) -> Option<El1Caller> {
        match self.caller {
            Some(Caller::El1(caller)) => Some(caller),
            Some(Caller::El2 { .. }) => None,
            None => el1_caller::first().map(El1Caller::on_this_processor),
        }
    }
}
