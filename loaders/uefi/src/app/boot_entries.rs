//! The firmware's boot entries: start the one that would have been next without Plinth.
//!
//! To return to the firmware's boot manager would do it on some machines; others show an error and
//! wait for a key, or begin again with the entry that started Plinth. So the entries are tried
//! here, and the boot manager is left what cannot be started here.

use super::arch::REMOVABLE;
use super::error::Error;
use super::{firmware, payload, say};
use alloc::boxed::Box;
use alloc::vec::Vec;
use plinth_loader_uefi::boot_option::{BootOption, candidates, numbers};
use uefi::proto::BootPolicy;
use uefi::proto::device_path::{
    DevicePath, DevicePathNode, DeviceSubType, DeviceType, LoadedImageDevicePath, build,
};
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::runtime::{self, VariableAttributes, VariableVendor};
use uefi::{CStr16, CString16, Handle, Status, boot, cstr16};

/// Starts the first entry that can be started. Comes back only if that does.
pub(crate) fn start_next() -> Result<(), Error> {
    let current = entry_number(cstr16!("BootCurrent"));
    let next = entry_number(cstr16!("BootNext"));
    let order = variable(cstr16!("BootOrder")).map(|bytes| numbers(&bytes)).unwrap_or_default();
    for number in candidates(&order, current, next) {
        if Some(number) == next {
            // `BootNext` is for one start. Where it cannot be deleted, the next start repeats it.
            let _ = runtime::delete_variable(cstr16!("BootNext"), &VariableVendor::GLOBAL_VARIABLE);
        }
        if let Some(result) = start_entry(number) {
            return result;
        }
    }
    Err(Error::NoBootEntry)
}

/// Starts an entry; `None` if it is not one to start, or failed, so that the next one's turn has come.
fn start_entry(number: u16) -> Option<Result<(), Error>> {
    let bytes = variable(&CString16::try_from(alloc::format!("Boot{number:04X}").as_str()).ok()?)?;
    let option = BootOption::parse(&bytes).filter(|option| option.bootable)?;
    let path = <&DevicePath>::try_from(option.path).ok()?;
    let image = load(path)?;
    say!("starting boot entry {number:04X}, {}", option.description);
    set_current(number);
    match payload::start_image(image, option.options) {
        Ok(()) => Some(Ok(())),
        Err(status) => {
            say!("{}", Error::Returned { path: option.description, status });
            None
        }
    }
}

/// Loads the image that an entry's path stands for, unless that is this application.
fn load(path: &DevicePath) -> Option<Handle> {
    let own = firmware::open::<LoadedImageDevicePath>(boot::image_handle()).ok()?;
    let mut full =
        expand(path).into_iter().filter(|full| !full.as_bytes().eq_ignore_ascii_case(own.as_bytes()));
    full.find_map(|full| payload::load(&full, BootPolicy::BootSelection).ok())
}

/// The full paths that an entry's path may stand for: itself; with its disk's path in front, if it begins with a
/// partition; with the removable medium's file behind it, if it ends with a device.
fn expand(path: &DevicePath) -> Vec<Box<DevicePath>> {
    let mut found = alloc::vec![path.to_boxed()];
    for volume in boot::find_handles::<SimpleFileSystem>().unwrap_or_default() {
        let Ok(volume) = firmware::open::<DevicePath>(volume) else { continue };
        found.extend(on_partition(path, &volume));
        found.extend(on_device(path, &volume));
    }
    found
}

fn on_partition(path: &DevicePath, volume: &DevicePath) -> Option<Box<DevicePath>> {
    let mut nodes = path.node_iter();
    let partition = nodes.next().filter(|node| is_partition(node))?;
    let last = volume.node_iter().last()?;
    let file = nodes.next()?;
    let mut storage = Vec::new();
    let full = (last == partition).then(|| firmware::append(volume, &file, &mut storage))?;
    Some(full.ok()?.to_boxed())
}

fn on_device(path: &DevicePath, volume: &DevicePath) -> Option<Box<DevicePath>> {
    let mut nodes = volume.node_iter();
    let inside = path.node_iter().all(|node| nodes.next() == Some(node));
    let file = build::media::FilePath { path_name: REMOVABLE };
    let mut storage = Vec::new();
    let full = inside.then(|| firmware::append(volume, &file, &mut storage))?;
    Some(full.ok()?.to_boxed())
}

fn is_partition(node: &DevicePathNode) -> bool {
    node.full_type() == (DeviceType::MEDIA, DeviceSubType::MEDIA_HARD_DRIVE)
}

/// Tells the image which entry it is, as the boot manager does.
fn set_current(number: u16) {
    let attributes = VariableAttributes::BOOTSERVICE_ACCESS | VariableAttributes::RUNTIME_ACCESS;
    let vendor = VariableVendor::GLOBAL_VARIABLE;
    let set = runtime::set_variable(cstr16!("BootCurrent"), &vendor, attributes, &number.to_le_bytes());
    // Few images look at it, and those that do cope without.
    let _: Result<(), Status> = set.map_err(|error| error.status());
}

fn entry_number(name: &CStr16) -> Option<u16> {
    variable(name).and_then(|bytes| numbers(&bytes).first().copied())
}

fn variable(name: &CStr16) -> Option<Box<[u8]>> {
    Some(runtime::get_variable_boxed(name, &VariableVendor::GLOBAL_VARIABLE).ok()?.0)
}
