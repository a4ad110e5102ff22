//! The loader itself: entered as an arm64 Linux Image, it ends by starting the payload as the root VM.

#![no_std]
#![no_main]

mod entry;
mod load;
mod mmu;
mod uart;

use core::fmt::Write;
use core::panic::PanicInfo;

use dtoolkit::fdt::Fdt;
use plinth_arm64_image::tree;
use plinth_launch::{LaunchError, LaunchStatus};

use uart::Uart;

/// The first Rust code: `fdt` is what the firmware passed, `base` where the file lies, `level` the exception level.
extern "C" fn start(fdt: u64, base: u64, level: u64) -> ! {
    // SAFETY: by the boot protocol X0 is the device tree's address; what is there is checked.
    let blob = unsafe { entry::device_tree(fdt) };
    let tree = blob.and_then(|blob| Fdt::new(blob).ok());
    let (kind, address) = tree.map_or((0, 0), tree::console);
    // SAFETY: the device tree says that the UART is there.
    let mut console = unsafe { Uart::new(kind, address) };
    if level != 2 {
        refuse(&mut console, &LaunchStatus::failed(LaunchError::WrongExceptionLevel, level));
    }
    let (Some(tree), Some(blob)) = (tree, blob) else {
        refuse(&mut console, &load::LoadError::NoDeviceTree);
    };
    // SAFETY: at EL2 with the MMU off, as the entry left it; the tree tells what is memory.
    unsafe { mmu::enable(tree::banks(tree)) };
    match load::load(tree, blob, base, (kind, address)) {
        Err(error) => refuse(&mut console, &error),
        Ok(loaded) => {
            // SAFETY: everything is in its place, and clean to the point of coherency.
            let status = unsafe { entry::launch(&loaded) };
            refuse(&mut console, &LaunchStatus::from_raw(status))
        }
    }
}

/// Says why nothing is launched, and stops.
fn refuse(console: &mut Uart, why: &dyn core::fmt::Display) -> ! {
    let _ = writeln!(console, "Plinth: {why}");
    stop()
}

fn stop() -> ! {
    loop {
        // SAFETY: sleeps.
        unsafe { core::arch::asm!("wfe", options(nomem, nostack, preserves_flags)) };
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    stop()
}
