//! The loader itself: entered as an arm64 Linux Image, it ends by starting the payload as the root VM.

#![no_std]
#![no_main]

mod entry;
mod load;
mod mmu;

use core::fmt::{Display, Write};
use core::panic::PanicInfo;

use plinth_arm64_image::uart;
use plinth_device_tree::Tree;
use plinth_launch::{CONSOLE_NONE, LaunchError, LaunchStatus, Range};

use load::LoadError;

/// The first Rust code: `fdt` is what the firmware passed, `base` where the file lies, `level` the exception level.
extern "C" fn start(fdt: u64, base: u64, level: u64) -> ! {
    // The file's own console first: whatever is wrong with the device tree can be said there.
    let (mut kind, mut address) = load::own_console();
    // SAFETY: whoever put the file together says that the UART is there.
    unsafe { uart::set(kind, address) };
    // SAFETY: by the boot protocol X0 is the device tree's address; what is there is checked.
    let tree = load::own_tree().or_else(|| unsafe { entry::device_tree(fdt) }).ok_or(LoadError::NoDeviceTree);
    let tree = tree.and_then(|bytes| Tree::new(bytes).map_err(LoadError::BrokenTree));
    let (named, at) = tree.map_or((CONSOLE_NONE, 0), |tree| tree.console());
    if named != CONSOLE_NONE {
        (kind, address) = (named, at);
        // SAFETY: the device tree says that the UART is there.
        unsafe { uart::set(kind, address) };
    }
    if level != 2 {
        refuse(&LaunchStatus::failed(LaunchError::WrongExceptionLevel, level));
    }
    // SAFETY: at EL2, with the MMU off, as the entry left it.
    match tree.and_then(|tree| unsafe { prepare(tree, base, (kind, address)) }) {
        Err(error) => refuse(&error),
        Ok(loaded) => {
            // SAFETY: everything is in its place, and clean to the point of coherency.
            let status = unsafe { entry::launch(&loaded) };
            refuse(&LaunchStatus::from_raw(status))
        }
    }
}

/// Turns the MMU on and loads everything.
///
/// # Safety
/// At EL2 with the MMU off, on the boot processor.
unsafe fn prepare(tree: Tree<'_>, base: u64, console: (u64, u64)) -> Result<load::Loaded, LoadError> {
    // Where nothing says that the code lies in memory, it would be mapped as a device, and not run on.
    load::bank(tree, base)?;
    // Relocations, stack, and what the loader keeps.
    let written = Range { start: base, size: entry::archive_start() - base };
    // SAFETY: forwarded to the caller; the tree tells what is memory.
    unsafe { mmu::enable(tree.banks(), written) };
    load::load(tree, base, console)
}

/// Says why nothing is launched, and stops.
fn refuse(why: &dyn Display) -> ! {
    let _ = writeln!(uart::current(), "plinth: not launched: {why}");
    stop()
}

/// An exception, which nothing here ought to cause: memory that is not where the device tree says, most likely.
extern "C" fn fault(syndrome: u64, address: u64, instruction: u64) -> ! {
    let _ = writeln!(
        uart::current(),
        "plinth: not launched: an exception at {instruction:#x}, syndrome {syndrome:#x}, address {address:#x}; \
         does the device tree's memory exist?"
    );
    stop()
}

fn stop() -> ! {
    loop {
        // SAFETY: sleeps.
        unsafe { core::arch::asm!("wfe", options(nomem, nostack, preserves_flags)) };
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(uart::current(), "plinth: the loader panicked, please report it: {info}");
    stop()
}
