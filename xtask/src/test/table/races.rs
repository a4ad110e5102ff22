//! Extensions whose processors get in each other's way, on every kind of processor.

use super::{End, GUEST_PASSED, LINUX, LONG_TURNS, Payload, Test};

/// A guest whose second processor changes the registers of the first one's exits.
const RACE: Test = Test {
    name: "race",
    proves: "a register of an exit that another processor changes meanwhile is not checked in one form and used in another",
    payload: Payload::Guest("race"),
    command_line: "",
    extension: Some("races"),
    settings: LONG_TURNS,
    cpus: 2,
    memory: 512,
    expect: &["TEST race strikes-begin ok", "TEST race closed-register-is-nobodys ok", "TEST race done "],
    ..LINUX
};

/// A guest whose second processor gets in the way of the calls that the extension makes on the first one.
const FEUD: Test = Test {
    name: "feud",
    proves: "10,000 calls, whose objects, pages and exit page another processor takes away and overwrites meanwhile, lose nothing",
    payload: Payload::Guest("feud-root"),
    extension: Some("feud"),
    expect: &[
        "extension: feud: 10000 rounds, ",
        "TEST feud no-leaks ok",
        "TEST feud each-kind-succeeds ok",
        "TEST feud done ",
    ],
    ..RACE
};

const FEUD_LONG: Test = Test {
    name: "feud-long",
    proves: "100,000 calls, whose objects, pages and exit page another processor takes away and overwrites meanwhile, lose nothing",
    extension: Some("feud-long"),
    expect: &[
        "extension: feud: 100000 rounds, ",
        "TEST feud no-leaks ok",
        "TEST feud each-kind-succeeds ok",
        "TEST feud done ",
    ],
    timeout: 3600,
    full: true,
    ..FEUD
};

/// A guest that asks for the bare machine while its second processor runs.
const HALF_OUT: Test = Test {
    name: "half-out",
    proves: "one processor alone never gets the bare machine back: both leave, or neither does",
    payload: Payload::Guest("half-out"),
    extension: None,
    settings: &[],
    expect: &["no PP leaves", "TEST half-out second-sees-what-the-first-one-does ok", "TEST half-out done "],
    ..RACE
};

/// The same on Arm.
const ARM: Test = Test { boards: &["qemu-virt"], payload: Payload::Guest("armv8-feud"), memory: 256, ..FEUD };

pub(super) const TESTS: &[Test] = &[
    Test { boards: &["qemu-q35-bios"], end: End::Status(GUEST_PASSED), ..HALF_OUT },
    Test { boards: &["bochs-intel"], end: End::Seen, timeout: 300, ..HALF_OUT },
    Test { boards: &["qemu-q35-bios"], end: End::Status(GUEST_PASSED), ..FEUD },
    Test { boards: &["qemu-q35-bios"], end: End::Status(GUEST_PASSED), ..FEUD_LONG },
    Test { boards: &["bochs-intel"], end: End::Seen, ..FEUD_LONG },
    Test { boards: &["bochs-intel"], end: End::Seen, timeout: 900, ..FEUD },
    ARM,
    Test { boards: ARM.boards, payload: ARM.payload, memory: ARM.memory, ..FEUD_LONG },
    Test { boards: &["qemu-q35-bios"], end: End::Status(GUEST_PASSED), ..RACE },
    Test { boards: &["bochs-intel"], end: End::Seen, timeout: 900, ..RACE },
    Test {
        boards: &["qemu-virt"],
        payload: Payload::Guest("armv8-race"),
        cpus: 3,
        memory: 256,
        expect: &[
            "TEST race strikes-begin ok",
            "TEST race third-processor-is-under-plinth ok",
            "TEST race done ",
        ],
        ..RACE
    },
];
