//! What an OS at EL1 finds of Plinth in the firmware's tables. It can ask nothing else without risk: an HVC is an undefined
//! instruction where nobody is below. In the device tree that is the node `/hypervisor`, in ACPI's FADT the hypervisor's vendor.

use plinth_acpi::Tables;
use plinth_acpi::arm::Vendor;
use plinth_device_tree::editor::Editor;
use plinth_device_tree::{Tree, forget_hypervisor, name_hypervisor, start_by_psci};
use uefi::boot;
use uefi::boot::MemoryType;

use super::aarch64::{firmwares_tree, read_memory};
use crate::app::firmware;

/// Plinth's name in the FADT, and that of nobody.
const PLINTH: [u8; 8] = *b"Plinth\0\0";
const NOBODY: [u8; 8] = [0; 8];

/// Says that Plinth is below. Returns whether all tables that there are say so.
pub(super) fn show() -> bool {
    let acpi = firmware::acpi_rsdp() == 0 || name_vendor(PLINTH).is_some();
    let tree = firmwares_tree().is_none_or(|tree| replace_tree(tree).is_some());
    acpi && tree
}

/// Says no longer that Plinth is below. What cannot be taken back only misleads the module for Linux, and only at EL1.
pub(super) fn hide() {
    let _ = name_vendor(NOBODY);
    let Some(tree) = firmwares_tree() else { return };
    let (start, size) = (tree.bytes().as_ptr().cast_mut(), tree.bytes().len());
    // SAFETY: The tree is `replace_tree`'s, in memory of this loader's that nobody else writes to; `tree` is not used any more.
    let bytes = unsafe { core::slice::from_raw_parts_mut(start, size) };
    let _ = Editor::new(bytes).and_then(|mut editor| forget_hypervisor(&mut editor));
}

/// Writes a vendor's name to the FADT, where that has a place for it.
fn name_vendor(name: [u8; 8]) -> Option<()> {
    let banks = firmware::banks();
    let read = |at, buffer: &mut [u8]| read_memory(&banks, at, buffer);
    let Vendor { at, name, checksum_at, checksum } =
        Tables::new(read, firmware::acpi_rsdp())?.vendor(name)?;
    let bytes = (at..).zip(name).chain([(checksum_at, checksum)]);
    for (at, byte) in bytes {
        // SAFETY: A byte of a table that lies in memory, by the firmware's map, which maps it all at its own address. The
        // firmware made the table and does not look at it any more; the OS reads it later.
        unsafe { (at as *mut u8).write_volatile(byte) };
    }
    Some(())
}

/// Gives the OS another device tree: with the node, and by which it starts by PSCI what has waited in a spin table.
fn replace_tree(original: Tree<'_>) -> Option<()> {
    /// What the changes may take.
    const ROOM: usize = 16 << 10;
    let blob = original.bytes();
    let size = blob.len() + ROOM;
    let place = boot::allocate_pool(MemoryType::ACPI_RECLAIM, size).ok()?;
    // SAFETY: the pool's memory is this loader's alone and stays, and zeroes are bytes.
    let bytes = unsafe {
        place.write_bytes(0, size);
        core::slice::from_raw_parts_mut(place.as_ptr(), size)
    };
    bytes[..blob.len()].copy_from_slice(blob);
    let mut editor = Editor::new(bytes).ok()?;
    start_by_psci(&mut editor, original).ok()?;
    name_hypervisor(&mut editor).ok()?;
    // SAFETY: a device tree, of the kind that its GUID says, which nobody changes any more but `hide`.
    unsafe { boot::install_configuration_table(&firmware::DEVICE_TREE, place.as_ptr().cast()) }.ok()
}
