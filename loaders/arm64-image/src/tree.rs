//! The device tree: what the loader reads from it, and what it changes for the payload.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};
use plinth_launch::{CONSOLE_CADENCE, CONSOLE_NONE, CONSOLE_PL011, Range};

pub use crate::editor::EditError;
use crate::editor::Editor;

/// The console's kind and address, in the launch contract's terms.
pub fn console(fdt: Fdt<'_>) -> (u64, u64) {
    stdout(fdt).map_or((CONSOLE_NONE, 0), |node| {
        let is = |name: &str| node.is_compatible(name);
        let kind = match () {
            () if is("arm,pl011") => CONSOLE_PL011,
            () if is("cdns,uart-r1p12") || is("xlnx,xuartps") || is("cdns,uart-r1p8") => CONSOLE_CADENCE,
            () => CONSOLE_NONE,
        };
        let address = node.reg().ok().flatten().and_then(|mut reg| reg.next()?.address::<u64>().ok());
        address.map_or((CONSOLE_NONE, 0), |address| (kind, address))
    })
}

/// The node that `/chosen/stdout-path` means, directly or by an alias.
fn stdout(fdt: Fdt<'_>) -> Option<FdtNode<'_>> {
    let chosen = fdt.find_node("/chosen")?;
    let property = chosen.property("stdout-path")?;
    let text = core::str::from_utf8(property.value()).ok()?.trim_end_matches('\0');
    let path = text.split(':').next()?;
    if path.starts_with('/') {
        return fdt.find_node(path);
    }
    let alias = fdt.find_node("/aliases")?.property(path)?;
    fdt.find_node(core::str::from_utf8(alias.value()).ok()?.trim_end_matches('\0'))
}

/// The banks of memory.
pub fn banks(fdt: Fdt<'_>) -> impl Iterator<Item = Range> + '_ {
    let nodes = fdt.root().children().filter(|node| {
        node.property("device_type").is_some_and(|kind| kind.value() == b"memory\0")
            || node.name_without_address() == "memory"
    });
    nodes.flat_map(ranges)
}

fn ranges(node: FdtNode<'_>) -> impl Iterator<Item = Range> + '_ {
    let all = node.reg().ok().flatten().into_iter().flatten();
    all.filter_map(|range| {
        Some(Range { start: range.address::<u64>().ok()?, size: range.size::<u64>().ok()? })
    })
}

/// What the firmware has reserved already.
pub fn reserved(fdt: Fdt<'_>) -> impl Iterator<Item = Range> + '_ {
    let listed = fdt.memory_reservations().map(|entry| Range { start: entry.address(), size: entry.size() });
    let nodes =
        fdt.find_node("/reserved-memory").into_iter().flat_map(|node| node.children()).flat_map(ranges);
    listed.chain(nodes)
}

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

/// Changes the device tree in `buffer`, which has room behind it.
///
/// # Errors
/// The tree is broken, or the room does not suffice.
pub fn edit(buffer: &mut [u8], edits: &Edits<'_>) -> Result<(), EditError> {
    let mut editor = Editor::new(buffer)?;
    editor.ensure_node("chosen")?;
    if let Some(text) = edits.command_line {
        editor.set_property("chosen", "bootargs", &[text.as_bytes(), &[0]])?;
    }
    let end = edits.initrd.start + edits.initrd.size;
    for (name, value) in [("linux,initrd-start", edits.initrd.start), ("linux,initrd-end", end)] {
        if edits.initrd.size == 0 {
            editor.remove_property("chosen", name)?;
        } else {
            editor.set_property("chosen", name, &[&value.to_be_bytes()])?;
        }
    }
    reserve(&mut editor, edits.reservation)
}

/// Adds the reservation as memory that nobody may map.
fn reserve(editor: &mut Editor<'_>, range: Range) -> Result<(), EditError> {
    if editor.ensure_node("reserved-memory")? {
        editor.set_property("reserved-memory", "#address-cells", &[&2_u32.to_be_bytes()])?;
        editor.set_property("reserved-memory", "#size-cells", &[&2_u32.to_be_bytes()])?;
        editor.set_property("reserved-memory", "ranges", &[])?;
    }
    let cells = |name| editor.cells("reserved-memory", name);
    let mut reg = [0; 16];
    let (address, size) = (cells("#address-cells")?, cells("#size-cells")?);
    let length = put_cells(&mut reg, 0, range.start, address)?;
    let length = put_cells(&mut reg, length, range.size, size)?;
    editor.add_child("reserved-memory", "plinth", &[("reg", &reg[..length]), ("no-map", &[])])
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

    fn check(bytes: &[u8]) {
        let total = u32::from_be_bytes(*bytes[4..].first_chunk().unwrap()) as usize;
        let fdt = Fdt::new(&bytes[..total]).unwrap();
        let chosen = fdt.find_node("/chosen").unwrap();
        assert_eq!(chosen.property("bootargs").unwrap().value(), b"console=ttyAMA0\0");
        assert_eq!(chosen.property("linux,initrd-end").unwrap().value(), 0x4400_1234_u64.to_be_bytes());
        let reserved: Vec<_> = reserved(fdt).collect();
        assert!(reserved.contains(&EDITS.reservation), "{reserved:?}");
        let node = fdt.find_node("/reserved-memory/plinth").unwrap();
        assert!(node.property("no-map").is_some());
    }

    #[test]
    fn an_empty_tree_gets_everything() {
        let mut bytes = blob(&[1, 0, 2, 9], b"");
        bytes.resize(4096, 0);
        edit(&mut bytes, &EDITS).unwrap();
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
        edit(&mut bytes, &EDITS).unwrap();
        check(&bytes);
    }

    #[test]
    fn broken_trees_and_little_room_are_refused() {
        let mut small = blob(&[1, 0, 2, 9], b"");
        assert_eq!(edit(&mut small, &EDITS), Err(EditError::NoRoom));
        let good = blob(&[1, 0, 2, 9], b"");
        for broken in 0..good.len() {
            let mut bytes = good.clone();
            bytes[broken] ^= 0xFF;
            bytes.resize(600, 0);
            let _ = edit(&mut bytes, &EDITS);
        }
        assert_eq!(edit(&mut [0; 100], &EDITS), Err(EditError::Broken));
    }
}
