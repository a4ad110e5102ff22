//! The registers of a caller at EL2 that have a counterpart at EL1: the caller continues with their values at EL1, and at
//! EL2 again after a stop. Above all its timer, which firmware reprograms only in its interrupt handler.

pub(crate) mod el1;
pub(crate) mod el2;
pub(crate) mod el2_state;
pub(crate) mod way_back;

use crate::el1_context::El1Context;
use crate::el1_timer::{CNTP_CTL, CNTP_CVAL, CNTV_CTL, CNTV_CVAL};
use crate::syndrome::register_number;
use crate::sysreg::{read_system, write_system};
use crate::trap_config::HCR_E2H;

const CNTKCTL: u64 = register_number(3, 0, 14, 1, 0);
const TPIDR_EL1: u64 = register_number(3, 0, 13, 0, 4);
const TPIDR_EL0: u64 = register_number(3, 3, 13, 0, 2);
const TPIDRRO_EL0: u64 = register_number(3, 3, 13, 0, 3);
const SP_EL0: u64 = register_number(3, 0, 4, 1, 0);

/// All of them, by their encodings at EL1.
const ENCODINGS: [u64; 9] =
    [CNTP_CTL, CNTP_CVAL, CNTV_CTL, CNTV_CVAL, CNTKCTL, TPIDR_EL1, TPIDR_EL0, TPIDRRO_EL0, SP_EL0];

/// The registers, by their names at EL1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerRegisters {
    lowered: [(u64, u64); ENCODINGS.len()],
    /// CNTP_CTL and CNTV_CTL, if these are EL2's own.
    own_timers: Option<[u64; 2]>,
}

impl CallerRegisters {
    /// Reads them where the caller has them: in the EL2&0 regime the timers' names mean EL2's own (Arm ARM, D1.3.8), which are
    /// switched off here, since EL1 cannot.
    ///
    /// # Safety
    /// The caller's registers are loaded, and it does not run before they are EL1's.
    pub(crate) unsafe fn take() -> Self {
        let has_own_timers = read_system!("hcr_el2") & HCR_E2H != 0;
        // CNTVOFF_EL2 does not count in that regime, and is going to be 0.
        let offset = read_system!("cntvoff_el2");
        let counted = if has_own_timers { 0 } else { offset };
        let (physical, other) = (read_system!("cntp_ctl_el0"), read_system!("cntv_ctl_el0"));
        let lowered = [
            (CNTP_CTL, physical),
            (CNTP_CVAL, read_system!("cntp_cval_el0")),
            (CNTV_CTL, other),
            (CNTV_CVAL, read_system!("cntv_cval_el0").wrapping_add(counted)),
            (CNTKCTL, if has_own_timers { 0 } else { read_system!("cntkctl_el1") }),
            (TPIDR_EL1, read_system!("tpidr_el2")),
            (TPIDR_EL0, read_system!("tpidr_el0")),
            (TPIDRRO_EL0, read_system!("tpidrro_el0")),
            (SP_EL0, read_system!("sp_el0")),
        ];
        if has_own_timers {
            // SAFETY: EL2's own timers, says the regime; the caller goes on with those of EL1.
            unsafe {
                write_system!("cntp_ctl_el0", 0_u64);
                write_system!("cntv_ctl_el0", 0_u64);
            }
        }
        Self { lowered, own_timers: has_own_timers.then_some([physical, other]) }
    }

    /// What the caller has in them at EL1.
    pub(crate) fn of_el1(el1_context: &El1Context) -> Self {
        let read = |encoding| (encoding, el1_context.read(encoding).unwrap_or(0));
        Self { lowered: ENCODINGS.map(read), own_timers: None }
    }

    /// The caller's thread register: TPIDR_EL2, or TPIDR_EL1.
    pub(crate) fn thread(&self) -> u64 {
        self.value(TPIDR_EL1)
    }

    fn value(&self, wanted: u64) -> u64 {
        let found = self.lowered.iter().find(|(encoding, _)| *encoding == wanted);
        found.map_or(0, |(_, value)| *value)
    }

    /// Gives the caller at EL2 what it had in them at EL1, but for its thread register. With `has_own_timers` it has the EL2&0
    /// regime; else its virtual counter is `offset` behind the machine's.
    ///
    /// # Safety
    /// The processor holds the bank, and EL1 runs no more; EL2's other registers are the caller's.
    pub(crate) unsafe fn raise(&self, el1_context: &El1Context, has_own_timers: bool, offset: u64) {
        for encoding in [TPIDR_EL0, TPIDRRO_EL0, SP_EL0] {
            let _ = el1_context.write(encoding, self.value(encoding));
        }
        let [physical, other] = [CNTP_CTL, CNTV_CTL].map(|control| self.value(control));
        let [physical_at, other_at] = [CNTP_CVAL, CNTV_CVAL].map(|compare| self.value(compare));
        if has_own_timers {
            // SAFETY: EL2's own timers, of which the regime has both.
            unsafe {
                write_system!("cnthp_cval_el2", physical_at);
                write_system!("cnthp_ctl_el2", physical);
                write_system!("S3_4_C14_C3_2", other_at);
                write_system!("S3_4_C14_C3_1", other);
            }
            return;
        }
        let timers = [
            (CNTKCTL, self.value(CNTKCTL)),
            (CNTP_CVAL, physical_at),
            (CNTP_CTL, physical),
            (CNTV_CVAL, other_at.wrapping_sub(offset)),
            (CNTV_CTL, other),
        ];
        for (encoding, value) in timers {
            let _ = el1_context.write(encoding, value);
        }
    }

    /// Gives them to the caller at EL1.
    pub(crate) fn lower(&self, el1_context: &El1Context) {
        for (encoding, value) in self.lowered {
            let _ = el1_context.write(encoding, value);
        }
    }

    /// Gives the caller back what [`Self::take`] has changed of it.
    ///
    /// # Safety
    /// The caller's registers are loaded again, and it goes on at EL2.
    pub(crate) unsafe fn give_back(&self) {
        if let Some([physical, other]) = self.own_timers {
            // SAFETY: the caller's own values.
            unsafe {
                write_system!("cntp_ctl_el0", physical);
                write_system!("cntv_ctl_el0", other);
            }
        }
    }
}
