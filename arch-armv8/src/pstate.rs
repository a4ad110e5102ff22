//! PSTATE of a lower exception level, as SPSR_EL2 holds it.
//!
//! An exception return with an illegal PSTATE (Arm ARM, D1.4.4) stays at EL2, with the PC of the guest. So a [`Pstate`] is
//! always legal: it was saved by the hardware, or validated by [`Pstate::checked`].

/// The mode: bit 4 says AArch32, bits 3:2 the level, bit 1 is 0, bit 0 selects the level's own stack pointer.
const MODE: u64 = 0x1F;
const EL0: u64 = 0b00000;
const EL1T: u64 = 0b00100;
const EL1H: u64 = 0b00101;
/// User mode, the only one of AArch32 below an EL1 of AArch64.
const EL0_32: u64 = 0b10000;
/// SPSR.D, A, I and F.
const MASKS: u64 = 0xF << 6;
/// SPSR.SS.
const STEP: u64 = 1 << 21;

/// PSTATE.SS where the kernel steps a guest, or nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepBit(u64);

impl StepBit {
    pub(crate) const ON: Self = Self(STEP);
    pub(crate) const OFF: Self = Self(0);
}
/// SPSR.BTYPE.
const BRANCH_TYPE: u64 = 3 << 10;

/// EL2 with EL0's stack pointer; with [`OWN_STACK`] EL2h.
const EL2T: u64 = 0b01000;
/// SPSR.M\[0\]: the level's own stack pointer is used.
const OWN_STACK: u64 = 1;
/// SPSR.N, Z, C and V.
const CONDITIONS: u64 = 0xF << 28;
/// SPSR.SSBS, PAN, UAO, DIT and TCO: what an OS sets once, and has to be alike at each level.
const MODES: u64 = 1 << 12 | 0xF << 22;

/// As SPSR_EL2 holds a state of EL2's that goes on like this one of EL1's, with masks and conditions its own and the rest from
/// `modes`. Only for who is given EL2.
pub(crate) const fn at_el2(state: Pstate, modes: u64) -> u64 {
    state.0 & (CONDITIONS | MASKS | OWN_STACK) | EL2T | modes & MODES
}

/// A state of EL1 or EL0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pstate(u64);

impl Pstate {
    /// EL1h with everything masked: in which PSCI starts a processor.
    pub(crate) const RESET: Self = Self(MASKS | EL1H);

    /// The extension's: EL0, SErrors and debug exceptions masked. Interrupts come to EL2: in the EL2&0 regime as far as
    /// they are not masked here, else in any case (Arm ARM, D1.3.6).
    pub(crate) const EXTENSION: Self = Self(0x300 | EL0);

    /// A PSTATE that the CPU has saved on an exception from a lower level, and so a legal one.
    #[inline]
    pub(crate) const fn saved(spsr: u64) -> Self {
        Self(spsr)
    }

    /// Validates a requested PSTATE, combined with the upper half of this one; `None` if the result is illegal. `has_32`
    /// means that EL0 may be AArch32 (ID_AA64PFR0_EL1.EL0).
    pub(crate) const fn checked(self, value: u64, has_32: bool) -> Option<Self> {
        const OWN: u64 = 0xFFFF_FFFF << 32 | STEP;
        match value & MODE {
            EL0 | EL1T | EL1H => {}
            EL0_32 if has_32 => {}
            _ => return None,
        }
        Some(Self(self.0 & OWN & !STEP | value & !OWN))
    }

    /// The handler of an exception that is taken to EL1 from this state: EL1h, masked, with `bits` besides.
    pub(crate) const fn in_handler(bits: u64) -> Self {
        Self(Self::RESET.0 | bits & !MODE & !STEP)
    }

    /// As an exception saves it.
    #[inline]
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    /// With PSTATE.SS as the kernel's single step needs it.
    #[inline]
    pub(crate) const fn with(self, step: StepBit) -> Self {
        Self(self.0 | step.0)
    }

    /// Without the kernel's own PSTATE.SS.
    #[inline]
    pub(crate) const fn without(self, step: StepBit) -> Self {
        Self(self.0 & !step.0)
    }

    /// The PSTATE after an instruction that the kernel has carried out: BTYPE, which describes that instruction, is cleared,
    /// and for the guest's own debugger the step is done.
    #[inline]
    pub(crate) const fn skipped(self) -> Self {
        Self(self.0 & !(BRANCH_TYPE | STEP))
    }

    /// The exception level: 0 or 1.
    #[inline]
    pub(crate) const fn level(self) -> u64 {
        self.0 >> 2 & 3
    }

    /// Whether it is of AArch32.
    pub(crate) const fn is_32(self) -> bool {
        self.0 & 1 << 4 != 0
    }

    /// The offset of the vector, from VBAR_EL1 on, of a synchronous exception that is taken to EL1 (Arm ARM, D1.3.1).
    pub(crate) const fn vector(self) -> u64 {
        match self.0 & MODE {
            _ if self.is_32() => 0x600,
            EL0 => 0x400,
            EL1T => 0,
            _ => 0x200,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Arm ARM's IllegalExceptionReturn and ELFromSPSR (DDI 0487, J1.3.3) at EL2 of the non-secure state with
    /// HCR_EL2.RW = 1 and HCR_EL2.TGE = 0.
    fn is_illegal(spsr: u64, has_32: bool) -> bool {
        let mode = spsr & 0x1F;
        let target = match mode >> 4 {
            0 if mode & 2 != 0 => None,
            0 if mode >> 2 == 0 && mode & 1 != 0 => None,
            0 => Some(mode >> 2),
            _ if !has_32 => None,
            _ => match mode {
                0b10000 => Some(0),
                0b10001 | 0b10010 | 0b10011 | 0b10111 | 0b11011 | 0b11111 => Some(1),
                0b11010 => Some(2),
                _ => None,
            },
        };
        let Some(target) = target else { return true };
        // EL1 is AArch64, and so is EL2: only EL0 may be either.
        target > 2 || target != 0 && mode >> 4 == 1
    }

    #[test]
    fn every_state_that_is_taken_can_be_returned_to() {
        for has_32 in [false, true] {
            for mode in 0..0x20 {
                for rest in [0, 0x3C0, 1 << 20, 1 << 21, 0xF << 28, !MODE] {
                    let taken = Pstate::RESET.checked(rest | mode, has_32);
                    let legal = !is_illegal(mode, has_32) && mode >> 2 != 2;
                    assert_eq!(taken.is_some(), legal, "{mode:#07b} {has_32}");
                    if let Some(Pstate(state)) = taken {
                        assert!(!is_illegal(state, has_32) && state & MODE == mode);
                        assert_eq!(state & STEP, 0, "the kernel's own bit");
                        assert_eq!(state >> 32, 0, "what has no meaning yet stays as it was");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_formed_here_can_be_returned_to() {
        for bits in [0, u64::MAX, 0xF << 28 | 1 << 22, 0b10010] {
            let handler = Pstate::in_handler(bits);
            for state in [handler, handler.skipped(), handler.with(StepBit::ON), handler.without(StepBit::ON)]
            {
                assert!(!is_illegal(state.raw(), false) && state.level() == 1);
            }
        }
        assert!(!is_illegal(Pstate::EXTENSION.raw(), false) && Pstate::EXTENSION.level() == 0);
    }

    #[test]
    fn firmware_is_raised_with_its_masks() {
        const PAN: u64 = 1 << 22;
        assert_eq!(at_el2(Pstate::RESET, PAN | 1 << 9), 0x3C0 | 0b1001 | PAN);
        let running = Pstate::saved(2 << 30 | 1 << 24 | STEP | 1 << 20 | BRANCH_TYPE | 0x240 | EL1T);
        assert_eq!(at_el2(running, 0), 2 << 30 | 0x240 | 0b1000, "DIT is what it was before the launch");
        for modes in [0, u64::MAX] {
            assert_eq!(at_el2(Pstate::RESET, modes) & (MODE | STEP | 1 << 20), 0b1001, "legal at EL2");
        }
    }

    #[test]
    fn vectors_tell_where_an_exception_comes_from() {
        let vector = |mode| Pstate::saved(0x3C0 | mode).vector();
        assert_eq!([EL0, EL1T, EL1H, EL0_32].map(vector), [0x400, 0, 0x200, 0x600]);
    }
}
