//! Sizes of memory as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The module's memory comes in pieces of this size, in bytes.
const GRANULE: u64 = 2 << 20;
/// The most memory that is given to the hypervisor, in bytes.
const LIMIT: u64 = 1 << 30;

/// A number of bytes, a multiple of 2 MiB, at most 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

impl Size {
    /// What `vmmctl start` reserves where it is not told otherwise.
    pub const DEFAULT: Self = Self(32 << 20);

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
            _ => (text, 1 << 20),
        };
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        let bytes = bytes.ok_or("a size is a number of MiB, or a number with K, M or G")?;
        if bytes == 0 || bytes > LIMIT {
            return Err("the hypervisor's memory is between 2M and 1G".to_owned());
        }
        Ok(Self(bytes.next_multiple_of(GRANULE)))
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.0 >> 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_and_bounded() {
        let size = |text: &str| text.parse::<Size>().map(Size::bytes);
        assert_eq!(size("32"), Ok(32 << 20));
        assert_eq!((size("1K"), size("3m"), size("1G")), (Ok(2 << 20), Ok(4 << 20), Ok(1 << 30)));
        for bad in ["", "M", "-1", "0", "1025M", "2G", "18446744073709551615G", "1.5M", "32MB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        assert_eq!("33M".parse::<Size>().unwrap().to_string(), "34M");
    }
}
