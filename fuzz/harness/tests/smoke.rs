//! The harnesses on a fixed set of bytes: noise, and valid inputs with some of their bytes changed.

use plinth_fuzz_harness::acpi::BASE;
use plinth_fuzz_harness::{ALL, Harness};

/// Inputs of each kind for each harness; the machine of `system_calls` costs most.
const ROUNDS: u64 = 300;
const ROUNDS_ON_A_MACHINE: u64 = 12;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = self.next() % 3000;
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// A few bytes become others, or the end is cut off.
    fn spoil(&mut self, valid: &[u8]) -> Vec<u8> {
        let mut bytes = valid.to_vec();
        for _ in 0..1 + self.next() % 6 {
            let at = (self.next() % bytes.len().max(1) as u64) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = [0, 1, 0x7F, 0x80, 0xFF, self.next() as u8][(self.next() % 6) as usize];
            }
        }
        if self.next().is_multiple_of(8) {
            bytes.truncate((self.next() % bytes.len().max(1) as u64) as usize);
        }
        bytes
    }
}

/// An input that the harness accepts, where there is one at hand.
fn valid(name: &str) -> Vec<u8> {
    match name {
        "config" => {
            b"kernel = \"plinth\"\nextension = \"default\"\nmemory = 32\nlog = \"info\"\nlaunch = true\n"
                .to_vec()
        }
        "acpi" => acpi(),
        "multiboot2" => multiboot2(),
        // This very program: an ELF file, if not one for a bare machine.
        "elf" => std::fs::read(std::env::current_exe().unwrap()).unwrap()[..64 * 1024].to_vec(),
        "device_tree" => device_tree(),
        _ => Vec::new(),
    }
}

/// A root pointer, an XSDT and an MADT with two processors (ACPI specification 6.5, 5.2.5 to 5.2.12).
fn acpi() -> Vec<u8> {
    const XSDT: usize = 0x40;
    const MADT: usize = 0x80;
    let mut bytes = vec![0; MADT + 44 + 8 + 16];
    let length = (bytes.len() - MADT) as u32;
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, b"RSD PTR ");
    put(15, &[2]);
    put(24, &(BASE + XSDT as u64).to_le_bytes());
    put(XSDT, b"XSDT\x2c\0\0\0");
    put(XSDT + 36, &(BASE + MADT as u64).to_le_bytes());
    put(MADT, b"APIC");
    put(MADT + 4, &length.to_le_bytes());
    put(MADT + 44, &[0, 8, 0, 0, 1, 0, 0, 0]);
    put(MADT + 52, &[9, 16, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    plinth_fuzz_harness::acpi::correct(&mut bytes);
    bytes
}

/// Boot information: a command line, a module, a memory map, the end.
fn multiboot2() -> Vec<u8> {
    let mut bytes = vec![0; 8];
    let mut tag = |kind: u32, content: &[u8]| {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((8 + content.len() as u32).to_le_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    };
    tag(1, b"log=info\0");
    tag(3, &[&0x20_0000u32.to_le_bytes()[..], &0x30_0000u32.to_le_bytes(), b"kernel plinth\0"].concat());
    let entry = [0x10_0000u64.to_le_bytes(), 0x2000_0000u64.to_le_bytes(), 1u64.to_le_bytes()].concat();
    tag(6, &[&24u32.to_le_bytes()[..], &0u32.to_le_bytes(), &entry].concat());
    tag(14, b"RSD PTR and so on, twenty bytes");
    tag(0, &[]);
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// A device tree of one node with a string property (Devicetree Specification 0.4, chapter 5).
fn device_tree() -> Vec<u8> {
    let structure: Vec<u32> = vec![
        1,
        0, // begin the root node, whose name is empty
        3,
        8,
        0,
        0x6c69_6e75,
        0x782c_7600, // a property of 8 bytes, named by offset 0
        1,
        0x6d65_6d6f,
        0x7279_0000, // begin "memory"
        2,
        2,
        9, // end, end, the end
    ];
    let strings = b"compatible\0";
    let (map, structure_at) = (40u32, 56u32);
    let strings_at = structure_at + structure.len() as u32 * 4;
    let total = strings_at + strings.len() as u32;
    let header = [
        0xd00d_feed,
        total,
        structure_at,
        strings_at,
        map,
        17,
        16,
        0,
        strings.len() as u32,
        structure.len() as u32 * 4,
    ];
    let words = header.into_iter().chain([0; 4]).chain(structure);
    words.flat_map(u32::to_be_bytes).chain(strings.iter().copied()).collect()
}

fn run(name: &str, harness: Harness, rounds: u64) {
    let mut random = Random(0x504C);
    let valid = valid(name);
    harness(&[]);
    harness(&valid);
    for _ in 0..rounds {
        harness(&random.noise());
        if !valid.is_empty() {
            harness(&random.spoil(&valid));
        }
    }
}

#[test]
fn readers_and_tables_bear_anything() {
    for (name, harness) in ALL.iter().filter(|(name, _)| *name != "system_calls") {
        run(name, *harness, ROUNDS);
    }
}

#[test]
fn the_kernel_bears_any_calls() {
    run("system_calls", plinth_fuzz_harness::system_calls, ROUNDS_ON_A_MACHINE);
}

#[test]
fn valid_inputs_are_accepted() {
    assert!(plinth_device_tree::Tree::new(&valid("device_tree")).is_ok());
    assert_eq!(plinth_fuzz_harness::acpi::processors(&valid("acpi")), 2);
    let bytes = valid("multiboot2");
    let info = plinth_loader_multiboot2::boot_info::BootInfo::new(&bytes);
    assert_eq!((info.command_line(), info.module("kernel").is_some()), ("log=info", true));
    let text = String::from_utf8(valid("config")).unwrap();
    assert!(plinth_loader_uefi::config::Config::parse(&text).is_ok());
}

/// The targets of `fuzz/` are these, each with a file.
#[test]
fn every_harness_has_a_fuzz_target() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz_targets");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let names: Vec<_> = files.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
