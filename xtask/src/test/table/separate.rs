//! An extension with page tables of its own. Bochs' processors leak, as far as they say, so that all tests on Intel run with
//! them; these are about both choices on both vendors' processors.

use super::{GUEST, LINUX, LONG_TURNS, POWER_DOWN, Payload, SIGNATURE, Test, intel};

const ON: &str = "separate-tables = on";
const OFF: &str = "separate-tables = off";
/// What the kernel says of the choice.
const SEPARATE: &str = "the extension runs on page tables of its own";
const PCIDS: &str = "the extension runs on page tables of its own, with PCIDs";
const SHARED: &str = "the extension runs on the kernel's page tables";
/// A page fault of a read by user mode: at an address that is not mapped, or not for it (Intel SDM vol. 3A, 4.7).
const NOT_MAPPED: &str = "the extension faulted in its Vmexit callback: vector 14 error 0x4 ";
const NOT_ALLOWED: &str = "the extension faulted in its Vmexit callback: vector 14 error 0x5 ";

const READS_KERNEL: Test = Test {
    payload: Payload::Guest("reads-kernel"),
    extension: Some("reads-kernel"),
    forbid: &["not contained"],
    ..GUEST
};

const FORBIDDEN: Test = Test {
    payload: Payload::Guest("forbidden"),
    extension: Some("forbidden"),
    forbid: &["not contained"],
    ..GUEST
};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "reads-kernel-shared",
        proves: "where the processor does not leak, the kernel is mapped beside the extension, out of its reach",
        expect: &[SHARED, NOT_ALLOWED, "extension: contained: vector 14", "TEST reads-kernel done "],
        ..READS_KERNEL
    },
    Test {
        name: "reads-kernel-separate",
        proves: "with tables of its own the kernel is not mapped at all where the extension runs",
        settings: &[ON],
        expect: &[SEPARATE, NOT_MAPPED, "extension: contained: vector 14", "TEST reads-kernel done "],
        ..READS_KERNEL
    },
    Test {
        name: "forbidden-separate",
        proves: "what must not be is stopped with tables of its own, too",
        settings: &[ON, LONG_TURNS[0]],
        expect: &[SEPARATE, "extension: forbidden: ", " contained", "TEST forbidden done "],
        ..FORBIDDEN
    },
    Test {
        name: "loops-separate-2",
        proves: "an NMI finds its way back from tables of its own: an extension that does not return is stopped",
        payload: Payload::Guest("hang"),
        extension: Some("loops"),
        cpus: 2,
        settings: &[ON, "watchdog = 1000"],
        expect: &[
            SEPARATE,
            "pp 1: the extension has not returned from its Vmexit callback in time",
            "pp 1: the extension has not returned from its Fail callback in time",
            "TEST hang done ",
        ],
        ..GUEST
    },
    Test {
        name: "stop-separate",
        proves: "a processor that is given back goes on as the bare machine, from tables of its own, too",
        payload: Payload::Guest("stop"),
        settings: &[ON],
        expect: &[SEPARATE, "promoted; it runs the bare machine again", "TEST stop done "],
        ..GUEST
    },
    Test {
        name: "linux-separate-2",
        proves: "Debian's Linux boots, works and powers off on 2 CPUs with an extension on tables of its own",
        cpus: 2,
        settings: &[ON],
        expect: &[SEPARATE, SIGNATURE, "TEST smoke cpus=2 ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "reads-kernel-separate",
        boards: intel::UEFI.boards,
        proves: "on a processor that leaks the kernel is not mapped at all where the extension runs",
        expect: &[PCIDS, NOT_MAPPED, "extension: contained: vector 14", "TEST reads-kernel done "],
        end: intel::UEFI.end,
        timeout: intel::UEFI.timeout,
        ..READS_KERNEL
    },
    Test {
        name: "forbidden-shared",
        boards: intel::UEFI.boards,
        proves: "what must not be is stopped on the kernel's tables, too",
        settings: &[OFF, LONG_TURNS[0]],
        expect: &[SHARED, "extension: forbidden: ", " contained", "TEST forbidden done "],
        end: intel::UEFI.end,
        timeout: intel::UEFI.timeout,
        ..FORBIDDEN
    },
    Test {
        name: "linux-shared-1",
        proves: "Debian's Linux boots and works on Intel VMX with the extension on the kernel's tables",
        settings: &[OFF],
        expect: &[SHARED, SIGNATURE, "TEST smoke cpus=1 ok", POWER_DOWN],
        ..intel::BIOS
    },
];
