//! An Arm machine that has no device tree: processors and interrupt controller from the MADT, PSCI from the FADT, the
//! console from the SPCR (ACPI specification 6.5, 5.2.9, 5.2.12; Microsoft's Serial Port Console Redirection Table, 4).

use plinth_launch::{CONSOLE_16550_MMIO, CONSOLE_16550_MMIO32, CONSOLE_NONE, CONSOLE_PL011, Range};

use crate::pc::MADT_ENTRIES;
use crate::{Table, Tables};

/// Kinds of entries in the MADT.
const CPU_INTERFACE: u8 = 0x0B;
const DISTRIBUTOR: u8 = 0x0C;
const REDISTRIBUTORS: u8 = 0x0E;

/// What a redistributor takes at least, in bytes: its two frames (Arm IHI 0069, 12.10).
const REDISTRIBUTOR: u64 = 0x2_0000;

/// How the firmware's PSCI is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// By SMC.
    Smc,
    /// By HVC.
    Hvc,
}

/// The interrupt controller, by the addresses of its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv2.
    V2 {
        /// The distributor.
        distributor: u64,
        /// The processors' interface.
        interface: u64,
    },
    /// GICv3 or later. [`Tables::redistributors`] tells the rest.
    V3 {
        /// The distributor.
        distributor: u64,
    },
}

/// What is to be written into the FADT so that it names a hypervisor's vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// Where the name goes: a physical address.
    pub at: u64,
    /// The name.
    pub name: [u8; 8],
    /// Where the table's checksum is: a physical address.
    pub checksum_at: u64,
    /// What it is then.
    pub checksum: u8,
}

impl<R: Fn(u64, &mut [u8])> Tables<R> {
    /// How to name the vendor of the hypervisor below (ACPI specification 6.0, 5.2.9); `None` where the FADT is older and has no
    /// place for it.
    pub fn vendor(&self, name: [u8; 8]) -> Option<Vendor> {
        const CHECKSUM: u64 = 9;
        const VENDOR: u64 = 268;
        let table = self.find(b"FACP")?;
        let sum = |name: [u8; 8]| name.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let former = table.long(VENDOR)?.to_le_bytes();
        let checksum = table.byte(CHECKSUM)?.wrapping_add(sum(former)).wrapping_sub(sum(name));
        let place = |offset| table.address().wrapping_add(offset);
        Some(Vendor { at: place(VENDOR), name, checksum_at: place(CHECKSUM), checksum })
    }

    /// The affinities of the processors that can be used, now or once they are brought on-line.
    pub fn affinities(&self) -> impl Iterator<Item = u64> + '_ {
        const USABLE: u32 = 1 << 0 | 1 << 3;
        let entries = self.find(b"APIC").into_iter().flat_map(|table| table.entries(MADT_ENTRIES));
        let entries = entries.filter(|entry| entry.kind == CPU_INTERFACE).map(|entry| entry.table);
        entries.filter(|table| table.word(12).is_some_and(|flags| flags & USABLE != 0)).filter_map(mpidr)
    }

    /// The interrupt controller.
    pub fn gic(&self) -> Option<Gic> {
        let table = self.find(b"APIC")?;
        let entry = |kind| table.entries(MADT_ENTRIES).find(|entry| entry.kind == kind);
        let processor = entry(CPU_INTERFACE)?.table;
        let distributor = entry(DISTRIBUTOR)?.table;
        let (base, version) = (distributor.long(8)?, distributor.byte(20)?);
        match (version, self.redistributors().next()) {
            (0 | 3.., Some(_)) => Some(Gic::V3 { distributor: base }),
            (0..=2, _) => {
                Some(Gic::V2 { distributor: base, interface: processor.long(32).filter(|base| *base != 0)? })
            }
            _ => None,
        }
    }

    /// Where GICv3's redistributors are: ranges of many, or one for each processor that names its own.
    pub fn redistributors(&self) -> impl Iterator<Item = Range> + '_ {
        let entries = || self.find(b"APIC").into_iter().flat_map(|table| table.entries(MADT_ENTRIES));
        let of_kind = move |kind| entries().filter(move |entry| entry.kind == kind).map(|entry| entry.table);
        let shared = of_kind(REDISTRIBUTORS).filter_map(|table| {
            let size = table.word(12).map_or(REDISTRIBUTOR, |size| u64::from(size).max(REDISTRIBUTOR));
            Some(Range { start: table.long(4)?, size })
        });
        let own = of_kind(CPU_INTERFACE).filter_map(|table| {
            Some(Range { start: table.long(60).filter(|base| *base != 0)?, size: REDISTRIBUTOR })
        });
        shared.chain(own)
    }

    /// How PSCI is called, if there is PSCI.
    pub fn conduit(&self) -> Option<Conduit> {
        const COMPLIANT: u16 = 1 << 0;
        const BY_HVC: u16 = 1 << 1;
        let flags = self.find(b"FACP")?.half(129)?;
        let conduit = if flags & BY_HVC == 0 { Conduit::Smc } else { Conduit::Hvc };
        (flags & COMPLIANT != 0).then_some(conduit)
    }

    /// The console's kind and address, in the launch contract's terms; one that Plinth does not know is none.
    pub fn console(&self) -> (u64, u64) {
        self.find(b"SPCR").and_then(|table| uart(&table)).unwrap_or((CONSOLE_NONE, 0))
    }
}

fn mpidr<R: Fn(u64, &mut [u8])>(processor: Table<'_, R>) -> Option<u64> {
    processor.long(68)
}

/// The UART: what it is compatible with (Microsoft's Debug Port Table 2, table 3), and its address.
fn uart<R: Fn(u64, &mut [u8])>(table: &Table<'_, R>) -> Option<(u64, u64)> {
    const IN_MEMORY: u8 = 0;
    const WORDS: u8 = 3;
    let kind = match (table.byte(36)?, table.byte(43)?) {
        // PL011, and the generic UARTs of SBSA, which are a part of it.
        (0x03 | 0x0D | 0x0E, _) => CONSOLE_PL011,
        (0x00 | 0x01 | 0x12, WORDS) => CONSOLE_16550_MMIO32,
        (0x00 | 0x01 | 0x12, _) => CONSOLE_16550_MMIO,
        _ => return None,
    };
    let address = table.long(44).filter(|address| *address != 0)?;
    (table.byte(40)? == IN_MEMORY).then_some((kind, address))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::test_image::{Image, RSDP};

    fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
        bytes[at..at + part.len()].copy_from_slice(part);
    }

    fn processor(flags: u32, interface: u64, affinity: u64) -> Vec<u8> {
        let mut entry = std::vec![0; 80];
        put(&mut entry, 0, &[CPU_INTERFACE, 80]);
        put(&mut entry, 12, &flags.to_le_bytes());
        put(&mut entry, 32, &interface.to_le_bytes());
        put(&mut entry, 68, &affinity.to_le_bytes());
        entry
    }

    /// Two processors, a third that is off, a distributor of this version, and redistributors where there are some.
    fn madt(version: u8, redistributors: Option<u64>) -> Vec<u8> {
        let mut madt = std::vec![0; 8];
        for (flags, affinity) in [(1, 0), (8, 0x1_0000_0100), (0, 7)] {
            madt.extend(processor(flags, 0x801_0000, affinity));
        }
        let mut distributor = std::vec![0; 24];
        put(&mut distributor, 0, &[DISTRIBUTOR, 24]);
        put(&mut distributor, 8, &0x800_0000_u64.to_le_bytes());
        distributor[20] = version;
        madt.extend(distributor);
        if let Some(base) = redistributors {
            let mut entry = std::vec![0; 16];
            put(&mut entry, 0, &[REDISTRIBUTORS, 16]);
            put(&mut entry, 4, &base.to_le_bytes());
            put(&mut entry, 12, &0xF6_0000_u32.to_le_bytes());
            madt.extend(entry);
        }
        madt
    }

    fn image(madt: &[u8], boot_flags: u16, spcr: &[u8]) -> Image {
        let mut fadt = std::vec![0; 96];
        put(&mut fadt, 129 - 36, &boot_flags.to_le_bytes());
        Image::new(true, &[(b"FACP", &fadt), (b"APIC", madt), (b"SPCR", spcr)])
    }

    fn spcr(kind: u8, space: u8, access: u8) -> Vec<u8> {
        let mut spcr = std::vec![0; 44];
        (spcr[0], spcr[4], spcr[7]) = (kind, space, access);
        put(&mut spcr, 8, &0x900_0000_u64.to_le_bytes());
        spcr
    }

    fn with<T>(image: &Image, look: impl FnOnce(&Tables<&dyn Fn(u64, &mut [u8])>) -> T) -> T {
        let read = |at: u64, buffer: &mut [u8]| image.read(at, buffer);
        look(&Tables::new(&read as &dyn Fn(u64, &mut [u8]), RSDP).unwrap())
    }

    #[test]
    fn a_server_is_understood() {
        let image = image(&madt(3, Some(0x80A_0000)), 1, &spcr(3, 0, 3));
        with(&image, |tables| {
            assert_eq!(tables.affinities().collect::<Vec<_>>(), [0, 0x1_0000_0100]);
            assert_eq!(tables.gic(), Some(Gic::V3 { distributor: 0x800_0000 }));
            let all = Range { start: 0x80A_0000, size: 0xF6_0000 };
            assert_eq!(tables.redistributors().collect::<Vec<_>>(), [all], "with room for all processors");
            assert_eq!(tables.conduit(), Some(Conduit::Smc));
            assert_eq!(tables.console(), (CONSOLE_PL011, 0x900_0000));
        });
    }

    #[test]
    fn a_vendor_is_named_where_there_is_room_and_the_checksum_stays_right() {
        let mut fadt = std::vec![0; 276 - 36];
        put(&mut fadt, 268 - 36, b"Somebody");
        let mut image = Image::new(true, &[(b"APIC", &[]), (b"FACP", &fadt)]);
        let at = Image::address(1) as usize;
        let sum =
            |image: &Image| image.bytes[at..at + 276].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let before = sum(&image);
        for name in [*b"Plinth\0\0", [0; 8], [0xFF; 8]] {
            let vendor = with(&image, |tables| tables.vendor(name)).unwrap();
            assert_eq!((vendor.at, vendor.name), (at as u64 + 268, name));
            put(&mut image.bytes, vendor.at as usize, &vendor.name);
            image.bytes[vendor.checksum_at as usize] = vendor.checksum;
            assert_eq!(sum(&image), before);
        }
        let short = Image::new(true, &[(b"FACP", &fadt[..275 - 36])]);
        assert_eq!(with(&short, |tables| tables.vendor([0; 8])), None);
    }

    #[test]
    fn the_controllers_version_is_what_the_table_says_or_what_is_there() {
        let gic = |version, redistributors| {
            with(&image(&madt(version, redistributors), 3, &[]), |tables| tables.gic())
        };
        let second = Some(Gic::V2 { distributor: 0x800_0000, interface: 0x801_0000 });
        assert_eq!([gic(2, None), gic(0, None), gic(2, Some(1 << 20))], [second; 3]);
        let third = Some(Gic::V3 { distributor: 0x800_0000 });
        assert_eq!([gic(0, Some(1 << 20)), gic(4, Some(1 << 20))], [third; 2]);
        assert_eq!(gic(3, None), None, "without redistributors");
        assert_eq!(with(&image(&[0; 8], 3, &[]), |tables| tables.gic()), None);
    }

    #[test]
    fn a_processor_may_name_a_redistributor_of_its_own() {
        let mut madt = madt(3, None);
        for (entry, base) in [(8, 0x80A_0000_u64), (88, 0x80C_0000), (168, 0)] {
            put(&mut madt, entry + 60, &base.to_le_bytes());
        }
        let image = image(&madt, 3, &[]);
        let own = |start| Range { start, size: 0x2_0000 };
        with(&image, |tables| {
            assert_eq!(tables.redistributors().collect::<Vec<_>>(), [own(0x80A_0000), own(0x80C_0000)]);
            assert_eq!(tables.gic(), Some(Gic::V3 { distributor: 0x800_0000 }));
        });
    }

    #[test]
    fn the_conduit_is_there_if_psci_is() {
        let conduit = |flags| with(&image(&[0; 8], flags, &[]), |tables| tables.conduit());
        assert_eq!([0, 1, 2, 3].map(conduit), [None, Some(Conduit::Smc), None, Some(Conduit::Hvc)]);
    }

    #[test]
    fn a_console_is_one_that_is_known_and_in_memory() {
        let console = |kind, space, access| {
            with(&image(&[0; 8], 0, &spcr(kind, space, access)), |tables| tables.console())
        };
        assert_eq!(console(0x0E, 0, 0), (CONSOLE_PL011, 0x900_0000));
        assert_eq!(console(0x12, 0, 3), (CONSOLE_16550_MMIO32, 0x900_0000));
        assert_eq!(console(0x00, 0, 1), (CONSOLE_16550_MMIO, 0x900_0000));
        assert_eq!([console(0x00, 1, 1), console(0x55, 0, 0)], [(CONSOLE_NONE, 0); 2]);
    }

    #[test]
    fn broken_tables_are_read_to_their_end() {
        let good = || image(&madt(3, Some(0x80A_0000)), 1, &spcr(3, 0, 3));
        for at in 0..good().bytes.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut broken = good();
                broken.bytes[at] = value;
                let read = |at: u64, buffer: &mut [u8]| broken.read(at, buffer);
                let Some(tables) = Tables::new(read, RSDP) else { continue };
                let _ = (tables.affinities().count(), tables.gic(), tables.conduit(), tables.console());
                let _ = tables.redistributors().count();
            }
        }
    }
}
