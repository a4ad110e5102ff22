//! The extensions that ship as examples: each one's effect, seen from the root VM.

use super::{GUEST, GUEST_VM, LINUX, POWER_DOWN, Payload, Test};

/// Boards on which Linux runs with two CPUs.
const BOARDS: &[&str] = &["qemu-q35-amd", "qemu-virt"];

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "example-cpuid-spoof-bare",
        boards: BOARDS,
        proves: "without Plinth, Linux finds AES instructions on 2 CPUs",
        command_line: "plinth.test=aes",
        bare: true,
        cpus: 2,
        expect: &["TEST aes cpus=2 aes=yes ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "example-cpuid-spoof",
        boards: BOARDS,
        proves: "the example `cpuid-spoof` hides them from Linux and from its programs",
        command_line: "plinth.test=aes",
        extension: Some("cpuid-spoof"),
        cpus: 2,
        expect: &["extension: cpuid-spoof: hiding", "TEST aes cpus=2 aes=no ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "example-hello-c",
        boards: BOARDS,
        proves: "the example `hello-c`, which a C compiler built, hides AES instructions from Linux and from its programs",
        command_line: "plinth.test=aes",
        extension: Some("hello-c"),
        cpus: 2,
        expect: &["extension: hello-c: hello from C", "TEST aes cpus=2 aes=no ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "example-hello-c-smoke",
        boards: BOARDS,
        proves: "under the example `hello-c` Linux works as under the Rust ones",
        extension: Some("hello-c"),
        cpus: 2,
        expect: &["TEST smoke cpus=2 ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "example-msr-guard",
        proves: "the example `msr-guard` keeps Linux's system call entry from being bent, and logs who tried",
        command_line: "plinth.test=msr-guard",
        extension: Some("msr-guard"),
        cpus: 2,
        expect: &[
            "extension: msr-guard: pp 0: write of 0x8000000000000000 to LSTAR at ",
            "extension: msr-guard: pp 1: write of 0x8000000000000000 to LSTAR at ",
            "TEST msr-guard cpus=2 ok",
            POWER_DOWN,
        ],
        ..LINUX
    },
    Test {
        name: "example-msr-guard",
        boards: &["qemu-virt"],
        proves: "under the example `msr-guard`, which traps writes of MAIR_EL1, Linux works as ever",
        extension: Some("msr-guard"),
        cpus: 4,
        expect: &["TEST smoke cpus=4 ok", POWER_DOWN],
        forbid: &["msr-guard: .* refused"],
        ..LINUX
    },
    Test {
        name: "example-page-hook",
        proves: "the example `page-hook` sees each write to a page, and lets it take effect",
        payload: Payload::Guest("page-hook"),
        extension: Some("page-hook"),
        expect: &["extension: page-hook: pp 0: ", " touches ", "TEST page-hook done "],
        ..GUEST
    },
    Test {
        name: "example-page-hook-linux",
        boards: BOARDS,
        proves: "under the example `page-hook` Linux finishes the code in the page of its system call entry, seen write by write, and works",
        extension: Some("page-hook"),
        cpus: 2,
        expect: &[
            "extension: page-hook: pp 0: system calls enter at 0xffff",
            "extension: page-hook: pp 0: 0xffff",
            " touches ",
            "TEST smoke cpus=2 ok",
            POWER_DOWN,
        ],
        ..LINUX
    },
    Test {
        name: "example-guest-vm",
        proves: "the example `guest-vm` runs a guest VM beside the root VM; neither finds the other's FPU, and interrupts come through",
        payload: Payload::Guest("guest-vm"),
        extension: Some("guest-vm"),
        expect: GUEST_VM,
        ..GUEST
    },
    Test {
        name: "example-trace",
        proves: "the example `trace` logs first exits, and a histogram on demand",
        payload: Payload::Guest("report"),
        extension: Some("trace"),
        expect: &[
            "extension: trace: pp 0: first id read exit, code ",
            "extension: trace: pp 0: first hypercall exit, code ",
            "extension: trace: id read ",
            "extension: trace: hypercall ",
            " exits in all",
            "TEST report done ",
        ],
        ..GUEST
    },
];
