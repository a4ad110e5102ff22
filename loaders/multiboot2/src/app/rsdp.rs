//! The ACPI RSDP. GRUB hands over a copy in memory that the payload is free to use; it gets a page that stays.

use plinth_launch::image::PAGE_SIZE;
use plinth_loader_multiboot2::boot_info::BootInfo;
use plinth_loader_multiboot2::memory_map::{ACPI, MemoryMap};

/// Puts the RSDP into a page that `map` then shows as ACPI's. Its address, or 0 where there is none.
pub(super) fn keep(info: &BootInfo<'_>, map: &mut MemoryMap) -> u64 {
    const MIB: u64 = 1 << 20;
    let Some(rsdp) = info.rsdp().filter(|rsdp| rsdp.len() as u64 <= PAGE_SIZE) else { return 0 };
    let floor = super::prepare::LOW_END.max(info.modules_end());
    let Some(page) = map.highest(PAGE_SIZE, PAGE_SIZE, floor.max(MIB), 4 << 30) else { return 0 };
    // SAFETY: the page is usable memory above loader and modules; memory is identity mapped.
    unsafe { core::ptr::copy_nonoverlapping(rsdp.as_ptr(), page as *mut u8, rsdp.len()) };
    map.set_kind(page, PAGE_SIZE, ACPI);
    page
}
