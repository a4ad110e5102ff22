//! Processors and how they are started.

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};

use crate::Tree;

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Its MPIDR affinity.
    pub affinity: u64,
    /// Where it spins until an address is written there, if it does (`cpu-release-addr`).
    pub release: Option<u64>,
}

/// How the firmware's PSCI is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// There is none.
    None,
    /// By SMC.
    Smc,
    /// By HVC.
    Hvc,
}

impl<'a> Tree<'a> {
    fn processor_nodes(&self) -> impl Iterator<Item = FdtNode<'a>> + use<'a> {
        let cpus = self.fdt.find_node("/cpus");
        let nodes = cpus.into_iter().flat_map(|cpus| cpus.children());
        nodes.filter(|node| node.name_without_address() == "cpu")
    }

    /// The processors, in the tree's order.
    pub fn processors(&self) -> impl Iterator<Item = Processor> + use<'a> {
        self.processor_nodes().filter_map(|node| {
            let affinity = node.reg().ok()??.next()?.address::<u64>().ok()?;
            let release = node.property("cpu-release-addr").and_then(|value| number(value.value()));
            Some(Processor { affinity, release })
        })
    }

    /// The names of the nodes of those processors that spin until they are released.
    pub fn spinning(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let spins = |node: &FdtNode<'a>| {
            node.property("enable-method").is_some_and(|method| method.value() == b"spin-table\0")
        };
        self.processor_nodes().filter(spins).map(|node| node.name())
    }

    /// How PSCI is called.
    pub fn firmware(&self) -> Firmware {
        let method = self.fdt.find_node("/psci").and_then(|node| node.property("method"));
        let is = |value: &[u8]| method.is_some_and(|method| method.value() == value);
        match () {
            () if is(b"smc\0") => Firmware::Smc,
            () if is(b"hvc\0") => Firmware::Hvc,
            () => Firmware::None,
        }
    }
}

/// A number of one or two cells.
fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => Some(u64::from(u32::from_be_bytes(*value.first_chunk()?))),
        8 => Some(u64::from_be_bytes(*value.first_chunk()?)),
        _ => None,
    }
}
