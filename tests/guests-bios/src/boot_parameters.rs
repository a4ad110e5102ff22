//! The boot parameters that the loader leaves: of them, the memory map.

/// Where the number of regions is, and the first of them, of 20 bytes each: address, size, kind.
const COUNT: u64 = 0x1E8;
const REGIONS: u64 = 0x2D0;
const REGION_SIZE: u64 = 20;
/// Memory that an OS may use.
const USABLE: u32 = 1;
/// The boot parameters have room for no more.
const MOST: u64 = 128;

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

    /// Whether the `size` bytes at `start` are in one region that an OS may use.
    pub fn is_usable(self, start: u64, size: u64) -> bool {
        // SAFETY: the parameters are there, said who made this value.
        let count = u64::from(unsafe { ((self.0 + COUNT) as *const u8).read() });
        (0..count.min(MOST)).any(|index| {
            let region = self.0 + REGIONS + index * REGION_SIZE;
            // SAFETY: as above; the regions lie behind each other, not aligned.
            let (from, bytes, kind) = unsafe {
                (
                    (region as *const u64).read_unaligned(),
                    ((region + 8) as *const u64).read_unaligned(),
                    ((region + 16) as *const u32).read_unaligned(),
                )
            };
            kind == USABLE && from <= start && start + size <= from.saturating_add(bytes)
        })
    }
}
