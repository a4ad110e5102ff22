//! Sound trees are read, broken ones refused, and none can cause a panic.

mod common;

use common::Writer;
use plinth_device_tree::editor::Editor;
use plinth_device_tree::{
    Firmware, Gic, Module, ModuleKind, Processor, Startup, Tree, forget_hypervisor, name_hypervisor,
    total_size,
};
use plinth_launch::{
    CONSOLE_16550_MMIO, CONSOLE_16550_MMIO32, CONSOLE_CADENCE, CONSOLE_NONE, CONSOLE_PL011, Range,
};
use proptest::prelude::*;

/// A board like a Raspberry Pi: devices behind a bus, processors in a spin table, an alias as the console.
fn board() -> Vec<u8> {
    Writer::tree(|root| {
        root.sizes(2, 1);
        root.text("a-property-whose-name-is-longer-than-thirty-one", "real boards have them");
        root.node("chosen", |chosen| {
            chosen.text("stdout-path", "serial1:115200n8");
            chosen.value("kaslr-seed", &[8; 8]);
            chosen.value("rng-seed", &[9; 32]);
            chosen.node("module@10000000", |module| {
                module.text("compatible", "plinth,kernel");
                module.cells("reg", &[0, 0x1000_0000, 0x1000]);
            });
        });
        root.node("aliases", |aliases| aliases.text("serial1", "/soc/serial@7e215040"));
        root.node("memory@0", |memory| {
            memory.text("device_type", "memory");
            memory.cells("reg", &[0, 0, 0x3C00_0000, 1, 0, 0x4000_0000, 0, 0, 0]);
        });
        root.node("reserved-memory", |reserved| {
            reserved.sizes(2, 1);
            reserved.value("ranges", &[]);
            reserved.node("firmware@3b000000", |node| node.cells("reg", &[0, 0x3B00_0000, 0x10_0000]));
            reserved.node("pool", |node| node.cells("size", &[0x400_0000]));
        });
        root.node("cpus", |cpus| {
            cpus.sizes(1, 0);
            for number in 0..2 {
                cpus.node(&format!("cpu@{number}"), |cpu| {
                    cpu.cells("reg", &[number]);
                    cpu.text("enable-method", "spin-table");
                    cpu.cells("cpu-release-addr", &[0, 0xD8 + number * 8]);
                });
            }
            cpus.node("l2-cache", |cache| cache.text("compatible", "cache"));
        });
        root.node("soc", |soc| {
            soc.sizes(1, 1);
            soc.cells(
                "ranges",
                &[0x7E00_0000, 0, 0x3F00_0000, 0x100_0000, 0x4000_0000, 0, 0xFF80_0000, 0x80_0000],
            );
            soc.node("serial@7e215040", |uart| {
                uart.text("compatible", "brcm,bcm2835-aux-uart");
                uart.cells("reg", &[0x7E21_5040, 0x40]);
            });
            soc.node("interrupt-controller@40041000", |gic| {
                gic.text("compatible", "arm,gic-400");
                gic.cells("reg", &[0x4004_1000, 0x1000, 0x4004_2000, 0x2000]);
            });
        });
    })
}

/// Modules as QEMU's `guest-loader` writes them, and in one cell each.
fn with_modules(cells: Option<u32>) -> Vec<u8> {
    Writer::tree(|root| {
        root.sizes(2, 2);
        root.node("chosen", |chosen| {
            if let Some(cells) = cells {
                chosen.sizes(cells, cells);
            }
            let place = |start: u32, size: u32| {
                if cells == Some(1) { vec![start, size] } else { vec![0, start, 0, size] }
            };
            chosen.node("module@70000000", |module| {
                module.value("compatible", b"multiboot,module\0multiboot,kernel\0");
                module.cells("reg", &place(0x7000_0000, 0x1234));
                module.text("bootargs", "console=ttyAMA0");
            });
            chosen.node("module@74000000", |module| {
                module.value("compatible", b"multiboot,module\0multiboot,ramdisk\0");
                module.cells("reg", &place(0x7400_0000, 0x10));
            });
            chosen.node("module@75000000", |module| {
                module.text("compatible", "plinth,extension");
                module.cells("reg", &[0x7500_0000]);
            });
        });
    })
}

#[test]
fn the_firmwares_random_bytes_are_found() {
    let blob = board();
    let seeds: Vec<_> = Tree::new(&blob).unwrap().seeds().collect();
    assert_eq!(seeds, [&[9_u8; 32][..], &[8; 8][..]]);
}

#[test]
fn files_that_chosen_names_are_found_where_they_lie() {
    for cells in [None, Some(1), Some(2)] {
        let blob = with_modules(cells);
        let tree = Tree::new(&blob).unwrap();
        let range = Range { start: 0x7000_0000, size: 0x1234 };
        let payload = Module { range, arguments: Some("console=ttyAMA0") };
        assert_eq!(tree.module(ModuleKind::Payload), Some(payload), "{cells:?}");
        let range = Range { start: 0x7400_0000, size: 0x10 };
        assert_eq!(tree.module(ModuleKind::Initrd), Some(Module { range, arguments: None }));
        assert_eq!(tree.module(ModuleKind::Kernel), None, "nobody names one");
        assert_eq!(tree.module(ModuleKind::Extension), None, "its place is cut");
    }
}

/// A tree whose console is a UART with these properties.
fn with_uart(compatible: &str, shift: Option<u32>) -> Vec<u8> {
    Writer::tree(|root| {
        root.sizes(1, 1);
        root.node("chosen", |chosen| chosen.text("stdout-path", "/uart@1000"));
        root.node("uart@1000", |uart| {
            uart.text("compatible", compatible);
            uart.cells("reg", &[0x1000, 0x100]);
            if let Some(shift) = shift {
                uart.cells("reg-shift", &[shift]);
            }
        });
    })
}

/// Asks everything there is to ask.
fn read_all(tree: Tree<'_>) -> usize {
    let (kind, _) = tree.console();
    let count = tree.banks().count() + tree.reserved().count() + tree.processors().count();
    let count = count + tree.unmappable().count();
    count
        + tree.spinning().count()
        + ModuleKind::ALL.into_iter().filter_map(|kind| tree.module(kind)).count()
        + kind as usize
        + usize::from(tree.gic() == Gic::V3)
        + tree.private_interrupts().count()
        + usize::from(tree.firmware() == Firmware::Smc)
        + tree.memory_end() as usize % 2
}

#[test]
fn a_board_is_read() {
    let bytes = board();
    assert_eq!(total_size(bytes.first_chunk().unwrap()), Some(bytes.len()));
    let tree = Tree::new(&bytes).unwrap();
    assert_eq!(tree.console(), (CONSOLE_16550_MMIO32, 0x3F21_5040), "translated by the bus");
    let kernel = Module { range: Range { start: 0x1000_0000, size: 0x1000 }, arguments: None };
    assert_eq!(tree.module(ModuleKind::Kernel), Some(kernel));
    assert_eq!(tree.gic(), Gic::V2(0xFF84_2000));
    let distributor = Range { start: 0xFF84_1000, size: 0x1000 };
    assert!(tree.private_interrupts().eq([distributor]), "translated too");
    assert_eq!(tree.firmware(), Firmware::None);
    let processor =
        |affinity, release| Processor { affinity, startup: Startup::SpinTable(release), failed: false };
    assert_eq!(tree.processors().collect::<Vec<_>>(), [processor(0, 0xD8), processor(1, 0xE0)]);
    assert_eq!(tree.spinning().collect::<Vec<_>>(), ["cpu@0", "cpu@1"]);
    let banks = [Range { start: 0, size: 0x3C00_0000 }, Range { start: 1 << 32, size: 0x4000_0000 }];
    assert_eq!(tree.banks().collect::<Vec<_>>(), banks, "the empty one is left out");
    assert_eq!(tree.memory_end(), 0x1_4000_0000);
    let reserved = [Range { start: 0, size: 0x1000 }, Range { start: 0x3B00_0000, size: 0x10_0000 }];
    assert_eq!(tree.reserved().collect::<Vec<_>>(), reserved);
}

#[test]
fn every_range_of_redistributors_is_found() {
    let ranges = |regions: Option<u32>| {
        let blob = Writer::tree(|root| {
            root.sizes(1, 1);
            root.node("interrupt-controller", |gic| {
                gic.text("compatible", "arm,gic-v3");
                if let Some(regions) = regions {
                    gic.cells("#redistributor-regions", &[regions]);
                }
                gic.cells("reg", &[0x1000, 1, 0x2000, 2, 0x3000, 3, 0x4000, 4, 0x5000, 5]);
            });
        });
        Tree::new(&blob).unwrap().private_interrupts().map(|range| range.start).collect::<Vec<_>>()
    };
    assert_eq!(ranges(None), [0x2000], "what follows is the CPU interface's");
    assert_eq!(ranges(Some(2)), [0x2000, 0x3000]);
    assert_eq!(ranges(Some(u32::MAX)), [0x2000, 0x3000, 0x4000]);
}

#[test]
fn consoles_are_known_by_what_they_are_compatible_with() {
    let kind = |compatible, shift| Tree::new(&with_uart(compatible, shift)).unwrap().console();
    assert_eq!(kind("arm,pl011", None), (CONSOLE_PL011, 0x1000));
    assert_eq!(kind("xlnx,zynqmp-uart\0cdns,uart-r1p12", None), (CONSOLE_CADENCE, 0x1000));
    assert_eq!(kind("ns16550a", None), (CONSOLE_16550_MMIO, 0x1000));
    assert_eq!(kind("ns16550a", Some(2)), (CONSOLE_16550_MMIO32, 0x1000));
    assert_eq!(kind("ns16550a", Some(1)), (CONSOLE_NONE, 0));
    assert_eq!(kind("acme,uart", None), (CONSOLE_NONE, 0), "run on without");
}

#[test]
fn a_tree_cut_anywhere_is_refused() {
    let bytes = board();
    for length in 0..bytes.len() {
        assert!(Tree::new(&bytes[..length]).is_err(), "{length}");
    }
    // Also where the header agrees with the cut.
    for length in (40..bytes.len()).step_by(4) {
        let mut cut = bytes[..length].to_vec();
        cut[4..8].copy_from_slice(&(length as u32).to_be_bytes());
        assert!(Tree::new(&cut).is_err(), "{length}");
    }
}

#[test]
fn a_flipped_bit_causes_no_panic() {
    let bytes = board();
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match Tree::new(&flipped) {
            Ok(tree) => drop(read_all(tree)),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn addresses_of_no_cells_are_none() {
    let bytes = Writer::tree(|root| {
        root.sizes(0, 0);
        root.node("memory", |memory| memory.cells("reg", &[1, 2, 3]));
    });
    assert_eq!(Tree::new(&bytes).unwrap().banks().count(), 0);
}

/// A machine with a bank that the secure world has for itself, and memory of the firmware's in one that the OS has.
#[test]
fn memory_that_the_firmware_keeps_is_told_from_the_oss() {
    let bytes = Writer::tree(|root| {
        root.sizes(1, 1);
        for (at, status) in
            [(0x1000_0000, None), (0x2000_0000, Some("okay")), (0x3000_0000, Some("disabled"))]
        {
            root.node(&format!("memory@{at:x}"), |memory| {
                memory.cells("reg", &[at, 0x100_0000]);
                if let Some(status) = status {
                    memory.text("status", status);
                }
            });
        }
        root.node("reserved-memory", |reserved| {
            reserved.sizes(1, 1);
            let mut range = |name: &str, at, properties: &[&str]| {
                reserved.node(name, |node| {
                    node.cells("reg", &[at, 0x1000]);
                    properties.iter().for_each(|property| match *property {
                        "no-map" => node.value("no-map", &[]),
                        status => node.text("status", status),
                    });
                });
            };
            range("optee@10000000", 0x1000_0000, &["no-map"]);
            range("framebuffer@10100000", 0x1010_0000, &[]);
            range("absent@10200000", 0x1020_0000, &["no-map", "disabled"]);
            range("plinth", 0x1030_0000, &["no-map"]);
        });
    });
    let tree = Tree::new(&bytes).unwrap();
    let starts = |ranges: Vec<Range>| ranges.into_iter().map(|range| range.start).collect::<Vec<_>>();
    assert_eq!(starts(tree.banks().collect()), [0x1000_0000, 0x2000_0000]);
    assert_eq!(tree.memory_end(), 0x2100_0000);
    assert_eq!(starts(tree.reserved().collect()), [0, 0x1000_0000, 0x1010_0000, 0x1030_0000]);
    assert_eq!(starts(tree.unmappable().collect()), [0x1000_0000]);
}

#[test]
fn what_is_wrong_is_said() {
    let mut bytes = board();
    bytes[0x48] = 7;
    let error = Tree::new(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the device tree is broken at offset 0x48: a token is out of place; check it with dtc"
    );
}

proptest! {
    #[test]
    fn words_anywhere_cause_no_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..70, any::<u32>()), 1..4)) {
        let mut bytes = board();
        for (index, small, large) in changes {
            let at = index.index(bytes.len() / 4) * 4;
            let word = if large % 2 == 0 { small } else { large };
            bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        if let Ok(tree) = Tree::new(&bytes) {
            read_all(tree);
        }
    }

    #[test]
    fn noise_causes_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 40..400), blocks in (0_u32..300, 0_u32..300)) {
        let length = bytes.len() as u32;
        for (index, word) in [0xD00D_FEED, length, blocks.0, blocks.1, 40, 17, 16, 0, 40, 80].into_iter().enumerate() {
            bytes[index * 4..index * 4 + 4].copy_from_slice(&word.to_be_bytes());
        }
        if let Ok(tree) = Tree::new(&bytes) {
            read_all(tree);
        }
    }
}

/// Linux panics where a node of that name has no `compatible`.
#[test]
fn a_tree_that_forgets_the_hypervisor_has_no_node_for_it() {
    const NODE: &str = "hypervisor";
    let original = board();
    let mut bytes = original.clone();
    bytes.resize(original.len() + 1024, 0);
    let mut editor = Editor::new(&mut bytes).unwrap();
    forget_hypervisor(&mut editor).unwrap();
    name_hypervisor(&mut editor).unwrap();
    assert!(!editor.ensure_node(NODE).unwrap(), "it is named");
    forget_hypervisor(&mut editor).unwrap();
    let total = total_size(bytes.first_chunk().unwrap()).unwrap();
    let (tree, before) = (Tree::new(&bytes[..total]).unwrap(), Tree::new(&original).unwrap());
    assert_eq!(tree.console(), before.console());
    assert!(tree.processors().eq(before.processors()));
    let mut editor = Editor::new(&mut bytes).unwrap();
    assert!(editor.ensure_node(NODE).unwrap(), "it was there still");
}
