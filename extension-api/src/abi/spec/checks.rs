//! The list of conformance checks: what each call's contract asks a test to show.

use core::fmt;

use super::{ErrorCase, Reach};
use crate::abi::{Call, Error};

/// What a check shows about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// It does what it is for.
    Works,
    /// It fails as its contract says.
    Fails {
        /// The error.
        error: Error,
        /// The argument at fault.
        argument: Option<u8>,
        /// Which of several such cases.
        tag: &'static str,
    },
}

/// One conformance check. Its text is stable: verdicts of different machines are compared by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The call.
    pub call: Call,
    /// What is shown.
    pub case: Case,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.call.name())?;
        let Case::Fails { error, argument, tag } = self.case else { return f.write_str("works") };
        f.write_str(error.name())?;
        if let Some(argument) = argument {
            write!(f, "({argument})")?;
        }
        if tag.is_empty() { Ok(()) } else { write!(f, ":{tag}") }
    }
}

/// Every check that a conformance run has to make, in the order of the calls' numbers.
pub fn checks() -> impl Iterator<Item = Check> {
    Call::ALL.iter().flat_map(|&call| {
        let contract = call.contract();
        let works = matches!(contract.works, Reach::Vmexit | Reach::Start);
        let handle = contract.takes_handle().then_some((Error::InvalidHandle, Some(0), ""));
        let reachable = |case: &&ErrorCase| !matches!(case.reach, Reach::Elsewhere(_));
        let fails =
            contract.errors.iter().filter(reachable).map(|case| (case.error, case.argument, case.tag));
        let fails = handle.into_iter().chain(fails);
        works
            .then_some(Case::Works)
            .into_iter()
            .chain(fails.map(|(error, argument, tag)| Case::Fails { error, argument, tag }))
            .map(move |case| Check { call, case })
    })
}
