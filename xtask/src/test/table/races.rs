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

pub(super) const TESTS: &[Test] = &[
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
