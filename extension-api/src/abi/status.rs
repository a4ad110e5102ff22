//! The status that every call leaves in the id register.

use core::fmt;

/// The outcome of a call: 0, or the failure signature in 63:48, which argument in 47:16 and the error in 15:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
#[must_use]
pub struct Status(u64);

/// Bits 63:48 of every failure.
const FAILED: u64 = 0xDEAD;

macro_rules! errors {
    ($(#[doc = $doc:literal] $name:ident = $value:literal, $text:literal;)*) => {
        /// What went wrong with a call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Error {
            $(#[doc = $doc] $name = $value,)*
        }

        impl Error {
            /// Every error, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What the error means, in a few words.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the error means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

errors! {
    /// No such call, or a foreign signature.
    UnknownCall = 1, "no such call";
    /// The handle is not the one this extension opened.
    InvalidHandle = 2, "invalid handle";
    /// An argument has a value that it may never have; the status says which.
    InvalidArgument = 3, "invalid argument";
    /// The object of that id was destroyed, or never was.
    StaleId = 4, "the object was destroyed or never was";
    /// The object is in use (it has children, or runs on some PP).
    Busy = 5, "the object is in use";
    /// The call is not allowed in this callback or at this time.
    WrongState = 6, "not allowed at this time";
    /// Policy forbids it (a register outside the allow list, somebody else's memory, a group outside the manifest).
    Denied = 7, "denied by policy";
    /// The pool is empty.
    OutOfMemory = 8, "the page pool is empty";
    /// An address range is already mapped.
    AlreadyMapped = 9, "already mapped";
    /// An address range is not mapped.
    NotMapped = 10, "not mapped";
    /// This machine cannot do it.
    Unsupported = 11, "not supported by this machine";
    /// The hardware faulted on it.
    HardwareFault = 12, "the hardware faulted";
    /// All objects of that kind are taken.
    OutOfObjects = 13, "no object of that kind is left";
    /// Another PP has not answered in time; what it may still reach stays taken.
    Unresponsive = 14, "a processor does not answer";
}

/// An error and, where an argument is at fault, which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// The register at fault (0 for REG0), if one is.
    pub argument: Option<u8>,
}

impl Failure {
    /// An error that is about argument `register`.
    pub const fn argument(register: u8, error: Error) -> Self {
        Self { error, argument: Some(register) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, argument: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error.text())?;
        match self.argument {
            Some(register) => write!(f, " (REG{register})"),
            None => Ok(()),
        }
    }
}

impl Status {
    /// The call did what it was asked to.
    pub const SUCCESS: Self = Self(0);

    /// The status as it stands in the register.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Reads a status from the register.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The failure, or `Ok`. An unknown error number reads as [`Error::Unsupported`].
    pub fn result(self) -> Result<(), Failure> {
        if self.0 == 0 {
            return Ok(());
        }
        let error = Error::ALL.iter().copied().find(|error| *error as u64 == self.0 & 0xffff);
        let argument = match self.0 >> 16 & 0xffff_ffff {
            0 => None,
            mask => Some(mask.trailing_zeros() as u8),
        };
        Err(Failure { error: error.unwrap_or(Error::Unsupported), argument })
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mask = failure.argument.map_or(0, |register| 1u64.wrapping_shl(u32::from(register)));
        Self(FAILED << 48 | mask << 16 | failure.error as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_register() {
        for &error in Error::ALL {
            for argument in [None, Some(0), Some(5)] {
                let failure = Failure { error, argument };
                assert_eq!(Status::from(failure).result(), Err(failure));
            }
        }
        assert_eq!(Status::SUCCESS.result(), Ok(()));
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let status = Status::from(Failure::argument(2, Error::StaleId));
        assert_eq!(status.raw(), 0xDEAD_0000_0004_0004);
    }
}
