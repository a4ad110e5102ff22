//! Edits of a page table in any order: what was mapped is mapped, what was not is not, and no frame is lost.

use std::collections::BTreeMap;

use plinth_arch_armv8::Stage2Format;
use plinth_arch_sim::format::SimFormat;
use plinth_arch_x86::{EptCapabilities, EptFormat, NptFormat};
use plinth_hal::page_table::{
    Attributes, MemoryType, NotLoaded, PageTable, Permissions, PtFormat, TableMemory,
};
use plinth_hal::{Gpa, OutOfFrames, PAGE_SIZE, Spa};

use crate::Input;

/// Frames for tables; some inputs meet the end of them.
const FRAMES: usize = 64;
/// Entries in a frame.
const ENTRIES: u64 = 512;
const LARGE: u64 = 2 << 20;
/// All edits are in so many large pages from [`BASE`] on.
const REACH: u64 = 4;
const BASE: u64 = (1 << 30) - LARGE;

/// A machine's memory for tables.
#[derive(Default)]
struct Tables {
    frames: BTreeMap<u64, Box<[u64; 512]>>,
    next: u64,
}

impl TableMemory for Tables {
    fn allocate(&mut self, frames: usize) -> Result<Spa, OutOfFrames> {
        if self.frames.len() + frames > FRAMES {
            return Err(OutOfFrames);
        }
        let first = (self.next + 1).next_multiple_of(frames as u64);
        (first..first + frames as u64).for_each(|frame| _ = self.frames.insert(frame, Box::new([0; 512])));
        self.next = first + frames as u64;
        Ok(Spa::new(first * PAGE_SIZE))
    }

    fn free(&mut self, table: Spa, frames: usize) {
        let first = table.raw() / PAGE_SIZE;
        for frame in first..first + frames as u64 {
            assert!(self.frames.remove(&frame).is_some(), "a frame was freed twice");
        }
    }

    // A root table may be of several frames.
    fn read(&self, table: Spa, index: usize) -> u64 {
        self.frames[&(table.raw() / PAGE_SIZE + index as u64 / ENTRIES)][index % ENTRIES as usize]
    }

    fn write(&mut self, table: Spa, index: usize, entry: u64) {
        let frame = self.frames.get_mut(&(table.raw() / PAGE_SIZE + index as u64 / ENTRIES));
        frame.expect("a table that is there")[index % ENTRIES as usize] = entry;
    }
}

/// What should be mapped: page to page and permissions.
type Model = BTreeMap<u64, (u64, Permissions)>;

/// Edits as the bytes say, of tables in the format that the first byte names.
pub fn page_table(bytes: &[u8]) {
    let mut input = Input(bytes);
    // Leaves of 2 MiB and 1 GiB, and 40 bits of physical address.
    let ept = EptCapabilities { execute_only: false, large_leaves: true, giant_leaves: true };
    match input.byte() % 4 {
        0 => edits(input, SimFormat::<Gpa>::new()),
        1 => edits(input, NptFormat::new(true, 40)),
        2 => edits(input, EptFormat::new(ept, 40)),
        _ => edits(input, Stage2Format::new(40)),
    }
}

fn edits(mut input: Input<'_>, format: impl PtFormat<Input = Gpa>) {
    let mut tables = Tables::default();
    let mut table = PageTable::new(&mut tables, format).expect("a first frame");
    let mut model = Model::new();
    while !input.is_empty() {
        edit(&mut input, &mut table, &mut tables, &mut model);
    }
    for page in (BASE..BASE + REACH * LARGE).step_by(PAGE_SIZE as usize) {
        let found = table.query(&tables, Gpa::new(page));
        let found = found.map(|mapping| (mapping.spa.raw(), mapping.attributes.permissions));
        assert_eq!(found, model.get(&page).copied(), "page {page:#x}");
    }
    table.destroy(&mut tables);
    assert!(tables.frames.is_empty(), "{} frames lost", tables.frames.len());
}

fn edit(
    input: &mut Input<'_>,
    table: &mut PageTable<impl PtFormat<Input = Gpa>>,
    tables: &mut Tables,
    model: &mut Model,
) {
    let kind = input.byte();
    let (start, size) = range(input);
    let permissions = Permissions::READ | Permissions::from_bits_truncate(input.byte() & 7);
    let attributes = Attributes::new(permissions, MemoryType::WriteBack);
    let at = Gpa::new(start);
    let pages = || (start..start + size).step_by(PAGE_SIZE as usize);
    match kind % 4 {
        0 => {
            let spa = u64::from(input.byte()) * LARGE + start % LARGE;
            if table.map(tables, &mut NotLoaded, at, Spa::new(spa), size, attributes).is_ok() {
                assert!(pages().all(|page| !model.contains_key(&page)), "mapped twice");
                pages().for_each(|page| _ = model.insert(page, (spa + page - start, permissions)));
            }
        }
        1 => {
            if table.unmap(tables, &mut NotLoaded, at, size).is_ok() {
                assert!(pages().all(|page| model.remove(&page).is_some()), "unmapped what was not there");
            }
        }
        2 => {
            if table.protect(tables, &mut NotLoaded, at, size, attributes).is_ok() {
                for page in pages() {
                    model.get_mut(&page).expect("protected what was not there").1 = permissions;
                }
            }
        }
        _ => {
            let whole = start / LARGE * LARGE;
            let _ = table.merge(tables, &mut NotLoaded, Gpa::new(whole), LARGE);
        }
    }
}

/// A range of whole pages within reach.
fn range(input: &mut Input<'_>) -> (u64, u64) {
    let word = input.word();
    let total = REACH * LARGE / PAGE_SIZE;
    let first = word % total;
    let longest = total - first;
    let pages = match word >> 32 & 3 {
        0 => 1,
        1 => LARGE / PAGE_SIZE,
        _ => word >> 40,
    };
    (BASE + first * PAGE_SIZE, (pages % longest + 1).min(longest) * PAGE_SIZE)
}
