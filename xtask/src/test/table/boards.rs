//! The boards for Arm beside QEMU's own: each boots Debian's Linux as the root VM. And what the loader of these boards
//! says when its file is not as it should be.

use crate::test::conformance;

use super::armv8::SLICES;
use super::{End, Fault, LINUX, LONG_TURNS, POWER_DOWN, Payload, SIGNATURE, Test};

/// Linux on 2 CPUs of the boards that only differ in what starts it.
const FIRMWARE: Test = Test {
    name: "linux-2",
    proves: "Debian's Linux boots as the root VM behind this firmware, works and powers off, on 2 CPUs",
    cpus: 2,
    expect: &["plinth: pp 1: launched", SIGNATURE, "TEST smoke cpus=2 ok", POWER_DOWN],
    ..LINUX
};

/// Linux on 4 CPUs that wait in a spin table. Nobody can switch such a board off.
const SPIN_TABLE: Test = Test {
    name: "linux-4",
    cpus: 4,
    expect: &["plinth: pp 3: launched", SIGNATURE, "TEST smoke cpus=4 ok"],
    end: End::Seen,
    ..FIRMWARE
};

/// Every kind of exit.
const EXITS: Test = Test {
    name: "exits",
    proves: "every kind of exit that a guest at EL1 can cause has the bare machine's answer",
    payload: Payload::Guest("armv8-exits"),
    command_line: "",
    expect: &["TEST exits done "],
    ..LINUX
};

/// Every call of the ABI.
pub(super) const CONFORMANCE: Test = Test {
    name: "conformance",
    proves: "the kernel serves every call of the ABI, and every error of it, as they are specified",
    payload: Payload::Guest("armv8-attack"),
    command_line: "",
    extension: Some("conformance"),
    settings: LONG_TURNS,
    expect: &["extension: ABI done: ", ", 0 failed", "TEST attack done "],
    forbid: &["ABI .* FAILED"],
    check: Some(conformance::check),
    ..LINUX
};

/// What is wrong with the bundle is said on the console, and nothing is started: there is nothing else to boot.
const REFUSED: Test =
    Test { boards: &["qemu-virt"], command_line: "", memory: 512, end: End::Seen, timeout: 60, ..LINUX };

/// The device tree in the loader's file.
const TREE: &str = "own.dtb";
/// The loader's settings: 32 MiB, log level 3, and a PL011 that is there whatever the device tree says.
const OWN_CONSOLE: Fault =
    Fault::Replaced("settings", b"\x20\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0");
/// The bank of memory as QEMU tells it, 512 MiB from 1 GiB on, and one that ends far behind it.
const QEMU_MEMORY: [u8; 16] = [0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0];
const TOO_MUCH_MEMORY: [u8; 16] = [0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0];
/// A device tree that is not as it should be is named on the console that the file itself names.
const BAD_TREE: Test = Test { own_tree: true, ..REFUSED };

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "payload-is-no-image",
        proves: "a payload without an Image header is refused by name",
        faults: &[Fault::Replaced("vmlinuz", b"MZ, but no Linux")],
        expect: &["plinth: not launched: the payload is no arm64 Linux Image"],
        ..REFUSED
    },
    Test {
        name: "payload-truncated-header",
        proves: "a payload that ends in its header is refused by name",
        faults: &[Fault::Truncated("vmlinuz", 48)],
        expect: &["plinth: not launched: the payload is no arm64 Linux Image"],
        ..REFUSED
    },
    Test {
        name: "kernel-is-no-elf",
        proves: "a kernel that is no ELF file is refused by name",
        faults: &[Fault::Replaced("plinth", b"text")],
        expect: &["plinth: not launched: the kernel's ELF file is refused: not an ELF file"],
        ..REFUSED
    },
    Test {
        name: "extension-is-cut",
        proves: "an extension that was cut short is refused by name",
        faults: &[Fault::Truncated("extension", 1000)],
        expect: &["plinth: not launched: the extension's ELF file is refused"],
        ..REFUSED
    },
    Test {
        name: "reservation-does-not-fit",
        proves: "more memory for the hypervisor than there is is refused",
        settings: &["memory = 4096"],
        expect: &["plinth: not launched: there is no free memory for the hypervisor"],
        ..REFUSED
    },
    Test {
        name: "tree-in-the-file",
        proves: "a device tree in the loader's file does instead of the firmware's",
        own_tree: true,
        faults: &[Fault::Substituted(TREE, b"linux,dummy-virt", b"linux,own-tree!!")],
        expect: &["plinth: pp 1: launched", SIGNATURE, "TEST smoke cpus=2 ok", POWER_DOWN],
        boards: &["qemu-virt"],
        memory: 512,
        ..FIRMWARE
    },
    Test {
        name: "tree-is-cut",
        proves: "a device tree that was cut short is refused with the place",
        faults: &[Fault::Truncated(TREE, 5000), OWN_CONSOLE],
        expect: &[
            "plinth: not launched: the device tree is broken at offset 0x4: its total size is not that of its memory",
        ],
        ..BAD_TREE
    },
    Test {
        name: "tree-is-absurd",
        proves: "a device tree whose blocks lie outside is refused with the place",
        faults: &[Fault::Patched(TREE, 8, b"\xFF\xFF\xFF\xF0"), OWN_CONSOLE],
        expect: &["plinth: not launched: the device tree is broken at offset 0x8: a block lies outside"],
        ..BAD_TREE
    },
    Test {
        name: "tree-is-text",
        proves: "something that is no device tree is refused",
        faults: &[Fault::Replaced(TREE, b"/dts-v1/; / { model = \"source, not blob\"; };"), OWN_CONSOLE],
        expect: &[
            "plinth: not launched: the device tree is broken at offset 0x0: no device tree begins here",
        ],
        ..BAD_TREE
    },
    Test {
        name: "tree-without-memory",
        proves: "a device tree without /memory is refused, on the console that it names",
        faults: &[Fault::Substituted(TREE, b"memory", b"nomemo")],
        expect: &["plinth: not launched: no /memory in the device tree holds this file"],
        ..BAD_TREE
    },
    Test {
        name: "tree-with-wrong-memory",
        proves: "memory that is not there is an exception with its address, and no silence",
        faults: &[Fault::Substituted(TREE, &QEMU_MEMORY, &TOO_MUCH_MEMORY)],
        expect: &["plinth: not launched: an exception at ", "does the device tree's memory exist?"],
        ..BAD_TREE
    },
    Test {
        name: "unknown-uart",
        proves: "on a board whose UART is not known Linux runs under Plinth, without a line of Plinth's, and the ring records",
        own_tree: true,
        faults: &[Fault::Substituted(TREE, b"arm,pl011", b"arm,other")],
        expect: &[SIGNATURE, "TEST smoke cpus=2 ok", POWER_DOWN],
        forbid: &["^plinth: "],
        in_memory: Some(
            // Records follow each other, each with a header before its text.
            r"(?s-u)kernel at .{1,300}extension at .{1,300}pp 0: launched; .{1,300}pp 1: launched",
        ),
        boards: &["qemu-virt"],
        memory: 512,
        ..FIRMWARE
    },
    Test {
        name: "entered-at-el1",
        proves: "a machine without EL2 is refused, and the loader says at which level it was entered",
        arguments: &["-machine", "virtualization=off"],
        expect: &["plinth: not launched: "],
        ..REFUSED
    },
    Test {
        boards: &["qemu-virt-uefi", "qemu-virt-uboot-efi"],
        expect: &["plinth: launched on 1", "plinth: pp 1: launched", "TEST smoke cpus=2 ok", POWER_DOWN],
        ..FIRMWARE
    },
    Test {
        name: "linux-acpi-2",
        boards: &["qemu-virt-uefi"],
        proves: "Linux boots as the root VM where the firmware has ACPI alone: GICv3, PSCI, console and CPUs are found in its tables",
        arguments: &["-machine", "acpi=on"],
        expect: &[
            "plinth: launched on 1",
            "ACPI: XSDT ",
            "plinth: pp 1: launched",
            "TEST smoke cpus=2 ok",
            POWER_DOWN,
        ],
        ..FIRMWARE
    },
    Test {
        name: "linux-acpi-gicv2-2",
        boards: &["qemu-virt-uefi"],
        proves: "Linux boots as the root VM where the firmware has ACPI alone, with GICv2",
        arguments: &["-machine", "acpi=on,gic-version=2"],
        expect: &["plinth: launched on 1", "plinth: pp 1: launched", "TEST smoke cpus=2 ok", POWER_DOWN],
        ..FIRMWARE
    },
    Test { boards: &["qemu-virt-uboot"], ..FIRMWARE },
    Test {
        name: "linux-named-in-chosen-2",
        boards: &["qemu-virt"],
        proves: "a payload that is not in the loader's file is found in memory, where the device tree names it, with its RAM disk",
        modules: true,
        ..FIRMWARE
    },
    Test {
        name: "payload-nowhere",
        proves: "a loader without a payload, which the device tree does not name either, says so",
        faults: &[Fault::Missing("vmlinuz")],
        expect: &["plinth: not launched: the file has no payload, and /chosen names none in memory"],
        ..REFUSED
    },
    Test {
        name: "linux-2",
        boards: &["versal"],
        proves: "Debian's Linux boots as the root VM, works and powers off, on both processors",
        cpus: 4,
        memory: 2048,
        ..FIRMWARE
    },
    Test {
        name: "linux-2",
        boards: &["zcu102"],
        proves: "Debian's Linux works as the root VM behind aliased GICv2 registers and a Cadence UART, on 2 CPUs",
        memory: 2048,
        ..FIRMWARE
    },
    Test {
        boards: &["rpi3"],
        proves: "Debian's Linux works as the root VM without GIC and PSCI: 4 CPUs out of a spin table, taken off-line and back",
        ..SPIN_TABLE
    },
    Test {
        boards: &["rpi4"],
        proves: "Debian's Linux works as the root VM with a GIC, without PSCI: 4 CPUs out of a spin table, taken off-line and back",
        memory: 2048,
        ..SPIN_TABLE
    },
    Test { boards: &["versal"], cpus: 4, memory: 2048, ..EXITS },
    Test { boards: &["rpi3"], cpus: 4, end: End::Seen, ..EXITS },
    Test { boards: &["rpi4"], cpus: 4, memory: 2048, end: End::Seen, ..EXITS },
    Test {
        boards: &["rpi3"],
        proves: "the timer of a PP ends a run of a guest VM without a GIC too, where no interrupt comes",
        cpus: 4,
        memory: 1024,
        end: End::Seen,
        ..SLICES
    },
    Test { boards: &["versal"], cpus: 4, memory: 2048, ..CONFORMANCE },
    Test { boards: &["zcu102"], cpus: 2, memory: 2048, ..CONFORMANCE },
    Test { boards: &["rpi3"], cpus: 4, end: End::Seen, ..CONFORMANCE },
    Test { boards: &["rpi4"], cpus: 4, memory: 2048, end: End::Seen, ..CONFORMANCE },
];
