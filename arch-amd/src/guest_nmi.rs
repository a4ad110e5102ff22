//! Blocking of NMIs in a guest: a guest takes no NMI while its handler for an earlier NMI runs (AMD APM vol.
//! 2, 8.2.3).
//!
//! The handler ends with IRET. The intercept of IRET exits before the instruction is executed, when the
//! handler's frame is still on the stack. An NMI injected at this point would overwrite the frame if its gate
//! uses an IST stack. The kernel therefore single-steps the guest over the IRET, and injects a pending NMI
//! afterwards. Processors with virtual NMIs (vNMI) do all of this in hardware.

/// How far a guest is with the handling of an NMI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Progress {
    /// No NMI is being handled.
    #[default]
    None,
    /// The handler runs; IRET is intercepted.
    Handler,
    /// The handler's IRET, at this address, has exited and is executed next.
    Return(u64),
    /// The handler's IRET has exited and is executed by a single step.
    SteppedReturn,
}

/// The state of a guest's NMIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct GuestNmi {
    progress: Progress,
    /// Whether a further NMI waits.
    pending: bool,
}

/// When the caller delivers an NMI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// At the next entry.
    Now,
    /// After a single step over the next instruction.
    AfterStep,
    /// After the handler's IRET, which will exit.
    AfterReturn,
}

impl GuestNmi {
    /// An NMI arrives while the guest's instruction pointer is `rip`. `busy`: the next entry injects another
    /// event.
    pub(crate) fn raise(&mut self, rip: u64, busy: bool) -> Delivery {
        match self.progress {
            Progress::None if !busy => {
                self.progress = Progress::Handler;
                return Delivery::Now;
            }
            // The other event's handler ends with IRET too: deliver the NMI after it.
            Progress::None => self.progress = Progress::Handler,
            Progress::Return(at) if at == rip && !busy => {
                self.progress = Progress::SteppedReturn;
                self.pending = true;
                return Delivery::AfterStep;
            }
            Progress::Return(_) => {
                self.progress = Progress::None;
                return self.raise(rip, busy);
            }
            Progress::Handler | Progress::SteppedReturn => {}
        }
        self.pending = true;
        Delivery::AfterReturn
    }

    /// Whether a handler of an NMI runs while the instruction pointer is `rip`, or an NMI waits for the
    /// handler's end.
    pub(crate) fn is_under_way(&self, rip: u64) -> bool {
        self.pending
            || match self.progress {
                Progress::None => false,
                Progress::Handler | Progress::SteppedReturn => true,
                Progress::Return(at) => at == rip,
            }
    }

    /// IRET at `rip` has exited. Returns true if the caller must single-step over it, since an NMI waits.
    pub(crate) fn returns(&mut self, rip: u64) -> bool {
        if self.progress != Progress::Handler {
            return false;
        }
        self.progress = if self.pending { Progress::SteppedReturn } else { Progress::Return(rip) };
        self.pending
    }

    /// A single step is complete. Returns true if the caller must raise the waiting NMI now.
    pub(crate) fn stepped(&mut self) -> bool {
        let returned = self.progress == Progress::SteppedReturn;
        if returned {
            *self = Self::default();
        }
        returned
    }

    /// The single step over IRET has ended without executing IRET: another exception was raised first.
    pub(crate) fn is_not_executed(&mut self) {
        if self.progress == Progress::SteppedReturn {
            self.progress = Progress::Handler;
        }
    }

    /// Whether IRET must be intercepted.
    pub(crate) fn intercepts_return(self) -> bool {
        self.progress == Progress::Handler
    }

    /// Whether a single step over IRET is in progress.
    pub(crate) fn is_stepping(self) -> bool {
        self.progress == Progress::SteppedReturn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IRET: u64 = 0x1000;

    #[test]
    fn one_in_a_handler_comes_behind_its_end() {
        let mut nmi = GuestNmi::default();
        assert_eq!(nmi.raise(1, false), Delivery::Now);
        assert!(nmi.intercepts_return());
        assert_eq!(nmi.raise(2, false), Delivery::AfterReturn);
        assert_eq!(nmi.raise(3, false), Delivery::AfterReturn, "both are one");
        assert!(nmi.returns(IRET), "the IRET is stepped over");
        assert!(nmi.is_stepping() && !nmi.intercepts_return());
        assert!(nmi.stepped());
        assert_eq!(nmi.raise(4, false), Delivery::Now);
        assert!(!nmi.returns(IRET));
    }

    #[test]
    fn one_that_comes_at_the_return_waits_for_it() {
        let mut nmi = GuestNmi::default();
        assert_eq!(nmi.raise(1, false), Delivery::Now);
        assert!(!nmi.returns(IRET));
        assert_eq!(nmi.raise(IRET, false), Delivery::AfterStep);
        assert_eq!(nmi.raise(IRET, false), Delivery::AfterReturn);
        assert!(nmi.stepped());
    }

    #[test]
    fn one_behind_the_return_is_delivered_at_once() {
        let mut nmi = GuestNmi::default();
        assert_eq!(nmi.raise(1, false), Delivery::Now);
        assert!(!nmi.returns(IRET));
        assert_eq!(nmi.raise(IRET + 2, false), Delivery::Now);
    }

    #[test]
    fn another_event_comes_first() {
        let mut nmi = GuestNmi::default();
        assert_eq!(nmi.raise(1, true), Delivery::AfterReturn);
        assert!(nmi.intercepts_return());
        assert!(nmi.returns(IRET) && nmi.stepped());
    }

    #[test]
    fn an_iret_that_faults_exits_again() {
        let mut nmi = GuestNmi::default();
        assert_eq!(nmi.raise(1, false), Delivery::Now);
        assert_eq!(nmi.raise(2, false), Delivery::AfterReturn);
        assert!(nmi.returns(IRET));
        nmi.is_not_executed();
        assert!(nmi.intercepts_return() && !nmi.is_stepping());
        assert!(nmi.returns(IRET) && nmi.stepped());
    }

    #[test]
    fn steps_and_returns_of_others_are_not_its_own() {
        let mut nmi = GuestNmi::default();
        assert!(!nmi.returns(IRET) && !nmi.stepped());
        assert_eq!(nmi.raise(1, false), Delivery::Now);
        assert!(!nmi.stepped() && nmi.intercepts_return());
    }
}
