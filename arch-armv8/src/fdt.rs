//! What the backend itself has to know of the machine, from its device tree: processors, interrupt controller,
//! firmware.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

/// The interrupt controller, as far as the kernel uses it: to hold back the root VM's interrupts while the extension
/// runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GicKind {
    /// None that the kernel knows.
    None,
    /// GICv2: its CPU interface's address.
    V2(u64),
    /// GICv3 or later, by system registers.
    V3,
}

/// The machine.
pub(crate) struct Machine<'a> {
    fdt: Fdt<'a>,
}

impl<'a> Machine<'a> {
    /// Reads a device tree, or says that it is none.
    pub(crate) fn new(blob: &'a [u8]) -> Option<Self> {
        Some(Self { fdt: Fdt::new(blob).ok()? })
    }

    /// The MPIDR affinities of the processors, in the tree's order.
    pub(crate) fn processors(&self) -> impl Iterator<Item = u64> + 'a {
        let cpus = self.fdt.find_node("/cpus");
        let nodes = cpus.into_iter().flat_map(|cpus| cpus.children());
        nodes.filter(|node| node.name_without_address() == "cpu").filter_map(first_address)
    }

    /// The interrupt controller.
    pub(crate) fn gic(&self) -> GicKind {
        find(self.fdt.root(), &|node| {
            if node.is_compatible("arm,gic-v3") {
                return Some(GicKind::V3);
            }
            let second = ["arm,cortex-a15-gic", "arm,gic-400", "arm,cortex-a9-gic", "arm,cortex-a7-gic"];
            second.iter().any(|name| node.is_compatible(name)).then(|| cpu_interface(node))
        })
        .unwrap_or(GicKind::None)
    }

    /// Whether the firmware is called by SMC.
    pub(crate) fn has_firmware(&self) -> bool {
        let node = self.fdt.find_node("/psci");
        node.and_then(|node| node.property("method")).is_some_and(|method| method.value() == b"smc\0")
    }
}

fn first_address(node: FdtNode<'_>) -> Option<u64> {
    node.reg().ok()??.next()?.address::<u64>().ok()
}

/// GICv2: the second register range is the CPU interface.
fn cpu_interface(node: FdtNode<'_>) -> GicKind {
    let second = node.reg().ok().flatten().and_then(|mut reg| reg.nth(1));
    second.and_then(|range| range.address::<u64>().ok()).map_or(GicKind::None, GicKind::V2)
}

/// The first answer that a node of the tree gives, at most a few levels deep.
fn find<'a, R>(node: FdtNode<'a>, ask: &impl Fn(FdtNode<'a>) -> Option<R>) -> Option<R> {
    fn at_depth<'a, R>(node: FdtNode<'a>, ask: &impl Fn(FdtNode<'a>) -> Option<R>, depth: u32) -> Option<R> {
        ask(node).or_else(|| {
            let mut children = (depth > 0).then(|| node.children()).into_iter().flatten();
            children.find_map(|child| at_depth(child, ask, depth - 1))
        })
    }
    at_depth(node, ask, 3)
}

/// The bytes of a device tree that starts with `header`: its total size, if it looks like one.
pub(crate) fn total_size(header: &[u8; 8]) -> Option<usize> {
    const MAGIC: u32 = 0xD00D_FEED;
    const LARGEST: u32 = 2 << 20;
    let [a, b, c, d, e, f, g, h] = *header;
    let size = u32::from_be_bytes([e, f, g, h]);
    (u32::from_be_bytes([a, b, c, d]) == MAGIC && size <= LARGEST).then_some(size as usize)
}
