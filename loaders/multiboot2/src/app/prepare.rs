//! Memory for the hypervisor, its images in it, and the launch.

use plinth_launch::image::{Image, Machine, PAGE_SIZE};
use plinth_launch::{
    CONSOLE_16550_PORT, Entry, LaunchInfo, LaunchStatus, MAGIC, MAX_SEGMENTS, Range, SEGMENT_EXECUTE,
    SEGMENT_WRITE, Segment, VERSION,
};
use plinth_loader_multiboot2::boot_info::{BootInfo, Module};
use plinth_loader_multiboot2::memory_map::MemoryMap;

use super::Error;
use super::serial::{self, say};

const MIB: u64 = 1 << 20;
/// What the hypervisor gets unless `memory=` says otherwise, in MiB.
const DEFAULT_MEMORY: u64 = 32;
/// What the loader's own tables map.
const MAPPED: u64 = 64 << 30;
/// Where loader and modules may be; the hypervisor's memory lies above.
const LOW_END: u64 = 4 << 20;

/// The bytes of a module.
pub(super) fn bytes<'a>(module: &Module<'_>) -> &'a [u8] {
    // SAFETY: GRUB put the module there; memory is identity mapped, and nothing is placed where a module is.
    unsafe { core::slice::from_raw_parts(module.start as *const u8, (module.end - module.start) as usize) }
}

/// Launches Plinth. Returns as the root VM, with the hypervisor's memory reserved in `map`.
pub(super) fn launch(info: &BootInfo<'_>, map: &mut MemoryMap, rsdp: u64) -> Result<(), Error> {
    let module = |role| info.module(role).ok_or(Error::NoModule(role));
    let (kernel_file, extension_file) = (bytes(&module("kernel")?), bytes(&module("extension")?));
    let parse = |role, file| Image::parse(file, Machine::X86_64).map_err(|error| Error::Image(role, error));
    let kernel = parse("kernel", kernel_file)?;
    parse("extension", extension_file)?;
    if !kernel.is_relocatable() {
        return Err(Error::NotRelocatable);
    }
    let size = option(info, "memory=").unwrap_or(DEFAULT_MEMORY).clamp(4, 1024) * MIB;
    let floor = LOW_END.max(info.modules_end());
    let start = map.highest(size, 2 * MIB, floor, 4 << 30).ok_or(Error::NoMemory("the hypervisor"))?;
    let low_page =
        map.highest(PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, MIB).ok_or(Error::NoMemory("a page below 1 MiB"))?;
    let machine =
        Found { rsdp, memory_end: map.end().clamp(4 << 30, MAPPED), low_page, log: option(info, "log=") };
    let (entry, launch_info) = place(Range { start, size }, &kernel, extension_file, &machine)?;
    say(format_args!("kernel at {start:#x}, {} MiB for the hypervisor", size / MIB));
    // SAFETY: the entry is that of the image just loaded, and everything that the contract asks for is in place: 64-bit
    // mode, identity mapped memory, interrupts off.
    let status = LaunchStatus::from_raw(unsafe { entry(launch_info, 0) });
    if !status.is_launched() {
        return Err(Error::Launch(status));
    }
    map.reserve(start, size);
    map.reserve(low_page, PAGE_SIZE);
    say(format_args!("launched; the payload is the root VM"));
    Ok(())
}

/// The number behind `key` among the loader's arguments.
fn option(info: &BootInfo<'_>, key: &str) -> Option<u64> {
    info.command_line().split_whitespace().find_map(|word| word.strip_prefix(key)?.parse().ok())
}

/// What the kernel is told about the machine.
struct Found {
    rsdp: u64,
    memory_end: u64,
    low_page: u64,
    log: Option<u64>,
}

/// Lays out the reservation: kernel, extension, launch information, pool.
fn place(
    reservation: Range,
    kernel: &Image<'_>,
    extension: &[u8],
    machine: &Found,
) -> Result<(Entry, *const LaunchInfo), Error> {
    let page_up = |at: u64| at.next_multiple_of(PAGE_SIZE);
    let kernel_start = reservation.start.next_multiple_of(kernel.alignment());
    let extension_start = page_up(kernel_start + kernel.span().size);
    let info_start = page_up(extension_start + extension.len() as u64);
    let pool_start = page_up(info_start + size_of::<LaunchInfo>() as u64);
    let end = reservation.start + reservation.size;
    if pool_start >= end {
        return Err(Error::NoMemory("kernel and extension"));
    }
    let bias = kernel_start.wrapping_sub(kernel.span().start);
    // SAFETY: the reservation is usable memory that nothing else lies in, identity mapped.
    let memory =
        unsafe { core::slice::from_raw_parts_mut(kernel_start as *mut u8, (end - kernel_start) as usize) };
    kernel.load_into(memory, bias).map_err(|error| Error::Image("kernel", error))?;
    let offset = (extension_start - kernel_start) as usize;
    memory[offset..offset + extension.len()].copy_from_slice(extension);
    let mut info = LaunchInfo {
        magic: MAGIC,
        version: VERSION,
        size: size_of::<LaunchInfo>() as u32,
        reservation,
        pool: Range { start: pool_start, size: end - pool_start },
        extension: Range { start: extension_start, size: extension.len() as u64 },
        low_page: Range { start: machine.low_page, size: PAGE_SIZE },
        memory_end: machine.memory_end,
        acpi_rsdp: machine.rsdp,
        pp_count: 1,
        console_kind: CONSOLE_16550_PORT,
        console_base: u64::from(serial::PORT),
        log_level: machine.log.unwrap_or(3),
        ..LaunchInfo::default()
    };
    for (to, from) in info.kernel_segments.iter_mut().zip(kernel.segments()).take(MAX_SEGMENTS) {
        let pages = from.pages();
        let flag = |set, flag| if set { flag } else { 0 };
        *to = Segment {
            range: Range { start: pages.start.wrapping_add(bias), size: pages.size },
            flags: flag(from.write, SEGMENT_WRITE) | flag(from.execute, SEGMENT_EXECUTE),
        };
        info.kernel_segment_count += 1;
    }
    let to = info_start as *mut LaunchInfo;
    // SAFETY: the page was set aside for it.
    unsafe { to.write(info) };
    let entry = kernel.entry().wrapping_add(bias) as *const ();
    // SAFETY: the address is in an executable segment of the image, whose entry has this signature by contract.
    Ok((unsafe { core::mem::transmute::<*const (), Entry>(entry) }, to))
}
