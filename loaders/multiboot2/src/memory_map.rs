//! The machine's memory, in the form of the BIOS's E820 map, and what is carved out of it.

/// Memory that an OS may use.
pub const USABLE: u32 = 1;
/// Memory that it must not use.
pub const RESERVED: u32 = 2;
/// Memory with ACPI tables.
pub const ACPI: u32 = 3;

/// The most regions: what Linux's boot parameters have room for.
pub const MAX_REGIONS: usize = 128;

/// A piece of the physical address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// The first byte.
    pub start: u64,
    /// The length in bytes.
    pub size: u64,
    /// What it is: [`USABLE`], [`RESERVED`] or another type of the E820 map.
    pub kind: u32,
}

impl Region {
    const fn end(self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// The regions.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    regions: [Region; MAX_REGIONS],
    count: usize,
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self { regions: [Region::default(); MAX_REGIONS], count: 0 }
    }
}

impl MemoryMap {
    /// Adds a region. One too many is left out: an OS that does not know of memory does not use it.
    pub fn push(&mut self, region: Region) {
        if self.count < MAX_REGIONS && region.size != 0 {
            self.regions[self.count] = region;
            self.count += 1;
        }
    }

    /// All of them.
    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.count]
    }

    /// The end of the highest region.
    pub fn end(&self) -> u64 {
        self.regions().iter().map(|region| region.end()).max().unwrap_or(0)
    }

    /// The highest `size` usable bytes between `from` and `below`, aligned to `alignment`.
    pub fn highest(&self, size: u64, alignment: u64, from: u64, below: u64) -> Option<u64> {
        let usable = self.regions().iter().filter(|region| region.kind == USABLE);
        let places = usable.filter_map(|region| {
            let start = region.end().min(below).checked_sub(size)? & !(alignment - 1);
            (start >= region.start.max(from)).then_some(start)
        });
        places.max()
    }

    /// Marks a range, which lies in one usable region, as of another kind.
    pub fn set_kind(&mut self, start: u64, size: u64, kind: u32) {
        let end = start + size;
        let inside = |region: &Region| region.kind == USABLE && region.start <= start && end <= region.end();
        let Some(index) = self.regions().iter().position(inside) else { return };
        let whole = self.regions[index];
        self.regions[index] = Region { start, size, kind };
        self.push(Region { start: whole.start, size: start - whole.start, kind: USABLE });
        self.push(Region { start: end, size: whole.end() - end, kind: USABLE });
        self.regions[..self.count].sort_unstable_by_key(|region| region.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> MemoryMap {
        let mut map = MemoryMap::default();
        map.push(Region { start: 0, size: 0x9_F000, kind: USABLE });
        map.push(Region { start: 0x10_0000, size: 0x1FEF_0000, kind: USABLE });
        map
    }

    #[test]
    fn the_highest_place_is_aligned() {
        assert_eq!(map().highest(32 << 20, 2 << 20, 1 << 20, 1 << 32), Some(0x1DE0_0000));
        assert_eq!(map().highest(0x1000, 0x1000, 0, 1 << 20), Some(0x9_E000));
        assert_eq!(map().highest(1 << 30, 4096, 0, 1 << 32), None);
    }

    #[test]
    fn what_is_reserved_is_cut_out() {
        let mut map = map();
        map.set_kind(0x1DE0_0000, 32 << 20, RESERVED);
        let kinds = map.regions().iter().map(|region| (region.start, region.kind));
        let expected = [(0, USABLE), (0x10_0000, USABLE), (0x1DE0_0000, RESERVED), (0x1FE0_0000, USABLE)];
        assert!(kinds.eq(expected));
        assert_eq!(map.end(), 0x1FFF_0000);
    }
}
