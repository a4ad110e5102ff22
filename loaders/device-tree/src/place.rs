//! Nodes with their ancestors, which a register's address has to be translated by (Devicetree Specification 0.4, 2.3.8).

use dtoolkit::Node;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use plinth_launch::Range;

/// How deep a node may lie to be found.
const DEPTH: usize = 8;

/// A node and the nodes above it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    nodes: [FdtNode<'a>; DEPTH],
    /// The index of the node itself.
    last: usize,
}

impl<'a> Place<'a> {
    pub(crate) fn root(fdt: Fdt<'a>) -> Self {
        Self { nodes: [fdt.root(); DEPTH], last: 0 }
    }

    pub(crate) fn node(&self) -> FdtNode<'a> {
        self.nodes.get(self.last).copied().unwrap_or(self.nodes[0])
    }

    fn below(&self, child: FdtNode<'a>) -> Option<Self> {
        let mut place = *self;
        place.last = place.last.checked_add(1)?;
        *place.nodes.get_mut(place.last)? = child;
        Some(place)
    }

    /// The node of a path like `/soc/serial@7e201000`.
    pub(crate) fn find(fdt: Fdt<'a>, path: &str) -> Option<Self> {
        let mut place = Self::root(fdt);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            place = place.below(place.node().child(name)?)?;
        }
        Some(place)
    }

    /// The names on the way from the root to the node, without the root's.
    pub(crate) fn path(&self) -> NodePath<'a> {
        let mut path = NodePath::of(&[]);
        for node in self.nodes.iter().take(self.last + 1).skip(1) {
            path.push(node.name());
        }
        path
    }

    /// The first answer that this node or one below it gives.
    pub(crate) fn search<R>(&self, ask: &impl Fn(&Self) -> Option<R>) -> Option<R> {
        ask(self).or_else(|| self.node().children().find_map(|child| self.below(child)?.search(ask)))
    }

    /// Whether one of these names is among those that the node is compatible with.
    pub(crate) fn is_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.node().is_compatible(name))
    }

    /// The physical address of register range `index`; `None` where a bus on the way does not pass it on.
    pub(crate) fn address(&self, index: usize) -> Option<u64> {
        let address = self.node().reg().ok()??.nth(index)?.address::<u64>().ok()?;
        let buses = self.nodes.get(1..self.last).unwrap_or_default();
        buses.iter().rev().try_fold(address, |address, bus| through(*bus, address))
    }
}

impl Place<'_> {
    /// A property of one cell.
    pub(crate) fn cell(&self, name: &str) -> Option<u32> {
        let property = self.node().property(name)?;
        Some(u32::from_be_bytes(dtoolkit::Property::value(&property).try_into().ok()?))
    }

    /// Register range `index`, as [`Place::address`] has it.
    pub(crate) fn range(&self, index: usize) -> Option<Range> {
        let size = self.node().reg().ok()??.nth(index)?.size::<u64>().ok()?;
        Some(Range { start: self.address(index)?, size })
    }
}

/// The names of nodes on the way from the root to one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodePath<'a> {
    names: [&'a str; DEPTH],
    length: usize,
}

impl<'a> NodePath<'a> {
    /// The path of these names; those beyond [`DEPTH`] are left out.
    pub(crate) fn of(names: &[&'a str]) -> Self {
        let mut path = Self { names: [""; DEPTH], length: 0 };
        names.iter().for_each(|name| path.push(name));
        path
    }

    fn push(&mut self, name: &'a str) {
        if let Some(place) = self.names.get_mut(self.length) {
            *place = name;
            self.length += 1;
        }
    }

    pub(crate) fn names(&self) -> &[&'a str] {
        self.names.get(..self.length).unwrap_or_default()
    }
}

/// An address on a bus as its parent sees it: one to one where `ranges` is empty.
fn through(bus: FdtNode<'_>, address: u64) -> Option<u64> {
    if dtoolkit::Property::value(&bus.property("ranges")?).is_empty() {
        return Some(address);
    }
    bus.ranges().ok()??.find_map(|range| {
        let (child, size) = (range.child_bus_address::<u64>().ok()?, range.length::<u64>().ok()?);
        let offset = address.checked_sub(child).filter(|offset| *offset < size)?;
        range.parent_bus_address::<u64>().ok()?.checked_add(offset)
    })
}
