//! Finding tables, and reading what they hold (ACPI specification 6.5, 5.2.5 to 5.2.8).

/// Bytes of the header that every table but the RSDP has.
pub(crate) const HEADER: u64 = 36;
/// The longest table that is believed.
const LONGEST: u32 = 1 << 20;
/// Bytes of the RSDP that its first checksum is about.
const RSDP: usize = 20;

/// All tables of a machine, read by `read`, which fills a buffer from a physical address on, with ones where nothing is.
#[derive(Clone, Copy, Debug)]
pub struct Tables<R> {
    read: R,
    root: Extent,
    /// Bytes of an address in the root table.
    step: u64,
}

/// A table by its address and its length.
#[derive(Clone, Copy, Debug)]
struct Extent {
    start: u64,
    length: u64,
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a, R> {
    read: &'a R,
    extent: Extent,
}

/// An entry of a table that is a list of them, each with its kind and its length in its first bytes.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a, R> {
    /// The first byte.
    pub kind: u8,
    /// The entry alone.
    pub table: Table<'a, R>,
}

impl<R: Fn(u64, &mut [u8])> Tables<R> {
    /// The tables that the RSDP at `rsdp` leads to; `None` where there is none.
    pub fn new(read: R, rsdp: u64) -> Option<Self> {
        let start: [u8; RSDP] = bytes(&read, rsdp);
        let sum = start.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if rsdp == 0 || !start.starts_with(b"RSD PTR ") || sum != 0 {
            return None;
        }
        let extended =
            if start[15] >= 2 { u64::from_le_bytes(bytes(&read, rsdp.checked_add(24)?)) } else { 0 };
        let old = u32::from_le_bytes(*start.last_chunk()?);
        let (root, step) = if extended != 0 { (extended, 8) } else { (u64::from(old), 4) };
        let root = extent(&read, root)?;
        Some(Self { read, root, step })
    }

    /// The first table with this signature.
    pub fn find(&self, signature: &'static [u8; 4]) -> Option<Table<'_, R>> {
        self.all(signature).next()
    }

    /// All tables with this signature.
    pub fn all(&self, signature: &'static [u8; 4]) -> impl Iterator<Item = Table<'_, R>> {
        let root = Table { read: &self.read, extent: self.root };
        let entries = (HEADER..self.root.length).step_by(self.step as usize);
        entries.filter_map(move |at| {
            let address = if self.step == 8 { root.long(at)? } else { root.word(at)?.into() };
            let table = self.at(address)?;
            (&bytes(&self.read, address) == signature).then_some(table)
        })
    }

    /// The table at an address that another table tells.
    pub fn at(&self, address: u64) -> Option<Table<'_, R>> {
        Some(Table { read: &self.read, extent: extent(&self.read, address)? })
    }
}

impl<'a, R: Fn(u64, &mut [u8])> Table<'a, R> {
    /// The bytes at an offset, if the table has as many.
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let inside = at.checked_add(N as u64)? <= self.extent.length;
        inside.then(|| bytes(self.read, self.extent.start.wrapping_add(at)))
    }

    /// Where it begins: a physical address.
    pub(crate) fn address(&self) -> u64 {
        self.extent.start
    }

    /// Its length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.extent.length
    }

    /// The same once more.
    pub(crate) fn again(&self) -> Self {
        Self { read: self.read, extent: self.extent }
    }

    /// The byte at an offset.
    pub fn byte(&self, at: u64) -> Option<u8> {
        self.bytes(at).map(u8::from_le_bytes)
    }

    /// The 16 bits at an offset.
    pub fn half(&self, at: u64) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    /// The 32 bits at an offset.
    pub fn word(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    /// The 64 bits at an offset.
    pub fn long(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    /// The entries from an offset on. One that makes no sense ends them.
    pub fn entries(&self, first: u64) -> impl Iterator<Item = Entry<'a, R>> + use<'a, R> {
        let table = self.again();
        let mut at = first;
        core::iter::from_fn(move || {
            let (kind, length) = (table.byte(at)?, u64::from(table.byte(at.checked_add(1)?)?));
            let next = at.checked_add(length)?;
            if length < 2 || next > table.extent.length {
                return None;
            }
            let extent = Extent { start: table.extent.start.wrapping_add(at), length };
            at = next;
            Some(Entry { kind, table: Table { read: table.read, extent } })
        })
    }
}

fn extent(read: &impl Fn(u64, &mut [u8]), start: u64) -> Option<Extent> {
    // So far below the end that no offset within a table can overflow.
    if start == 0 || start > u64::MAX >> 1 {
        return None;
    }
    let length = u32::from_le_bytes(bytes(read, start + 4));
    (u64::from(length) >= HEADER && length <= LONGEST).then_some(Extent { start, length: length.into() })
}

fn bytes<const N: usize>(read: &impl Fn(u64, &mut [u8]), at: u64) -> [u8; N] {
    let mut buffer = [0; N];
    read(at, &mut buffer);
    buffer
}
