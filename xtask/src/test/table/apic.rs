//! The local APIC of the root VM: what reaches the hardware, what of a processor INIT resets, and NMIs.

use super::{End, GUEST_PASSED, LINUX, Payload, Test, intel};

/// A kernel of `tests/guests-bios` on AMD's SVM.
const AMD: Test = Test {
    boards: &["qemu-q35-bios"],
    command_line: "",
    cpus: 2,
    memory: 512,
    end: End::Status(GUEST_PASSED),
    ..LINUX
};

/// The same on Intel's VMX.
const INTEL: Test = Test { command_line: "", cpus: 2, end: End::Seen, ..intel::BIOS };

/// One that tries to start the second processor past the hypervisor.
const ESCAPE: &str = "no write around the APIC's command register starts a processor past the hypervisor";
/// One whose second processor changes its APIC in every way, and is kicked by an extension.
const KICK_MODES: &str =
    "a kick reaches a processor that has given its APIC another id, turned it off, or changed its mode";
/// One whose second processor is reset with all of that changed.
const INIT_RESETS: &str = "INIT resets the local APIC, with an interrupt in service and a running timer, CR2 and the debug registers";
/// One that sends itself an NMI while it handles one.
const NESTED_NMI: &str =
    "an NMI that comes while one is handled is delivered behind the handler's IRET, and none is lost";

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "escape",
        proves: ESCAPE,
        payload: Payload::Guest("escape"),
        expect: &["TEST escape done "],
        ..AMD
    },
    Test {
        name: "escape",
        proves: ESCAPE,
        payload: Payload::Guest("escape"),
        expect: &["TEST escape done ", " passed, 0 failed"],
        ..INTEL
    },
    Test {
        name: "kick-modes",
        proves: KICK_MODES,
        payload: Payload::Guest("kick-modes"),
        extension: Some("kicks"),
        expect: &["TEST kick-modes done "],
        ..AMD
    },
    Test {
        name: "kick-modes",
        proves: KICK_MODES,
        payload: Payload::Guest("kick-modes"),
        extension: Some("kicks"),
        expect: &["TEST kick-modes kick-in-x2apic-mode ok", "TEST kick-modes done ", " passed, 0 failed"],
        ..INTEL
    },
    Test {
        name: "init-resets",
        proves: INIT_RESETS,
        payload: Payload::Guest("init-resets"),
        expect: &["TEST init-resets done "],
        ..AMD
    },
    Test {
        name: "init-resets-bare",
        proves: "what the guest checks holds on the bare machine too",
        payload: Payload::Guest("init-resets"),
        bare: true,
        expect: &["TEST init-resets done "],
        ..AMD
    },
    Test {
        name: "init-resets",
        proves: INIT_RESETS,
        payload: Payload::Guest("init-resets"),
        expect: &["TEST init-resets done ", " passed, 0 failed"],
        ..INTEL
    },
    Test {
        name: "nested-nmi",
        proves: NESTED_NMI,
        payload: Payload::Guest("nested-nmi"),
        cpus: 1,
        expect: &["TEST nested-nmi done "],
        ..AMD
    },
    Test {
        name: "nested-nmi-bare",
        proves: "what the guest checks holds on the bare machine too",
        payload: Payload::Guest("nested-nmi"),
        cpus: 1,
        bare: true,
        expect: &["TEST nested-nmi done "],
        ..AMD
    },
    Test {
        name: "nested-nmi",
        proves: NESTED_NMI,
        payload: Payload::Guest("nested-nmi"),
        cpus: 1,
        expect: &["TEST nested-nmi done ", " passed, 0 failed"],
        ..INTEL
    },
];
