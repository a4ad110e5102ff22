//! The console: the UART that `/chosen/stdout-path` names.

use dtoolkit::{Node, Property};
use plinth_launch::{CONSOLE_16550_MMIO, CONSOLE_16550_MMIO32, CONSOLE_CADENCE, CONSOLE_NONE, CONSOLE_PL011};

use crate::Tree;
use crate::place::Place;

/// UARTs that are a 16550 with one register every four bytes, whatever their node says. The Raspberry Pi's mini UART has
/// the registers that a console needs where a 16550 has them (BCM2835 ARM Peripherals, 2.2.2).
const WORD_16550: [&str; 3] = ["brcm,bcm2835-aux-uart", "snps,dw-apb-uart", "nvidia,tegra20-uart"];
const CADENCE: [&str; 3] = ["cdns,uart-r1p12", "cdns,uart-r1p8", "xlnx,xuartps"];
const NS16550: [&str; 3] = ["ns16550a", "ns16550", "ns16750"];

impl Tree<'_> {
    /// The console's kind and address, in the launch contract's terms. A UART that Plinth does not know is none.
    pub fn console(&self) -> (u64, u64) {
        let found = self.stdout().and_then(|place| Some((kind(&place), place.address(0)?)));
        found.filter(|(kind, _)| *kind != CONSOLE_NONE).unwrap_or((CONSOLE_NONE, 0))
    }

    /// The node that `stdout-path` means, directly or by an alias.
    fn stdout(&self) -> Option<Place<'_>> {
        let chosen = self.fdt.find_node("/chosen")?;
        let property = chosen.property("stdout-path")?;
        let path = text(property.value())?.split(':').next()?;
        if path.starts_with('/') {
            return Place::find(self.fdt, path);
        }
        let alias = self.fdt.find_node("/aliases")?.property(path)?;
        Place::find(self.fdt, text(alias.value())?)
    }
}

fn text(value: &[u8]) -> Option<&str> {
    Some(core::str::from_utf8(value).ok()?.trim_end_matches('\0'))
}

fn kind(place: &Place<'_>) -> u64 {
    let shift = cell(place, "reg-shift").unwrap_or(0);
    match () {
        () if place.is_any(&["arm,pl011"]) => CONSOLE_PL011,
        () if place.is_any(&CADENCE) => CONSOLE_CADENCE,
        () if place.is_any(&WORD_16550) => CONSOLE_16550_MMIO32,
        () if place.is_any(&NS16550) && shift == 2 => CONSOLE_16550_MMIO32,
        () if place.is_any(&NS16550) && shift == 0 => CONSOLE_16550_MMIO,
        () => CONSOLE_NONE,
    }
}

fn cell(place: &Place<'_>, name: &str) -> Option<u32> {
    let value = place.node().property(name)?;
    Some(u32::from_be_bytes(*value.value().first_chunk()?))
}
