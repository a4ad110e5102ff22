//! Broken files beside the loader: it names the file, what is wrong with it and what to do, and Linux boots
//! without Plinth.

use super::{BARE_2, End, Fault, GOING_ON, NOT_LAUNCHED, POWER_DOWN, Test};

const MISSING: &str =
    "there is no such file on the loader's volume; copy it there, or correct its name in plinth.toml";
const CUT_SHORT: &str =
    "a header or a segment ends outside the file; it is cut short or damaged, copy or build it again";
const NOT_ELF: &str = "not an ELF file; name a static or static-PIE ELF executable";

/// The kernel's file, the extension's and the payload's.
const KERNEL: &str = "plinth";
const EXTENSION: &str = "default";
const PAYLOAD: &str = "vmlinuz";

/// No payload can be started, so the firmware gets the machine back.
const NO_PAYLOAD: Test = Test { end: End::Seen, timeout: 60, ..NOT_LAUNCHED };

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "kernel-missing",
        proves: "a missing kernel is named",
        faults: &[Fault::Missing(KERNEL)],
        expect: &[r"plinth: not launched: \EFI\BOOT\plinth: ", MISSING, GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "kernel-truncated",
        proves: "a kernel that is cut short is named",
        faults: &[Fault::Truncated(KERNEL, 5000)],
        expect: &[r"plinth: not launched: \EFI\BOOT\plinth: ", CUT_SHORT, GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "kernel-corrupted",
        proves: "a kernel that is something else is named",
        faults: &[Fault::Patched(KERNEL, 0, b"\0\0\0\0")],
        expect: &[r"plinth: not launched: \EFI\BOOT\plinth: ", NOT_ELF, GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "extension-missing",
        proves: "a missing extension is named",
        faults: &[Fault::Missing(EXTENSION)],
        expect: &[r"plinth: not launched: \EFI\BOOT\default: ", MISSING, GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "extension-truncated",
        proves: "an extension that is cut short is named",
        faults: &[Fault::Truncated(EXTENSION, 5000)],
        expect: &[r"plinth: not launched: \EFI\BOOT\default: ", CUT_SHORT, GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "extension-corrupted",
        proves: "an extension that is something else is named",
        faults: &[Fault::Replaced(EXTENSION, b"#!/bin/sh\n")],
        expect: &[r"plinth: not launched: \EFI\BOOT\default: ", NOT_ELF, GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "extension-overlapping",
        proves: "an extension whose segments overlap is refused",
        faults: &[Fault::Overlapping(EXTENSION)],
        expect: &[
            r"plinth: not launched: \EFI\BOOT\default: segment ",
            "shares a page with another segment; align segments to 4096 bytes",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "extension-writable-code",
        proves: "an extension with a segment that is writable and executable is refused",
        faults: &[Fault::WritableCode(EXTENSION)],
        expect: &[
            r"plinth: not launched: \EFI\BOOT\default: segment ",
            "is both writable and executable; give code and data segments of their own",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "payload-missing",
        proves: "a missing payload is named",
        faults: &[Fault::Missing(PAYLOAD)],
        expect: &["plinth: launched on 2 processor(s)", r"plinth: cannot start \EFI\BOOT\vmlinuz: ", MISSING],
        ..NO_PAYLOAD
    },
    Test {
        name: "payload-truncated",
        proves: "a payload that is cut short is named",
        faults: &[Fault::Truncated(PAYLOAD, 5000)],
        expect: &[
            "plinth: launched on 2 processor(s)",
            r"plinth: cannot start \EFI\BOOT\vmlinuz: ",
            "not an EFI application for this machine, or a damaged one",
        ],
        ..NO_PAYLOAD
    },
    Test {
        name: "payload-corrupted",
        proves: "a payload that is something else is named",
        faults: &[Fault::Replaced(PAYLOAD, b"not a kernel")],
        expect: &[
            "plinth: launched on 2 processor(s)",
            r"plinth: cannot start \EFI\BOOT\vmlinuz: ",
            "not an EFI application for this machine, or a damaged one",
        ],
        ..NO_PAYLOAD
    },
    Test {
        name: "config-missing",
        proves: "without a plinth.toml the loader says so and tries the next boot entry",
        faults: &[Fault::Missing("plinth.toml")],
        expect: &[r"plinth: not launched: \EFI\BOOT\plinth.toml: ", MISSING, GOING_ON],
        ..NO_PAYLOAD
    },
    Test {
        name: "config-wrong-key",
        proves: "a wrong key of plinth.toml is named with its line and the right ones",
        settings: &["extensoin = \"default\""],
        expect: &[
            "plinth: not launched: plinth.toml, line ",
            "unknown field `extensoin`, expected one of `kernel`, `extension`",
            "correct the file and start again",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "memory-too-small",
        proves: "a hypervisor with too little memory is not launched",
        settings: &["memory = 4"],
        expect: &[
            "plinth: not launched: plinth.toml, line ",
            "`memory` is 4 MiB, but must be from 8 to 4096; correct the file",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "memory-too-large",
        proves: "a hypervisor that wants more memory than there is is not launched",
        settings: &["memory = 2048"],
        expect: &[
            "plinth: not launched: the firmware has no ",
            "of free memory in one piece for the hypervisor",
            "lower `memory` in plinth.toml, or add memory",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
];
