//! The interrupt controller, as far as a kernel has to know it that leaves it to the root VM.

use plinth_launch::Range;

use crate::Tree;
use crate::place::Place;

/// The interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gic {
    /// None that is known.
    None,
    /// GICv2: its CPU interface's address.
    V2(u64),
    /// GICv3 or later, by system registers.
    V3,
    /// The Raspberry Pi 3's: a part for each processor, and one that all devices share.
    Bcm2836 {
        /// The address of the processors' part.
        local: u64,
        /// The address of the shared part.
        shared: u64,
    },
}

/// As many ranges of redistributors are looked at. Boards have one, servers one for each socket.
pub const REGIONS: usize = 3;

const V2: [&str; 5] =
    ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a9-gic", "arm,cortex-a7-gic", "arm,pl390"];

impl Tree<'_> {
    /// The addresses of the interrupt controller's first two register ranges: the distributor, and GICv2's CPU interface
    /// or GICv3's first redistributors.
    pub fn gic_ranges(&self) -> Option<[u64; 2]> {
        Place::root(self.fdt).search(&|place: &Place<'_>| {
            let known = place.is_any(&["arm,gic-v3"]) || place.is_any(&V2);
            known.then(|| Some([place.address(0)?, place.address(1)?]))?
        })
    }

    /// Where a GIC's registers of each processor's private interrupts are: GICv2's distributor, which shows each processor
    /// its own, or GICv3's ranges of redistributors (Linux, bindings of `arm,gic-v3`), at most [`REGIONS`] of them.
    pub fn private_interrupts(&self) -> impl Iterator<Item = Range> + use<> {
        let ranges =
            Place::root(self.fdt).search(&|place: &Place<'_>| {
                if place.is_any(&["arm,gic-v3"]) {
                    let count = place.cell("#redistributor-regions").unwrap_or(1) as usize;
                    return Some(core::array::from_fn(|index| {
                        if index < count { place.range(1 + index) } else { None }
                    }));
                }
                place.is_any(&V2).then(|| core::array::from_fn(|index| place.range(0).filter(|_| index == 0)))
            });
        ranges.unwrap_or([None; REGIONS]).into_iter().flatten()
    }

    /// The interrupt controller.
    pub fn gic(&self) -> Gic {
        let kind = |place: &Place<'_>| {
            if place.is_any(&["arm,gic-v3"]) {
                return Some(Gic::V3);
            }
            place.is_any(&V2).then(|| place.address(1).map_or(Gic::None, Gic::V2))
        };
        let bcm2836 = || {
            let find = |name: &str| {
                let is = |place: &Place<'_>| place.is_any(&[name]).then(|| place.address(0));
                Place::root(self.fdt).search(&is)?
            };
            let (local, shared) = (find("brcm,bcm2836-l1-intc")?, find("brcm,bcm2836-armctrl-ic")?);
            Some(Gic::Bcm2836 { local, shared })
        };
        Place::root(self.fdt).search(&kind).or_else(bcm2836).unwrap_or(Gic::None)
    }
}
