//! The ways in which the extension can end, with their ABI numbers and texts.

use core::fmt::{self, Display, Formatter};

use plinth_extension_api::abi::{EXTENSION_EXITED, EXTENSION_FAULTED, EXTENSION_MISUSED, EXTENSION_OVERDUE};

/// How the extension ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Faulted,
    Exited,
    Overdue,
    RunsNoVs,
    NoActiveVs,
    WaitsOutsideStart,
    FailedLate,
}

impl End {
    pub(super) const ALL: [Self; 7] = [
        Self::Faulted,
        Self::Exited,
        Self::Overdue,
        Self::RunsNoVs,
        Self::NoActiveVs,
        Self::WaitsOutsideStart,
        Self::FailedLate,
    ];

    /// The number in the ABI.
    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Faulted => EXTENSION_FAULTED,
            Self::Exited => EXTENSION_EXITED,
            Self::Overdue => EXTENSION_OVERDUE,
            Self::RunsNoVs | Self::NoActiveVs | Self::WaitsOutsideStart | Self::FailedLate => {
                EXTENSION_MISUSED
            }
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Faulted => "it faulted",
            Self::Exited => "it asked to",
            Self::Overdue => "it did not return",
            Self::RunsNoVs => "it runs no VS",
            Self::NoActiveVs => "no VS is active",
            Self::WaitsOutsideStart => "it waits outside its start",
            Self::FailedLate => "its launch failed late",
        })
    }
}
