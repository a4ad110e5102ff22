//! `/dev/plinth`, as `loaders/linux/plinth.h` describes it: each request a piece of bytes, its fields at the header's offsets.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::AsRawFd;

/// A request: its number's low byte, its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) number: u8,
    pub(crate) size: usize,
}

pub(crate) const INFO: Kind = Kind { number: 0x40, size: 568 };
pub(crate) const RESERVE: Kind = Kind { number: 0x41, size: 96 };
pub(crate) const LAUNCH: Kind = Kind { number: 0x42, size: 104 };
pub(crate) const STOP: Kind = Kind { number: 0x43, size: 64 };
pub(crate) const CALL: Kind = Kind { number: 0x44, size: 144 };

impl Kind {
    /// `_IOWR` of the header: direction, size, type, number.
    pub(crate) const fn code(self) -> u64 {
        3 << 30 | (self.size as u64) << 16 | 0xB5 << 8 | self.number as u64
    }
}

/// A request's structure.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    /// Of 64 bits each, so that the structure is aligned.
    words: Vec<u64>,
}

impl Request {
    /// All zeroes but for a right head.
    pub(crate) fn new(kind: Kind) -> Self {
        let mut request = Self { kind, words: vec![0; kind.size / 8] };
        request.words[0] = kind.size as u64 | 1 << 32;
        request
    }

    /// With a 64-bit field at an offset.
    pub(crate) fn with(mut self, offset: usize, value: u64) -> Self {
        self.words[offset / 8] = value;
        self
    }

    /// With a 32-bit field at an offset.
    pub(crate) fn with_half(mut self, offset: usize, value: u32) -> Self {
        let shift = offset % 8 * 8;
        let word = &mut self.words[offset / 8];
        *word = *word & !(0xffff_ffff << shift) | u64::from(value) << shift;
        self
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u64] {
        &self.words
    }

    /// A 64-bit field.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        self.words[offset / 8]
    }
}

/// The open device.
#[derive(Debug)]
pub(crate) struct Device(File);

impl Device {
    pub(crate) fn open() -> Result<Self> {
        OpenOptions::new().read(true).write(true).open("/dev/plinth").map(Self)
    }

    /// Makes a request by its own number.
    pub(crate) fn ask(&self, request: &mut Request) -> Result<()> {
        self.ask_by(request.kind.code(), request)
    }

    /// Makes a request by any number.
    pub(crate) fn ask_by(&self, code: u64, request: &mut Request) -> Result<()> {
        self.ask_at(code, request.words.as_mut_ptr() as u64)
    }

    /// Makes a request with a structure at any address.
    pub(crate) fn ask_at(&self, code: u64, address: u64) -> Result<()> {
        // SAFETY: The device writes only to the structure of the request, as long as its head says, and `Request` is that long;
        // an address that is not this process's is answered by EFAULT.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), code as _, address) };
        if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
    }

    /// Maps a part of the device, and lets `work` have it.
    pub(crate) fn map<T>(
        &self,
        offset: u64,
        size: usize,
        protection: i32,
        work: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T> {
        let (file, shared) = (self.0.as_raw_fd(), libc::MAP_SHARED);
        // SAFETY: A new mapping at an address that Linux picks, of memory that is nobody else's.
        let place = unsafe {
            libc::mmap(std::ptr::null_mut(), size, protection, shared, file, offset as libc::off_t)
        };
        if place == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        // SAFETY: It has just been mapped with that size, and lives until the end of this function.
        let result = work(unsafe { std::slice::from_raw_parts_mut(place.cast(), size) });
        // SAFETY: Nothing points into it any more.
        unsafe { libc::munmap(place, size) };
        Ok(result)
    }
}
