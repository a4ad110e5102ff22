//! From GRUB to the payload.

mod call;
mod entropy;
mod entry;
mod payload;
mod prepare;
mod rsdp;
mod serial;

use core::fmt;
use core::panic::PanicInfo;

use plinth_launch::LaunchStatus;
use plinth_launch::image::ImageError;
use plinth_launch::layout::TooSmall;
use plinth_launch::prepare::FileError;
use plinth_loader_multiboot2::boot_info::{BadModules, BootInfo};
use plinth_loader_multiboot2::linux::BadKernel;
use plinth_loader_multiboot2::options::BadOption;

use serial::say;

/// Why the loader, or the launch, cannot go on.
#[derive(Debug)]
enum Error<'a> {
    /// GRUB did not load this file.
    NoMultiboot2,
    /// The modules are not what the loader can use.
    Modules(BadModules<'a>),
    /// An argument of the loader's is wrong.
    Option(BadOption<'a>),
    /// No module has this role.
    NoModule(&'static str),
    /// The payload cannot be booted.
    Payload(BadKernel),
    /// A file is refused.
    File(FileError),
    /// The memory for the hypervisor cannot be filled.
    Reservation(ImageError),
    /// The memory for the hypervisor cannot hold it.
    TooSmall(TooSmall),
    /// The initial RAM disk lies above this address.
    InitrdTooHigh(u64),
    /// There is no room for this.
    NoMemory(&'static str),
    /// The kernel refused to launch.
    Launch(LaunchStatus),
    /// The kernel has used more of its caller's stack than the launch contract allows.
    StackOverrun,
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMultiboot2 => {
                f.write_str("not started by a Multiboot2 loader; use GRUB's multiboot2 command")
            }
            Self::NoModule(role) => {
                write!(f, "no module is the {role}; add `module2 FILE {role}` to grub.cfg")
            }
            Self::Modules(error) => write!(f, "{error}"),
            Self::Option(error) => write!(f, "{error}"),
            Self::TooSmall(error) => write!(f, "{error}"),
            Self::InitrdTooHigh(last) => {
                write!(
                    f,
                    "GRUB has put the initial RAM disk above {last:#x}, where the payload cannot use it; give it a smaller one"
                )
            }
            Self::Payload(error) => write!(f, "{error}"),
            Self::File(error) => write!(f, "the {} is refused: {error}", error.file()),
            Self::Reservation(error) => write!(f, "kernel and extension cannot be loaded: {error}"),
            Self::NoMemory(what) => {
                write!(f, "there is no memory for {what}; give the machine more, or set memory= to less")
            }
            Self::Launch(status) => write!(f, "{status}"),
            Self::StackOverrun => f.write_str(
                "the kernel has written beyond the stack that the launch contract has a loader give; use loader and kernel from one build",
            ),
        }
    }
}

/// Where the entry code arrives in 64-bit mode.
extern "sysv64" fn main(magic: u64, address: u64) -> ! {
    /// What a Multiboot2 loader leaves in EAX.
    const MULTIBOOT2: u64 = 0x36D7_6289;
    serial::start();
    if magic != MULTIBOOT2 {
        stop(&Error::NoMultiboot2)
    }
    // SAFETY: GRUB leaves the boot information there, its size in the first word; nobody changes it.
    let info = unsafe {
        let size = core::ptr::read(address as *const u32) as usize;
        BootInfo::new(core::slice::from_raw_parts(address as *const u8, size))
    };
    let mut map = info.memory_map();
    let rsdp = rsdp::keep(&info, &mut map);
    match prepare::launch(&info, &mut map, rsdp) {
        Ok(()) => {}
        Err(error @ Error::StackOverrun) => stop(&error),
        Err(error) => {
            say(format_args!("not launched: {error}"));
            say(format_args!("going on without Plinth"));
        }
    }
    match payload::boot(&info, &map, rsdp) {
        Ok(never) => match never {},
        Err(error) => stop(&error),
    }
}

fn stop(error: &Error<'_>) -> ! {
    say(format_args!("nothing to start: {error}"));
    halt()
}

fn halt() -> ! {
    loop {
        // SAFETY: nothing is left to do on this processor.
        unsafe { core::arch::asm!("cli", "hlt") };
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say(format_args!("the loader panicked, please report it: {info}"));
    halt()
}
