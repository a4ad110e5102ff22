//! The real module.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::{io, ptr, slice};

use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, opcode};
use rustix::mm::{MapFlags, ProtFlags};

use super::uapi::{Call, Info, Launch, MAP_LOG, MAP_RESERVATION, Request, Reserve, Stop};
use super::{Device, DeviceError};
use crate::Failure;

/// The module's group of requests.
const GROUP: u8 = 0xB5;
/// `PLINTH_BUFFER_MAX`.
const BUFFER_MAX: usize = 4096;

/// An open `/dev/plinth`.
pub(super) struct Module {
    file: File,
}

impl Module {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Self { file }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Failure::NotAllowed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::NoModule),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or_default();
                Err(Failure::Device("open its device", DeviceError::Other(number)))
            }
        }
    }

    /// One request.
    fn request<T: Request>(&self, number: u8, structure: &mut T) -> Result<(), DeviceError> {
        // SAFETY: `Request` is implemented for the structures of `plinth.h` alone, and the callers below give each its number. A
        // test compares sizes and offsets with the header. The kernel reads and writes the structure, all plain numbers, and of
        // this process nothing else but a `Call`'s buffer, for which that is made.
        unsafe { ioctl::ioctl(self.file.as_fd(), Exchange { number, structure }) }.map_err(DeviceError::from)
    }

    /// Maps `size` bytes at `offset`, and lets `look` have them.
    fn with_mapping(
        &self,
        size: u64,
        offset: u64,
        protection: ProtFlags,
        look: &mut dyn FnMut(*mut u8, usize),
    ) -> Result<(), DeviceError> {
        let size = usize::try_from(size).map_err(|_| DeviceError::NoMemory)?;
        // SAFETY: a new mapping, wherever there is room, of memory that the module keeps as long as it is mapped.
        let at = unsafe {
            rustix::mm::mmap(ptr::null_mut(), size, protection, MapFlags::SHARED, self.file.as_fd(), offset)
        }
        .map_err(DeviceError::from)?;
        look(at.cast::<u8>(), size);
        // SAFETY: the mapping made above; the callers' `look` keeps nothing of it.
        unsafe { rustix::mm::munmap(at, size) }.map_err(DeviceError::from)
    }
}

impl Device for Module {
    fn info(&mut self) -> Result<Info, DeviceError> {
        let mut info = Info::new();
        self.request(0x40, &mut info)?;
        Ok(info)
    }

    fn reserve(&mut self, request: &mut Reserve) -> Result<(), DeviceError> {
        self.request(0x41, request)
    }

    fn fill(&mut self, size: u64, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), DeviceError> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        self.with_mapping(size, MAP_RESERVATION, access, &mut |at, size| {
            // SAFETY: the mapping is `size` bytes long, readable and writable, and nobody else has it: the module lets the file
            // that reserved map it, and `fill` cannot keep the borrow.
            fill(unsafe { slice::from_raw_parts_mut(at, size) });
        })
    }

    fn launch(&mut self, request: &mut Launch) -> Result<(), DeviceError> {
        self.request(0x42, request)
    }

    fn stop(&mut self, request: &mut Stop) -> Result<(), DeviceError> {
        self.request(0x43, request)
    }

    fn call(&mut self, request: &mut Call, buffer: &mut [u8]) -> Result<(), DeviceError> {
        let size = buffer.len().min(BUFFER_MAX);
        (request.buffer, request.buffer_size) = (buffer.as_mut_ptr() as u64, size as u32);
        let result = self.request(0x44, request);
        request.buffer = 0;
        result
    }

    fn log(&mut self) -> Result<Vec<u8>, DeviceError> {
        let size = self.info()?.log.size;
        let mut bytes = Vec::new();
        if size != 0 {
            self.with_mapping(size, MAP_LOG, ProtFlags::READ, &mut |at, size| {
                let words = (0..size / 8).map(|word| {
                    // SAFETY: inside the mapping, which is page aligned. The hypervisor may write it meanwhile, so each word is read
                    // once, and any value of it is good.
                    unsafe { at.cast::<u64>().add(word).read_volatile() }
                });
                bytes.extend(words.flat_map(u64::to_ne_bytes));
            })?;
        }
        Ok(bytes)
    }
}

/// An ioctl whose structure is read and written.
struct Exchange<'a, T> {
    number: u8,
    structure: &'a mut T,
}

// SAFETY: the number says that `T` is read and written, and the pointer is to one.
unsafe impl<T: Request> Ioctl for Exchange<'_, T> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<T>(GROUP, self.number)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self.structure).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

impl From<Errno> for DeviceError {
    fn from(number: Errno) -> Self {
        match number {
            Errno::PERM | Errno::ACCESS => Self::NotAllowed,
            Errno::BUSY => Self::Busy,
            Errno::NOMEM => Self::NoMemory,
            Errno::OPNOTSUPP => Self::Unsuitable,
            Errno::CANCELED => Self::Refused,
            Errno::SRCH => Self::NotRunning,
            Errno::INVAL | Errno::TOOBIG | Errno::NOTTY => Self::OtherVersion,
            other => Self::Other(other.raw_os_error()),
        }
    }
}
