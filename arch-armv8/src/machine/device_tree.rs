//! What the backend itself has to know of the machine, from its device tree: processors, interrupt controller,
//! firmware.

pub(crate) use plinth_device_tree::Gic as GicKind;
use plinth_device_tree::{Firmware, Processor, REGIONS, Tree};
use plinth_launch::Range;

use crate::psci::power_state::AFFINITY;

/// Where the registers of private interrupts are.
pub(crate) type PrivateRegisters = [Range; REGIONS];

/// The machine.
pub(crate) struct Machine<'a> {
    tree: Tree<'a>,
}

impl<'a> Machine<'a> {
    /// Reads a device tree, or says that it is none.
    pub(crate) fn new(blob: &'a [u8]) -> Option<Self> {
        Some(Self { tree: Tree::new(blob).ok()? })
    }

    /// The processors, in the tree's order.
    pub(crate) fn processors(&self) -> impl Iterator<Item = Processor> + 'a {
        let masked = |other: Processor| Processor { affinity: other.affinity & AFFINITY, ..other };
        self.tree.processors().map(masked)
    }

    /// The banks of memory.
    pub(crate) fn banks(&self) -> impl Iterator<Item = Range> + 'a {
        self.tree.banks()
    }

    /// What of the banks the firmware keeps for itself: nobody else may as much as map it.
    pub(crate) fn kept_by_firmware(&self) -> impl Iterator<Item = Range> + 'a {
        self.tree.unmappable()
    }

    /// The interrupt controller.
    pub(crate) fn gic(&self) -> GicKind {
        self.tree.gic()
    }

    /// The registers of each processor's private interrupts; the rest of the ranges are empty.
    pub(crate) fn private_interrupts(&self) -> PrivateRegisters {
        let mut ranges = PrivateRegisters::default();
        ranges.iter_mut().zip(self.tree.private_interrupts()).for_each(|(place, range)| *place = range);
        ranges
    }

    /// Whether the firmware is called by SMC.
    pub(crate) fn has_firmware(&self) -> bool {
        self.tree.firmware() == Firmware::Smc
    }
}
