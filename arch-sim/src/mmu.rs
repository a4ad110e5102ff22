//! A processor's address translation, with a TLB that forgets nothing by itself.
//!
//! Entries carry a tag (0 the host, else the VM's) and stay until that tag is flushed. The last table of a
//! walk is cached too, as paging-structure caches do, so that a table freed too early is walked after its
//! frame has become something else. A translation that lacks a permission faults without another walk, which
//! the architectures allow: raising permissions needs a flush as much as lowering them.

use std::collections::HashMap;

use plinth_hal::page_table::{Attributes, Entry, MemoryType, Permissions};
use plinth_hal::{PAGE_SIZE, Spa};

use crate::format::{LEVELS, decode};
use crate::ram::Ram;

/// The tag of the host's own translations.
pub const HOST_TAG: u16 = 0;
/// The tag of the root VM's.
pub const ROOT_TAG: u16 = 1;

/// log2 of the bytes that one table of the lowest level maps.
const TABLE_BITS: u32 = 21;

/// What to translate by.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Where the root table lies.
    pub root: Spa,
    /// Whose entries they are in the TLB.
    pub tag: u16,
}

/// A translation is not there, or does not allow the access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Something is mapped there.
    pub present: bool,
}

#[derive(Clone, Copy)]
struct Translation {
    page: Spa,
    attributes: Attributes,
}

/// One processor's TLB.
#[derive(Default)]
pub struct Tlb {
    pages: HashMap<(u16, u64), Translation>,
    tables: HashMap<(u16, u64), Spa>,
}

impl Tlb {
    /// Where `address` leads, if the translation allows all of `wanted`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn translate(
        &mut self,
        ram: &Ram,
        space: Space,
        address: u64,
        wanted: Permissions,
    ) -> Result<Spa, Fault> {
        let translation = self.look_up(ram, space, address).ok_or(Fault { present: false })?;
        if !translation.attributes.permissions.contains(wanted) {
            return Err(Fault { present: true });
        }
        Ok(Spa::new(translation.page.raw() + address % PAGE_SIZE))
    }

    /// The memory type by which `address` is reached; `None` where nothing is mapped.
    pub fn memory_type(&mut self, ram: &Ram, space: Space, address: u64) -> Option<MemoryType> {
        Some(self.look_up(ram, space, address)?.attributes.memory)
    }

    fn look_up(&mut self, ram: &Ram, space: Space, address: u64) -> Option<Translation> {
        let key = (space.tag, address / PAGE_SIZE);
        let translation = match self.pages.get(&key) {
            Some(cached) => *cached,
            None => self.walk(ram, space, address)?,
        };
        self.pages.insert(key, translation);
        Some(translation)
    }

    /// Forgets all entries of a tag.
    pub fn flush(&mut self, tag: u16) {
        self.pages.retain(|key, _| key.0 != tag);
        self.tables.retain(|key, _| key.0 != tag);
    }

    fn walk(&mut self, ram: &Ram, space: Space, address: u64) -> Option<Translation> {
        if address >> (12 + 9 * u32::from(LEVELS)) != 0 {
            return None;
        }
        let key = (space.tag, address >> TABLE_BITS);
        let cached = self.tables.get(&key).map(|table| (*table, 0));
        let (mut table, mut level) = cached.unwrap_or((space.root, LEVELS - 1));
        loop {
            let shift = 12 + 9 * u32::from(level);
            let entry = Spa::new(table.raw() + (address >> shift & 511) * 8);
            match decode(ram.load(entry)) {
                Entry::Table(child) if level > 0 => table = child,
                Entry::Leaf { spa, attributes } => {
                    let page = spa.raw() + (address & ((1 << shift) - 1) & !(PAGE_SIZE - 1));
                    return Some(Translation { page: Spa::new(page), attributes });
                }
                _ => return None,
            }
            level -= 1;
            if level == 0 {
                self.tables.insert(key, table);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SimFormat;
    use plinth_hal::Gpa;
    use plinth_hal::page_table::PtFormat;

    const SPACE: Space = Space { root: Spa::new(0), tag: 1 };

    fn ram_with_page(spa: u64) -> Ram {
        let all = 0..0x10_0000;
        let ram = Ram::new(std::slice::from_ref(&all), all.clone());
        let format = SimFormat::<Gpa>::new();
        for level in 0..3 {
            ram.store(Spa::new(level * 0x1000), format.table(Spa::new((level + 1) * 0x1000)));
        }
        map(&ram, spa);
        ram
    }

    fn map(ram: &Ram, spa: u64) {
        let attributes = Attributes::new(Permissions::READ, MemoryType::WriteBack);
        ram.store(Spa::new(0x3000), SimFormat::<Gpa>::new().leaf(Spa::new(spa), attributes, 0));
    }

    #[test]
    fn a_translation_stays_until_its_tag_is_flushed() {
        let ram = ram_with_page(0x8000);
        let mut tlb = Tlb::default();
        let read = |tlb: &mut Tlb| tlb.translate(&ram, SPACE, 0x10, Permissions::READ);
        assert_eq!(read(&mut tlb), Ok(Spa::new(0x8010)));
        map(&ram, 0x9000);
        assert_eq!(read(&mut tlb), Ok(Spa::new(0x8010)), "nobody flushed");
        tlb.flush(2);
        assert_eq!(read(&mut tlb), Ok(Spa::new(0x8010)), "somebody else's tag was flushed");
        tlb.flush(1);
        assert_eq!(read(&mut tlb), Ok(Spa::new(0x9010)));
    }

    #[test]
    fn the_lowest_table_is_cached_too() {
        let ram = ram_with_page(0x8000);
        let mut tlb = Tlb::default();
        assert!(tlb.translate(&ram, SPACE, 0, Permissions::READ).is_ok());
        ram.store(Spa::new(0x2000), 0);
        ram.store(Spa::new(0x3008), ram.load(Spa::new(0x3000)));
        assert!(tlb.translate(&ram, SPACE, 0x1000, Permissions::READ).is_ok(), "by the unlinked table");
        tlb.flush(1);
        assert!(tlb.translate(&ram, SPACE, 0x1000, Permissions::READ).is_err());
    }

    #[test]
    fn a_missing_permission_is_a_fault() {
        let ram = ram_with_page(0x8000);
        let fault = Tlb::default().translate(&ram, SPACE, 0, Permissions::WRITE);
        assert_eq!(fault, Err(Fault { present: true }));
    }
}
