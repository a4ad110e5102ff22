//! Memory for the hypervisor, its images in it, and the launch.

use plinth_launch::image::{Machine, PAGE_SIZE};
use plinth_launch::prepare::{Files, Placement};
use plinth_launch::{CONSOLE_16550_PORT, Entry, LaunchInfo, LaunchStatus, Range};
use plinth_loader_multiboot2::boot_info::{BootInfo, Module};
use plinth_loader_multiboot2::memory_map::{MemoryMap, RESERVED};
use plinth_loader_multiboot2::options::Options;

use super::call::call;
use super::serial::{self, say};
use super::{Error, entropy};

const MIB: u64 = 1 << 20;
/// What the loader's own tables map.
const MAPPED: u64 = 64 << 30;
/// Where loader and modules may be; the hypervisor's memory lies above.
pub(super) const LOW_END: u64 = 4 << 20;

/// The bytes of a module.
pub(super) fn bytes<'a>(module: &Module<'_>) -> &'a [u8] {
    // SAFETY: GRUB put the module there; memory is identity mapped, and nothing is placed where a module is.
    unsafe { core::slice::from_raw_parts(module.start as *const u8, (module.end - module.start) as usize) }
}

/// Launches Plinth. Returns as the root VM, with the hypervisor's memory reserved in `map`.
pub(super) fn launch<'a>(info: &BootInfo<'a>, map: &mut MemoryMap, rsdp: u64) -> Result<(), Error<'a>> {
    info.check_modules().map_err(Error::Modules)?;
    let options = Options::parse(info.command_line()).map_err(Error::Option)?;
    let module = |role| info.module(role).ok_or(Error::NoModule(role));
    let (kernel_file, extension_file) = (bytes(&module("kernel")?), bytes(&module("extension")?));
    let files = Files::check(kernel_file, extension_file, Machine::X86_64).map_err(Error::File)?;
    let size = options.memory * MIB;
    let floor = LOW_END.max(info.modules_end());
    let start = map.highest(size, 2 * MIB, floor, 4 << 30).ok_or(Error::NoMemory("the hypervisor"))?;
    let low_page =
        map.highest(PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, MIB).ok_or(Error::NoMemory("a page below 1 MiB"))?;
    let machine = Found {
        rsdp,
        memory_end: map.end().clamp(4 << 30, MAPPED),
        low_page,
        log: options.log,
        command_line: range_of(info.command_line()),
        entropy: entropy::words(),
    };
    // A word that nobody else gets.
    let placement = files.place(Range { start, size }, machine.entropy[3]).map_err(Error::TooSmall)?;
    let (entry, launch_info) = load(&placement, &machine)?;
    // SAFETY: the entry is that of the image just loaded, and everything that the contract asks for is in place: 64-bit
    // mode, identity mapped memory, interrupts off.
    let result = unsafe { call(entry, launch_info) };
    let status = LaunchStatus::from_raw(result.ok_or(Error::StackOverrun)?);
    if !status.is_launched() {
        return Err(Error::Launch(status));
    }
    map.set_kind(start, size, RESERVED);
    map.set_kind(low_page, PAGE_SIZE, RESERVED);
    say(format_args!("launched; the payload is the root VM"));
    Ok(())
}

/// What the kernel is told about the machine.
struct Found {
    rsdp: u64,
    memory_end: u64,
    low_page: u64,
    log: u64,
    command_line: Range,
    entropy: [u64; 4],
}

/// Where a text lies that GRUB has left.
fn range_of(text: &str) -> Range {
    Range { start: text.as_ptr() as u64, size: text.len() as u64 }
}

/// Fills the reservation.
fn load<'a>(placement: &Placement<'_>, machine: &Found) -> Result<(Entry, *const LaunchInfo), Error<'a>> {
    let info = contract(placement, machine);
    let Range { start, size } = info.reservation;
    // SAFETY: the reservation is usable memory that nothing else lies in, identity mapped.
    let memory = unsafe { core::slice::from_raw_parts_mut(start as *mut u8, size as usize) };
    placement.load_into(memory).map_err(Error::Reservation)?;
    let kernel = placement.layout().kernel.start;
    say(format_args!("kernel at {kernel:#x}, {} MiB for the hypervisor", size / MIB));
    let to = placement.info_at() as *mut LaunchInfo;
    // SAFETY: the pages were set aside for it.
    unsafe { to.write(info) };
    let entry = placement.entry() as *const ();
    // SAFETY: the address is in an executable segment of the image, whose entry has this signature by contract.
    Ok((unsafe { core::mem::transmute::<*const (), Entry>(entry) }, to))
}

fn contract(placement: &Placement<'_>, machine: &Found) -> LaunchInfo {
    LaunchInfo {
        low_page: Range { start: machine.low_page, size: PAGE_SIZE },
        memory_end: machine.memory_end,
        acpi_rsdp: machine.rsdp,
        // The root VM starts the others.
        pp_count: 1,
        console_kind: CONSOLE_16550_PORT,
        console_base: u64::from(serial::PORT),
        log_level: machine.log,
        command_line: machine.command_line,
        entropy: [machine.entropy[0], machine.entropy[1], machine.entropy[2], 0],
        ..placement.info()
    }
}
