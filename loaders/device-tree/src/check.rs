//! Whether a flattened device tree is sound (Devicetree Specification 0.4, chapter 5).
//!
//! `dtoolkit` has such a check, but it also enforces the specification's limits on names, which the trees of real boards
//! exceed: it refuses those of the ZCU102 and of Versal. So the check is here, and it asks only for what reading
//! relies on.

use core::fmt;

/// The least tree: a header.
const HEADER: usize = 40;
const MAGIC: u32 = 0xD00D_FEED;
/// The version of the format.
const VERSION: u32 = 17;
/// The deepest tree. Real ones have about ten levels.
const MAX_DEPTH: u32 = 64;
/// The most cells of an address or a size: PCI has three.
const MAX_CELLS: u32 = 4;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Why bytes are no device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What is wrong.
    pub what: &'static str,
    /// Where, in bytes from the tree's start.
    pub at: usize,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, at } = self;
        write!(f, "the device tree is broken at offset {at:#x}: {what}; check it with dtc")
    }
}

impl core::error::Error for Broken {}

fn broken<T>(what: &'static str, at: usize) -> Result<T, Broken> {
    Err(Broken { what, at })
}

/// The bytes of a device tree that begins with `header`: its total size, if it looks like one of at most 2 MiB, which is
/// what the arm64 boot protocol allows.
pub fn total_size(header: &[u8; 8]) -> Option<usize> {
    const LARGEST: u32 = 2 << 20;
    let [a, b, c, d, e, f, g, h] = *header;
    let size = u32::from_be_bytes([e, f, g, h]);
    let good = u32::from_be_bytes([a, b, c, d]) == MAGIC && size >= HEADER as u32 && size <= LARGEST;
    good.then_some(size as usize)
}

/// Checks a tree of exactly these bytes.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Broken> {
    let reader = Reader { bytes };
    let header = reader.header()?;
    reader.reservations(&header)?;
    reader.structure(&header)
}

struct Reader<'a> {
    bytes: &'a [u8],
}

/// The blocks: offset and size.
struct Header {
    reservations: usize,
    structure: (usize, usize),
    strings: (usize, usize),
}

const fn aligned(at: usize) -> usize {
    at.saturating_add(3) & !3
}

impl<'a> Reader<'a> {
    fn word(&self, at: usize) -> Result<u32, Broken> {
        let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.map(|bytes| u32::from_be_bytes(*bytes)).ok_or(Broken { what: "it ends too soon", at })
    }

    fn size(&self, at: usize) -> Result<usize, Broken> {
        Ok(self.word(at)? as usize)
    }

    fn header(&self) -> Result<Header, Broken> {
        if self.word(0)? != MAGIC {
            return broken("no device tree begins here", 0);
        }
        if self.bytes.len() < HEADER || self.size(4)? != self.bytes.len() {
            return broken("its total size is not that of its memory", 4);
        }
        if self.word(24)? > VERSION || self.word(20)? < VERSION {
            return broken("it is not of version 17", 20);
        }
        let header = Header {
            reservations: self.size(16)?,
            structure: (self.size(8)?, self.size(36)?),
            strings: (self.size(12)?, self.size(32)?),
        };
        self.block(header.structure, 8)?;
        self.block(header.strings, 12)?;
        // `dtoolkit` reads words in place.
        if !header.structure.0.is_multiple_of(4) || !header.reservations.is_multiple_of(8) {
            return broken("a block is not aligned", 8);
        }
        Ok(header)
    }

    fn block(&self, (start, size): (usize, usize), field: usize) -> Result<(), Broken> {
        match start.checked_add(size) {
            Some(end) if start >= HEADER && end <= self.bytes.len() => Ok(()),
            _ => broken("a block lies outside", field),
        }
    }

    /// The list of reservations ends with an empty one.
    fn reservations(&self, header: &Header) -> Result<(), Broken> {
        let mut at = header.reservations;
        while (0..4).try_fold(0, |any, word| Ok(any | self.word(at + word * 4)?))? != 0 {
            at += 16;
        }
        Ok(())
    }

    fn text(&self, at: usize, end: usize) -> Result<&'a str, Broken> {
        let bytes = self.bytes.get(at..end).unwrap_or_default();
        let length =
            bytes.iter().position(|byte| *byte == 0).ok_or(Broken { what: "a name has no end", at })?;
        let text = bytes.get(..length).and_then(|text| core::str::from_utf8(text).ok());
        text.ok_or(Broken { what: "a name is not text", at })
    }

    /// Properties come before nodes, every node ends, and the root is the only one at its level.
    fn structure(&self, header: &Header) -> Result<(), Broken> {
        let (mut at, size) = header.structure;
        let end = at + size;
        let (mut depth, mut properties) = (0, false);
        while at < end {
            let token = at;
            at += 4;
            match self.word(token)? {
                BEGIN_NODE if depth < MAX_DEPTH => {
                    at = aligned(at.saturating_add(self.text(at, end)?.len()).saturating_add(1));
                    (depth, properties) = (depth + 1, true);
                }
                END_NODE if depth > 0 => {
                    (depth, properties) = (depth - 1, false);
                    if depth == 0 {
                        return self.last(at, end);
                    }
                }
                PROPERTY if properties => at = self.property(header, at, end)?,
                NOP => {}
                _ => return broken("a token is out of place", token),
            }
        }
        broken("its root does not end", end)
    }

    /// Behind the root.
    fn last(&self, mut at: usize, end: usize) -> Result<(), Broken> {
        while at < end && self.word(at)? == NOP {
            at += 4;
        }
        if at < end && self.word(at)? == END { Ok(()) } else { broken("it does not end behind its root", at) }
    }

    /// A property whose length is at `at`; returns where the next token is.
    fn property(&self, header: &Header, at: usize, end: usize) -> Result<usize, Broken> {
        let (length, offset) = (self.size(at)?, self.size(at + 4)?);
        let (strings, size) = header.strings;
        let name = self.text(strings.saturating_add(offset), strings + size)?;
        let next = aligned((at + 8).saturating_add(length));
        if next > end {
            return broken("a property is too long", at);
        }
        let is_cells = matches!(name, "#address-cells" | "#size-cells");
        if is_cells && (length != 4 || self.word(at + 8)? > MAX_CELLS) {
            return broken("so many cells are impossible", at);
        }
        Ok(next)
    }
}
