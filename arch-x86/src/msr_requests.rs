//! The MSR accesses whose exits an extension has requested: a bitmap for each VM, beside the processor's MSR
//! bitmap.
//!
//! The processor's bitmap cannot tell requests: accesses that the kernel handles itself exit by the same
//! bits. It also covers fewer MSRs than an extension can request: accesses to MSRs outside of the processor's
//! bitmap always exit.

use plinth_hal::{Intercepts, PhysicalMemory, Spa};

use crate::IdentityMemory;

/// Pages of the bitmap.
pub const MSR_REQUEST_PAGES: usize = 2;

/// The ranges of MSRs that an extension can request: first number, last number, and index of the first one in
/// the bitmap.
const RANGES: [(u32, u32, u32); 4] = [
    (0, 0x1FFF, 0),
    (0x4000_0000, 0x4000_0FFF, 0x2000),
    (0xC000_0000, 0xC000_2FFF, 0x3000),
    (0xC001_0000, 0xC001_1FFF, 0x6000),
];

/// The bitmap of one VM. Each MSR has two bits: bit 0 for reads, bit 1 for writes.
#[derive(Clone, Copy, Debug)]
pub struct MsrRequests {
    memory: IdentityMemory,
    map: Spa,
}

impl MsrRequests {
    /// The bitmap in [`MSR_REQUEST_PAGES`] pages at `map`.
    pub const fn new(memory: IdentityMemory, map: Spa) -> Self {
        Self { memory, map }
    }

    /// Whether an extension can request exits of the MSR.
    pub(crate) fn covers(register: u32) -> bool {
        index(register).is_some()
    }

    /// Whether the extension has requested exits of reads, or of writes, of the MSR.
    pub(crate) fn has(&self, register: u32, write: bool) -> bool {
        let Some((word, shift)) = self.place(register) else { return false };
        self.memory.read_u64(word) >> shift >> u32::from(write) & 1 != 0
    }

    /// Records the extension's request for an MSR that the bitmap [covers](Self::covers).
    pub(crate) fn set(&self, register: u32, exits: Intercepts) {
        let Some((word, shift)) = self.place(register) else { return };
        let bits = u64::from(exits.reads) | u64::from(exits.writes) << 1;
        self.memory.write_u64(word, self.memory.read_u64(word) & !(3 << shift) | bits << shift);
    }

    /// The address of the word that holds an MSR's bits, and the bits' shift in the word.
    fn place(&self, register: u32) -> Option<(Spa, u32)> {
        let bit = u64::from(index(register)?) * 2;
        Some((self.map.word(bit / 64), (bit % 64) as u32))
    }
}

/// The index of an MSR in the bitmap, in pairs of bits.
fn index(register: u32) -> Option<u32> {
    let (first, _, before) = RANGES.iter().find(|(first, last, _)| (*first..=*last).contains(&register))?;
    register.checked_sub(*first)?.checked_add(*before)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use plinth_hal::{PAGE_SIZE, SpaRange};

    use super::*;

    #[test]
    fn every_register_has_a_place_of_its_own() {
        let registers = RANGES.iter().flat_map(|(first, last, _)| *first..=*last);
        assert!(registers.enumerate().all(|(number, register)| index(register) == Some(number as u32)));
        let bits = (index(0xC001_1FFF).unwrap() + 1) * 2;
        assert_eq!(u64::from(bits), MSR_REQUEST_PAGES as u64 * PAGE_SIZE * 8);
        for register in [0x2000, 0x4000_1000, 0xC000_3000, 0xC001_2000, u32::MAX] {
            assert_eq!(index(register), None);
        }
    }

    #[test]
    fn what_is_asked_for_is_kept() {
        #[repr(align(4096))]
        struct Pages([u64; 1024]);
        let mut pages = std::boxed::Box::new(Pages([0; 1024]));
        let map = Spa::new(pages.0.as_mut_ptr() as u64);
        let range = SpaRange::new(map, 2 * PAGE_SIZE);
        // SAFETY: The pages are the test's own and stay; the kernel's tables are the host's.
        let memory = unsafe { IdentityMemory::new(range, range, u64::MAX) };
        let requests = MsrRequests::new(memory, map);
        assert!(!requests.has(0xC000_2001, false));
        requests.set(0xC000_2001, Intercepts { reads: true, writes: false });
        requests.set(0xC000_2002, Intercepts { reads: false, writes: true });
        let seen =
            [0xC000_2000, 0xC000_2001, 0xC000_2002].map(|msr| [false, true].map(|w| requests.has(msr, w)));
        assert_eq!(seen, [[false, false], [true, false], [false, true]]);
        assert!(MsrRequests::covers(0xC000_2002) && !MsrRequests::covers(0xC000_3000));
    }
}
