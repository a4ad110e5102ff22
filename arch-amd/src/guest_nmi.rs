//! When a guest can take an NMI: not while its handler for another one runs (AMD APM vol. 2, 8.2.3).
//!
//! The handler's end is an IRET, whose intercept comes before it is executed. An NMI that is delivered there would come while the
//! handler's frame is still on the stack, and a stack of its own (IST) would begin anew on top of that frame. So it is
//! delivered after a single step over the IRET. Processors with virtual NMIs (vNMI) do all of this by themselves.

/// How far a guest is with an NMI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Progress {
    /// It has none.
    #[default]
    None,
    /// Its handler runs, and the next IRET exits.
    Handler,
    /// The IRET at this address has exited, and comes next.
    Return(u64),
    /// The same, and it is stepped over.
    SteppedReturn,
}

/// A guest's NMIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct GuestNmi {
    progress: Progress,
    /// One more came meanwhile.
    pending: bool,
}

/// What is to be done with an NMI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// It is delivered at the next entry.
    Now,
    /// After a single step over the instruction that comes next.
    AfterStep,
    /// After the IRET that exits next.
    AfterReturn,
}

impl GuestNmi {
    /// One comes, at an instruction pointer; `busy` where another event is delivered at the next entry.
    pub(crate) fn raise(&mut self, rip: u64, busy: bool) -> Delivery {
        match self.progress {
            Progress::None if !busy => {
                self.progress = Progress::Handler;
                return Delivery::Now;
            }
            // The handler of the other event ends by an IRET too.
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

    /// Whether the handler of one runs at this instruction pointer, or another one waits for its end.
    pub(crate) fn is_under_way(&self, rip: u64) -> bool {
        self.pending
            || match self.progress {
                Progress::None => false,
                Progress::Handler | Progress::SteppedReturn => true,
                Progress::Return(at) => at == rip,
            }
    }

    /// An IRET at this address has exited. Returns whether it is to be stepped over.
    pub(crate) fn returns(&mut self, rip: u64) -> bool {
        if self.progress != Progress::Handler {
            return false;
        }
        self.progress = if self.pending { Progress::SteppedReturn } else { Progress::Return(rip) };
        self.pending
    }

    /// A single step is done. Returns whether an NMI is to be raised now.
    pub(crate) fn stepped(&mut self) -> bool {
        let returned = self.progress == Progress::SteppedReturn;
        if returned {
            *self = Self::default();
        }
        returned
    }

    /// Something else than the IRET has ended the step over it.
    pub(crate) fn is_not_executed(&mut self) {
        if self.progress == Progress::SteppedReturn {
            self.progress = Progress::Handler;
        }
    }

    /// Whether IRET has to exit.
    pub(crate) fn intercepts_return(self) -> bool {
        self.progress == Progress::Handler
    }

    /// Whether an IRET is stepped over.
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
