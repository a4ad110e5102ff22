//! Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst): the header of a bzImage and the boot parameters.

use core::fmt;

use crate::memory_map::MemoryMap;

/// Bytes of the boot parameters.
pub const BOOT_PARAMETERS: usize = 4096;
/// The 64-bit entry, from the start of the protected-mode kernel.
pub const ENTRY_OFFSET: u64 = 0x200;

/// Screen information: mode and columns; lines, whether there is a VGA, and the height of a letter.
const VIDEO_MODE: usize = 0x006;
const VIDEO_LINES: usize = 0x00E;
const TEXT_MODE: u8 = 3;
const IS_VGA: u8 = 1;
const TEXT_POINTS: u8 = 16;
const SETUP_SECTORS: usize = 0x1F1;
const HEADER_END: usize = 0x201;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOADER: usize = 0x210;
const INITRD: usize = 0x218;
const INITRD_SIZE: usize = 0x21C;
const COMMAND_LINE: usize = 0x228;
const INITRD_LAST: usize = 0x22C;
const ALIGNMENT: usize = 0x230;
const RELOCATABLE: usize = 0x234;
const FLAGS_64: usize = 0x236;
const INIT_SIZE: usize = 0x260;
const RSDP: usize = 0x070;
const MAP_COUNT: usize = 0x1E8;
const MAP: usize = 0x2D0;

/// The oldest protocol with a 64-bit entry.
const OLDEST: u16 = 0x20C;

/// Why a file cannot be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKernel {
    /// It has no setup header.
    NoBzImage,
    /// Its boot protocol has no 64-bit entry.
    TooOld(u16),
    /// It insists on an address, or has no 64-bit entry.
    NotRelocatable,
}

impl fmt::Display for BadKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBzImage => f.write_str("the payload is no bzImage; name a Linux kernel in grub.cfg"),
            Self::TooOld(version) => {
                write!(f, "the payload's boot protocol {version:#x} is too old; use Linux 3.8 or newer")
            }
            Self::NotRelocatable => f.write_str(
                "the payload is not a relocatable 64-bit kernel; build it with CONFIG_RELOCATABLE",
            ),
        }
    }
}

/// A checked bzImage.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    file: &'a [u8],
    body: usize,
}

impl<'a> Kernel<'a> {
    /// Checks a file.
    ///
    /// # Errors
    /// [`BadKernel`].
    pub fn parse(file: &'a [u8]) -> Result<Self, BadKernel> {
        let magic = file.get(MAGIC..MAGIC + 4).ok_or(BadKernel::NoBzImage)?;
        let sectors = usize::from(file[SETUP_SECTORS]);
        let body = (if sectors == 0 { 4 } else { sectors } + 1) * 512;
        if magic != b"HdrS" || file.len() < body.max(INIT_SIZE + 4) {
            return Err(BadKernel::NoBzImage);
        }
        let kernel = Self { file, body };
        let version = kernel.short(VERSION);
        if version < OLDEST {
            return Err(BadKernel::TooOld(version));
        }
        if file[RELOCATABLE] == 0
            || kernel.short(FLAGS_64) & 1 == 0
            || kernel.alignment() & (kernel.alignment() - 1) != 0
        {
            return Err(BadKernel::NotRelocatable);
        }
        Ok(kernel)
    }

    /// The protected-mode kernel.
    pub fn body(&self) -> &'a [u8] {
        &self.file[self.body..]
    }

    /// What its address must be a multiple of.
    pub fn alignment(&self) -> u64 {
        u64::from(self.word(ALIGNMENT)).max(4096)
    }

    /// Bytes that it needs from its address on before it looks at the memory map.
    pub fn init_size(&self) -> u64 {
        u64::from(self.word(INIT_SIZE)).max(self.body().len() as u64)
    }

    /// The highest address that its initial RAM disk may lie at.
    pub fn initrd_last(&self) -> u64 {
        u64::from(self.word(INITRD_LAST))
    }

    fn short(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.file[at], self.file[at + 1]])
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.file[at], self.file[at + 1], self.file[at + 2], self.file[at + 3]])
    }

    /// Fills in the boot parameters, which are all zero.
    pub fn parameters(&self, page: &mut [u8; BOOT_PARAMETERS], parameters: &Parameters<'_>) {
        let end = (MAGIC + usize::from(self.file[HEADER_END])).min(MAP);
        page[SETUP_SECTORS..end].copy_from_slice(&self.file[SETUP_SECTORS..end]);
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(LOADER, &[0xFF]);
        put(INITRD, &(parameters.initrd.0 as u32).to_le_bytes());
        put(INITRD_SIZE, &(parameters.initrd.1 as u32).to_le_bytes());
        put(COMMAND_LINE, &(parameters.command_line as u32).to_le_bytes());
        put(RSDP, &parameters.rsdp.to_le_bytes());
        if let Some((columns, lines)) = parameters.text_screen {
            put(VIDEO_MODE, &[TEXT_MODE, columns]);
            put(VIDEO_LINES, &[lines, IS_VGA, TEXT_POINTS]);
        }
        let regions = parameters.map.regions();
        put(MAP_COUNT, &[regions.len() as u8]);
        for (index, region) in regions.iter().enumerate() {
            let at = MAP + index * 20;
            put(at, &region.start.to_le_bytes());
            put(at + 8, &region.size.to_le_bytes());
            put(at + 16, &region.kind.to_le_bytes());
        }
    }
}

/// What Linux is told.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// Address and size of the initial RAM disk; zeroes without one.
    pub initrd: (u64, u64),
    /// Address of the command line, which ends with a zero.
    pub command_line: u64,
    /// Address of the ACPI RSDP, or 0.
    pub rsdp: u64,
    /// Columns and lines of a VGA screen in text mode.
    pub text_screen: Option<(u8, u8)>,
    /// The memory that it sees.
    pub map: &'a MemoryMap,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> [u8; 2048] {
        let mut file = [0; 2048];
        file[SETUP_SECTORS] = 1;
        file[HEADER_END] = 0x6A;
        file[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        file[VERSION..VERSION + 2].copy_from_slice(&0x20F_u16.to_le_bytes());
        file[ALIGNMENT + 2] = 0x20;
        file[INITRD_LAST..INITRD_LAST + 4].copy_from_slice(&0x7FFF_FFFF_u32.to_le_bytes());
        (file[RELOCATABLE], file[FLAGS_64]) = (1, 1);
        file
    }

    #[test]
    fn a_kernel_is_taken_apart() {
        let file = file();
        let kernel = Kernel::parse(&file).unwrap();
        assert_eq!((kernel.body().len(), kernel.alignment()), (1024, 2 << 20));
        assert_eq!(kernel.initrd_last(), 0x7FFF_FFFF);
        let mut page = [0; BOOT_PARAMETERS];
        let map = MemoryMap::default();
        kernel.parameters(
            &mut page,
            &Parameters {
                initrd: (0x1234, 5),
                command_line: 0x88,
                rsdp: 7,
                text_screen: Some((80, 25)),
                map: &map,
            },
        );
        assert_eq!(page[LOADER], 0xFF);
        assert_eq!((page[0x06], page[0x07], &page[0x0E..0x12]), (3, 80, &[25, 1, 16, 0][..]));
        assert_eq!(page[INITRD..INITRD + 2], [0x34, 0x12]);
    }

    #[test]
    fn what_cannot_be_booted_is_named() {
        assert_eq!(Kernel::parse(&[0; 100]).unwrap_err(), BadKernel::NoBzImage);
        assert_eq!(Kernel::parse(&[0; 4096]).unwrap_err(), BadKernel::NoBzImage);
        let mut old = file();
        old[VERSION] = 4;
        assert_eq!(Kernel::parse(&old).unwrap_err(), BadKernel::TooOld(0x204));
        let mut fixed = file();
        fixed[RELOCATABLE] = 0;
        assert_eq!(Kernel::parse(&fixed).unwrap_err(), BadKernel::NotRelocatable);
    }
}
