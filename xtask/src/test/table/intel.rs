//! Intel's VMX, on Bochs. It is slow: few boots of Linux, and many checks in each boot of a guest.

use super::{End, GUEST, LINUX, POWER_DOWN, Payload, SIGNATURE, Test};

/// Linux, started by GRUB on a PC with a BIOS.
const BIOS: Test = Test { boards: &["bochs-intel"], memory: 512, timeout: 900, ..LINUX };

/// A test guest, started by UEFI firmware.
const UEFI: Test = Test { boards: &["bochs-intel-uefi"], memory: 256, timeout: 600, end: End::Seen, ..GUEST };

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "linux-1",
        proves: "Debian's Linux boots as the root VM, works and powers off, on Intel VMX with 1 CPU",
        expect: &["plinth: pp 0: launched", SIGNATURE, "TEST smoke cpus=1 ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "exits-1",
        proves: "every kind of exit has the bare machine's answer, on Intel VMX",
        payload: Payload::Guest("exits"),
        expect: &["TEST exits done "],
        ..UEFI
    },
];
