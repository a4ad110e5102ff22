//! The firmware's boot entries: which come next, and what is in one.

use alloc::string::String;
use alloc::vec::Vec;

// UEFI specification, "Load Options": attributes.
const ACTIVE: u32 = 1 << 0;
const HIDDEN: u32 = 1 << 3;
const CATEGORY: u32 = 0x1f00;

/// A boot entry, `EFI_LOAD_OPTION` (UEFI specification, "Load Options").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOption<'a> {
    /// Whether the firmware would start it by itself: active, not hidden, a boot entry and not a tool.
    pub bootable: bool,
    /// What the firmware's menu calls it.
    pub description: String,
    /// The bytes of its device path list.
    pub path: &'a [u8],
    /// The load options that it passes.
    pub options: &'a [u8],
}

impl<'a> BootOption<'a> {
    /// Reads a `Boot####` variable; `None` if it is malformed.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (attributes, rest) = bytes.split_first_chunk::<4>()?;
        let (path_size, rest) = rest.split_first_chunk::<2>()?;
        let (description, rest) = split_string(rest)?;
        let (path, options) = rest.split_at_checked(usize::from(u16::from_le_bytes(*path_size)))?;
        let attributes = u32::from_le_bytes(*attributes);
        Some(Self {
            bootable: attributes & (ACTIVE | HIDDEN | CATEGORY) == ACTIVE,
            description,
            path,
            options,
        })
    }
}

/// Splits a terminated UTF-16 string off.
fn split_string(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (units, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let end = units.iter().position(|&unit| unit == 0)?;
    Some((String::from_utf16_lossy(&units[..end]), &bytes[2 * (end + 1)..]))
}

/// Reads a list of entry numbers, such as `BootOrder`.
pub fn numbers(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks::<2>().0.iter().map(|number| u16::from_le_bytes(*number)).collect()
}

/// The entries to try, in turn: `BootNext`, those behind `BootCurrent` in `BootOrder`, then those in front of it.
pub fn candidates(order: &[u16], current: Option<u16>, next: Option<u16>) -> Vec<u16> {
    let here = order.iter().position(|&number| Some(number) == current);
    let (before, after) = order.split_at(here.map_or(0, |here| here + 1));
    let mut found: Vec<u16> = Vec::new();
    for &number in next.iter().chain(after).chain(before) {
        if Some(number) != current && !found.contains(&number) {
            found.push(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn option(attributes: u32) -> Vec<u8> {
        let mut bytes = attributes.to_le_bytes().to_vec();
        bytes.extend(3_u16.to_le_bytes());
        bytes.extend("Debian\0".encode_utf16().flat_map(u16::to_le_bytes));
        bytes.extend(b"PTHoptions");
        bytes
    }

    #[test]
    fn an_option_is_read() {
        let bytes = option(1);
        let read = BootOption::parse(&bytes).unwrap();
        assert_eq!((read.bootable, read.description.as_str()), (true, "Debian"));
        assert_eq!((read.path, read.options), (&b"PTH"[..], &b"options"[..]));
        for attributes in [0, 1 | HIDDEN, 1 | 0x100] {
            assert!(!BootOption::parse(&option(attributes)).unwrap().bootable);
        }
        assert_eq!(BootOption::parse(&bytes[..20]), None);
        assert_eq!(BootOption::parse(&bytes[..22]), None);
    }

    #[test]
    fn entries_are_tried_round_the_order() {
        assert_eq!(candidates(&[1, 2, 3, 4], Some(2), None), [3, 4, 1]);
        assert_eq!(candidates(&[1, 2, 3], Some(2), Some(1)), [1, 3]);
        assert_eq!(candidates(&[1, 2, 2], Some(9), Some(7)), [7, 1, 2]);
        assert_eq!(candidates(&[], Some(1), Some(1)), []);
        assert_eq!(numbers(&[1, 0, 2, 1, 9]), [1, 0x102]);
    }

    proptest! {
        #[test]
        fn no_option_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = BootOption::parse(&bytes);
        }
    }
}
