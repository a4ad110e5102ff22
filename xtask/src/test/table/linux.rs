//! Debian's Linux as the root VM, and on the bare machine for comparison.

use super::{BARE_1, BARE_2, BARE_4, HOSTILE, LINUX, POWER_DOWN, SIGNATURE, Test};
use crate::test::dmesg;

/// Linux prints its log, and a bare boot of the same prints the one to compare with.
const DMESG: Test = Test {
    command_line: "plinth.test=dmesg",
    expect: &["DMESG BEGIN", "DMESG END", "TEST dmesg ok", POWER_DOWN],
    check: Some(dmesg::same_as_bare),
    ..LINUX
};

/// The guest's time follows its instructions, not the host's clock. One CPU only.
const REPEATABLE: &[&str] =
    &["-icount", "shift=4,sleep=off", "-rtc", "clock=vm,base=2026-01-01", "-seed", "1"];

/// Launched, promoted again on every CPU, then Linux as if nothing had been.
const STOPPED: Test = Test { command_line: "plinth.test=bare", settings: &["stop = true"], ..LINUX };

/// What the kernel says when the extension of the test `crashes-later` is gone.
const GONE: &str = "the extension is gone (it faulted); the kernel passes the root VM through without it";

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "linux-bare-1",
        proves: "the smoke test holds without Plinth, through the same loader, on 1 CPU",
        bare: true,
        expect: &["TEST smoke cpus=1 ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "linux-bare-2",
        proves: "the smoke test holds without Plinth, through the same loader, on 2 CPUs",
        bare: true,
        cpus: 2,
        expect: &["TEST smoke cpus=2 ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "linux-bare-4",
        proves: "the smoke test holds without Plinth, through the same loader, on 4 CPUs",
        bare: true,
        cpus: 4,
        expect: &["TEST smoke cpus=4 ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "linux-1",
        proves: "Debian's Linux boots as the root VM, works and powers off, on 1 CPU",
        expect: &["plinth: launched on 1 processor(s)", SIGNATURE, "TEST smoke cpus=1 ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "linux-slow-1",
        proves: "Linux on 1 CPU loses no interrupt that comes while the extension takes its time",
        extension: Some("slow"),
        expect: &["TEST smoke cpus=1 ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "linux-2",
        proves: "Linux works as the root VM on 2 CPUs, with one taken off-line and back again and again",
        cpus: 2,
        expect: &["plinth: launched on 2 processor(s)", SIGNATURE, "TEST smoke cpus=2 ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "linux-4",
        proves: "Linux works as the root VM on 4 CPUs, with three taken off-line and back, one by one and together",
        cpus: 4,
        timeout: 300,
        expect: &["plinth: launched on 4 processor(s)", SIGNATURE, "TEST smoke cpus=4 ok", POWER_DOWN],
        ..LINUX
    },
    Test {
        name: "linux-dmesg-1",
        proves: "Linux logs the same under Plinth as without, but for what a hypervisor explains",
        arguments: REPEATABLE,
        ..DMESG
    },
    Test {
        name: "linux-dmesg-2",
        proves: "Linux logs the same under Plinth as without, but for what a hypervisor explains, on 2 CPUs",
        cpus: 2,
        ..DMESG
    },
    Test {
        name: "linux-stop-1",
        proves: "launched and promoted again, the machine boots Linux bare, on 1 CPU",
        expect: &[
            "plinth: launched on 1 processor(s)",
            "plinth: stopped: 1 processor(s) run on the bare machine again",
            BARE_1,
            POWER_DOWN,
        ],
        ..STOPPED
    },
    Test {
        name: "linux-stop-2",
        proves: "launched and promoted again, the machine boots Linux bare, on 2 CPUs",
        cpus: 2,
        expect: &[
            "plinth: launched on 2 processor(s)",
            "plinth: stopped: 2 processor(s) run on the bare machine again",
            BARE_2,
            POWER_DOWN,
        ],
        ..STOPPED
    },
    Test {
        name: "linux-stop-4",
        proves: "launched and promoted again, the machine boots Linux bare, on 4 CPUs",
        cpus: 4,
        expect: &[
            "plinth: launched on 4 processor(s)",
            "plinth: stopped: 4 processor(s) run on the bare machine again",
            BARE_4,
            POWER_DOWN,
        ],
        ..STOPPED
    },
    Test {
        name: "linux-forged-hypercalls-2",
        boards: &["qemu-q35-amd", "qemu-virt"],
        proves: "a program in Linux that makes the kernel's hypercalls finds an illegal instruction, and Plinth stays",
        command_line: "plinth.test=forged-hypercalls",
        cpus: 2,
        expect: &["TEST forged-hypercalls cpus=2 ok", POWER_DOWN],
        ..LINUX
    },
    Test { name: "linux-hostile", boards: &["qemu-q35-amd", "qemu-virt"], ..HOSTILE },
    Test {
        name: "linux-crash-2",
        proves: "Linux survives an extension that crashes while it boots, on 2 CPUs, and its CPUs go and come back",
        extension: Some("crashes-later"),
        cpus: 2,
        expect: &[
            "plinth: launched on 2 processor(s)",
            "the extension faulted in its Vmexit callback: vector 6",
            GONE,
            "TEST smoke cpus=2 ok",
            POWER_DOWN,
        ],
        ..LINUX
    },
];
