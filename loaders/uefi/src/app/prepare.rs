//! Everything the launch needs, in memory: the reservation with the kernel image, the extension and the
//! launch information in it.

use super::arch::{self, Devices};
use super::error::Error;
use super::firmware;
use super::home::Home;
use super::memory::Pages;
use super::{entropy, say};
use plinth_launch::prepare::{File, FileError, Files, Placement};
use plinth_launch::{Entry, LaunchInfo, Range, SEGMENT_EXECUTE};
use plinth_loader_uefi::config::Config;
use uefi::proto::security::MemoryProtection;
use uefi_raw::table::boot::MemoryAttribute;

/// The memory that a launched hypervisor owns.
pub(crate) struct Memory {
    reservation: Pages,
    low_page: Option<Pages>,
}

impl Memory {
    /// Leaves it to the hypervisor.
    pub(crate) fn keep(self) {
        self.reservation.keep();
        if let Some(page) = self.low_page {
            page.keep();
        }
    }

    /// Gives it back to the firmware: no processor may be under the hypervisor any more.
    pub(crate) fn free(self) {
        drop(self);
    }
}

/// A kernel ready to be entered.
pub(crate) struct Prepared {
    pub(crate) memory: Memory,
    pub(crate) entry: Entry,
    pub(crate) info: *const LaunchInfo,
}

/// Reads, checks and places the images, for `count` processors.
pub(crate) fn prepare(home: &Home, config: &Config, count: usize) -> Result<Prepared, Error> {
    let kernel_path = config.kernel.as_deref().unwrap_or_default();
    let extension_path = config.extension.as_deref().unwrap_or_default();
    let kernel_file = home.read(kernel_path)?;
    let extension_file = home.read(extension_path)?;
    let refused = |error: FileError| Error::Elf {
        path: home.resolve(match error.file() {
            File::Kernel => kernel_path,
            File::Extension => extension_path,
        }),
        error,
    };
    let files = Files::check(&kernel_file, &extension_file, arch::MACHINE).map_err(refused)?;
    let devices = arch::devices()?;
    let mut memory =
        Memory { reservation: Pages::reservation(config.memory.0)?, low_page: arch::low_page()? };
    let seeds = entropy::random();
    let seed = seeds.map_or_else(arch::jitter, place_seed);
    let placement = files.place(memory.reservation.range(), seed).map_err(Error::TooSmall)?;
    placement.load_into(memory.reservation.bytes()).map_err(Error::Reservation)?;
    let info = launch_info(&memory, &placement, config, seeds, count, devices);
    allow_execution(&info);
    say!(
        "kernel {} at {:#x}, extension {}",
        home.resolve(kernel_path),
        placement.layout().kernel.start,
        home.resolve(extension_path)
    );
    Ok(hand_over(memory, &placement, info))
}

/// Bits for the kernel's place, from which those given to the kernel cannot be told.
fn place_seed(seeds: [u64; 4]) -> u64 {
    seeds.iter().fold(0_u64, |sum, word| sum.rotate_left(17) ^ word) >> 32
}

fn launch_info(
    memory: &Memory,
    placement: &Placement<'_>,
    config: &Config,
    seeds: Option<[u64; 4]>,
    count: usize,
    devices: Devices,
) -> LaunchInfo {
    LaunchInfo {
        low_page: memory.low_page.as_ref().map(Pages::range).unwrap_or_default(),
        memory_end: firmware::memory_end(),
        acpi_rsdp: firmware::acpi_rsdp(),
        fdt: devices.fdt,
        pp_count: count as u64,
        console_kind: devices.console.0,
        console_base: devices.console.1,
        log_level: config.log as u64,
        entropy: seeds.unwrap_or_default(),
        command_line: range_of(config.options().leak()),
        ..placement.info()
    }
}

/// Where a text lies. The kernel reads it while the boot processor launches.
fn range_of(text: &'static str) -> Range {
    Range { start: text.as_ptr() as u64, size: text.len() as u64 }
}

/// Lets the kernel's code run under the firmware's page tables, where these forbid execution of reserved memory.
fn allow_execution(info: &LaunchInfo) {
    let protection = firmware::open_any::<MemoryProtection>().ok();
    for segment in info.kernel_segments.iter().filter(|segment| segment.flags & SEGMENT_EXECUTE != 0) {
        let region = segment.range.start..segment.range.start + segment.range.size;
        match &protection {
            // A firmware that refuses this has not forbidden execution either, or the launch will tell.
            Some(protection) => {
                let _ = protection.clear_memory_attributes(region, MemoryAttribute::EXECUTE_PROTECT);
            }
            None => arch::allow_execution(segment.range),
        }
    }
}

fn hand_over(memory: Memory, placement: &Placement<'_>, info: LaunchInfo) -> Prepared {
    let place = placement.info_at() as *mut LaunchInfo;
    // SAFETY: The layout set these bytes of the reservation, page aligned, aside for this structure alone. The memory is
    // owned by `memory`, of which no borrow lives any more.
    unsafe { place.write(info) };
    arch::publish(placement.loaded());
    let address = placement.entry() as *const ();
    // SAFETY: The address is inside an executable segment of the image just loaded (`Image::parse` checked that), and the
    // launch contract fixes the signature of a kernel image's entry point.
    let entry = unsafe { core::mem::transmute::<*const (), Entry>(address) };
    Prepared { memory, entry, info: place }
}
