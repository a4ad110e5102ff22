//! The module behind `/dev/plinth`, as a trait so that tests can stand for it.

mod linux;
pub mod uapi;

use std::fmt;

use crate::Failure;
use crate::host::Host;
use uapi::{Call, Info, Launch, Reserve, Stop};

/// What the module can do. Each call is one of `loaders/linux/plinth.h`'s; its structure's head is filled in here.
pub trait Device {
    /// What there is.
    ///
    /// # Errors
    /// The module's.
    fn info(&mut self) -> Result<Info, DeviceError>;

    /// Reserves memory for the hypervisor.
    ///
    /// # Errors
    /// The module's.
    fn reserve(&mut self, request: &mut Reserve) -> Result<(), DeviceError>;

    /// Lets `fill` write the reserved memory.
    ///
    /// # Errors
    /// The module's; the memory cannot be mapped.
    fn fill(&mut self, size: u64, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), DeviceError>;

    /// Calls the kernel's entry on every CPU.
    ///
    /// # Errors
    /// The module's; [`DeviceError::Refused`] leaves the reason in the structure.
    fn launch(&mut self, request: &mut Launch) -> Result<(), DeviceError>;

    /// Gives all CPUs back.
    ///
    /// # Errors
    /// The module's; [`DeviceError::Refused`] leaves the reason in the structure.
    fn stop(&mut self, request: &mut Stop) -> Result<(), DeviceError>;

    /// Makes one hypercall. `buffer` gets what the hypercall wrote to the page that is its argument number
    /// `buffer_argument`, as far as it has room; at most 4 KiB.
    ///
    /// # Errors
    /// The module's.
    fn call(&mut self, request: &mut Call, buffer: &mut [u8]) -> Result<(), DeviceError>;

    /// The log's pages as they are now; empty where there are none.
    ///
    /// # Errors
    /// The module's.
    fn log(&mut self) -> Result<Vec<u8>, DeviceError>;
}

/// What the module answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// EPERM, EACCES.
    NotAllowed,
    /// EBUSY.
    Busy,
    /// ENOMEM.
    NoMemory,
    /// EOPNOTSUPP.
    Unsuitable,
    /// ECANCELED: the hypervisor refused.
    Refused,
    /// ESRCH.
    NotRunning,
    /// EINVAL, E2BIG, ENOTTY: the module does not know the structure.
    OtherVersion,
    /// Another error number.
    Other(i32),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("not allowed"),
            Self::Busy => f.write_str("busy; try again"),
            Self::NoMemory => f.write_str("no memory; free some"),
            Self::Unsuitable => f.write_str("this machine cannot do that; see `vmmctl check`"),
            Self::Refused => f.write_str("the hypervisor refused"),
            Self::NotRunning => f.write_str("Plinth does not run"),
            Self::OtherVersion => {
                f.write_str("the module is of another version; install both from one package")
            }
            Self::Other(number) => {
                write!(f, "{}; look at `dmesg`", std::io::Error::from_raw_os_error(*number))
            }
        }
    }
}

impl DeviceError {
    /// The failure of a command that wanted to do `what`.
    pub(crate) fn failure(self, what: &'static str) -> Failure {
        match self {
            Self::NotAllowed => Failure::NotAllowed,
            Self::NotRunning => Failure::NotRunning,
            Self::OtherVersion => Failure::OtherVersion,
            error => Failure::Device(what, error),
        }
    }
}

/// Opens the machine's own device.
///
/// # Errors
/// [`Failure::NoModule`], [`Failure::NotAllowed`].
pub fn open(host: &Host) -> Result<Box<dyn Device>, Failure> {
    linux::Module::open(&host.device()).map(|module| Box::new(module) as Box<dyn Device>)
}
