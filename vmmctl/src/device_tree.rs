//! The device tree that the kernel reads on arm64: Linux's own, to which the EFI boot leaves no memory, or one made of ACPI's tables.

use plinth_acpi::Tables;
use plinth_acpi_tree::Missing;
use plinth_device_tree::Tree;
use plinth_device_tree::editor::{EditError, Editor};
use plinth_launch::Range;

use crate::host::Host;

/// The tables that tell what the kernel asks: processors and interrupt controller, firmware, console.
const TABLES: [&str; 3] = ["APIC", "FACP", "SPCR"];
/// What an added node takes at most, in bytes.
const NODE: usize = 128;

/// Why there is no device tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoTree {
    /// Neither a device tree with processors nor ACPI's tables.
    Nothing,
    /// ACPI's tables do not tell this.
    Missing(Missing),
    /// The memory cannot be added.
    Edit(EditError),
}

impl NoTree {
    /// What is wrong, and what to do.
    pub(crate) fn text(&self) -> &'static str {
        match self {
            Self::Nothing => {
                "neither /sys/firmware/fdt nor /sys/firmware/acpi/tables tells of the processors; run vmmctl as root on a \
                 Linux with CONFIG_OF or CONFIG_ACPI"
            }
            Self::Missing(Missing::Processors) => {
                "ACPI's MADT tells of no processor; correct the firmware's tables"
            }
            Self::Missing(Missing::Gic) => {
                "ACPI's MADT tells of no interrupt controller that Plinth knows (GICv2, GICv3)"
            }
            Self::Edit(_) => "the device tree in /sys/firmware/fdt is broken; check it with dtc",
        }
    }
}

/// The machine's device tree.
pub(crate) fn device_tree(host: &Host) -> Result<Vec<u8>, NoTree> {
    let own = host.bytes("sys/firmware/fdt").unwrap_or_default();
    let banks = host.banks();
    match Tree::new(&own) {
        Ok(tree) if tree.processors().next().is_some() => {
            let has_memory = tree.banks().next().is_some();
            if has_memory { Ok(own) } else { with_memory(&own, &banks).map_err(NoTree::Edit) }
        }
        _ => of_acpi(host, &banks),
    }
}

/// A tree with nodes for the memory.
fn with_memory(tree: &[u8], banks: &[Range]) -> Result<Vec<u8>, EditError> {
    let mut bytes = tree.to_vec();
    bytes.resize(tree.len() + (banks.len() + 1) * NODE, 0);
    let mut editor = Editor::new(&mut bytes)?;
    let cells = ["#address-cells", "#size-cells"].map(|name| editor.cells(&[], name));
    let [address, size] = [cells[0]?, cells[1]?];
    for bank in banks {
        let reg = [number(bank.start, address), number(bank.size, size)].concat();
        let name = format!("memory@{:x}", bank.start);
        editor.add_child(&[], &name, &[("device_type", b"memory\0"), ("reg", &reg)])?;
    }
    let header = bytes.first_chunk().ok_or(EditError::Broken)?;
    let used = plinth_device_tree::total_size(header).ok_or(EditError::Broken)?;
    bytes.truncate(used);
    Ok(bytes)
}

/// A number in so many cells.
fn number(value: u64, cells: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    bytes[8 - 4 * cells.clamp(1, 2) as usize..].to_vec()
}

/// Linux shows each table as a file, so they are put into a memory of their own, behind a root pointer.
fn of_acpi(host: &Host, banks: &[Range]) -> Result<Vec<u8>, NoTree> {
    const RSDP: usize = 0x10;
    const ROOT: usize = 0x40;
    const FIRST: usize = 0x100;
    let files = TABLES.iter().filter_map(|name| host.bytes(&format!("sys/firmware/acpi/tables/{name}")));
    let mut memory = vec![0; FIRST];
    let mut root = vec![0; 36];
    for file in files {
        root.extend((memory.len() as u64).to_le_bytes());
        memory.extend(file);
        memory.resize(memory.len().next_multiple_of(8), 0);
    }
    root[..4].copy_from_slice(b"XSDT");
    let length = root.len() as u32;
    root[4..8].copy_from_slice(&length.to_le_bytes());
    memory[ROOT..ROOT + root.len()].copy_from_slice(&root);
    memory[RSDP..RSDP + 8].copy_from_slice(b"RSD PTR ");
    memory[RSDP + 15] = 2;
    memory[RSDP + 24..RSDP + 32].copy_from_slice(&(ROOT as u64).to_le_bytes());
    memory[RSDP + 8] = memory[RSDP..RSDP + 20].iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    let read = |at: u64, buffer: &mut [u8]| match memory
        .get(at as usize..)
        .and_then(|rest| rest.get(..buffer.len()))
    {
        Some(there) => buffer.copy_from_slice(there),
        None => buffer.fill(0xFF),
    };
    let tables = Tables::new(read, RSDP as u64).ok_or(NoTree::Nothing)?;
    match plinth_acpi_tree::device_tree(&tables, banks) {
        Err(Missing::Processors) if length == 36 => Err(NoTree::Nothing),
        made => made.map_err(NoTree::Missing),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine with these files, and 1 GiB of memory from 1 GiB on.
    fn host(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        let iomem = b"40000000-7fffffff : System RAM\n  48000000-48ffffff : Kernel code\n09000000-09000fff : pl011@9000000\n";
        for (path, content) in files.iter().chain(&[("proc/iomem", &iomem[..])]) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let host = Host::at(folder.path());
        (folder, host)
    }

    const BANK: Range = Range { start: 0x4000_0000, size: 0x4000_0000 };

    /// A MADT with a GICv2 and the processors 0 and 1.
    fn madt() -> Vec<u8> {
        let mut table = vec![0; 44];
        table[..4].copy_from_slice(b"APIC");
        for affinity in 0..2_u8 {
            let mut gicc = vec![0; 80];
            (gicc[0], gicc[1], gicc[12], gicc[68]) = (0x0B, 80, 1, affinity);
            gicc[32..40].copy_from_slice(&0x801_0000_u64.to_le_bytes());
            table.extend(gicc);
        }
        let mut gicd = vec![0; 24];
        (gicd[0], gicd[1], gicd[20]) = (0x0C, 24, 2);
        gicd[8..16].copy_from_slice(&0x800_0000_u64.to_le_bytes());
        table.extend(gicd);
        let length = table.len() as u32;
        table[4..8].copy_from_slice(&length.to_le_bytes());
        table
    }

    fn facp() -> Vec<u8> {
        let mut table = vec![0; 276];
        table[..4].copy_from_slice(b"FACP");
        table[4..8].copy_from_slice(&276_u32.to_le_bytes());
        table[129] = 1;
        table
    }

    fn of_tables() -> Vec<u8> {
        let (_folder, host) =
            host(&[("sys/firmware/acpi/tables/APIC", &madt()), ("sys/firmware/acpi/tables/FACP", &facp())]);
        device_tree(&host).unwrap()
    }

    #[test]
    fn a_machine_with_acpi_alone_gets_a_tree() {
        let blob = of_tables();
        let tree = Tree::new(&blob).unwrap();
        assert_eq!(tree.processors().count(), 2);
        assert!(tree.banks().eq([BANK]));
        assert_eq!(tree.firmware(), plinth_device_tree::Firmware::Smc);
    }

    #[test]
    fn a_tree_without_memory_gets_linuxs() {
        // One with another bank, which is left as it is.
        let other = Range { start: 0x8000_0000, size: 0x1000_0000 };
        let whole = with_memory(&of_tables(), &[other]).unwrap();
        let (_folder, full) = host(&[("sys/firmware/fdt", &whole)]);
        assert_eq!(device_tree(&full).unwrap(), whole);
        let (_folder, acpi) = host(&[("sys/firmware/acpi/tables/APIC", &madt()), ("proc/iomem", b"")]);
        fs::write(_folder.path().join("proc/iomem"), "").unwrap();
        let bare = device_tree(&acpi).unwrap();
        assert_eq!(Tree::new(&bare).unwrap().banks().count(), 0);
        let (_folder, without) = host(&[("sys/firmware/fdt", &bare)]);
        let blob = device_tree(&without).unwrap();
        assert!(Tree::new(&blob).unwrap().banks().eq([BANK]));
    }

    #[test]
    fn nothing_is_said_and_no_tree_is_made_up() {
        let (_folder, nothing) = host(&[("sys/firmware/fdt", b"no tree")]);
        assert_eq!(device_tree(&nothing), Err(NoTree::Nothing));
        let (_folder, cut) = host(&[("sys/firmware/acpi/tables/APIC", &madt()[..100])]);
        assert!(device_tree(&cut).is_err());
    }
}
