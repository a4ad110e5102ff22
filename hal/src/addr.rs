//! Address types. System-physical, guest-physical and virtual addresses are all 64-bit numbers, and a mix-up
//! between them breaks isolation. So each kind is a type of its own, and the compiler refuses a mix-up.

use core::fmt;

/// The size of the smallest page in bytes. The kernel tracks the ownership of frames in this unit.
pub const PAGE_SIZE: u64 = 4096;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a raw address, in bytes.
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The raw address, in bytes.
            pub const fn raw(self) -> u64 {
                self.0
            }

            /// The start of the page that contains the address.
            pub const fn page(self) -> Self {
                Self(self.0 & !(PAGE_SIZE - 1))
            }

            /// The distance, in bytes, from the start of the page.
            pub const fn page_offset(self) -> u64 {
                self.0 & (PAGE_SIZE - 1)
            }

            /// Whether the address is a multiple of `alignment`, a power of two in bytes.
            pub const fn is_aligned(self, alignment: u64) -> bool {
                self.0 & (alignment - 1) == 0
            }

            /// The address rounded down to a multiple of `alignment`, a power of two in bytes.
            pub const fn align_down(self, alignment: u64) -> Self {
                Self(self.0 & !(alignment - 1))
            }

            /// The address `bytes` further on, wrapping at the end of the address space as the processor's
            /// own additions do. For offsets into an object whose end was checked together with its start.
            pub const fn wrapping_add(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }

            /// The address of the 64-bit word with this index from here on. Wraps as
            /// [`wrapping_add`](Self::wrapping_add).
            pub const fn word(self, index: u64) -> Self {
                self.wrapping_add(index.wrapping_mul(8))
            }

            /// The address of the page with this index from here on. Wraps as
            /// [`wrapping_add`](Self::wrapping_add).
            pub const fn nth_page(self, index: u64) -> Self {
                self.wrapping_add(index.wrapping_mul(PAGE_SIZE))
            }

            /// The address `bytes` further on, or `None` on overflow.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A system-physical address: what the memory controller sees.
    Spa
}
address! {
    /// A guest-physical address: what a VM takes for physical memory.
    Gpa
}
address! {
    /// A guest-virtual address, before the guest's own page tables.
    Gva
}
address! {
    /// A virtual address of the extension.
    UserVa
}
address! {
    /// A virtual address of the kernel.
    HostVa
}

/// A half-open range of system-physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpaRange {
    /// The first byte.
    pub start: Spa,
    /// The length in bytes.
    pub size: u64,
}

impl SpaRange {
    /// The range of `size` bytes from `start` on.
    pub const fn new(start: Spa, size: u64) -> Self {
        Self { start, size }
    }

    /// The first address after the range.
    pub const fn end(self) -> Spa {
        Spa::new(self.start.raw().saturating_add(self.size))
    }

    /// Whether some of the `size` bytes from `start` on lie inside.
    pub const fn overlaps(self, start: Spa, size: u64) -> bool {
        start.raw() < self.end().raw() && self.start.raw() < start.raw().saturating_add(size)
    }

    /// Whether `address` lies inside.
    pub const fn contains(self, address: Spa) -> bool {
        address.raw().wrapping_sub(self.start.raw()) < self.size
    }
}
