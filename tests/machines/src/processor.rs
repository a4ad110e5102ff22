//! The record of one processor.

use std::collections::BTreeMap;

/// EAX, EBX, ECX and EDX.
pub type Words = [u32; 4];

/// What one processor says of itself.
#[derive(Clone, Debug)]
pub struct Processor {
    /// Vendor, signature and model.
    pub name: String,
    leaves: BTreeMap<(u32, u32), Words>,
    msrs: BTreeMap<u32, u64>,
}

impl Processor {
    /// Reads a record: a line `LEAF SUBLEAF EAX EBX ECX EDX` for each answer of CPUID, `msr NUMBER VALUE` for each MSR, all in
    /// hexadecimal; `#` begins a comment.
    ///
    /// # Errors
    /// The first line that is none of these.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut processor = Self { name: name.to_owned(), leaves: BTreeMap::new(), msrs: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            processor.read_line(line).ok_or_else(|| format!("not understood: {line}"))?;
        }
        Ok(processor)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let word = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
        if fields.first() == Some(&"msr") {
            let value = u64::from_str_radix(fields.get(2)?, 16).ok()?;
            self.msrs.insert(word(1)?, value);
        } else {
            self.leaves.insert((word(0)?, word(1)?), [word(2)?, word(3)?, word(4)?, word(5)?]);
        }
        Some(())
    }

    /// The answer to a question; zeros where there is none on record. A leaf that has one answer alone gives it to each
    /// sub-leaf, but for those that have sub-leaves on every processor.
    #[must_use]
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> Words {
        let alone = || {
            self.leaves
                .get(&(leaf, 0))
                .filter(|_| self.subleaves(leaf).count() == 1 && !matches!(leaf, 7 | 0xD))
        };
        self.leaves.get(&(leaf, subleaf)).or_else(alone).copied().unwrap_or_default()
    }

    /// All questions on record.
    pub fn questions(&self) -> impl Iterator<Item = (u32, u32)> {
        self.leaves.keys().copied()
    }

    fn subleaves(&self, leaf: u32) -> impl Iterator<Item = u32> {
        self.leaves.range((leaf, 0)..=(leaf, u32::MAX)).map(|((_, subleaf), _)| *subleaf)
    }

    /// The value of an MSR, if it is on record.
    #[must_use]
    pub fn msr(&self, number: u32) -> Option<u64> {
        self.msrs.get(&number).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read() {
        let text = "# a name\n00000007 0  1 2 3 4\n0000000b 0 5 6 7 8\nmsr 0000048b  25d3fff00000000\n";
        let processor = Processor::parse("p", text).unwrap();
        assert_eq!(processor.cpuid(7, 0), [1, 2, 3, 4]);
        assert_eq!(processor.cpuid(7, 1), [0; 4]);
        assert_eq!(processor.cpuid(0xB, 3), [5, 6, 7, 8]);
        assert_eq!(processor.msr(0x48B), Some(0x025D_3FFF_0000_0000));
        assert_eq!(processor.msr(0x480), None);
        assert_eq!(processor.questions().collect::<Vec<_>>(), [(7, 0), (0xB, 0)]);
    }

    #[test]
    fn what_is_no_record_is_named() {
        assert_eq!(Processor::parse("p", "7 0 1 2 3").unwrap_err(), "not understood: 7 0 1 2 3");
        assert!(Processor::parse("p", "msr 480").is_err());
        assert!(Processor::parse("p", "7 0 x 2 3 4").is_err());
    }
}
