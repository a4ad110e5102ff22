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
];
