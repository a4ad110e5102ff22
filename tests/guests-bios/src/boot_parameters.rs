//! The boot parameters that the loader leaves: of them, the memory map.

/// Where the number of regions is, and the first of them, of 20 bytes each: address, size, kind.
const COUNT: u64 = 0x1E8;
const REGIONS: u64 = 0x2D0;
const REGION_SIZE: u64 = 20;
/// Memory that an OS may use.
const USABLE: u32 = 1;
/// Memory that it must not use.
const RESERVED: u32 = 2;
/// The least that the hypervisor has, and how it is aligned.
const SMALLEST: u64 = 8 << 20;
const ALIGNMENT: u64 = 2 << 20;
/// The boot parameters have room for no more.
const MOST: u64 = 128;

/// A region of the memory map.
struct Region {
    start: u64,
    size: u64,
    kind: u32,
}

impl Region {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// The boot parameters, by their address.
#[derive(Clone, Copy, Debug)]
pub struct BootParameters(u64);

impl BootParameters {
    /// Those at an address.
    ///
    /// # Safety
    /// The loader has left boot parameters there, they are mapped, and nothing has overwritten them.
    pub const unsafe fn at(address: u64) -> Self {
        Self(address)
    }

    fn regions(self) -> impl Iterator<Item = Region> {
        // SAFETY: the parameters are there, said who made this value.
        let count = u64::from(unsafe { ((self.0 + COUNT) as *const u8).read() });
        (0..count.min(MOST)).map(move |index| {
            let region = self.0 + REGIONS + index * REGION_SIZE;
            // SAFETY: as above; the regions lie behind each other, not aligned.
            unsafe {
                Region {
                    start: (region as *const u64).read_unaligned(),
                    size: ((region + 8) as *const u64).read_unaligned(),
                    kind: ((region + 16) as *const u32).read_unaligned(),
                }
            }
        })
    }

    /// Whether the `size` bytes at `start` are in one region that an OS may use.
    pub fn is_usable(self, start: u64, size: u64) -> bool {
        self.regions()
            .any(|region| region.kind == USABLE && region.start <= start && start + size <= region.end())
    }

    /// Where the hypervisor's memory must be, first byte and size: a large reserved region, aligned, behind usable memory.
    pub fn reservation(self) -> Option<(u64, u64)> {
        let is_carved = |start| self.regions().any(|region| region.kind == USABLE && region.end() == start);
        let found = self.regions().find(|region| {
            region.kind == RESERVED
                && region.size >= SMALLEST
                && region.start.is_multiple_of(ALIGNMENT)
                && is_carved(region.start)
        })?;
        Some((found.start, found.size))
    }
}
