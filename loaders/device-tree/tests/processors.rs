//! Every processor that a tree names is started in a way that is known, or in none: what the hypervisor takes for off must
//! not be what the OS takes for spinning.

mod common;

use common::Writer;
use plinth_device_tree::editor::Editor;
use plinth_device_tree::{Firmware, Processor, Startup, Tree, start_by_psci, total_size};

/// What a tree says of PSCI: the path of its node, and its properties.
#[derive(Clone, Copy)]
struct Psci {
    path: &'static [&'static str],
    compatible: &'static str,
    method: &'static str,
    status: Option<&'static str>,
}

const PSCI: Psci =
    Psci { path: &["psci"], compatible: "arm,psci-1.0\0arm,psci-0.2", method: "smc", status: None };

/// A processor's node: its name, `device_type`, `enable-method`, `status` and spin table.
#[derive(Clone, Copy, Default)]
struct Cpu {
    name: Option<&'static str>,
    kind: Option<&'static str>,
    method: Option<&'static str>,
    status: Option<&'static str>,
    release: Option<u32>,
}

fn put(node: &mut Writer, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        node.text(name, text);
    }
}

fn psci(node: &mut Writer, path: &[&str], psci: &Psci) {
    if let [first, rest @ ..] = path {
        return node.node(first, |inner| self::psci(inner, rest, psci));
    }
    node.text("compatible", psci.compatible);
    node.text("method", psci.method);
    put(node, "status", psci.status);
}

fn tree(nodes: &[Psci], cpus: &[Cpu]) -> Vec<u8> {
    Writer::tree(|root| {
        root.sizes(2, 2);
        for node in nodes {
            psci(root, node.path, node);
        }
        root.node("cpus", |list| {
            list.sizes(1, 0);
            for (number, cpu) in cpus.iter().enumerate() {
                let name = cpu.name.unwrap_or("cpu");
                list.node(&format!("{name}@{number}"), |node| {
                    node.cells("reg", &[number as u32]);
                    put(node, "device_type", cpu.kind);
                    put(node, "enable-method", cpu.method);
                    put(node, "status", cpu.status);
                    if let Some(release) = cpu.release {
                        node.cells("cpu-release-addr", &[0, release]);
                    }
                });
            }
        });
    })
}

fn startups(blob: &[u8]) -> Vec<Startup> {
    Tree::new(blob).unwrap().processors().map(|processor| processor.startup).collect()
}

const SPINS: Cpu =
    Cpu { method: Some("spin-table"), release: Some(0xD8), name: None, kind: None, status: None };
const BY_PSCI: Cpu = Cpu { method: Some("psci"), release: None, ..SPINS };

#[test]
fn psci_is_found_by_what_it_is_compatible_with() {
    let firmware = |node| Tree::new(&tree(&[node], &[BY_PSCI])).unwrap().firmware();
    assert_eq!(firmware(PSCI), Firmware::Smc);
    assert_eq!(firmware(Psci { path: &["firmware", "psci"], ..PSCI }), Firmware::Smc);
    assert_eq!(firmware(Psci { path: &["psci-0"], compatible: "arm,psci", ..PSCI }), Firmware::Smc);
    assert_eq!(firmware(Psci { method: "hvc", status: Some("okay"), ..PSCI }), Firmware::Hvc);
    assert_eq!(firmware(Psci { compatible: "acme,psci", ..PSCI }), Firmware::None, "by the name alone");
    assert_eq!(firmware(Psci { method: "ioctl", ..PSCI }), Firmware::None);
}

#[test]
fn psci_that_is_not_available_is_none() {
    for status in ["disabled", "fail", "reserved", ""] {
        let off = Psci { status: Some(status), ..PSCI };
        assert_eq!(Tree::new(&tree(&[off], &[])).unwrap().firmware(), Firmware::None, "{status}");
        // Linux takes the first one and looks no further.
        let second = Psci { path: &["psci-2"], ..PSCI };
        assert_eq!(Tree::new(&tree(&[off, second], &[])).unwrap().firmware(), Firmware::None);
    }
}

#[test]
fn each_processor_is_started_as_its_own_node_says() {
    for node in [&[PSCI][..], &[Psci { status: Some("disabled"), ..PSCI }], &[]] {
        let mixed = tree(node, &[BY_PSCI, SPINS]);
        assert_eq!(startups(&mixed), [Startup::Psci, Startup::SpinTable(0xD8)]);
    }
    let stale = Cpu { release: Some(0xD8), ..BY_PSCI };
    assert_eq!(startups(&tree(&[PSCI], &[stale])), [Startup::Psci], "a word that nothing refers to");
}

#[test]
fn what_is_not_understood_is_said() {
    let methods = ["brcm,bcm2836-smp", "qcom,kpss-acc-v2", "acpi-parking-protocol", "spin-table ", ""];
    for method in methods.map(Some) {
        assert_eq!(startups(&tree(&[PSCI], &[Cpu { method, ..BY_PSCI }])), [Startup::Unknown]);
    }
    let no_word = Cpu { release: None, ..SPINS };
    assert_eq!(startups(&tree(&[PSCI], &[no_word])), [Startup::Unknown]);
    let silent = Cpu { method: None, ..BY_PSCI };
    assert_eq!(startups(&tree(&[PSCI], &[silent])), [Startup::Psci], "what else could start it");
    assert_eq!(startups(&tree(&[], &[silent])), [Startup::Unknown]);
}

#[test]
fn processors_are_those_that_linux_finds() {
    let named = Cpu { name: Some("cortex-a53"), kind: Some("cpu"), ..SPINS };
    let other = Cpu { name: Some("l2-cache"), kind: Some("cache"), ..SPINS };
    assert_eq!(startups(&tree(&[], &[named, other])), [Startup::SpinTable(0xD8)]);
}

#[test]
fn a_status_keeps_no_processor_from_being_started() {
    let failed = |status| {
        let blob = tree(&[], &[Cpu { status: Some(status), ..SPINS }]);
        let found: Vec<Processor> = Tree::new(&blob).unwrap().processors().collect();
        assert_eq!(found.len(), 1, "{status}");
        assert_eq!(found[0].startup, Startup::SpinTable(0xD8));
        found[0].failed
    };
    assert_eq!(["okay", "disabled", "fail", "fail-sss"].map(failed), [false, false, true, true]);
}

#[test]
fn a_processor_without_a_number_is_not_overlooked() {
    let blob = Writer::tree(|root| {
        root.node("cpus", |cpus| {
            cpus.sizes(1, 0);
            cpus.node("cpu@0", |cpu| {
                cpu.text("enable-method", "spin-table");
                cpu.cells("cpu-release-addr", &[0, 0xD8]);
            });
        });
    });
    assert_eq!(startups(&blob), [Startup::Unknown]);
}

/// The tree that a payload gets.
fn edited(blob: &[u8]) -> Vec<u8> {
    let mut room = blob.to_vec();
    room.resize(blob.len() + 4096, 0);
    start_by_psci(&mut Editor::new(&mut room).unwrap(), Tree::new(blob).unwrap()).unwrap();
    room.truncate(total_size(room.first_chunk().unwrap()).unwrap());
    room
}

#[test]
fn the_payload_finds_psci_and_the_kernel_the_spin_table() {
    let cases: [(&[Psci], Firmware); 4] = [
        (&[], Firmware::Hvc),
        (&[PSCI], Firmware::Smc),
        (&[Psci { status: Some("disabled"), ..PSCI }], Firmware::Hvc),
        (&[Psci { path: &["firmware", "psci"], status: Some("disabled"), ..PSCI }], Firmware::Hvc),
    ];
    for (nodes, firmware) in cases {
        let blob = edited(&tree(nodes, &[SPINS, BY_PSCI]));
        assert_eq!(Tree::new(&blob).unwrap().firmware(), firmware);
        assert_eq!(startups(&blob), [Startup::SpinTable(0xD8), Startup::Psci], "for the kernel");
        let methods = blob.windows(11).filter(|bytes| *bytes == b"spin-table\0").count();
        assert_eq!(methods, 1, "the former method alone is a spin table");
    }
    let untouched = tree(&[PSCI], &[BY_PSCI]);
    assert_eq!(edited(&untouched), untouched);
}
