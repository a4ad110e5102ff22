//! How the guest pages, by its control registers.

use plinth_hal::Gpa;

const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;
/// Bits 51:12 of an entry or of CR3.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The format of the guest's tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PagingMode {
    /// Paging is off: linear addresses are guest-physical.
    None,
    /// 32-bit paging.
    Bits32 {
        /// CR4.PSE: there are pages of 4 MiB.
        large_pages: bool,
    },
    /// PAE paging, outside long mode.
    Pae,
    /// Long mode, 4 levels.
    Long4,
    /// Long mode, 5 levels.
    Long5,
}

/// How the guest pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestPaging {
    /// The format of its tables.
    pub mode: PagingMode,
    /// Where its root table lies.
    pub root: Gpa,
    /// EFER.NXE, with 64-bit entries: they may forbid execution.
    pub no_execute: bool,
    /// CR0.WP: the supervisor too needs permission to write.
    pub write_protect: bool,
    /// CR4.SMEP: the supervisor does not execute user pages.
    pub smep: bool,
    /// CR4.SMAP: the supervisor does not access user pages unless RFLAGS.AC is set.
    pub smap: bool,
    /// Address bits that entries must not set.
    pub(super) reserved_address: u64,
}

impl GuestPaging {
    /// From the control registers of the guest. All 52 bits of physical addresses count as valid: narrow
    /// that by [`with_physical_bits`](Self::with_physical_bits).
    #[inline]
    pub const fn from_registers(cr0: u64, cr3: u64, cr4: u64, efer: u64) -> Self {
        let mode = mode(cr0, cr4, efer);
        Self {
            mode,
            root: Gpa::new(cr3 & root_mask(mode)),
            no_execute: efer & EFER_NXE != 0 && cr4 & CR4_PAE != 0,
            write_protect: cr0 & CR0_WP != 0,
            smep: cr4 & CR4_SMEP != 0,
            smap: cr4 & CR4_SMAP != 0,
            reserved_address: 0,
        }
    }

    /// The same, with `bits` of physical address, 12 to 52: entries that set more are malformed (CPUID
    /// 8000_0008h EAX bits 7:0, as the guest sees it).
    #[must_use]
    pub const fn with_physical_bits(mut self, bits: u32) -> Self {
        let bits = if bits < 52 { bits } else { 52 };
        self.reserved_address = ADDRESS & !((1 << bits) - 1);
        self
    }
}

const fn mode(cr0: u64, cr4: u64, efer: u64) -> PagingMode {
    if cr0 & CR0_PG == 0 {
        PagingMode::None
    } else if efer & EFER_LMA != 0 {
        if cr4 & CR4_LA57 != 0 { PagingMode::Long5 } else { PagingMode::Long4 }
    } else if cr4 & CR4_PAE != 0 {
        PagingMode::Pae
    } else {
        PagingMode::Bits32 { large_pages: cr4 & CR4_PSE != 0 }
    }
}

const fn root_mask(mode: PagingMode) -> u64 {
    match mode {
        PagingMode::Long4 | PagingMode::Long5 => ADDRESS,
        PagingMode::Pae => 0xffff_ffe0,
        PagingMode::None | PagingMode::Bits32 { .. } => 0xffff_f000,
    }
}
