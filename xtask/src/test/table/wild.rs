//! A guest VM of random code beside Linux as the root VM, which must not suffer from it.

use super::{LINUX, POWER_DOWN, Test};

/// Some seconds.
///
/// On a fast host the root VM's interrupts leave the guest little of its slices: some dozens to some thousand exits.
const WILD: Test = Test {
    name: "wild",
    proves: "a guest VM of random instructions and registers, on each CPU in turn, changes neither time nor work of Linux",
    command_line: "plinth.test=wild",
    extension: Some("wild"),
    cpus: 2,
    timeout: 300,
    expect: &[
        "extension: wild: seed 0x",
        "extension: wild: 20 exits, ",
        "TEST wild rounds=",
        "TEST wild cpus=2 ok",
        POWER_DOWN,
    ],
    forbid: &["wild: FAILED"],
    ..LINUX
};

/// More than a minute of the root VM's own time.
const WILD_LONG: Test = Test {
    name: "wild-long",
    proves: "a guest VM of random instructions and registers, on each CPU in turn for two minutes, changes neither time nor work of Linux",
    command_line: "plinth.test=wild wild.seconds=120",
    timeout: 1800,
    expect: &[
        "extension: wild: seed 0x",
        "extension: wild: 640 exits, ",
        "TEST wild rounds=",
        "TEST wild cpus=2 ok",
        POWER_DOWN,
    ],
    full: true,
    ..WILD
};

pub(super) const TESTS: &[Test] = &[
    // Not on AMD: QEMU's own process ends there sooner or later, see docs/emulators.md.
    Test { boards: &["qemu-virt"], ..WILD },
    Test { boards: &["qemu-virt"], ..WILD_LONG },
    Test {
        boards: &["bochs-intel"],
        command_line: "plinth.test=wild wild.seconds=2",
        cpus: 1,
        memory: 512,
        timeout: 900,
        expect: &[
            "extension: wild: seed 0x",
            "extension: wild: 160 exits, ",
            "TEST wild rounds=",
            "TEST wild cpus=1 ok",
            POWER_DOWN,
        ],
        ..WILD
    },
];
