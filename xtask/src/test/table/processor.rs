//! What the processor does, rather than its memory: guests that attack it, modes of it that firmware and OS choose.

use super::intel::{BIOS, UEFI};
use super::{End, GUEST, GUEST_PASSED, LINUX, POWER_DOWN, Payload, Test};

/// Guest VMs that would keep the processor, or leave it changed.
const ATTACKS: Test = Test {
    name: "guest-attacks",
    proves: "a guest VM leaves the root VM its caches, and exceptions that raise each other do not keep the processor",
    payload: Payload::Guest("guest-attacks"),
    extension: Some("guest-attacks"),
    expect: &["TEST guest-attacks done "],
    ..GUEST
};

/// Firmware that pages by five levels, made of one that does not.
const FIVE_LEVELS: Test = Test { before: Some("five-levels"), arguments: &["-cpu", "EPYC,+la57"], ..GUEST };

/// A machine that offers Linux to sleep in memory.
const SLEEP: Test = Test {
    name: "linux-sleep",
    boards: &["qemu-q35-amd", "qemu-q35-bios"],
    proves: "a sleep from which the machine would wake without Plinth is refused; Linux goes on under it, and powers off",
    command_line: "plinth.test=sleep",
    cpus: 2,
    arguments: &["-global", "ICH9-LPC.disable_s3=0"],
    expect: &[ASLEEP, "TEST sleep cpus=2 ok", POWER_DOWN],
    ..LINUX
};

/// What the kernel says of the first sleep that it refuses.
const ASLEEP: &str = "a sleep of the kind 1, from which the machine would wake without Plinth; refused";

/// A kernel that writes the register in every way.
const SLEEPS: Test = Test {
    name: "sleeps",
    boards: &["qemu-q35-bios"],
    proves: "no write to the register that starts a sleep gets through, by any width, place or instruction",
    payload: Payload::Guest("sleeps"),
    command_line: "",
    memory: 512,
    arguments: SLEEP.arguments,
    expect: &[ASLEEP, "TEST sleeps done "],
    end: End::Status(GUEST_PASSED),
    ..LINUX
};

pub(super) const TESTS: &[Test] = &[
    SLEEP,
    SLEEPS,
    Test {
        boards: BIOS.boards,
        timeout: BIOS.timeout,
        arguments: &[],
        expect: &[ASLEEP, "TEST sleeps done ", " passed, 0 failed"],
        end: End::Seen,
        ..SLEEPS
    },
    ATTACKS,
    Test { boards: UEFI.boards, memory: UEFI.memory, timeout: UEFI.timeout, end: UEFI.end, ..ATTACKS },
    Test {
        name: "five-levels-bare",
        proves: "firmware and loader go on under page tables of five levels, without Plinth",
        payload: Payload::Guest("report"),
        bare: true,
        expect: &["TEST before five-levels ok", "TEST report done "],
        ..FIVE_LEVELS
    },
    Test {
        name: "five-levels",
        proves: "Plinth launches under firmware that pages by five levels, and every exit has the bare machine's answer",
        payload: Payload::Guest("exits"),
        expect: &["TEST before five-levels ok", "plinth: pp 0: launched", "TEST exits done "],
        ..FIVE_LEVELS
    },
    Test {
        name: "five-levels-stop",
        proves: "the processor is given back with five levels",
        payload: Payload::Guest("stop"),
        expect: &["TEST before five-levels ok", "plinth: pp 0: promoted", "TEST stop done "],
        ..FIVE_LEVELS
    },
    Test {
        name: "five-levels-crash",
        proves: "the root VM lives on with five levels when the extension crashes",
        payload: Payload::Guest("crash"),
        extension: Some("crashes"),
        expect: &["TEST before five-levels ok", "TEST crash done "],
        ..FIVE_LEVELS
    },
    Test {
        name: "five-levels-later",
        proves: "a root VM that turns to five levels itself lives, and is not given the processor back",
        payload: Payload::Guest("five-levels"),
        before: None,
        expect: &["the root VM pages in the mode Long5, the kernel in Long4", "TEST five-levels done "],
        ..FIVE_LEVELS
    },
];
