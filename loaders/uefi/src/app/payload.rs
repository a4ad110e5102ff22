//! Starting what boots next: a named EFI image, or the firmware's next boot entry.

use super::error::Error;
use super::home::Home;
use super::initrd::Initrd;
use super::{boot_entries, firmware, say};
use alloc::string::String;
use alloc::vec::Vec;
use plinth_loader_uefi::config::Config;
use uefi::boot::{self, LoadImageSource};
use uefi::proto::BootPolicy;
use uefi::proto::device_path::DevicePath;
use uefi::proto::loaded_image::LoadedImage;
use uefi::{Handle, Status};

/// Starts it. Comes back only if it does.
pub(crate) fn start(home: &Home, config: &Config) -> Result<(), Error> {
    match &config.next {
        Some(path) => start_file(home, home.resolve(path), config),
        None => boot_entries::start_next(),
    }
}

fn start_file(home: &Home, path: String, config: &Config) -> Result<(), Error> {
    let mut storage = Vec::new();
    let loaded = home.device_path(&path, &mut storage).and_then(|path| load(path, BootPolicy::ExactMatch));
    let image = match loaded {
        Ok(image) => image,
        Err(status) => return Err(Error::Payload { path, status }),
    };
    let initrd = match config.initrd.as_deref().map(|file| home.read(file)) {
        Some(Ok(file)) => Some(Initrd::offer(file)?),
        Some(Err(error)) => return Err(unload(image, error)),
        None => None,
    };
    say!("starting {path}");
    let options = config.cmdline.as_deref().map(terminated).unwrap_or_default();
    let result = start_image(image, &options);
    drop(initrd);
    result.map_err(|status| Error::Returned { path, status })
}

/// Loads an image from a full device path.
pub(crate) fn load(device_path: &DevicePath, boot_policy: BootPolicy) -> Result<Handle, Status> {
    let source = LoadImageSource::FromDevicePath { device_path, boot_policy };
    boot::load_image(boot::image_handle(), source).map_err(|error| error.status())
}

/// Starts a loaded image with raw load options, and returns what it returns.
pub(crate) fn start_image(image: Handle, options: &[u8]) -> Result<(), Status> {
    set_options(image, options).map_err(|error| error.status())?;
    boot::start_image(image).map_err(|error| error.status())
}

fn set_options(image: Handle, options: &[u8]) -> uefi::Result {
    let size = u32::try_from(options.len()).map_err(|_| Status::INVALID_PARAMETER)?;
    if size != 0 {
        let mut loaded = firmware::open::<LoadedImage>(image)?;
        // SAFETY: The options outlive the image: `start_image`, the only caller, borrows them until the image has ended.
        unsafe { loaded.set_load_options(options.as_ptr(), size) };
    }
    Ok(())
}

/// Gives up an image that is not going to be started.
fn unload(image: Handle, error: Error) -> Error {
    // What firmware cannot unload stays in memory: nothing depends on it.
    let _ = boot::unload_image(image);
    error
}

/// Load options as most images expect them: terminated UCS-2.
fn terminated(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}
