//! The machine, from its device tree: firmware, processors, interrupt controller, memory.

pub use plinth_device_tree::Firmware as Conduit;
use plinth_device_tree::Tree;
use plinth_launch::Range;

/// The interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gic {
    /// None that these tests know.
    None,
    /// GICv2: distributor and CPU interface.
    V2(u64, u64),
    /// GICv3: distributor, and the first range of redistributors.
    V3(u64, u64),
}

/// What the device tree says.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    tree: Tree<'static>,
    /// The firmware's conduit.
    pub conduit: Conduit,
    /// The interrupt controller.
    pub gic: Gic,
}

impl Machine {
    pub(crate) fn new(tree: Tree<'static>) -> Self {
        let gic = match (tree.gic(), tree.gic_ranges()) {
            (plinth_device_tree::Gic::V2(_), Some([distributor, interface])) => {
                Gic::V2(distributor, interface)
            }
            (plinth_device_tree::Gic::V3, Some([distributor, redistributors])) => {
                Gic::V3(distributor, redistributors)
            }
            _ => Gic::None,
        };
        Self { tree, conduit: tree.firmware(), gic }
    }

    /// The affinities of the processors, in the tree's order.
    pub fn processors(&self) -> impl Iterator<Item = u64> + 'static {
        self.tree.processors().map(|processor| processor.affinity)
    }

    /// The affinity of a processor other than the one that runs this.
    pub fn another(&self) -> Option<u64> {
        let own = crate::system::affinity();
        self.processors().find(|affinity| *affinity != own)
    }

    /// The device tree itself.
    pub fn tree(&self) -> &'static [u8] {
        self.tree.bytes()
    }

    /// The console, as the launch contract names it: kind and address.
    pub fn console(&self) -> (u64, u64) {
        self.tree.console()
    }

    /// The banks of memory.
    pub fn banks(&self) -> impl Iterator<Item = Range> + 'static {
        self.tree.banks()
    }

    /// What the firmware and the loader have reserved.
    pub fn reserved(&self) -> impl Iterator<Item = Range> + 'static {
        self.tree.reserved()
    }

    /// The end of the highest memory bank.
    pub fn memory_end(&self) -> u64 {
        self.tree.memory_end()
    }

    /// The hypervisor's memory, where there is a hypervisor.
    pub fn reservation(&self) -> Option<Range> {
        self.tree.hypervisor()
    }
}
