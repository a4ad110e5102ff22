//! The description of the machine that the backend passes to the kernel at launch.

use plinth_hal::{Arch, ExitFrame, Spa, SpaRange, UserVa};
use plinth_launch::image::{ImageError, Machine as ImageMachine};
use plinth_launch::{LaunchError, LaunchInfo, LaunchStatus};

use crate::memory::trapped::TrappedPages;
use crate::sync::LockLost;

/// The machine, as the backend found it in the launch contract and in the hardware.
pub struct Platform<A: Arch> {
    /// The launch contract, already checked for magic and version.
    pub info: LaunchInfo,
    /// The kernel's options, as words.
    pub command_line: &'static [u8],
    /// The extension's ELF file.
    pub extension: &'static [u8],
    /// Access to physical memory.
    pub memory: A::Memory,
    /// The format of the host page tables.
    pub host_format: A::HostFormat,
    /// The format of nested page tables.
    pub nested_format: A::NestedFormat,
    /// The instruction set that the extension's ELF file must have.
    pub elf_machine: ImageMachine,
    /// End of the physical address space in bytes.
    pub physical_end: u64,
    /// Device ranges that the kernel uses itself, in whole pages. The kernel maps them uncached.
    pub devices: [Option<SpaRange>; 4],
    /// Interrupt-controller pages that the root VM may read but whose writes trap to the kernel.
    pub trapped: TrappedPages,
    /// The page with the start-up code for processors that the loader does not launch. The backend has
    /// written the code; the kernel maps the page executable.
    pub start_page: Option<Spa>,
    /// The lowest address of the extension's part of the address space.
    pub user_base: UserVa,
    /// The parts of the kernel that the extension's own tables map as well (see KPTI).
    pub entry: Entry,
}

/// The kernel code and data that are used while the extension's tables are still loaded: on entry to and exit
/// from user mode. User mode itself cannot access them.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The pages of the code.
    pub code: SpaRange,
    /// The number of each PP's backend pages, from the first on.
    pub pages: usize,
}

impl Entry {
    /// Nothing: both sides share one set of tables, or the hardware switches them.
    pub const NONE: Self = Self { code: SpaRange::new(Spa::new(0), 0), pages: 0 };
}

impl<A: Arch> Platform<A> {
    /// All memory of the hypervisor.
    pub fn reservation(&self) -> SpaRange {
        range(self.info.reservation)
    }

    /// The end of the memory map, limited to the physical address width.
    pub(crate) fn memory_end(&self) -> u64 {
        self.info.memory_end.min(self.physical_end)
    }

    /// [`Self::memory_end`] rounded up to a GiB: the part that is mapped from the start.
    pub(crate) fn mapped_end(&self) -> u64 {
        self.memory_end().checked_next_multiple_of(1 << 30).unwrap_or(u64::MAX).min(self.physical_end)
    }
}

/// What [`crate::Kernel::prepare_pp`] made for one PP.
#[derive(Clone, Copy, Debug)]
pub struct PpResources {
    /// The PP's number.
    pub pp: usize,
    /// Where the kernel's stack begins; it grows down.
    pub stack_top: Spa,
    /// Contiguous zeroed pages for the backend's own per-PP structures.
    pub backend: Spa,
    /// The frame of the exit page.
    pub exit_page: ExitFrame,
    /// The root of the host page table.
    pub host_root: Spa,
    /// The root of the page table that the extension runs on: the same, unless user mode has its own.
    pub user_root: Spa,
}

/// A range of the launch contract as the kernel's type.
pub(crate) fn range(range: plinth_launch::Range) -> SpaRange {
    SpaRange::new(Spa::new(range.start), range.size)
}

/// Why the preparation of the kernel failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrepareError {
    /// The pool is too small.
    OutOfFrames,
    /// The ranges of the launch contract are inconsistent.
    BadContract,
    /// More processors than [`crate::MAX_PPS`].
    TooManyProcessors,
    /// The extension's ELF file is invalid.
    Extension(ImageError),
    /// The extension cannot be relocated and is linked outside its part of the address space.
    ExtensionAddress,
}

impl From<plinth_hal::OutOfFrames> for PrepareError {
    fn from(_: plinth_hal::OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

impl From<plinth_hal::page_table::MapError> for PrepareError {
    fn from(error: plinth_hal::page_table::MapError) -> Self {
        match error {
            plinth_hal::page_table::MapError::OutOfFrames => Self::OutOfFrames,
            _ => Self::BadContract,
        }
    }
}

impl From<LockLost> for PrepareError {
    fn from(_: LockLost) -> Self {
        Self::OutOfFrames
    }
}

impl From<ImageError> for PrepareError {
    fn from(error: ImageError) -> Self {
        Self::Extension(error)
    }
}

impl From<PrepareError> for LaunchStatus {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::OutOfFrames => Self::failed(LaunchError::TooLittleMemory, 0),
            PrepareError::BadContract => Self::failed(LaunchError::BadContract, 0),
            PrepareError::TooManyProcessors => Self::failed(LaunchError::TooManyProcessors, 0),
            PrepareError::ExtensionAddress => Self::failed(LaunchError::BadExtension, 0),
            PrepareError::Extension(error) => Self::failed(LaunchError::BadExtension, error.raw()),
        }
    }
}
