//! Plinth's loader, on the volume that this application comes from, and what this application's instances share.

use alloc::boxed::Box;
use alloc::vec::Vec;

use uefi::boot::{self, LoadImageSource, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::fs::FileSystem;
use uefi::proto::device_path::DevicePath;
use uefi::proto::device_path::build::{DevicePathBuilder, media::FilePath};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::{BootPolicy, ProtocolPointer};
use uefi::{CStr16, Guid, Handle, Status, cstr16, guid, system};

use crate::el2::El2;

const LOADER: &CStr16 = cstr16!("\\EFI\\BOOT\\BOOTAA64.EFI");
const SETTINGS: &CStr16 = cstr16!("\\EFI\\BOOT\\plinth.toml");
const TABLE: Guid = guid!("0d1c7b5e-8a64-4a0e-9d5c-6b1f0a2e3c47");

/// What all instances share.
pub(crate) struct Shared {
    pub(crate) before: El2,
    /// How often this application was started by a loader that was to launch.
    pub(crate) round: u32,
}

/// What an instance before this one has shared.
pub(crate) fn shared() -> Option<&'static mut Shared> {
    let find = |tables: &[uefi::table::cfg::ConfigTableEntry]| {
        tables.iter().find(|table| table.guid == TABLE).map(|table| table.address as *mut Shared)
    };
    // SAFETY: `share` has put it there, of the same layout; one instance runs at a time.
    system::with_config_table(find).map(|shared| unsafe { &mut *shared })
}

/// Shares `before` with the applications that are started after this one.
pub(crate) fn share(before: El2) -> Option<&'static mut Shared> {
    let shared = Box::leak(Box::new(Shared { before, round: 0 }));
    // SAFETY: it stays.
    unsafe { boot::install_configuration_table(&TABLE, (&raw mut *shared).cast()) }.ok()?;
    Some(shared)
}

/// From now on the loader launches.
pub(crate) fn let_it_launch() -> Option<()> {
    let mut volume = FileSystem::new(boot::get_image_file_system(boot::image_handle()).ok()?);
    let settings = volume.read_to_string(SETTINGS).ok()?;
    let changed = settings.replace("launch = false", "launch = true");
    (changed != settings).then_some(())?;
    volume.write(SETTINGS, changed).ok()
}

/// Runs the loader with these options. Returns whether it has come back with success.
pub(crate) fn run(_: &mut Shared, options: &str) -> bool {
    start(options) == Ok(())
}

/// Opens a protocol beside whoever else uses it.
fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> Result<ScopedProtocol<P>, Status> {
    let params = OpenProtocolParams { handle, agent: boot::image_handle(), controller: None };
    // SAFETY: this application alone runs, and closes it before it runs another.
    let opened = unsafe { boot::open_protocol(params, OpenProtocolAttributes::GetProtocol) };
    opened.map_err(|error| error.status())
}

fn start(options: &str) -> Result<(), Status> {
    let failed = |error: uefi::Error| error.status();
    let own = open::<LoadedImage>(boot::image_handle())?;
    let device = own.device().ok_or(Status::NOT_FOUND)?;
    drop(own);
    let volume = open::<DevicePath>(device)?;
    let mut storage = Vec::new();
    let mut builder = DevicePathBuilder::with_vec(&mut storage);
    for node in volume.node_iter() {
        builder = builder.push(&node).map_err(|_| Status::OUT_OF_RESOURCES)?;
    }
    let builder = builder.push(&FilePath { path_name: LOADER }).map_err(|_| Status::OUT_OF_RESOURCES)?;
    let device_path = builder.finalize().map_err(|_| Status::OUT_OF_RESOURCES)?;
    let source = LoadImageSource::FromDevicePath { device_path, boot_policy: BootPolicy::ExactMatch };
    let image = boot::load_image(boot::image_handle(), source).map_err(failed)?;
    drop(volume);
    let options: Vec<u8> = options.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    {
        let mut loaded = open::<LoadedImage>(image)?;
        // SAFETY: the options are there until the image has ended.
        unsafe { loaded.set_load_options(options.as_ptr(), options.len() as u32) };
    }
    boot::start_image(image).map_err(failed)
}
