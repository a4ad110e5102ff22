//! Where the hypervisor's own memory is.

use uefi::boot;
use uefi::mem::memory_map::{MemoryAttribute, MemoryMap, MemoryType};
use uefi::proto::loaded_image::LoadedImage;

/// The load option that names it, for machines whose memory map has several candidates.
const OPTION: &str = "reservation=0x";
/// Smaller reserved areas are the firmware's.
const SMALLEST_PAGES: u64 = 1024;
/// Where loaders put it.
const BELOW: u64 = 4 << 30;
const ALIGNMENT: u64 = 2 << 20;
const PAGE_SIZE: u64 = 4096;

/// A range of memory.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    /// Its first byte.
    pub start: u64,
    /// Its length in bytes, as far as known.
    pub size: u64,
}

/// The hypervisor's memory: what the load options say, else the only place in the memory map that can be it.
pub fn find() -> Option<Reservation> {
    let named = || Some(Reservation { start: option()?, size: SMALLEST_PAGES * PAGE_SIZE });
    named().or_else(in_memory_map)
}

/// The first large, aligned, cacheable area below 4 GiB that is reserved for ever.
fn in_memory_map() -> Option<Reservation> {
    let map = boot::memory_map(MemoryType::LOADER_DATA).ok()?;
    let found = map.entries().find(|entry| {
        entry.ty == MemoryType::RESERVED
            && entry.att.contains(MemoryAttribute::WRITE_BACK)
            && entry.page_count >= SMALLEST_PAGES
            && entry.phys_start < BELOW
            && entry.phys_start.is_multiple_of(ALIGNMENT)
    })?;
    Some(Reservation { start: found.phys_start, size: found.page_count * PAGE_SIZE })
}

fn option() -> Option<u64> {
    let image = boot::open_protocol_exclusive::<LoadedImage>(boot::image_handle()).ok()?;
    let text = image.load_options_as_cstr16().ok()?;
    let mut characters = text.iter().map(|character| char::from(*character));
    let mut matched = 0;
    while matched < OPTION.len() {
        let character = characters.next()?;
        matched = if OPTION.as_bytes()[matched] == character as u8 { matched + 1 } else { 0 };
    }
    let digits = characters.map_while(|character| character.to_digit(16));
    Some(digits.fold(0, |value, digit| value << 4 | u64::from(digit)))
}
