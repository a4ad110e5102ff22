//! What can go wrong, in words for whoever stands before the machine.

use alloc::string::String;
use core::fmt;
#[cfg(target_arch = "aarch64")]
use plinth_acpi_tree::Missing;
use plinth_launch::LaunchStatus;
use plinth_launch::image::ImageError;
use plinth_launch::layout::TooSmall;
use plinth_launch::prepare::FileError;
use plinth_loader_uefi::command::UnknownCommand;
use uefi::Status;

/// Why a step failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// The application was not loaded from a file system.
    NoVolume,
    /// The load options are no command.
    Command(UnknownCommand),
    /// A file could not be read.
    File { path: String, status: Status },
    /// A file that must be text is not UTF-8.
    NotText { path: String },
    /// An ELF file is refused.
    Elf { path: String, error: FileError },
    /// The hypervisor's memory cannot be filled.
    Reservation(ImageError),
    /// The firmware has no room for the hypervisor.
    NoMemory { kib: u64, status: Status },
    /// What must go into the hypervisor's memory does not fit.
    TooSmall(TooSmall),
    /// The firmware describes the machine neither by a device tree nor by ACPI.
    #[cfg(target_arch = "aarch64")]
    NoDeviceTree,
    /// It describes it by ACPI alone, and not enough.
    #[cfg(target_arch = "aarch64")]
    Acpi(Missing),
    /// Its device tree is broken.
    #[cfg(target_arch = "aarch64")]
    DeviceTree(plinth_device_tree::Broken),
    /// The firmware could not tell about a processor, or run something on it.
    Processor { pp: usize, status: Status },
    /// The kernel refused to launch.
    Refused { pp: usize, count: usize, status: LaunchStatus },
    /// Plinth runs already.
    AlreadyRunning { processors: u32 },
    /// Plinth does not run.
    NotRunning,
    /// The kernel would not stop.
    StillRunning { pp: usize, code: u64 },
    /// An image to start next could not be loaded.
    Payload { path: String, status: Status },
    /// An image was started and came back with an error.
    Returned { path: String, status: Status },
    /// A protocol for the next image could not be installed.
    Initrd { status: Status },
    /// No boot entry could be started.
    NoBootEntry,
}

impl Error {
    /// What to return to the firmware.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Payload { status, .. } | Self::Returned { status, .. } | Self::File { status, .. } => {
                *status
            }
            Self::NoBootEntry => Status::NOT_FOUND,
            Self::Command(_) => Status::INVALID_PARAMETER,
            _ => Status::ABORTED,
        }
    }
}

/// What a status of reading a file or loading an image means, and what to do.
fn remedy(status: Status) -> &'static str {
    match status {
        Status::NOT_FOUND => {
            "there is no such file on the loader's volume; copy it there, or correct its name in plinth.toml"
        }
        Status::INVALID_PARAMETER => "that is no possible file name; check it in plinth.toml",
        Status::UNSUPPORTED | Status::LOAD_ERROR => {
            "not an EFI application for this machine, or a damaged one; name an EFI application or a Linux kernel with an EFI stub"
        }
        Status::SECURITY_VIOLATION | Status::ACCESS_DENIED => {
            "Secure Boot refuses it; sign it, or switch Secure Boot off in the firmware's setup"
        }
        Status::OUT_OF_RESOURCES => {
            "it does not fit into memory; use a smaller one or a machine with more memory"
        }
        _ => "the volume could not be read; check the medium",
    }
}

impl fmt::Display for Error {
    #[rustfmt::skip]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVolume => f.write_str("the loader was not started from a file system, so it cannot find its files; start it from a FAT volume"),
            Self::Command(error) => error.fmt(f),
            Self::File { path, status } => write!(f, "{path}: {} ({status})", remedy(*status)),
            Self::NotText { path } => write!(f, "{path}: not UTF-8 text; save it as UTF-8"),
            Self::Elf { path, error } => write!(f, "{path}: {error}"),
            Self::Reservation(error) => write!(f, "kernel and extension cannot be loaded: {error}"),
            Self::NoMemory { kib, status } => write!(f, "the firmware has no {kib} KiB of free memory in one piece for the hypervisor ({status}); lower `memory` in plinth.toml, or add memory"),
            Self::TooSmall(error) => error.fmt(f),
            #[cfg(target_arch = "aarch64")]
            Self::NoDeviceTree => f.write_str("the firmware describes this machine neither by a device tree nor by ACPI; choose one of them in its setup"),
            #[cfg(target_arch = "aarch64")]
            Self::Acpi(missing) => write!(f, "the firmware has no device tree, and ACPI's MADT tells no {}; choose the device tree in the firmware's setup", match missing {
                Missing::Processors => "processor",
                Missing::Gic => "interrupt controller that Plinth knows",
            }),
            #[cfg(target_arch = "aarch64")]
            Self::DeviceTree(broken) => broken.fmt(f),
            Self::Processor { pp, status } => write!(f, "processor {pp}: the firmware could not run the launch on it ({status}); disable that processor in the firmware's setup, or update the firmware"),
            Self::Refused { pp, count, status } => write!(f, "processor {pp} of {count}: {status}"),
            Self::AlreadyRunning { processors } => write!(f, "Plinth already runs, launched on {processors} processor(s); start the loader with `stop` first"),
            Self::NotRunning => f.write_str("Plinth does not run on this machine, so there is nothing to stop; start the loader without arguments to launch it"),
            Self::StillRunning { pp, code } => write!(f, "processor {pp} could not be promoted (code {code:#x}) and stays under Plinth; the kernel's line with `no PP leaves:` says why, without one restart the machine"),
            Self::Payload { path, status } => write!(f, "cannot start {path}: {} ({status})", remedy(*status)),
            Self::Returned { path, status } => write!(f, "{path} ended with an error ({status}); its own lines say why"),
            Self::Initrd { status } => write!(f, "the firmware refuses to offer the initrd ({status}); another boot loader may offer one already, start this one first"),
            Self::NoBootEntry => f.write_str("no other boot entry could be started; returning to the firmware. Name the image as `next` in plinth.toml"),
        }
    }
}
