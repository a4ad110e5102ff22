//! Memory, and what of it is taken already.

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use plinth_launch::Range;

use crate::Tree;

impl<'a> Tree<'a> {
    /// The banks of memory. Firmware that fills them in later leaves empty ones, which are left out, and so are banks that
    /// are disabled: those are the firmware's own.
    pub fn banks(&self) -> impl Iterator<Item = Range> + 'a {
        let nodes = self.fdt.root().children().filter(|node| {
            node.property("device_type").is_some_and(|kind| kind.value() == b"memory\0")
                || node.name_without_address() == "memory"
        });
        nodes.filter(is_enabled).flat_map(ranges).filter(|range| range.size != 0)
    }

    /// What the firmware has reserved.
    pub fn reserved(&self) -> impl Iterator<Item = Range> + 'a {
        let listed = self.fdt.memory_reservations();
        let listed = listed.map(|entry| Range { start: entry.address(), size: entry.size() });
        listed.chain(self.reservations().flat_map(ranges)).filter(|range| range.size != 0)
    }

    /// What of that nobody may map, so that no processor reads ahead there (`no-map`; Devicetree Specification 0.4, 3.5.4).
    /// Plinth's own reservation, which is marked like that for the OS, is left out.
    pub fn unmappable(&self) -> impl Iterator<Item = Range> + 'a {
        let kept = |node: &FdtNode<'a>| node.property("no-map").is_some() && node.name() != "plinth";
        self.reservations().filter(kept).flat_map(ranges).filter(|range| range.size != 0)
    }

    fn reservations(&self) -> impl Iterator<Item = FdtNode<'a>> + use<'a> {
        self.fdt.find_node("/reserved-memory").into_iter().flat_map(|node| node.children()).filter(is_enabled)
    }

    /// What a loader has reserved for Plinth, in the tree that its payload gets.
    pub fn hypervisor(&self) -> Option<Range> {
        self.fdt.find_node("/reserved-memory/plinth").and_then(|node| ranges(node).next())
    }

    /// The end of the highest bank.
    pub fn memory_end(&self) -> u64 {
        self.banks().map(|bank| bank.start.saturating_add(bank.size)).max().unwrap_or(0)
    }
}

/// Whether a node counts (Devicetree Specification 0.4, 2.3.4).
fn is_enabled(node: &FdtNode<'_>) -> bool {
    node.property("status").is_none_or(|status| matches!(status.value(), b"okay\0" | b"ok\0"))
}

fn ranges<'a>(node: FdtNode<'a>) -> impl Iterator<Item = Range> + 'a {
    let all = node.reg().ok().flatten().into_iter().flatten();
    all.filter_map(|range| {
        Some(Range { start: range.address::<u64>().ok()?, size: range.size::<u64>().ok()? })
    })
}
