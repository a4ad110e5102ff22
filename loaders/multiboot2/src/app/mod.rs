//! From GRUB to the payload.

mod entry;
mod payload;
mod prepare;
mod serial;

use core::fmt;
use core::panic::PanicInfo;

use plinth_launch::LaunchStatus;
use plinth_launch::image::ImageError;
use plinth_loader_multiboot2::boot_info::BootInfo;
use plinth_loader_multiboot2::linux::BadKernel;

use serial::say;

/// Why the loader, or the launch, cannot go on.
#[derive(Debug)]
enum Error {
    /// GRUB did not load this file.
    NoMultiboot2,
    /// No module has this role.
    NoModule(&'static str),
    /// The payload cannot be booted.
    Payload(BadKernel),
    /// An image is refused.
    Image(&'static str, ImageError),
    /// The kernel insists on an address.
    NotRelocatable,
    /// There is no room for this.
    NoMemory(&'static str),
    /// The kernel refused to launch.
    Launch(LaunchStatus),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMultiboot2 => {
                f.write_str("not started by a Multiboot2 loader; use GRUB's multiboot2 command")
            }
            Self::NoModule(role) => {
                write!(f, "no module is the {role}; add `module2 FILE {role}` to grub.cfg")
            }
            Self::Payload(error) => write!(f, "{error}"),
            Self::Image(role, error) => write!(f, "the {role} is refused: {error}"),
            Self::NotRelocatable => f.write_str("the kernel cannot be relocated; build it as a static-PIE"),
            Self::NoMemory(what) => {
                write!(f, "there is no memory for {what}; give the machine more, or set memory= to less")
            }
            Self::Launch(status) => write!(f, "not launched: {status}"),
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
    let rsdp = info.rsdp_offset().map_or(0, |offset| address + offset as u64);
    let mut map = info.memory_map();
    if let Err(error) = prepare::launch(&info, &mut map, rsdp) {
        say(format_args!("{error}; the payload starts without Plinth"));
    }
    match payload::boot(&info, &map) {
        Ok(never) => match never {},
        Err(error) => stop(&error),
    }
}

fn stop(error: &Error) -> ! {
    say(format_args!("{error}"));
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
