//! Why a command failed, in words, and its exit code.

use std::fmt;
use std::path::PathBuf;

use plinth_launch::LaunchStatus;
use plinth_launch::layout::TooSmall;
use plinth_launch::prepare::FileError;

use crate::device::DeviceError;

/// The exit code of wrong arguments.
pub const USAGE: u8 = 1;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The output cannot be written.
    Output(std::io::Error),
    /// Something that the caller gave cannot be used.
    Usage(String),
    /// The caller may not.
    NotAllowed,
    /// There is no device.
    NoModule,
    /// The module and this program are not of one version.
    OtherVersion,
    /// The machine cannot run Plinth as it is.
    Unsuitable(Vec<String>),
    /// A file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// A file is refused.
    File(PathBuf, FileError),
    /// There is no memory in one piece.
    NoMemory(u64),
    /// The two files do not fit.
    TooSmall(TooSmall),
    /// The memory that the module gave cannot be filled.
    Reservation(String),
    /// The hypervisor refused to launch.
    Refused {
        /// Linux's number of the CPU.
        cpu: Option<u32>,
        /// The kernel's answer.
        status: LaunchStatus,
        /// How many CPUs were launched before, and could not be taken back.
        left: u32,
        /// The last lines of the kernel's log.
        log: Vec<String>,
    },
    /// A file cannot be written.
    Unwritable(PathBuf, std::io::Error),
    /// The kernel that runs serves no such call.
    OtherKernel,
    /// It refused a call.
    Hypercall(plinth_extension_api::abi::Failure),
    /// Nothing to stop or to look at.
    NotRunning,
    /// Something runs already.
    Running,
    /// Another program has reserved memory.
    Busy,
    /// A CPU is off line and cannot be had.
    OffLine(u32),
    /// The hypervisor would not stop.
    NotStopped {
        /// Linux's number of the CPU that refused.
        cpu: Option<u32>,
        /// The answer to the stop hypercall.
        status: u64,
        /// How many CPUs stay.
        left: u32,
    },
    /// The module's other answers.
    Device(&'static str, DeviceError),
}

impl Failure {
    /// The exit code, as the help text lists them.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Output(_) | Self::Unwritable(..) => USAGE,
            Self::NotAllowed => 2,
            Self::NoModule
            | Self::OtherVersion
            | Self::OtherKernel
            | Self::Hypercall(_)
            | Self::Device(..) => 3,
            Self::Unsuitable(_) => 4,
            Self::Unreadable(..) | Self::File(..) => 5,
            Self::NoMemory(_) | Self::TooSmall(_) | Self::Reservation(_) => 6,
            Self::Refused { .. } => 7,
            Self::NotRunning => 8,
            Self::Running | Self::Busy => 9,
            Self::OffLine(_) | Self::NotStopped { .. } => 10,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Failure {
    #[rustfmt::skip]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(error) => write!(f, "the output cannot be written: {error}"),
            Self::Usage(text) => f.write_str(text),
            Self::NotAllowed => f.write_str("only root may do this (CAP_SYS_ADMIN), and nobody while the kernel is locked down; use sudo, or see `vmmctl check`"),
            Self::NoModule => f.write_str("there is no /dev/plinth: the module is not loaded; load it with `modprobe plinth`, or install the package plinth"),
            Self::OtherVersion => f.write_str("the module `plinth` and this vmmctl are of different versions; install both from one package, then `rmmod plinth` and `modprobe plinth`"),
            Self::Unsuitable(reasons) => write!(f, "this machine cannot run Plinth as it is:\n  {}", reasons.join("\n  ")),
            Self::Unreadable(path, error) => write!(f, "{}: {error}; name the file that is meant", path.display()),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoMemory(bytes) => write!(f, "Linux has no {} MiB of memory in one piece for the hypervisor; free some (close programs, `sync; echo 3 >/proc/sys/vm/drop_caches`), or give less with --memory", bytes >> 20),
            Self::TooSmall(error) => write!(f, "kernel and extension need {} KiB, but only {} KiB are reserved for the hypervisor; give more with --memory", error.needed.div_ceil(1024), error.reserved / 1024),
            Self::Reservation(text) => write!(f, "the hypervisor's memory cannot be filled: {text}"),
            Self::Refused { cpu, status, left, log } => {
                match cpu {
                    Some(cpu) => write!(f, "CPU {cpu}: {status}")?,
                    None => write!(f, "{status}")?,
                }
                log.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
                match left {
                    0 => f.write_str("\nNothing has changed: Linux runs on the bare machine"),
                    left => write!(f, "\n{left} CPU(s) were launched before and could not be taken back; try `vmmctl stop`, else restart the machine"),
                }
            }
            Self::Unwritable(path, error) => write!(f, "{}: {error}; name another file", path.display()),
            Self::OtherKernel => f.write_str("the Plinth that runs does not tell about itself: it is older than this vmmctl, or its extension has answered; start the kernel of this package"),
            Self::Hypercall(failure) => write!(f, "the hypervisor refuses: {failure}; look at `vmmctl dump`, and restart with more --memory where its pool is empty"),
            Self::NotRunning => f.write_str("Plinth does not run on this machine; `vmmctl start` launches it"),
            Self::Running => f.write_str("Plinth runs already; `vmmctl status` shows it, `vmmctl restart` starts it again"),
            Self::Busy => f.write_str("another program is about to start Plinth; wait for it"),
            Self::OffLine(cpu) => write!(f, "CPU {cpu} is off line and does not come on line, so that it cannot be taken back; nothing was stopped. Bring it on line (`echo 1 >/sys/devices/system/cpu/cpu{cpu}/online`) and try again"),
            Self::NotStopped { cpu, status, left } => {
                match cpu {
                    Some(cpu) => write!(f, "CPU {cpu} does not leave the hypervisor")?,
                    None => f.write_str("the hypervisor does not stop")?,
                }
                write!(f, " (answer {status:#x}); {left} CPU(s) are still in it. It may have been started with --stop extension or never, or a CPU is busy: try again, look at `vmmctl dump`, else restart the machine")
            }
            Self::Device(what, error) => write!(f, "the module refuses to {what}: {error}"),
        }
    }
}

impl std::error::Error for Failure {}
