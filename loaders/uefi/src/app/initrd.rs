//! Offering an initial RAM disk to a Linux kernel, by the protocol that its EFI stub asks for.
//!
//! The stub looks for `EFI_LOAD_FILE2_PROTOCOL` at a device path of one vendor node
//! (`LINUX_EFI_INITRD_MEDIA_GUID`). Unlike `initrd=` on the command line this works from any
//! volume and leaves the command line as it was written.

use super::error::Error;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::c_void;
use uefi::proto::device_path::build::{DevicePathBuilder, media};
use uefi::proto::device_path::{DevicePath, FfiDevicePath};
use uefi::{Guid, Handle, Identify, Status, boot, guid};
use uefi_raw::Boolean;
use uefi_raw::protocol::device_path::DevicePathProtocol;
use uefi_raw::protocol::media::LoadFile2Protocol;

const LINUX_INITRD: Guid = guid!("5568e427-68fc-4f3d-ac74-ca555231cc68");

/// The protocol with the file behind it: firmware passes the protocol's address back.
#[repr(C)]
struct Offer {
    protocol: LoadFile2Protocol,
    file: Vec<u8>,
}

/// An offered initrd, withdrawn when dropped.
pub(crate) struct Initrd {
    handle: Handle,
    offer: Box<Offer>,
    path: Vec<u8>,
}

impl Initrd {
    pub(crate) fn offer(file: Vec<u8>) -> Result<Self, Error> {
        let failed = |status| Error::Initrd { status };
        let offer = Box::new(Offer { protocol: LoadFile2Protocol { load_file }, file });
        let path = vendor_path().map_err(failed)?;
        // SAFETY: The interface is what the GUID names, a well-formed device path, and stays where it is (the vector is not
        // touched) until `drop` uninstalls it.
        let handle =
            unsafe { boot::install_protocol_interface(None, &DevicePath::GUID, path.as_ptr().cast()) };
        let handle = handle.map_err(|error| failed(error.status()))?;
        let initrd = Self { handle, offer, path };
        // SAFETY: The interface is what the GUID names and stays in its box until `drop` uninstalls it.
        let installed = unsafe {
            boot::install_protocol_interface(Some(handle), &LoadFile2Protocol::GUID, initrd.interface())
        };
        installed.map_err(|error| failed(error.status()))?;
        Ok(initrd)
    }

    fn interface(&self) -> *const c_void {
        core::ptr::from_ref::<Offer>(&self.offer).cast()
    }
}

impl Drop for Initrd {
    fn drop(&mut self) {
        let path: *const FfiDevicePath = self.path.as_ptr().cast();
        // SAFETY: Both interfaces are those that `offer` installed; the image they were for has ended, so nobody uses them.
        unsafe {
            let _ =
                boot::uninstall_protocol_interface(self.handle, &LoadFile2Protocol::GUID, self.interface());
            let _ = boot::uninstall_protocol_interface(self.handle, &DevicePath::GUID, path.cast());
        }
    }
}

fn vendor_path() -> Result<Vec<u8>, Status> {
    let mut path = Vec::new();
    let node = media::Vendor { vendor_guid: LINUX_INITRD, vendor_defined_data: &[] };
    let builder = DevicePathBuilder::with_vec(&mut path).push(&node).map_err(|_| Status::OUT_OF_RESOURCES)?;
    builder.finalize().map_err(|_| Status::OUT_OF_RESOURCES)?;
    Ok(path)
}

/// `EFI_LOAD_FILE2_PROTOCOL.LoadFile` (UEFI specification, "Load File 2 Protocol"): asked once for the size, once for the bytes.
unsafe extern "efiapi" fn load_file(
    this: *mut LoadFile2Protocol,
    _path: *const DevicePathProtocol,
    boot_policy: Boolean,
    size: *mut usize,
    buffer: *mut c_void,
) -> Status {
    if boot_policy != Boolean::FALSE {
        return Status::UNSUPPORTED;
    }
    if this.is_null() || size.is_null() {
        return Status::INVALID_PARAMETER;
    }
    // SAFETY: `this` is the interface installed by `Initrd::offer`, the first field of an `Offer` that lives on.
    let file = unsafe { &(*this.cast::<Offer>()).file };
    // SAFETY: The caller passes a size that it owns, and a buffer of at least that many bytes, or none.
    unsafe { copy(file, size, buffer.cast()) }
}

/// # Safety
/// `size` is valid for reads and writes; `buffer` is null or valid for writes of `*size` bytes.
unsafe fn copy(file: &[u8], size: *mut usize, buffer: *mut u8) -> Status {
    // SAFETY: The caller's promise.
    let room = unsafe { size.replace(file.len()) };
    if buffer.is_null() || room < file.len() {
        return Status::BUFFER_TOO_SMALL;
    }
    // SAFETY: The buffer has room for the file, by the caller's promise, and is the caller's own, so no part of the file.
    unsafe { buffer.copy_from_nonoverlapping(file.as_ptr(), file.len()) };
    Status::SUCCESS
}
