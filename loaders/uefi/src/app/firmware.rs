//! What the firmware is asked for: protocols, tables, the memory map.

use alloc::vec::Vec;
#[cfg(target_arch = "aarch64")]
use plinth_launch::Range;
#[cfg(target_arch = "aarch64")]
use uefi::boot::MemoryAttribute;
use uefi::boot::{self, MemoryType, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::mem::memory_map::MemoryMap;
use uefi::proto::ProtocolPointer;
use uefi::proto::device_path::DevicePath;
use uefi::proto::device_path::build::{BuildNode, DevicePathBuilder};
use uefi::proto::pci::configuration::ResourceRangeType;
use uefi::proto::pci::root_bridge::PciRootBridgeIo;
use uefi::table::cfg::ConfigTableEntry;
use uefi::{Handle, Status, system};

/// Opens a protocol beside whoever else uses it: to open it exclusively would disconnect drivers.
pub(crate) fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> uefi::Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams { handle, agent: boot::image_handle(), controller: None };
    // SAFETY: `GetProtocol` asks that nobody accesses the interface at the same time and that it stays installed while
    // it is used. This application is the only one running: firmware's own drivers run in its calls only and keep their
    // protocols. No `ScopedProtocol` is used after another image was started.
    unsafe { boot::open_protocol(params, OpenProtocolAttributes::GetProtocol) }
}

/// Opens the only, or the first, instance of a protocol.
pub(crate) fn open_any<P: ProtocolPointer + ?Sized>() -> uefi::Result<ScopedProtocol<P>> {
    open(boot::get_handle_for_protocol::<P>()?)
}

/// `path` with `node` behind it, in `storage`.
pub(crate) fn append<'a>(
    path: &DevicePath,
    node: &dyn BuildNode,
    storage: &'a mut Vec<u8>,
) -> Result<&'a DevicePath, Status> {
    let mut builder = DevicePathBuilder::with_vec(storage);
    for node in path.node_iter() {
        builder = builder.push(&node).map_err(|_| Status::OUT_OF_RESOURCES)?;
    }
    let builder = builder.push(node).map_err(|_| Status::OUT_OF_RESOURCES)?;
    builder.finalize().map_err(|_| Status::OUT_OF_RESOURCES)
}

/// The address of the ACPI RSDP, the newest there is; 0 without ACPI.
pub(crate) fn acpi_rsdp() -> u64 {
    system::with_config_table(|tables| {
        let find = |guid| tables.iter().find(|table| table.guid == guid);
        let table = find(ConfigTableEntry::ACPI2_GUID).or_else(|| find(ConfigTableEntry::ACPI_GUID));
        table.map_or(0, |table| table.address as u64)
    })
}

/// The address of a configuration table.
#[cfg(target_arch = "aarch64")]
pub(crate) fn table(guid: uefi::Guid) -> Option<u64> {
    system::with_config_table(|tables| {
        tables.iter().find(|table| table.guid == guid).map(|table| table.address as u64)
    })
}

/// EFI_DTB_TABLE_GUID (UEFI specification, "EFI Configuration Table").
#[cfg(target_arch = "aarch64")]
pub(crate) const DEVICE_TREE: uefi::Guid = uefi::guid!("b1b621d5-f19c-41a5-830b-d9152c69aae0");

/// The address of the flattened device tree, if the firmware has one.
#[cfg(target_arch = "aarch64")]
pub(crate) fn device_tree() -> Option<u64> {
    table(DEVICE_TREE).filter(|address| address.is_multiple_of(8))
}

/// The banks of memory, in the order of their addresses: what can be cached.
#[cfg(target_arch = "aarch64")]
pub(crate) fn banks() -> Vec<Range> {
    let Ok(map) = boot::memory_map(MemoryType::LOADER_DATA) else { return Vec::new() };
    let memory = map.entries().filter(|entry| entry.att.contains(MemoryAttribute::WRITE_BACK));
    let size = |pages: u64| pages.saturating_mul(4096);
    let pieces = memory.map(|entry| Range { start: entry.phys_start, size: size(entry.page_count) });
    merged(pieces.collect())
}

/// Pieces that touch each other as one.
#[cfg(target_arch = "aarch64")]
fn merged(mut pieces: Vec<Range>) -> Vec<Range> {
    pieces.sort_unstable_by_key(|piece| piece.start);
    pieces.dedup_by(|next, last| {
        let touches = last.start.saturating_add(last.size) == next.start;
        if touches {
            last.size = last.size.saturating_add(next.size);
        }
        touches
    });
    pieces
}

/// The end of what the machine has in its address space: memory, devices, and always the first 4 GiB.
pub(crate) fn memory_end() -> u64 {
    const DEVICES_BELOW: u64 = 4 << 30;
    mapped_end().unwrap_or(0).max(bridges_end()).max(DEVICES_BELOW)
}

fn mapped_end() -> uefi::Result<u64> {
    let map = boot::memory_map(MemoryType::LOADER_DATA)?;
    let ends =
        map.entries().map(|entry| entry.phys_start.saturating_add(entry.page_count.saturating_mul(4096)));
    Ok(ends.max().unwrap_or(0))
}

/// The end of the highest window through which a PCI root bridge decodes memory: large device ranges lie above all memory
/// and the memory map does not list them.
fn bridges_end() -> u64 {
    let bridges = boot::find_handles::<PciRootBridgeIo>().unwrap_or_default();
    bridges.into_iter().filter_map(|handle| bridge_end(handle).ok()).max().unwrap_or(0)
}

fn bridge_end(handle: Handle) -> uefi::Result<u64> {
    let windows = open::<PciRootBridgeIo>(handle)?.configuration()?;
    let memory = windows.iter().filter(|window| {
        window.resource_range_type == ResourceRangeType::Memory && window.address_length != 0
    });
    Ok(memory.map(|window| window.address_max.saturating_add(1)).max().unwrap_or(0))
}
