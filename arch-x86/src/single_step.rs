//! Single steps. The kernel steps the guest over one instruction with RFLAGS.TF. A guest may also single-step
//! itself: after the kernel has emulated an instruction, the guest must still get the #DB for it (AMD APM
//! vol. 2, 13.1; Intel SDM vol. 3B, "Debug Exceptions").
//!
//! A #DB during the kernel's step may have further causes, such as a breakpoint of the guest. The kernel
//! injects a #DB with these causes into the guest.

/// RFLAGS.TF.
pub const TRAP_FLAG: u64 = 1 << 8;
/// RFLAGS.RF: no instruction breakpoint at the next instruction. Each instruction that completes clears it.
pub const RESUME_FLAG: u64 = 1 << 16;
/// DR6.BS: a single step.
pub const STEP_CAUSE: u64 = 1 << 14;
/// DR6.B0 to B3: a breakpoint.
const BREAKPOINTS: u64 = 0xF;
/// DR6's causes other than a single step: breakpoints, general detection (BD), a task switch (BT).
const OTHER_CAUSES: u64 = BREAKPOINTS | 1 << 13 | 1 << 15;
/// DEBUGCTL.BTF: RFLAGS.TF traps after branches alone.
pub const BRANCHES_ONLY: u64 = 1 << 1;

/// Whether the guest gets a single-step #DB after an instruction that the kernel has emulated, and that is no
/// branch. `flags` is RFLAGS before the instruction.
pub const fn traps(flags: u64, debug_control: u64) -> bool {
    flags & TRAP_FLAG != 0 && debug_control & BRANCHES_ONLY == 0
}

/// A single step of the kernel in progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Whether the guest itself had set RFLAGS.TF.
    pub guest_flag: bool,
    /// The guest's DR6 before the step.
    status: u64,
}

/// The meaning of a #DB that is raised during a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DebugException {
    /// Whether the instruction has been executed, so that the step is over.
    pub ends_step: bool,
    /// Whether the guest gets a #DB too.
    pub is_guests: bool,
    /// The guest's DR6 afterwards.
    pub status: u64,
}

impl Step {
    /// Begins a step; `flags` and `status` are the guest's RFLAGS and DR6.
    pub const fn begin(flags: u64, status: u64) -> Self {
        Self { guest_flag: flags & TRAP_FLAG != 0, status }
    }

    /// The guest's DR6 before the step.
    pub const fn status(self) -> u64 {
        self.status
    }

    /// The value of DR6 during the step: without causes, so that all causes afterwards are of the step.
    pub const fn clear_status(self) -> u64 {
        self.status & !(OTHER_CAUSES | STEP_CAUSE)
    }

    /// Sorts the causes of a #DB, given as DR6's bits, into the kernel's step and the guest's own causes.
    pub const fn sort(self, causes: u64) -> DebugException {
        let ends_step = causes & STEP_CAUSE != 0;
        let others = causes & OTHER_CAUSES;
        let own_step = if ends_step && self.guest_flag { STEP_CAUSE } else { 0 };
        // INT1 sets no cause in DR6; it is the guest's.
        let is_guests = others != 0 || own_step != 0 || !ends_step;
        let kept = if is_guests { self.status & !BREAKPOINTS } else { self.status };
        DebugException { ends_step, is_guests, status: kept | others | own_step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DR6: u64 = 0xFFFF_0FF0;

    #[test]
    fn the_kernels_step_leaves_no_trace() {
        for status in [DR6, DR6 | 1, DR6 | STEP_CAUSE | 2, DR6 | 1 << 13] {
            let step = Step::begin(2, status);
            let after = step.sort(step.clear_status() | STEP_CAUSE);
            assert_eq!(after, DebugException { ends_step: true, is_guests: false, status });
        }
    }

    #[test]
    fn what_the_guest_has_asked_for_is_its_own() {
        let step = Step::begin(2, DR6 | 2);
        let breakpoint = step.sort(step.clear_status() | STEP_CAUSE | 1);
        assert_eq!(breakpoint, DebugException { ends_step: true, is_guests: true, status: DR6 | 1 });
        let traced = Step::begin(2 | TRAP_FLAG, DR6).sort(DR6 | STEP_CAUSE);
        assert_eq!(traced, DebugException { ends_step: true, is_guests: true, status: DR6 | STEP_CAUSE });
    }

    #[test]
    fn a_fault_before_the_instruction_ends_no_step() {
        let step = Step::begin(2, DR6 | STEP_CAUSE);
        for causes in [1, 8, 1 << 13, 0] {
            let fault = step.sort(step.clear_status() | causes);
            let status = DR6 | STEP_CAUSE | causes;
            assert_eq!(fault, DebugException { ends_step: false, is_guests: true, status }, "{causes:#x}");
        }
    }

    #[test]
    fn a_carried_out_instruction_is_no_branch() {
        assert!(traps(TRAP_FLAG, 0));
        assert!(!traps(TRAP_FLAG, BRANCHES_ONLY));
        assert!(!traps(RESUME_FLAG, 0));
    }
}
