//! Where the application was started from: its volume, its folder, its load options.

use super::error::Error;
use super::firmware;
use alloc::string::String;
use alloc::vec::Vec;
use plinth_loader_uefi::command::Command;
use plinth_loader_uefi::path;
use uefi::boot::{self, ScopedProtocol};
use uefi::fs::{self, FileSystem};
use uefi::proto::device_path::{DevicePath, DevicePathNodeEnum, build};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::{CString16, Handle, Status};

/// The application's own place.
pub(crate) struct Home {
    image: ScopedProtocol<LoadedImage>,
    device: Handle,
    folder: String,
}

impl Home {
    pub(crate) fn find() -> Result<Self, Error> {
        let image = firmware::open::<LoadedImage>(boot::image_handle()).map_err(|_| Error::NoVolume)?;
        let device = image.device().ok_or(Error::NoVolume)?;
        let file = image.file_path().map(file_path).unwrap_or_default();
        let folder = path::folder(&file).into();
        Ok(Self { image, device, folder })
    }

    pub(crate) fn command(&self) -> Result<Command, Error> {
        Command::parse(self.image.load_options_as_bytes().unwrap_or(&[])).map_err(Error::Command)
    }

    /// The absolute path, on the volume, of a path in `plinth.toml`.
    pub(crate) fn resolve(&self, path: &str) -> String {
        path::resolve(&self.folder, path)
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let path = self.resolve(path);
        self.read_absolute(&path).map_err(|status| Error::File { path, status })
    }

    pub(crate) fn read_text(&self, path: &str) -> Result<String, Error> {
        String::from_utf8(self.read(path)?).map_err(|_| Error::NotText { path: self.resolve(path) })
    }

    fn read_absolute(&self, path: &str) -> Result<Vec<u8>, Status> {
        let volume = firmware::open::<SimpleFileSystem>(self.device).map_err(|error| error.status())?;
        let path = CString16::try_from(path).map_err(|_| Status::INVALID_PARAMETER)?;
        FileSystem::new(volume).read(path.as_ref()).map_err(|error| status_of(&error))
    }

    /// The device path of an absolute path on the volume, in `storage`.
    pub(crate) fn device_path<'a>(
        &self,
        path: &str,
        storage: &'a mut Vec<u8>,
    ) -> Result<&'a DevicePath, Status> {
        let device = firmware::open::<DevicePath>(self.device).map_err(|error| error.status())?;
        let path = CString16::try_from(path).map_err(|_| Status::INVALID_PARAMETER)?;
        firmware::append(&device, &build::media::FilePath { path_name: &path }, storage)
    }
}

/// The text of all file path nodes, which together are one path (UEFI specification, "File Path Media Device Path").
fn file_path(path: &DevicePath) -> String {
    let mut text = String::new();
    for node in path.node_iter() {
        if let Ok(DevicePathNodeEnum::MediaFilePath(file)) = node.as_enum() {
            let units: Vec<u16> = file.path_name().iter().take_while(|unit| *unit != 0).collect();
            text.push('\\');
            text.push_str(&String::from_utf16_lossy(&units));
        }
    }
    text
}

fn status_of(error: &fs::Error) -> Status {
    match error {
        fs::Error::Io(io) => io.uefi_error.status(),
        fs::Error::Path(_) => Status::INVALID_PARAMETER,
        fs::Error::Utf8Encoding(_) => Status::COMPROMISED_DATA,
    }
}
