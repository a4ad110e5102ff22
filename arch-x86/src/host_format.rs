//! The tables that the hypervisor itself runs on: stage 1 of kernel and extension.
//!
//! Nothing is global: kernel and extension may have separate tables, and a global entry of the one would
//! outlive the switch to the other.

use crate::long_mode_entry::{self as entry, ACCESSED, PRESENT, USER, WRITE};
use core::marker::PhantomData;
use plinth_hal::page_table::{Attributes, Entry, InputAddress, Permissions, PtFormat};
use plinth_hal::{HostVa, Spa, UserVa};

/// The format of long-mode page tables, 4 levels or 5, addressed by `I`.
#[derive(Clone, Copy, Debug)]
pub struct HostFormat<I> {
    giant_leaves: bool,
    physical_bits: u8,
    levels: u8,
    has_user_side: bool,
    input: PhantomData<I>,
}

/// Tables addressed by the kernel's virtual addresses.
pub type KernelFormat = HostFormat<HostVa>;
/// Tables addressed by the extension's virtual addresses.
pub type UserFormat = HostFormat<UserVa>;

impl<I> HostFormat<I> {
    /// For a processor with `physical_bits` of physical address (CPUID 8000_0008h EAX bits 7:0), and with
    /// 1 GiB leaves if `giant_leaves` (CPUID 8000_0001h EDX bit 26). EFER.NXE has to be set.
    pub const fn new(giant_leaves: bool, physical_bits: u8) -> Self {
        Self { giant_leaves, physical_bits, levels: 4, has_user_side: false, input: PhantomData }
    }

    /// The same with 5 levels if `five_levels`: for a processor with CR4.LA57 set.
    pub const fn with_five_levels(self, five_levels: bool) -> Self {
        Self { levels: if five_levels { 5 } else { 4 }, ..self }
    }

    /// The same for a processor that leaks what is mapped and not allowed: user mode has tables of its own.
    pub const fn with_user_side(self, has_user_side: bool) -> Self {
        Self { has_user_side, ..self }
    }
}

impl<I: InputAddress> PtFormat for HostFormat<I> {
    type Input = I;
    const SIGN_EXTENDED: bool = true;

    fn user_side(&self) -> Option<Self> {
        self.has_user_side.then_some(Self { has_user_side: false, ..*self })
    }

    #[inline]
    fn levels(&self) -> u8 {
        self.levels
    }

    #[inline]
    fn output_bits(&self) -> u32 {
        u32::from(self.physical_bits).min(52)
    }

    #[inline]
    fn leaf_allowed(&self, level: u8, _: Attributes) -> bool {
        level <= 1 || (level == 2 && self.giant_leaves)
    }

    #[inline]
    fn supports(&self, attributes: Attributes) -> bool {
        attributes.permissions.contains(Permissions::READ)
    }

    #[inline]
    fn leaf(&self, spa: Spa, attributes: Attributes, level: u8) -> u64 {
        let permissions = attributes.permissions;
        let user = if permissions.contains(Permissions::USER) { USER } else { 0 };
        entry::leaf(spa, attributes.memory, level) | entry::permission_bits(permissions) | user
    }

    #[inline]
    fn table(&self, spa: Spa) -> u64 {
        PRESENT | WRITE | USER | ACCESSED | spa.raw()
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Entry {
        match entry::decode(entry, level) {
            Entry::Leaf { spa, mut attributes } => {
                attributes.permissions.set(Permissions::USER, entry & USER != 0);
                Entry::Leaf { spa, attributes }
            }
            other => other,
        }
    }
}
