//! What every loader does with the two files that it was told of: check them, give each its place in the reservation, fill
//! the reservation, and write down the part of [`LaunchInfo`] that follows from it.
//!
//! A loader adds what it knows of the machine, stores the structure at [`Placement::info_at`], and calls
//! [`Placement::entry`].

use core::fmt;

use crate::image::{Image, ImageError, Machine};
use crate::layout::{self, Layout, Request, TooSmall};
use crate::{LaunchInfo, MAGIC, MAX_SEGMENTS, Range, SEGMENT_EXECUTE, SEGMENT_WRITE, Segment, VERSION};

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The kernel image.
    Kernel,
    /// The extension.
    Extension,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Extension => "extension",
        })
    }
}

/// Why a file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// It is no ELF image that can be loaded here.
    Image(File, ImageError),
    /// The kernel is linked for one fixed address.
    NotRelocatable,
    /// An extension is named as the kernel: it would run with the hypervisor's privilege.
    NoKernel,
}

/// An extension's manifest: the owner and the kind of the note, as `plinth_extension_api::abi` has them.
const MANIFEST: (&str, u32) = ("Plinth", 1);

impl FileError {
    /// The file that is refused.
    pub const fn file(self) -> File {
        match self {
            Self::Image(file, _) => file,
            Self::NotRelocatable | Self::NoKernel => File::Kernel,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(_, error) => error.fmt(f),
            Self::NotRelocatable => f.write_str("linked for a fixed address; link the kernel as static-PIE"),
            Self::NoKernel => f.write_str("it is an extension, not the kernel; name Plinth's kernel here"),
        }
    }
}

impl core::error::Error for FileError {}

/// A kernel and an extension that can be loaded on this kind of machine.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    kernel: Image<'a>,
    extension: &'a [u8],
}

impl<'a> Files<'a> {
    /// Checks both files.
    ///
    /// # Errors
    /// [`FileError`] names the first file that is refused.
    pub fn check(kernel: &'a [u8], extension: &'a [u8], machine: Machine) -> Result<Self, FileError> {
        let parse = |file, bytes| Image::parse(bytes, machine).map_err(|error| FileError::Image(file, error));
        let image = parse(File::Kernel, kernel)?;
        parse(File::Extension, extension)?;
        if let Ok(Some(_)) = image.number_in_note(MANIFEST.0, MANIFEST.1) {
            return Err(FileError::NoKernel);
        }
        if !image.is_relocatable() {
            return Err(FileError::NotRelocatable);
        }
        Ok(Self { kernel: image, extension })
    }

    /// Plans where in `reservation` everything goes. `entropy` picks the kernel's place: no other word that
    /// the kernel gets may be derived from it.
    ///
    /// # Errors
    /// [`TooSmall`] says how much is needed.
    pub fn place(self, reservation: Range, entropy: u64) -> Result<Placement<'a>, TooSmall> {
        self.place_with(reservation, entropy, 0)
    }

    /// The same, with room for `extra_size` bytes of the loader's own that the kernel reads: [`Layout::extra`].
    ///
    /// # Errors
    /// [`TooSmall`] says how much is needed.
    pub fn place_with(
        self,
        reservation: Range,
        entropy: u64,
        extra_size: u64,
    ) -> Result<Placement<'a>, TooSmall> {
        let layout = layout::plan(&Request {
            reservation,
            kernel_size: self.kernel.span().size,
            kernel_alignment: self.kernel.alignment(),
            extension_size: self.extension.len() as u64,
            info_size: size_of::<LaunchInfo>() as u64,
            extra_size,
            entropy,
        })?;
        Ok(Placement { files: self, reservation, layout })
    }
}

/// Two checked files and their places.
#[derive(Clone, Debug)]
pub struct Placement<'a> {
    files: Files<'a>,
    reservation: Range,
    layout: Layout,
}

impl Placement<'_> {
    /// Where everything goes.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes kernel and extension into `memory`, which stands for the reservation.
    ///
    /// # Errors
    /// [`ImageError::DestinationTooSmall`] if `memory` is shorter than the reservation.
    pub fn load_into(&self, memory: &mut [u8]) -> Result<(), ImageError> {
        let room = self.part(memory, self.layout.kernel)?;
        self.files.kernel.load_into(room, self.bias())?;
        self.part(memory, self.layout.extension)?.copy_from_slice(self.files.extension);
        Ok(())
    }

    /// The bytes of one part.
    fn part<'m>(&self, memory: &'m mut [u8], part: Range) -> Result<&'m mut [u8], ImageError> {
        let number = |bytes: u64| usize::try_from(bytes).map_err(|_| ImageError::TooLarge);
        let (offset, size) = (number(part.start - self.reservation.start)?, number(part.size)?);
        let rest = memory.get_mut(offset..).ok_or(ImageError::DestinationTooSmall)?;
        rest.get_mut(..size).ok_or(ImageError::DestinationTooSmall)
    }

    /// What is added to link-time addresses: the kernel runs identity mapped.
    fn bias(&self) -> u64 {
        self.layout.kernel.start.wrapping_sub(self.files.kernel.span().start)
    }

    /// The system-physical address of [`crate::Entry`].
    pub fn entry(&self) -> u64 {
        self.files.kernel.entry().wrapping_add(self.bias())
    }

    /// The system-physical address, page aligned, of the room for the launch information.
    pub const fn info_at(&self) -> u64 {
        self.layout.info.start
    }

    /// The part of the reservation that has been written once the launch information is in place. It lies in one piece from
    /// the reservation's start on.
    pub const fn loaded(&self) -> Range {
        Range { start: self.reservation.start, size: self.layout.pool.start - self.reservation.start }
    }

    /// The launch information as far as it follows from files and places; the rest is zeroes, which stand for "not there".
    pub fn info(&self) -> LaunchInfo {
        let mut info = LaunchInfo {
            magic: MAGIC,
            version: VERSION,
            size: size_of::<LaunchInfo>() as u32,
            reservation: self.reservation,
            pool: self.layout.pool,
            extension: self.layout.extension,
            ..LaunchInfo::default()
        };
        let segments = self.files.kernel.segments().take(MAX_SEGMENTS);
        for (to, segment) in info.kernel_segments.iter_mut().zip(segments) {
            let pages = segment.pages();
            let range = Range { start: pages.start.wrapping_add(self.bias()), size: pages.size };
            let flag = |is_set, flag| if is_set { flag } else { 0 };
            *to = Segment {
                range,
                flags: flag(segment.write, SEGMENT_WRITE) | flag(segment.execute, SEGMENT_EXECUTE),
            };
            info.kernel_segment_count += 1;
        }
        info
    }
}
