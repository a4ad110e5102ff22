//! The registers of a virtual state's bank: those of [`crate::id::register_table`] that are each VS's own, and a few of the root VM's
//! that must not act while another VM runs.
//!
//! A list for a macro, since a register is read and written by an instruction of its own.

/// Calls `$apply` with the registers, in groups that a processor has or has not: first those that every VM has, then those of
/// the root VM alone.
macro_rules! el1_registers {
    ($apply:ident) => {
        $apply! {
            Base {
                "sctlr_el1" = 3 0 1 0 0, $crate::trap_config::SCTLR_RESET, moved;
                "cpacr_el1" = 3 0 1 0 2, 0, moved;
                "ttbr0_el1" = 3 0 2 0 0, 0, moved;
                "ttbr1_el1" = 3 0 2 0 1, 0, moved;
                "tcr_el1" = 3 0 2 0 2, 0, moved;
                "spsr_el1" = 3 0 4 0 0, 0, moved;
                "elr_el1" = 3 0 4 0 1, 0, moved;
                "sp_el0" = 3 0 4 1 0, 0, plain;
                "afsr0_el1" = 3 0 5 1 0, 0, moved;
                "afsr1_el1" = 3 0 5 1 1, 0, moved;
                "esr_el1" = 3 0 5 2 0, 0, moved;
                "far_el1" = 3 0 6 0 0, 0, moved;
                "par_el1" = 3 0 7 4 0, 0, plain;
                "mair_el1" = 3 0 10 2 0, 0, moved;
                "amair_el1" = 3 0 10 3 0, 0, moved;
                "vbar_el1" = 3 0 12 0 0, 0, moved;
                "contextidr_el1" = 3 0 13 0 1, 0, moved;
                "tpidr_el1" = 3 0 13 0 4, 0, plain;
                "cntkctl_el1" = 3 0 14 1 0, 0, moved;
                "csselr_el1" = 3 2 0 0 0, 0, plain;
                "tpidr_el0" = 3 3 13 0 2, 0, plain;
                "tpidrro_el0" = 3 3 13 0 3, 0, plain;
                "cntp_ctl_el0" = 3 3 14 2 1, 0, moved;
                "cntp_cval_el0" = 3 3 14 2 2, 0, moved;
                "cntv_ctl_el0" = 3 3 14 3 1, 0, moved;
                "cntv_cval_el0" = 3 3 14 3 2, 0, moved;
                "sp_el1" = 3 4 4 1 0, 0, plain;
                "mdscr_el1" = 2 0 0 2 2, 0, plain;
            }
            PointerAuthentication {
                "S3_0_C2_C1_0" = 3 0 2 1 0, 0, plain;
                "S3_0_C2_C1_1" = 3 0 2 1 1, 0, plain;
                "S3_0_C2_C1_2" = 3 0 2 1 2, 0, plain;
                "S3_0_C2_C1_3" = 3 0 2 1 3, 0, plain;
                "S3_0_C2_C2_0" = 3 0 2 2 0, 0, plain;
                "S3_0_C2_C2_1" = 3 0 2 2 1, 0, plain;
                "S3_0_C2_C2_2" = 3 0 2 2 2, 0, plain;
                "S3_0_C2_C2_3" = 3 0 2 2 3, 0, plain;
                "S3_0_C2_C3_0" = 3 0 2 3 0, 0, plain;
                "S3_0_C2_C3_1" = 3 0 2 3 1, 0, plain;
            }
            StreamingThread {
                "S3_0_C1_C2_4" = 3 0 1 2 4, 0, plain;
                "S3_3_C13_C0_5" = 3 3 13 0 5, 0, plain;
            }
            Tags {
                "S3_0_C1_C0_5" = 3 0 1 0 5, 0, plain;
                "S3_0_C1_C0_6" = 3 0 1 0 6, 0, plain;
                "S3_0_C5_C6_0" = 3 0 5 6 0, 0, moved;
                "S3_0_C5_C6_1" = 3 0 5 6 1, 0, plain;
            }
            ExtendedTcr {
                "S3_0_C2_C0_3" = 3 0 2 0 3, 0, moved;
            }
            ExtendedSctlr {
                "S3_0_C1_C0_3" = 3 0 1 0 3, 0, moved;
            }
            Permissions {
                "S3_0_C10_C2_2" = 3 0 10 2 2, 0, moved;
                "S3_0_C10_C2_3" = 3 0 10 2 3, 0, moved;
            }
            Overlays {
                "S3_0_C10_C2_4" = 3 0 10 2 4, 0, moved;
                "S3_3_C10_C2_4" = 3 3 10 2 4, 0, plain;
            }
            ControlStack {
                "S3_0_C2_C5_0" = 3 0 2 5 0, 0, moved;
                "S3_0_C2_C5_1" = 3 0 2 5 1, 0, moved;
                "S3_0_C2_C5_2" = 3 0 2 5 2, 0, plain;
                "S3_3_C2_C5_1" = 3 3 2 5 1, 0, plain;
            }
            Branches {
                "S2_1_C9_C0_0" = 2 1 9 0 0, 0, moved;
            }
            Profiling {
                "S3_0_C9_C9_0" = 3 0 9 9 0, 0, moved;
                "S3_0_C9_C10_0" = 3 0 9 10 0, 0, plain;
            }
            TraceBuffer {
                "S3_0_C1_C2_1" = 3 0 1 2 1, 0, moved;
                "S3_0_C9_C11_0" = 3 0 9 11 0, 0, plain;
            }
        }
    };
}

pub(crate) use el1_registers;

macro_rules! tables {
    ($($group:ident { $($name:literal = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal, $reset:expr, $how:ident;)* })*) => {
        /// The registers by their encoding, in the order of the bank, with their group and their value after a reset.
        pub(crate) const REGISTERS: &[Register] = &[$($(
            Register { encoding: encoding($op0, $op1, $crn, $crm, $op2), group: Id::$group, reset: $reset },
        )*)*];
    };
}

use crate::features::Features;
use crate::id::register_table::{Id, encoding};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register {
    pub(crate) encoding: u64,
    pub(crate) group: Id,
    pub(crate) reset: u64,
}

el1_registers!(tables);

/// How many of the bank are every VM's; the others are the root VM's alone.
pub(crate) const EVERY_VMS: usize = {
    let mut count = 0;
    while count < REGISTERS.len()
        && matches!(REGISTERS[count].group, Id::Base | Id::PointerAuthentication | Id::StreamingThread)
    {
        count += 1;
    }
    count
};

/// Whether the bank has a group on this processor.
#[inline]
pub(crate) fn is_kept(features: &Features, group: Id) -> bool {
    match group {
        Id::Profiling => features.profiling,
        Id::TraceBuffer => features.trace_buffer,
        _ => features.present.has(group),
    }
}
