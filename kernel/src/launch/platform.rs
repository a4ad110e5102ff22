//! What the kernel is told about the machine at launch.

use plinth_hal::{Arch, ExitFrame, Spa, SpaRange, UserVa};
use plinth_launch::image::{ImageError, Machine as ImageMachine};
use plinth_launch::{LaunchError, LaunchInfo, LaunchStatus};

use crate::memory::trapped::TrappedPages;
use crate::sync::LockLost;

/// The machine, as the backend's entry code found it in the launch contract and in the hardware.
pub struct Platform<A: Arch> {
    /// The launch contract, already checked for magic and version.
    pub info: LaunchInfo,
    /// The kernel's own options, one word each.
    pub command_line: &'static [u8],
    /// The extension's ELF file.
    pub extension: &'static [u8],
    /// Access to physical memory.
    pub memory: A::Memory,
    /// The format of the kernel's and the extension's page table.
    pub host_format: A::HostFormat,
    /// The format of VMs' page tables.
    pub nested_format: A::NestedFormat,
    /// The machine that the extension's ELF file must be for.
    pub elf_machine: ImageMachine,
    /// End of the physical address space in bytes.
    pub physical_end: u64,
    /// Devices that the kernel itself uses, mapped uncached, in whole pages.
    pub devices: [Option<SpaRange>; 4],
    /// The processors' control pages that the root VM may read but whose writes the kernel must see.
    pub trapped: TrappedPages,
    /// The page in which processors start that the loader does not launch: the backend has put its code there. The
    /// kernel may execute it.
    pub start_page: Option<Spa>,
    /// Lowest address of the part of the address space that is the extension's.
    pub user_base: UserVa,
    /// What of the kernel the extension's tables map too, where those are others than the kernel's.
    pub entry: Entry,
}

/// What entering and leaving user mode takes before the kernel's own tables are loaded, and after. User mode itself
/// cannot reach it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The pages of the code.
    pub code: SpaRange,
    /// How many of each PP's backend pages, from the first one on.
    pub pages: usize,
}

impl Entry {
    /// Nothing: the hardware does it.
    pub const NONE: Self = Self { code: SpaRange::new(Spa::new(0), 0), pages: 0 };
}

impl<A: Arch> Platform<A> {
    /// All memory that belongs to the hypervisor.
    pub fn reservation(&self) -> SpaRange {
        range(self.info.reservation)
    }

    /// End of the machine's memory map, as far as the processor can address it.
    pub(crate) fn memory_end(&self) -> u64 {
        self.info.memory_end.min(self.physical_end)
    }

    /// The same in whole GiB: what is mapped from the start.
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

/// The contract's range as the kernel's own type.
pub(crate) fn range(range: plinth_launch::Range) -> SpaRange {
    SpaRange::new(Spa::new(range.start), range.size)
}

/// Why the kernel could not be prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrepareError {
    /// The pool is too small.
    OutOfFrames,
    /// The contract's ranges make no sense.
    BadContract,
    /// More processors than [`crate::MAX_PPS`].
    TooManyProcessors,
    /// The extension's ELF file is refused.
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
