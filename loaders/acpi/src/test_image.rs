//! Memory with tables in it, for tests.

extern crate std;
use std::vec::Vec;

/// Where the RSDP is.
pub(crate) const RSDP: u64 = 0x100;
const ROOT: usize = 0x200;
const FIRST: usize = 0x300;
/// Bytes from table to table.
const STEP: usize = 0x200;

/// The memory.
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
}

impl Image {
    /// Tables with these signatures and these bytes behind their headers, by an XSDT if `extended`, else by an RSDT.
    pub(crate) fn new(extended: bool, tables: &[(&[u8; 4], &[u8])]) -> Self {
        let mut image = Self { bytes: std::vec![0; FIRST + STEP * tables.len()] };
        let width = if extended { 8 } else { 4 };
        image.put(RSDP as usize, b"RSD PTR ");
        image.put(RSDP as usize + 15, &[if extended { 2 } else { 0 }]);
        let pointer = RSDP as usize + if extended { 24 } else { 16 };
        image.put(pointer, &(ROOT as u64).to_le_bytes()[..width]);
        image.put(ROOT + 4, &((36 + width * tables.len()) as u32).to_le_bytes());
        for (index, (signature, content)) in tables.iter().enumerate() {
            let at = FIRST + STEP * index;
            image.put(ROOT + 36 + index * width, &(at as u64).to_le_bytes()[..width]);
            image.put(at, *signature);
            image.put(at + 4, &(36 + content.len() as u32).to_le_bytes());
            image.put(at + 36, content);
        }
        image.correct_rsdp();
        image
    }

    /// Where the table with this number is.
    pub(crate) fn address(index: usize) -> u64 {
        (FIRST + STEP * index) as u64
    }

    fn put(&mut self, at: usize, part: &[u8]) {
        self.bytes[at..at + part.len()].copy_from_slice(part);
    }

    /// Makes the RSDP's checksum right.
    pub(crate) fn correct_rsdp(&mut self) {
        let rsdp = &mut self.bytes[RSDP as usize..][..20];
        rsdp[8] = 0;
        rsdp[8] = rsdp.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    }

    /// Reads the image; an address outside reads as ones.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        match self.bytes.get(at..at.saturating_add(buffer.len())) {
            Some(there) => buffer.copy_from_slice(there),
            None => buffer.fill(0xFF),
        }
    }
}
