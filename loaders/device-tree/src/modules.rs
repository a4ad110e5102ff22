//! Files that a boot loader has put into memory and named in `/chosen`: nodes of the convention that hypervisors on Arm
//! share, and that U-Boot scripts and QEMU's `guest-loader` write.
//!
//! A node is compatible with one of the names below, `reg` says where the file lies, `bootargs` what it is told. Its
//! addresses are those of the root, whether or not `/chosen` says so.

use dtoolkit::fdt::FdtNode;
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};
use plinth_launch::Range;

use crate::Tree;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// Plinth's kernel, an ELF file.
    Kernel,
    /// The extension, an ELF file.
    Extension,
    /// What becomes the root VM, an arm64 Image.
    Payload,
    /// Its initial RAM disk.
    Initrd,
}

/// A file in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// Where.
    pub range: Range,
    /// What it is told.
    pub arguments: Option<&'a str>,
}

impl ModuleKind {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Extension, Self::Payload, Self::Initrd];

    /// What a node is compatible with that names such a file.
    pub const fn compatible(self) -> &'static str {
        match self {
            Self::Kernel => "plinth,kernel",
            Self::Extension => "plinth,extension",
            Self::Payload => "multiboot,kernel",
            Self::Initrd => "multiboot,ramdisk",
        }
    }
}

impl<'a> Tree<'a> {
    /// The file of a kind: the first one that is named.
    pub fn module(&self, kind: ModuleKind) -> Option<Module<'a>> {
        let chosen = self.fdt.find_node("/chosen")?;
        let node = chosen.children().find(|node| node.is_compatible(kind.compatible()))?;
        let arguments = node.property("bootargs").and_then(|property| property.value_as::<&'a str>().ok());
        Some(Module { range: self.place_of(chosen, node)?, arguments })
    }

    fn place_of(&self, chosen: FdtNode<'a>, node: FdtNode<'a>) -> Option<Range> {
        let cells = |name| {
            let property = chosen.property(name).or_else(|| self.fdt.root().property(name))?;
            Some(u32::from_be_bytes(*property.value().first_chunk()?) as usize)
        };
        let (address, size) = (cells("#address-cells")?, cells("#size-cells")?);
        let reg = node.property("reg")?;
        let value = reg.value();
        let start = number(value.get(..4 * address)?)?;
        let size = number(value.get(4 * address..)?.get(..4 * size)?)?;
        (size != 0 && start.checked_add(size).is_some()).then_some(Range { start, size })
    }
}

/// A number of one or two cells.
fn number(cells: &[u8]) -> Option<u64> {
    match cells.len() {
        4 | 8 => Some(cells.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))),
        _ => None,
    }
}
