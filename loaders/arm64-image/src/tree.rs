//! What the loader changes in the device tree for the payload.

use plinth_device_tree::Tree;
pub use plinth_device_tree::editor::EditError;
use plinth_device_tree::editor::Editor;
use plinth_launch::Range;

/// What the payload is to find.
#[derive(Clone, Copy, Debug)]
pub struct Edits<'a> {
    /// The hypervisor's memory.
    pub reservation: Range,
    /// The initial RAM disk; empty for none.
    pub initrd: Range,
    /// The command line; `None` leaves the firmware's.
    pub command_line: Option<&'a str>,
}

const CHOSEN: &[&str] = &["chosen"];
const RESERVED: &[&str] = &["reserved-memory"];

/// Changes the device tree in `buffer`, a copy of `original` with room behind it.
///
/// # Errors
/// The tree is broken, or the room does not suffice.
pub fn edit(buffer: &mut [u8], original: Tree<'_>, edits: &Edits<'_>) -> Result<(), EditError> {
    let mut editor = Editor::new(buffer)?;
    editor.ensure_node("chosen")?;
    if let Some(text) = edits.command_line {
        editor.set_property(CHOSEN, "bootargs", &[text.as_bytes(), &[0]])?;
    }
    let end = edits.initrd.start + edits.initrd.size;
    for (name, value) in [("linux,initrd-start", edits.initrd.start), ("linux,initrd-end", end)] {
        if edits.initrd.size == 0 {
            editor.remove_property(CHOSEN, name)?;
        } else {
            editor.set_property(CHOSEN, name, &[&value.to_be_bytes()])?;
        }
    }
    plinth_device_tree::start_by_psci(&mut editor, original)?;
    plinth_device_tree::name_hypervisor(&mut editor)?;
    reserve(&mut editor, edits.reservation)
}

/// Adds the reservation as memory that nobody may map.
fn reserve(editor: &mut Editor<'_>, range: Range) -> Result<(), EditError> {
    if editor.ensure_node("reserved-memory")? {
        editor.set_property(RESERVED, "#address-cells", &[&2_u32.to_be_bytes()])?;
        editor.set_property(RESERVED, "#size-cells", &[&2_u32.to_be_bytes()])?;
        editor.set_property(RESERVED, "ranges", &[])?;
    }
    let cells = |name| editor.cells(RESERVED, name);
    let mut reg = [0; 16];
    let (address, size) = (cells("#address-cells")?, cells("#size-cells")?);
    let length = put_cells(&mut reg, 0, range.start, address)?;
    let length = put_cells(&mut reg, length, range.size, size)?;
    editor.add_child(RESERVED, "plinth", &[("reg", &reg[..length]), ("no-map", &[])])
}

/// Writes a number in so many cells; returns where the next goes.
fn put_cells(to: &mut [u8; 16], at: usize, value: u64, cells: u32) -> Result<usize, EditError> {
    let bytes = value.to_be_bytes();
    let bytes = match cells {
        1 if value <= u64::from(u32::MAX) => &bytes[4..],
        2 => &bytes[..],
        _ => return Err(EditError::Broken),
    };
    to[at..at + bytes.len()].copy_from_slice(bytes);
    Ok(at + bytes.len())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use dtoolkit::fdt::Fdt;
    use dtoolkit::{Node, Property};
    use plinth_device_tree::{Firmware, Startup};
    use std::vec::Vec;

    /// A tree with the given structure and strings blocks.
    fn blob(structure: &[u32], strings: &[u8]) -> Vec<u8> {
        let (reserve, header) = (16, 40);
        let size = structure.len() * 4;
        let total = header + reserve + size + strings.len();
        let words = [
            0xD00D_FEED,
            total,
            header + reserve,
            header + reserve + size,
            header,
            17,
            16,
            0,
            strings.len(),
            size,
        ];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| (*word as u32).to_be_bytes()).collect();
        bytes.resize(header + reserve, 0);
        bytes.extend(structure.iter().flat_map(|word| word.to_be_bytes()));
        bytes.extend(strings);
        bytes
    }

    const EDITS: Edits<'static> = Edits {
        reservation: Range { start: 0x7E00_0000, size: 0x200_0000 },
        initrd: Range { start: 0x4400_0000, size: 0x1234 },
        command_line: Some("console=ttyAMA0"),
    };

    /// Edits what may not be a tree at all, as if a sound one had been read.
    fn edit_all(bytes: &mut [u8]) -> Result<(), EditError> {
        let original = bytes.to_vec();
        let total = plinth_device_tree::total_size(bytes.first_chunk().unwrap()).unwrap_or(0);
        let empty = blob(&[1, 0, 2, 9], b"");
        let tree = original.get(..total).and_then(|bytes| Tree::new(bytes).ok());
        edit(bytes, tree.unwrap_or(Tree::new(&empty).unwrap()), &EDITS)
    }

    fn check(bytes: &[u8]) {
        let total = u32::from_be_bytes(*bytes[4..].first_chunk().unwrap()) as usize;
        let tree = Tree::new(&bytes[..total]).unwrap();
        let fdt = Fdt::new(&bytes[..total]).unwrap();
        let chosen = fdt.find_node("/chosen").unwrap();
        assert_eq!(chosen.property("bootargs").unwrap().value(), b"console=ttyAMA0\0");
        assert_eq!(chosen.property("linux,initrd-end").unwrap().value(), 0x4400_1234_u64.to_be_bytes());
        let reserved: Vec<_> = tree.reserved().collect();
        assert!(reserved.contains(&EDITS.reservation), "{reserved:?}");
        let node = fdt.find_node("/reserved-memory/plinth").unwrap();
        assert!(node.property("no-map").is_some());
    }

    #[test]
    fn an_empty_tree_gets_everything() {
        let mut bytes = blob(&[1, 0, 2, 9], b"");
        bytes.resize(4096, 0);
        edit_all(&mut bytes).unwrap();
        check(&bytes);
    }

    #[test]
    fn what_is_there_is_replaced() {
        // /chosen with bootargs "old" and /reserved-memory with one cell each.
        let chosen =
            [1, u32::from_be_bytes(*b"chos"), u32::from_be_bytes(*b"en\0\0"), 3, 4, 0, 0x6F6C_6400, 2];
        let reserved =
            [1, 0x7265_7365, 0x7276_6564, 0x2D6D_656D, 0x6F72_7900, 3, 4, 9, 1, 3, 4, 24, 1, 3, 0, 36, 2];
        let structure: Vec<u32> = [&[1, 0][..], &chosen, &reserved, &[2, 9]].concat();
        let mut bytes = blob(&structure, b"bootargs\0#address-cells\0#size-cells\0ranges\0");
        Fdt::new(&bytes).unwrap();
        bytes.resize(4096, 0);
        edit_all(&mut bytes).unwrap();
        check(&bytes);
    }

    #[test]
    fn spinning_processors_become_psci_ones() {
        // /cpus with two nodes, the first of which spins at 0xD8.
        let word = |text: &[u8; 4]| u32::from_be_bytes(*text);
        let first = [1, word(b"cpu@"), word(b"0\0\0\0")];
        let spins =
            [3, 11, 0, word(b"spin"), word(b"-tab"), word(b"le\0\0"), 3, 8, 14, 0, 0xD8, 3, 4, 31, 0, 2];
        let second = [1, word(b"cpu@"), word(b"1\0\0\0"), 3, 4, 31, 1, 2];
        let cells = [3, 4, 35, 1, 3, 4, 50, 0];
        let cpus: [&[u32]; 6] = [&[1, 0, 1, word(b"cpus"), 0], &cells, &first, &spins, &second, &[2, 2, 9]];
        let strings = b"enable-method\0cpu-release-addr\0reg\0#address-cells\0#size-cells\0";
        let mut bytes = blob(&cpus.concat(), strings);
        bytes.resize(4096, 0);
        edit_all(&mut bytes).unwrap();
        check(&bytes);
        let total = u32::from_be_bytes(*bytes[4..].first_chunk().unwrap()) as usize;
        let tree = Tree::new(&bytes[..total]).unwrap();
        assert_eq!(tree.firmware(), Firmware::Hvc);
        let processors: Vec<_> = tree.processors().map(|cpu| (cpu.affinity, cpu.startup)).collect();
        assert_eq!(
            processors,
            [(0, Startup::SpinTable(0xD8)), (1, Startup::Psci)],
            "as the kernel sees them"
        );
        let fdt = Fdt::new(&bytes[..total]).unwrap();
        let method = |path| fdt.find_node(path).unwrap().property("enable-method");
        assert_eq!(method("/cpus/cpu@0").unwrap().value(), b"psci\0");
        assert!(method("/cpus/cpu@1").is_none());
    }

    #[test]
    fn broken_trees_and_little_room_are_refused() {
        let mut small = blob(&[1, 0, 2, 9], b"");
        assert_eq!(edit_all(&mut small), Err(EditError::NoRoom));
        let good = blob(&[1, 0, 2, 9], b"");
        for broken in 0..good.len() {
            let mut bytes = good.clone();
            bytes[broken] ^= 0xFF;
            bytes.resize(600, 0);
            let _ = edit_all(&mut bytes);
        }
        assert_eq!(edit_all(&mut [0; 100]), Err(EditError::Broken));
    }
}
