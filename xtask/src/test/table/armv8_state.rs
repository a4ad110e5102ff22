//! What a VM on Arm can do with its own state, and with its time, to what the hypervisor does with them.

use super::{LINUX, POWER_DOWN, Payload, Test};

/// A guest at EL1.
const GUEST: Test = Test { boards: &["qemu-virt"], command_line: "", memory: 256, timeout: 60, ..LINUX };

/// A guest with its debug locks in every state.
const LOCK: Test = Test {
    name: "lock",
    proves: "an OS lock or OS double lock hides nothing from a hook, keeps no page of the reservation open, and is kept",
    payload: Payload::Guest("armv8-lock"),
    extension: Some("page-hook"),
    expect: &["lock: OS lock 1, double lock 1", "TEST lock stepped-writes-stay ok", "TEST lock done "],
    ..GUEST
};

/// A guest VM that spins for ever, beside a root VM with a timer.
const LATE: Test = Test {
    name: "late",
    proves: "a guest VM that takes no exit keeps no timer interrupt from the root VM, and a timer that is not let in takes no time from it; GICv3",
    payload: Payload::Guest("armv8-late"),
    extension: Some("slices"),
    expect: &["TEST late back-in-time ok", "TEST late timer-comes ok", "TEST late done "],
    ..GUEST
};

pub(super) const TESTS: &[Test] = &[
    LOCK,
    Test {
        name: "lock-vhe",
        proves: "an OS lock hides nothing from a hook, keeps no page of the reservation open, and is kept, in the EL2&0 regime",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..LOCK
    },
    Test {
        name: "linux-ticks-acpi-2",
        boards: &["qemu-virt-uefi"],
        proves: "where ACPI's tables tell of the machine, the second processor has a timer of the hypervisor's too",
        command_line: "plinth.test=smoke",
        extension: Some("ticks"),
        arguments: &["-machine", "acpi=on"],
        cpus: 2,
        expect: &["plinth: pp 1: launched", "ticks: pp 1: 1000 of them", "TEST smoke cpus=2 ok", POWER_DOWN],
        memory: 1024,
        timeout: 300,
        ..LINUX
    },
    LATE,
    Test {
        name: "firmware-timer",
        boards: &["qemu-virt-uefi"],
        proves: "the firmware's timer, which it set up at EL2, goes on at EL1: its events come in time",
        payload: Payload::Guest("firmware-timer"),
        expect: &["plinth: launched on 1", "TEST firmware-timer events=5 ok"],
        memory: 512,
        ..GUEST
    },
    Test {
        name: "late-gicv2-a53",
        proves: "a guest VM that takes no exit keeps no timer interrupt from the root VM, on a Cortex-A53 with GICv2",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        ..LATE
    },
    Test {
        name: "late-vhe",
        proves: "a guest VM that takes no exit keeps no timer interrupt from the root VM, in the EL2&0 regime",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..LATE
    },
];
