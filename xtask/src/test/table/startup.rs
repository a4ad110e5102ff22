//! How an Arm machine's processors are started, in every way in which a device tree can tell it: each one is under Plinth, or
//! nothing is launched.

use super::{End, Fault, LINUX, POWER_DOWN, Payload, SIGNATURE, Test};

/// The tree beside the loader's file, and the one in it.
const BOARD: &str = "board.dtb";
const OWN: &str = "own.dtb";

/// Linux on QEMU's own board, by a tree in the loader's file.
const VIRT: Test = Test { boards: &["qemu-virt"], own_tree: true, cpus: 2, memory: 512, ..LINUX };

/// Nothing is launched.
const REFUSED: Test = Test {
    command_line: "",
    end: End::Seen,
    timeout: 60,
    expect: &["plinth: not launched: a processor could be started outside Plinth"],
    ..VIRT
};

/// A guest that starts its second processor three times.
const STARTS: Test = Test {
    payload: Payload::Guest("armv8-starts"),
    extension: Some("faults-in-second-bootstrap"),
    command_line: "",
    own_tree: false,
    timeout: 60,
    expect: &[
        "pp 1: the root VM has started it, but it stays off: the extension faulted while starting",
        "TEST starts arrived=0 off=3 ok",
        "TEST starts done ",
    ],
    ..VIRT
};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "faults-in-second-bootstrap-2",
        proves: "a processor that the extension cannot have is off again, as often as the root VM starts it, and the others live",
        ..STARTS
    },
    Test {
        name: "faults-in-second-bootstrap-4",
        boards: &["rpi3"],
        proves: "a CPU out of a spin table that the extension cannot have is off again, and the others live",
        cpus: 4,
        memory: 1024,
        end: End::Seen,
        ..STARTS
    },
    Test {
        name: "starts-after-crash-2",
        proves: "a processor that is started after the extension's end runs without it",
        extension: Some("dead-bootstrap"),
        expect: &[
            "the extension is gone (it faulted)",
            "TEST starts arrived=3 off=0 ok",
            "TEST starts done ",
        ],
        ..STARTS
    },
    Test {
        name: "psci-disabled-4",
        boards: &["rpi3"],
        proves: "beside a PSCI that is switched off in the tree, processors are taken out of their spin table: all 4 are under Plinth",
        command_line: "plinth.test=outside",
        cpus: 4,
        faults: &[
            Fault::Property(BOARD, &["psci"], "compatible", b"arm,psci-1.0\0arm,psci-0.2\0"),
            Fault::Property(BOARD, &["psci"], "method", b"smc\0"),
            Fault::Property(BOARD, &["psci"], "status", b"disabled\0"),
        ],
        expect: &["plinth: pp 1: launched", "TEST outside cpus=4 ok"],
        forbid: &["inconsistent modes"],
        end: End::Seen,
        ..LINUX
    },
    Test {
        name: "psci-elsewhere-2",
        proves: "PSCI is found by what its node is compatible with, whatever the node is called",
        faults: &[Fault::Substituted(OWN, b"\0\0\0\x01psci\0", b"\0\0\0\x01fw-0\0")],
        expect: &["plinth: pp 1: launched", SIGNATURE, "TEST smoke cpus=2 ok", POWER_DOWN],
        ..VIRT
    },
    Test {
        name: "unknown-startup",
        proves: "a processor that is started in a way that Plinth does not know is a reason not to launch",
        faults: &[Fault::Property(OWN, &["cpus", "cpu@1"], "enable-method", b"brcm,bcm2836-smp\0")],
        ..REFUSED
    },
    Test {
        name: "spin-table-nowhere",
        proves: "a processor whose spin table is not in memory is a reason not to launch",
        faults: &[
            Fault::Property(OWN, &["cpus", "cpu@1"], "enable-method", b"spin-table\0"),
            Fault::Property(OWN, &["cpus", "cpu@1"], "cpu-release-addr", b"\0\0\x10\0\0\0\0\0"),
        ],
        expect: &["plinth: not launched: a processor did not leave its spin table"],
        ..REFUSED
    },
    Test {
        name: "spin-table-without-a-reader",
        proves: "a processor that does not leave its spin table is a reason not to launch",
        faults: &[
            Fault::Property(OWN, &["cpus", "cpu@1"], "enable-method", b"spin-table\0"),
            Fault::Property(OWN, &["cpus", "cpu@1"], "cpu-release-addr", b"\0\0\0\0\x40\0\0\0"),
        ],
        expect: &["plinth: not launched: a processor did not leave its spin table"],
        ..REFUSED
    },
];
