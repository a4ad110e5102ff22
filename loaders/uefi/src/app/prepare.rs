//! Everything the launch needs, in memory: the reservation with the kernel image, the extension and the
//! launch information in it.

use super::arch::{self, Devices};
use super::error::Error;
use super::firmware;
use super::home::Home;
use super::memory::Pages;
use super::{entropy, say};
use alloc::vec::Vec;
use plinth_launch::image::{Image, LoadSegment};
use plinth_launch::layout::{self, Layout, Request};
use plinth_launch::{
    Entry, LaunchInfo, MAGIC, MAX_SEGMENTS, Range, SEGMENT_EXECUTE, SEGMENT_WRITE, Segment, VERSION,
};
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
    let kernel = check(home, kernel_path, &kernel_file)?;
    check(home, extension_path, &extension_file)?;
    if !kernel.is_relocatable() {
        return Err(Error::NotRelocatable { path: home.resolve(kernel_path) });
    }
    let devices = arch::devices()?;
    let mut memory =
        Memory { reservation: Pages::reservation(config.memory.0)?, low_page: arch::low_page()? };
    let seeds = entropy::random();
    let layout = plan(&memory, &kernel, &extension_file, seeds)?;
    load(&mut memory, &layout, &kernel, &extension_file)
        .map_err(|error| Error::Image { path: home.resolve(kernel_path), error })?;
    let info = launch_info(&memory, &layout, &kernel, config, seeds, count, devices);
    allow_execution(&info);
    say!(
        "kernel {} at {:#x}, extension {}",
        home.resolve(kernel_path),
        layout.kernel.start,
        home.resolve(extension_path)
    );
    Ok(hand_over(memory, &layout, &kernel, info))
}

fn check<'a>(home: &Home, path: &str, file: &'a [u8]) -> Result<Image<'a>, Error> {
    Image::parse(file, arch::MACHINE).map_err(|error| Error::Image { path: home.resolve(path), error })
}

fn plan(memory: &Memory, kernel: &Image, extension: &[u8], seeds: Option<[u64; 4]>) -> Result<Layout, Error> {
    let request = Request {
        reservation: memory.reservation.range(),
        kernel_size: kernel.span().size,
        kernel_alignment: kernel.alignment(),
        extension_size: extension.len() as u64,
        info_size: size_of::<LaunchInfo>() as u64,
        entropy: seeds.map_or_else(arch::jitter, place_seed),
    };
    layout::plan(&request).map_err(Error::TooSmall)
}

/// Bits for the kernel's place, from which those given to the kernel cannot be told.
fn place_seed(seeds: [u64; 4]) -> u64 {
    seeds.iter().fold(0_u64, |sum, word| sum.rotate_left(17) ^ word) >> 32
}

fn load(
    memory: &mut Memory,
    layout: &Layout,
    kernel: &Image,
    extension: &[u8],
) -> Result<(), plinth_launch::image::ImageError> {
    let start = memory.reservation.range().start;
    let bytes = memory.reservation.bytes();
    kernel.load_into(part(bytes, start, layout.kernel), bias(layout, kernel))?;
    part(bytes, start, layout.extension).copy_from_slice(extension);
    Ok(())
}

/// The bytes of one part of the layout.
fn part(bytes: &mut [u8], start: u64, part: Range) -> &mut [u8] {
    let offset = (part.start - start) as usize;
    &mut bytes[offset..][..part.size as usize]
}

/// What is added to link-time addresses: the kernel runs identity mapped.
fn bias(layout: &Layout, kernel: &Image) -> u64 {
    layout.kernel.start.wrapping_sub(kernel.span().start)
}

fn launch_info(
    memory: &Memory,
    layout: &Layout,
    kernel: &Image,
    config: &Config,
    seeds: Option<[u64; 4]>,
    count: usize,
    devices: Devices,
) -> LaunchInfo {
    let segments: Vec<Segment> =
        kernel.segments().map(|segment| placed(segment, bias(layout, kernel))).collect();
    let mut kernel_segments = [Segment::default(); MAX_SEGMENTS];
    kernel_segments.iter_mut().zip(&segments).for_each(|(to, from)| *to = *from);
    LaunchInfo {
        magic: MAGIC,
        version: VERSION,
        size: size_of::<LaunchInfo>() as u32,
        reservation: memory.reservation.range(),
        kernel_segments,
        kernel_segment_count: segments.len() as u64,
        pool: layout.pool,
        extension: layout.extension,
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
    }
}

/// Where a text lies. The kernel reads it while the boot processor launches.
fn range_of(text: &'static str) -> Range {
    Range { start: text.as_ptr() as u64, size: text.len() as u64 }
}

fn placed(segment: &LoadSegment, bias: u64) -> Segment {
    let pages = segment.pages();
    let write = if segment.write { SEGMENT_WRITE } else { 0 };
    let execute = if segment.execute { SEGMENT_EXECUTE } else { 0 };
    Segment {
        range: Range { start: pages.start.wrapping_add(bias), size: pages.size },
        flags: write | execute,
    }
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

fn hand_over(memory: Memory, layout: &Layout, kernel: &Image, info: LaunchInfo) -> Prepared {
    let place = layout.info.start as *mut LaunchInfo;
    // SAFETY: The layout set these bytes of the reservation, page aligned, aside for this structure alone. The memory is
    // owned by `memory`, of which no borrow lives any more.
    unsafe { place.write(info) };
    let reservation = info.reservation;
    arch::publish(Range { start: reservation.start, size: info.pool.start - reservation.start });
    let address = kernel.entry().wrapping_add(bias(layout, kernel)) as *const ();
    // SAFETY: The address is inside an executable segment of the image just loaded (`Image::parse` checked that), and the
    // launch contract fixes the signature of a kernel image's entry point.
    let entry = unsafe { core::mem::transmute::<*const (), Entry>(address) };
    Prepared { memory, entry, info: place }
}
