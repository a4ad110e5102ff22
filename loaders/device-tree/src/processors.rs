//! Processors and how they are started.

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};

use crate::Tree;
use crate::editor::{EditError, Editor};
use crate::place::{NodePath, Place};

/// What stands for the affinity of a processor whose node has no `reg`.
const NO_AFFINITY: u64 = u64::MAX;
/// In a processor's node: its `enable-method` before [`start_by_psci`] changed it.
const FORMER_METHOD: &str = "plinth,enable-method";

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Its MPIDR affinity.
    pub affinity: u64,
    /// How it is started, if it is not the one that runs.
    pub startup: Startup,
    /// The firmware says that it does not work (`status`), so that it may not answer.
    pub failed: bool,
}

/// How a processor that does not run yet is started. Each processor's node says so for itself (`enable-method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Startup {
    /// By the firmware, asked by PSCI's CPU_ON.
    Psci,
    /// It spins until an address is written to this word (`cpu-release-addr`; Devicetree Specification 0.4, 3.8.1).
    SpinTable(u64),
    /// In a way that is not known here: by another method, in a spin table without an address, or the node does not say.
    Unknown,
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
    /// The nodes that Linux takes for processors: by their name, or by `device_type`.
    fn processor_nodes(&self) -> impl Iterator<Item = FdtNode<'a>> + use<'a> {
        let cpus = self.fdt.find_node("/cpus");
        let nodes = cpus.into_iter().flat_map(|cpus| cpus.children());
        nodes.filter(|node| node.name_without_address() == "cpu" || has(node, "device_type", b"cpu\0"))
    }

    /// The processors, in the tree's order. One whose node does not say which it is counts as started in an unknown way.
    pub fn processors(&self) -> impl Iterator<Item = Processor> + use<'a> {
        let has_firmware = self.firmware() != Firmware::None;
        self.processor_nodes().flat_map(move |node| {
            let failed = node.property("status").is_some_and(|status| status.value().starts_with(b"fail"));
            let startup = startup(&node, has_firmware);
            let known = affinities(node).map(move |affinity| Processor { affinity, startup, failed });
            let unknown = Processor { affinity: NO_AFFINITY, startup: Startup::Unknown, failed };
            known.chain(affinities(node).next().is_none().then_some(unknown))
        })
    }

    /// The names of the nodes of those processors that spin until they are released.
    pub fn spinning(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let spins = |node: &FdtNode<'a>| matches!(startup(node, false), Startup::SpinTable(_));
        self.processor_nodes().filter(spins).map(|node| node.name())
    }

    /// The node of the firmware's PSCI: the first one that is compatible, wherever it is and whatever its name and `status`.
    fn psci(&self) -> Option<Place<'a>> {
        const PSCI: &[&str] = &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"];
        Place::root(self.fdt).search(&|place: &Place<'a>| place.is_any(PSCI).then_some(*place))
    }

    /// How PSCI is called. A node that is not available (`status`) is none, and then no other counts, as in Linux.
    pub fn firmware(&self) -> Firmware {
        let node = self.psci().map(|place| place.node()).filter(is_available);
        match node {
            Some(node) if has(&node, "method", b"smc\0") => Firmware::Smc,
            Some(node) if has(&node, "method", b"hvc\0") => Firmware::Hvc,
            _ => Firmware::None,
        }
    }
}

/// Has a payload start by PSCI those processors that wait in a spin table: by HVC where there is no other PSCI. The
/// hypervisor answers either way. Returns whether there are such processors.
///
/// A spin table of the hypervisor's own would do, but could not stop a processor again. What the payload does not look at any
/// more (`cpu-release-addr`) stays for the hypervisor, and so does the method, under another name.
///
/// # Errors
/// [`EditError`].
pub fn start_by_psci(editor: &mut Editor<'_>, original: Tree<'_>) -> Result<bool, EditError> {
    if original.spinning().next().is_none() {
        return Ok(false);
    }
    for name in original.spinning() {
        editor.set_property(&["cpus", name], FORMER_METHOD, &[b"spin-table\0"])?;
        editor.set_property(&["cpus", name], "enable-method", &[b"psci\0"])?;
    }
    if original.firmware() != Firmware::None {
        return Ok(true);
    }
    // One that is not available would be found before another.
    let there = original.psci().map(|place| place.path());
    let new = NodePath::of(&["psci"]);
    let path = there.as_ref().unwrap_or(&new);
    if there.is_none() {
        editor.ensure_node("psci")?;
    }
    editor.set_property(path.names(), "compatible", &[b"arm,psci-1.0\0arm,psci-0.2\0"])?;
    editor.set_property(path.names(), "method", &[b"hvc\0"])?;
    editor.set_property(path.names(), "status", &[b"okay\0"])?;
    Ok(true)
}

/// How the processor of a node is started.
fn startup(node: &FdtNode<'_>, has_firmware: bool) -> Startup {
    let method = node.property(FORMER_METHOD).or_else(|| node.property("enable-method"));
    match method.as_ref().map(Property::value) {
        Some(b"psci\0") => Startup::Psci,
        Some(b"spin-table\0") => {
            let release = node.property("cpu-release-addr").and_then(|value| number(value.value()));
            release.map_or(Startup::Unknown, Startup::SpinTable)
        }
        None if has_firmware => Startup::Psci,
        _ => Startup::Unknown,
    }
}

fn affinities<'a>(node: FdtNode<'a>) -> impl Iterator<Item = u64> + use<'a> {
    let all = node.reg().ok().flatten().into_iter().flatten();
    all.filter_map(|entry| entry.address::<u64>().ok())
}

fn has(node: &FdtNode<'_>, name: &str, value: &[u8]) -> bool {
    node.property(name).is_some_and(|property| property.value() == value)
}

/// Whether a node may be used (Devicetree Specification 0.4, 2.3.4).
fn is_available(node: &FdtNode<'_>) -> bool {
    node.property("status").is_none_or(|status| matches!(status.value(), b"okay\0" | b"ok\0"))
}

/// A number of one or two cells.
fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => Some(u64::from(u32::from_be_bytes(*value.first_chunk()?))),
        8 => Some(u64::from_be_bytes(*value.first_chunk()?)),
        _ => None,
    }
}
