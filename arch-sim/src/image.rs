//! ELF files of the simulated extension.
//!
//! Three segments (read-only, code, data), a dynamic section with one relative relocation, a manifest, and code that is
//! a table of callback words. A test changes a field to get a file that is wrong in one way.

use plinth_extension_api::abi::{Groups, Manifest};

use crate::extension::{SLOTS, callback_word};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;
const HEADERS: u64 = 64 + 5 * 56;

/// Offset of the code from the image's base.
pub const CODE: u64 = 0x1000;
/// Offset of the data; its first word is relocated to hold its own address.
pub const DATA: u64 = 0x2000;
/// Bytes of data, most of them zero and not in the file.
pub const DATA_SIZE: u64 = 0x1800;

/// An extension's ELF file.
#[derive(Clone, Debug)]
pub struct ExtensionImage {
    /// Static-PIE; else linked at `base`.
    pub relocatable: bool,
    /// Link-time address of its start.
    pub base: u64,
    /// ELF machine number.
    pub machine: u16,
    /// The data segment's permissions, to which READ and WRITE belong.
    pub data_flags: u32,
    /// Its ELF notes.
    pub notes: Vec<u8>,
}

/// The ELF note that allows `groups`.
pub fn manifest(groups: Groups) -> Vec<u8> {
    let Manifest { owner_size, groups_size, kind, owner, groups } = Manifest::new(groups);
    let numbers =
        |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    [numbers(&[owner_size, groups_size, kind]), owner.to_vec(), numbers(&groups)].concat()
}

impl Default for ExtensionImage {
    fn default() -> Self {
        let notes = manifest(Groups::all());
        Self { relocatable: true, base: 0, machine: 62, data_flags: READ | WRITE, notes }
    }
}

impl ExtensionImage {
    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let (tables, code, data) = (self.tables(), words(&callbacks()), words(&[0, 7]));
        let mut out = self.header();
        let mut contents = Vec::new();
        let pieces = [
            (PT_LOAD, READ, 0, &tables[..], tables.len() as u64),
            (PT_LOAD, READ | EXECUTE, CODE, &code[..], code.len() as u64),
            (PT_LOAD, self.data_flags, DATA, &data[..], DATA_SIZE),
            (PT_DYNAMIC, READ, 0, &tables[24..], tables.len() as u64 - 24),
            (PT_NOTE, READ, 0, &self.notes[..], 0),
        ];
        for (kind, flags, offset, bytes, memory) in pieces {
            let at = HEADERS + contents.len() as u64;
            let address = self.base + offset;
            out.extend([kind.to_le_bytes(), flags.to_le_bytes()].concat());
            let align = if kind == PT_NOTE { 4 } else { 0x1000 };
            out.extend(words(&[at, address, address, bytes.len() as u64, memory, align]));
            contents.extend_from_slice(bytes);
        }
        out.extend(contents);
        out
    }

    /// One `Elf64_Rela`, relative, for the data's first word; then the dynamic section.
    fn tables(&self) -> Vec<u8> {
        const RELATIVE: u64 = 8;
        const TAGS: [u64; 3] = [7, 8, 9];
        let data = self.base + DATA;
        let [rela, size, entry] = TAGS;
        if !self.relocatable {
            return words(&[0, 0, 0, 0, 0]);
        }
        words(&[data, RELATIVE, data, rela, self.base, size, 24, entry, 24, 0, 0])
    }

    fn header(&self) -> Vec<u8> {
        let kind: u16 = if self.relocatable { 3 } else { 2 };
        let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        out.resize(16, 0);
        out.extend([kind.to_le_bytes(), self.machine.to_le_bytes()].concat());
        out.extend(1_u32.to_le_bytes());
        out.extend(words(&[self.base + CODE, 64, 0]));
        out.extend(0_u32.to_le_bytes());
        out.extend([64_u16, 56, 5, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
        out
    }
}

fn callbacks() -> [u64; SLOTS] {
    std::array::from_fn(callback_word)
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
