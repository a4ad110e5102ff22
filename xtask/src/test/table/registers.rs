//! The registers and ports of the machine: what the root VM finds, and what can be opened to guest VMs.

use super::intel::UEFI;
use super::{GUEST, Payload, Test};

/// The guest that compares all registers with the bare machine's.
const COMPARED: Test = Test {
    payload: Payload::Guest("registers"),
    expect: &["promoted; it runs the bare machine again", "TEST registers done "],
    ..GUEST
};

/// An extension without the group of the machine.
const OPENS: Test = Test {
    payload: Payload::Guest("report"),
    extension: Some("opens"),
    expect: &["opens: 0 of ", "TEST report done "],
    ..GUEST
};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "registers",
        proves: "every MSR and fixed port is as on the bare machine, or differs for a reason; none redirects memory",
        ..COMPARED
    },
    Test {
        name: "registers",
        proves: "every MSR and fixed port is as on the bare machine, or differs for a reason; none redirects memory; Intel VMX",
        boards: UEFI.boards,
        memory: UEFI.memory,
        timeout: UEFI.timeout,
        end: UEFI.end,
        ..COMPARED
    },
    Test {
        name: "registers-smca",
        proves: "every MSR and fixed port is as on the bare machine, or differs for a reason, on QEMU's processor `max`",
        arguments: &["-cpu", "max"],
        ..COMPARED
    },
    Test {
        name: "opens",
        proves: "without the group of the machine an extension opens to a guest VM what each VS has to itself, and nothing else",
        ..OPENS
    },
    Test {
        name: "opens",
        proves: "without the group of the machine an extension opens to a guest VM what each VS has to itself, and nothing else; Intel VMX",
        boards: UEFI.boards,
        end: UEFI.end,
        timeout: UEFI.timeout,
        ..OPENS
    },
];
