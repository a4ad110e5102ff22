//! Debian's Linux as the root VM of a PC with a BIOS: GRUB and the multiboot2 loader.

use super::{LINUX, POWER_DOWN, SIGNATURE, Test};

/// Linux, started from a CD.
const BIOS: Test = Test { boards: &["qemu-q35-bios"], memory: 512, ..LINUX };

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "linux-bare-2",
        proves: "the smoke test holds without Plinth, started by GRUB, on 2 CPUs",
        bare: true,
        cpus: 2,
        expect: &["TEST smoke cpus=2 ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "linux-1",
        proves: "Debian's Linux boots as the root VM, works and powers off, on 1 CPU",
        expect: &[SIGNATURE, "TEST smoke cpus=1 ok", POWER_DOWN],
        ..BIOS
    },
];
