//! Breaks files of a boot volume, as a test asks for.

use anyhow::{Context, Result};
use plinth_device_tree::editor::{EditError, Editor};

use crate::test::table::Fault;
use crate::volume::Volume;

/// Lets the guest `before` start in the loader's place; it starts the loader in turn.
pub(super) fn put_before(volume: &mut Volume, guest: Vec<u8>, word: &str) -> Result<()> {
    let first =
        volume.content("BOOTX64.EFI").context("only a PC's UEFI volume has a place before its loader")?;
    let loader = std::mem::replace(first, guest);
    volume.add("loader.efi", loader)?;
    volume.add("before.txt", word.into())
}

/// Loadable segment, and the flags of one (System V gABI, "Program Header").
const PT_LOAD: u32 = 1;
const EXECUTABLE: u32 = 1;
const WRITABLE: u32 = 2;

/// Fields of the ELF header: place, entry size and count of the program headers.
const PROGRAM_HEADERS: usize = 0x20;
const ENTRY_SIZE: usize = 0x36;
const ENTRY_COUNT: usize = 0x38;

/// Fields of a program header.
const FLAGS: usize = 4;
const ADDRESS: usize = 0x10;

/// Does to a file of `volume` what `fault` says.
pub(super) fn apply(volume: &mut Volume, fault: &Fault) -> Result<()> {
    let (Fault::Missing(name)
    | Fault::Truncated(name, _)
    | Fault::Replaced(name, _)
    | Fault::Patched(name, ..)
    | Fault::Substituted(name, ..)
    | Fault::Property(name, ..)
    | Fault::WritableCode(name)
    | Fault::Overlapping(name)) = fault;
    let content = volume.content(name).with_context(|| format!("the boot volume has no {name} to break"))?;
    match *fault {
        Fault::Missing(_) => _ = volume.remove(name),
        Fault::Truncated(_, length) => content.truncate(length),
        Fault::Replaced(_, bytes) => bytes.clone_into(content),
        Fault::Patched(_, offset, bytes) => patch(content, offset, bytes).context(*name)?,
        Fault::Substituted(_, from, to) => substitute(content, from, to).context(*name)?,
        Fault::Property(_, path, property, value) => set_property(content, path, property, value)?,
        Fault::WritableCode(_) => make_code_writable(content).context(*name)?,
        Fault::Overlapping(_) => overlap(content).context(*name)?,
    }
    Ok(())
}

/// Sets a property in a device tree.
fn set_property(content: &mut Vec<u8>, path: &[&str], name: &str, value: &[u8]) -> Result<()> {
    /// What the change may take.
    const ROOM: usize = 1024;
    content.resize(content.len() + ROOM, 0);
    let broken = |error: EditError| anyhow::anyhow!("the device tree cannot be changed: {error:?}");
    let mut editor = Editor::new(content).map_err(broken)?;
    if let [node] = path {
        editor.ensure_node(node).map_err(broken)?;
    }
    editor.set_property(path, name, &[value]).map_err(broken)?;
    let size = content.first_chunk().and_then(plinth_device_tree::total_size);
    content.truncate(size.context("a device tree without a size")?);
    Ok(())
}

fn patch(content: &mut [u8], offset: usize, bytes: &[u8]) -> Result<()> {
    let place = content.get_mut(offset..offset + bytes.len());
    place.with_context(|| format!("too short to be broken at {offset:#x}"))?.copy_from_slice(bytes);
    Ok(())
}

fn substitute(content: &mut [u8], from: &[u8], to: &[u8]) -> Result<()> {
    let at: Vec<_> = (0..content.len()).filter(|&at| content[at..].starts_with(from)).collect();
    if at.is_empty() || from.len() != to.len() {
        anyhow::bail!("it does not hold what is to be replaced, or that is of another length");
    }
    at.into_iter().try_for_each(|at| patch(content, at, to))
}

fn make_code_writable(file: &mut [u8]) -> Result<()> {
    for header in loads(file)? {
        let flags = u32::from_le_bytes(bytes(file, header + FLAGS)?);
        if flags & EXECUTABLE != 0 {
            return patch(file, header + FLAGS, &(flags | WRITABLE).to_le_bytes());
        }
    }
    anyhow::bail!("it has no segment with code")
}

fn overlap(file: &mut [u8]) -> Result<()> {
    let [first, second, ..] = *loads(file)? else { anyhow::bail!("it has fewer than two segments") };
    let address: [u8; 8] = bytes(file, first + ADDRESS)?;
    patch(file, second + ADDRESS, &address)
}

/// Offsets of the program headers of segments to load.
fn loads(file: &[u8]) -> Result<Vec<usize>> {
    let start = u64::from_le_bytes(bytes(file, PROGRAM_HEADERS)?) as usize;
    let size = usize::from(u16::from_le_bytes(bytes(file, ENTRY_SIZE)?));
    let count = usize::from(u16::from_le_bytes(bytes(file, ENTRY_COUNT)?));
    let mut found = Vec::new();
    for header in (0..count).map(|index| start + index * size) {
        if u32::from_le_bytes(bytes(file, header)?) == PT_LOAD {
            found.push(header);
        }
    }
    Ok(found)
}

fn bytes<const N: usize>(file: &[u8], offset: usize) -> Result<[u8; N]> {
    let bytes = file.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.copied().with_context(|| format!("not the ELF file that is to be broken: it ends at {offset:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of a header and two program headers: read-only, and code at 0x1000.
    fn elf() -> Vec<u8> {
        let mut file = vec![0; 64 + 2 * 56];
        let fields: [(usize, &[u8]); 7] = [
            (PROGRAM_HEADERS, &[64]),
            (ENTRY_SIZE, &[56]),
            (ENTRY_COUNT, &[2]),
            (64, &[1, 0, 0, 0, 4]),
            (64 + ADDRESS, &[0x34]),
            (120, &[1, 0, 0, 0, 5]),
            (120 + ADDRESS, &[0, 0x10]),
        ];
        fields.into_iter().for_each(|(offset, bytes)| patch(&mut file, offset, bytes).unwrap());
        file
    }

    #[test]
    fn faults_change_the_files_they_name() {
        let mut volume = Volume::default();
        for name in ["a", "b", "c", "d", "f"] {
            volume.add(name, b"content".to_vec()).unwrap();
        }
        let faults = [
            Fault::Missing("a"),
            Fault::Truncated("b", 1),
            Fault::Replaced("c", b"x"),
            Fault::Patched("d", 5, b"??"),
            Fault::Substituted("f", b"nt", b"__"),
        ];
        for fault in &faults {
            apply(&mut volume, fault).unwrap();
        }
        let content = ["a", "b", "c", "d"].map(|name| volume.content(name).cloned());
        assert_eq!(content, [None, Some(b"c".to_vec()), Some(b"x".to_vec()), Some(b"conte??".to_vec())]);
        assert_eq!(volume.content("f").unwrap(), b"co__e__");
        assert!(apply(&mut volume, &Fault::Substituted("f", b"nt", b"__")).is_err());
        assert!(apply(&mut volume, &Fault::Missing("e")).is_err());
        assert!(apply(&mut volume, &Fault::Patched("c", 1, b"y")).is_err());
        assert!(apply(&mut volume, &Fault::Overlapping("c")).is_err());
    }

    #[test]
    fn segments_are_broken_where_they_are() {
        let (mut writable, mut overlapping) = (elf(), elf());
        make_code_writable(&mut writable).unwrap();
        overlap(&mut overlapping).unwrap();
        assert_eq!((writable[64 + FLAGS], writable[120 + FLAGS]), (4, 7));
        assert_eq!(overlapping[120 + ADDRESS..][..2], [0x34, 0]);
    }
}
