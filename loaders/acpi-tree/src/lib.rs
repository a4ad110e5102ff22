//! A device tree for a machine that has none: what the kernel asks of one, made of ACPI's tables.
//!
//! So there is one description of an Arm machine for the kernel to read, and no reader of ACPI in it. The OS does not see
//! this tree: it finds what the firmware offers.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::vec::Vec;

use plinth_acpi::Tables;
use plinth_acpi::arm::{Conduit, Gic};
use plinth_launch::{CONSOLE_16550_MMIO32, CONSOLE_NONE, CONSOLE_PL011, Range};

/// Tokens of the structure block, and the header (Devicetree Specification 0.4, chapter 5).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;
const MAGIC: u32 = 0xD00D_FEED;
const VERSION: u32 = 17;
const COMPATIBLE_VERSION: u32 = 16;
const HEADER: usize = 40;
/// The list of reservations: its end alone.
const RESERVATIONS: usize = 16;

/// What ACPI's tables do not tell, but must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A processor.
    Processors,
    /// An interrupt controller of a known kind.
    Gic,
}

/// The device tree of the machine with these tables and these banks of memory.
///
/// # Errors
/// [`Missing`].
pub fn device_tree<R: Fn(u64, &mut [u8])>(tables: &Tables<R>, banks: &[Range]) -> Result<Vec<u8>, Missing> {
    let mut tree = Writer::default();
    tree.begin("");
    tree.cells(2, 2);
    console(&mut tree, tables.console());
    let conduit = tables.conduit();
    if let Some(conduit) = conduit {
        tree.begin("psci");
        tree.text("compatible", "arm,psci-1.0");
        tree.text("method", if conduit == Conduit::Smc { "smc" } else { "hvc" });
        tree.end();
    }
    processors(&mut tree, tables.affinities(), conduit.is_some()).ok_or(Missing::Processors)?;
    gic(&mut tree, tables.gic().ok_or(Missing::Gic)?, merged(tables.redistributors().collect()));
    for bank in banks {
        tree.begin(&format!("memory@{:x}", bank.start));
        tree.text("device_type", "memory");
        tree.numbers("reg", &[bank.start, bank.size]);
        tree.end();
    }
    Ok(tree.finish())
}

fn console(tree: &mut Writer, (kind, address): (u64, u64)) {
    if kind == CONSOLE_NONE {
        return;
    }
    tree.begin("chosen");
    tree.text("stdout-path", "/serial");
    tree.end();
    tree.begin("serial");
    tree.text("compatible", if kind == CONSOLE_PL011 { "arm,pl011" } else { "ns16550a" });
    if kind == CONSOLE_16550_MMIO32 {
        tree.property("reg-shift", &2_u32.to_be_bytes());
    }
    tree.numbers("reg", &[address, 0x1000]);
    tree.end();
}

/// `None` where there are none. Without PSCI a processor waits for its mailbox (Microsoft's "Multi-processor Startup for
/// ARM Platforms"), which the kernel does not know.
fn processors(tree: &mut Writer, affinities: impl Iterator<Item = u64>, by_psci: bool) -> Option<()> {
    let mut affinities = affinities.peekable();
    affinities.peek()?;
    tree.begin("cpus");
    tree.cells(2, 0);
    for affinity in affinities {
        tree.begin(&format!("cpu@{affinity:x}"));
        tree.text("device_type", "cpu");
        tree.numbers("reg", &[affinity]);
        tree.text("enable-method", if by_psci { "psci" } else { "acpi-parking-protocol" });
        tree.end();
    }
    tree.end();
    Some(())
}

fn gic(tree: &mut Writer, gic: Gic, redistributors: Vec<Range>) {
    tree.begin("interrupt-controller");
    match gic {
        Gic::V2 { distributor, interface } => {
            tree.text("compatible", "arm,gic-400");
            tree.numbers("reg", &[distributor, 0x1000, interface, 0x2000]);
        }
        Gic::V3 { distributor } => {
            tree.text("compatible", "arm,gic-v3");
            tree.property("#redistributor-regions", &(redistributors.len() as u32).to_be_bytes());
            let regions = redistributors.iter().flat_map(|range| [range.start, range.size]);
            let ranges: Vec<u64> = [distributor, 0x1_0000].into_iter().chain(regions).collect();
            tree.numbers("reg", &ranges);
        }
    }
    tree.end();
}

/// Ranges that touch each other, as those of processors that name their own do, as one.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let end = last.start.saturating_add(last.size);
        let touches = next.start <= end;
        if touches {
            last.size = last.size.max(next.start.saturating_add(next.size) - last.start);
        }
        touches
    });
    ranges
}

/// A tree under way: its structure block, and its strings block.
#[derive(Default)]
struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    /// Bytes, filled up to a whole word.
    fn bytes(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn begin(&mut self, name: &str) {
        self.word(BEGIN_NODE);
        self.bytes(&[name.as_bytes(), b"\0"].concat());
    }

    fn end(&mut self) {
        self.word(END_NODE);
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        let at = self.strings.len() as u32;
        self.strings.extend([name.as_bytes(), b"\0"].concat());
        self.word(PROPERTY);
        self.word(value.len() as u32);
        self.word(at);
        self.bytes(value);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.property(name, &[text.as_bytes(), b"\0"].concat());
    }

    /// Numbers of two cells each.
    fn numbers(&mut self, name: &str, numbers: &[u64]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        self.property(name, &bytes);
    }

    fn cells(&mut self, address: u32, size: u32) {
        self.property("#address-cells", &address.to_be_bytes());
        self.property("#size-cells", &size.to_be_bytes());
    }

    /// Ends the root, and puts the blocks together.
    fn finish(mut self) -> Vec<u8> {
        self.end();
        self.word(END);
        let structure = HEADER + RESERVATIONS;
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let header = [
            MAGIC,
            total as u32,
            structure as u32,
            strings as u32,
            HEADER as u32,
            VERSION,
            COMPATIBLE_VERSION,
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ];
        let mut blob: Vec<u8> = header.into_iter().flat_map(u32::to_be_bytes).collect();
        blob.extend([0; RESERVATIONS]);
        blob.extend(self.structure);
        blob.extend(self.strings);
        blob
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use plinth_device_tree::{Firmware, Gic as TreeGic, Startup, Tree};

    /// A table with its header, at `at`.
    fn table(memory: &mut [u8], at: usize, signature: &[u8; 4], parts: &[(usize, &[u8])], length: u32) {
        memory[at..at + 4].copy_from_slice(signature);
        memory[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
        for (offset, part) in parts {
            memory[at + offset..at + offset + part.len()].copy_from_slice(part);
        }
    }

    /// QEMU's `virt` with two processors and GICv3, as its tables tell it; without a MADT if `bare`.
    fn memory(bare: bool) -> Vec<u8> {
        let mut memory = vec![0; 0x1000];
        table(&mut memory, 0x100, b"XSDT", &[(36, &[0, 2]), (44, &[0, 4]), (52, &[0, 8])], 60);
        table(&mut memory, 0x200, b"FACP", &[(129, &[1])], 276);
        let uart = [(36, &[3_u8][..]), (43, &[3]), (44, &0x900_0000_u64.to_le_bytes())];
        table(&mut memory, 0x400, b"SPCR", &uart, 80);
        let madt: [(usize, &[u8]); 7] = [
            (44, &[0x0C, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8]),
            (64, &[3]),
            (68, &[0x0B, 80]),
            (80, &[1]),
            (148, &[0x0B, 80]),
            (160, &[1]),
            (216, &[1]),
        ];
        let signature = if bare { b"NONE" } else { b"APIC" };
        table(&mut memory, 0x800, signature, &madt, 244);
        memory[0x800 + 228..][..16]
            .copy_from_slice(&[0x0E, 16, 0, 0, 0, 0, 0x0A, 8, 0, 0, 0, 0, 0, 0, 0xF6, 0]);
        memory[0x40..0x48].copy_from_slice(b"RSD PTR ");
        memory[0x4F] = 2;
        memory[0x58..0x5A].copy_from_slice(&[0, 1]);
        memory[0x48] = memory[0x40..0x54].iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
        memory
    }

    fn made(memory: &[u8], banks: &[Range]) -> Result<Vec<u8>, Missing> {
        let read = |at: u64, buffer: &mut [u8]| match memory.get(at as usize..at as usize + buffer.len()) {
            Some(there) => buffer.copy_from_slice(there),
            None => buffer.fill(0xFF),
        };
        device_tree(&Tables::new(read, 0x40).unwrap(), banks)
    }

    #[test]
    fn what_the_kernel_asks_is_in_the_tree() {
        let banks = [Range { start: 0x4000_0000, size: 1 << 29 }, Range { start: 1 << 40, size: 1 << 32 }];
        let blob = made(&memory(false), &banks).unwrap();
        let tree = Tree::new(&blob).unwrap();
        assert_eq!(tree.console(), (CONSOLE_PL011, 0x900_0000));
        assert_eq!((tree.firmware(), tree.gic()), (Firmware::Smc, TreeGic::V3));
        assert_eq!(tree.gic_ranges(), Some([0x800_0000, 0x80A_0000]));
        let all = Range { start: 0x80A_0000, size: 0xF6_0000 };
        assert!(tree.private_interrupts().eq([all]), "those of every processor");
        let affinities: Vec<u64> = tree.processors().map(|processor| processor.affinity).collect();
        assert_eq!(affinities, [0, 1]);
        assert!(tree.banks().eq(banks));
    }

    #[test]
    fn without_psci_processors_are_started_in_a_way_that_the_kernel_does_not_know() {
        let mut silent = memory(false);
        silent[0x200 + 129] = 0;
        let blob = made(&silent, &[]).unwrap();
        let tree = Tree::new(&blob).unwrap();
        assert_eq!(tree.firmware(), Firmware::None);
        assert!(tree.processors().all(|processor| processor.startup == Startup::Unknown));
    }

    #[test]
    fn redistributors_side_by_side_are_one_range() {
        let range = |start, size| Range { start, size };
        let own = [range(0x8C_0000, 0x2_0000), range(0x8A_0000, 0x2_0000), range(0xA0_0000, 0x2_0000)];
        assert_eq!(merged(own.into()), [range(0x8A_0000, 0x4_0000), range(0xA0_0000, 0x2_0000)]);
        assert_eq!(merged(vec![range(0, 16), range(4, 4)]), [range(0, 16)]);
        assert_eq!(merged(vec![range(0, u64::MAX), range(u64::MAX, 9)]).len(), 1);
    }

    #[test]
    fn without_processors_there_is_no_tree() {
        assert_eq!(made(&memory(true), &[]), Err(Missing::Processors));
    }
}
