//! Single steps: the kernel's over an instruction of a guest's, and the guest's own, which an instruction that the kernel has
//! carried out must still take (AMD APM vol. 2, 13.1; Intel SDM vol. 3B, "Debug Exceptions").
//!
//! A debug exception may have causes of the guest's beside the kernel's step. Those are the guest's to get.

/// RFLAGS.TF.
pub const TRAP_FLAG: u64 = 1 << 8;
/// RFLAGS.RF: no instruction breakpoint at the next instruction. Each instruction that completes clears it.
pub const RESUME_FLAG: u64 = 1 << 16;
/// DR6.BS: a single step.
pub const STEP_CAUSE: u64 = 1 << 14;
/// DR6's causes beside it: breakpoints, general detection, a task switch.
const BREAKPOINTS: u64 = 0xF;
const OTHER_CAUSES: u64 = BREAKPOINTS | 1 << 13 | 1 << 15;
/// DEBUGCTL.BTF: only branches trap.
pub const BRANCHES_ONLY: u64 = 1 << 1;

/// Whether an instruction that the kernel has carried out, which is no branch, ends with a trap, by RFLAGS before it and
/// DEBUGCTL.
pub const fn traps(flags: u64, debug_control: u64) -> bool {
    flags & TRAP_FLAG != 0 && debug_control & BRANCHES_ONLY == 0
}

/// A step of the kernel's that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The guest had set the trap flag itself.
    pub guest_flag: bool,
    /// DR6 as the guest had it.
    status: u64,
}

/// What a debug exception is that comes during a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DebugException {
    /// The instruction has been executed.
    pub ends_step: bool,
    /// The guest gets it too.
    pub is_guests: bool,
    /// DR6 as the guest finds it.
    pub status: u64,
}

impl Step {
    /// One that begins with these flags and this DR6.
    pub const fn begin(flags: u64, status: u64) -> Self {
        Self { guest_flag: flags & TRAP_FLAG != 0, status }
    }

    /// DR6 as the guest had it.
    pub const fn status(self) -> u64 {
        self.status
    }

    /// DR6 for the time of the step, so that its causes are those of the step alone.
    pub const fn clear_status(self) -> u64 {
        self.status & !(OTHER_CAUSES | STEP_CAUSE)
    }

    /// What an exception with these causes is, given in DR6's form.
    pub const fn sort(self, causes: u64) -> DebugException {
        let ends_step = causes & STEP_CAUSE != 0;
        let others = causes & OTHER_CAUSES;
        let own_step = if ends_step && self.guest_flag { STEP_CAUSE } else { 0 };
        // INT1 has no cause at all.
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
