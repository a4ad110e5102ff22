//! Addresses of the root VM at which no memory is, and the page that the kernel itself leaves out.

use super::armv8::VIRT;
use super::intel::BIOS;
use super::{End, Fault, GUEST_PASSED, LINUX, Payload, Test};

/// On Armv8.
const ARMV8: Test = Test {
    payload: Payload::Guest("armv8-holes"),
    extension: Some("holes"),
    command_line: "",
    memory: 256,
    timeout: 60,
    expect: &["TEST holes tables-in-a-hole-translate-nothing ok", "TEST holes done "],
    ..VIRT
};

/// A machine whose device tree calls memory what only the secure world can access: with it goes the property that says so.
const LYING_TREE: Test = Test {
    own_tree: true,
    arguments: &["-machine", "secure=on"],
    faults: &[Fault::Substituted("own.dtb", b"\0status\0", b"\0sxatus\0")],
    ..ARMV8
};

/// On a PC.
const PC: Test = Test {
    payload: Payload::Guest("memory-holes"),
    extension: Some("holes"),
    command_line: "",
    memory: 512,
    expect: &[
        "TEST holes page-0-is-written ok",
        "TEST holes no-memory ok",
        "TEST holes tables-in-a-hole-translate-nothing ok",
        "TEST holes done ",
    ],
    end: End::Status(GUEST_PASSED),
    ..LINUX
};

/// The same on Intel's VMX.
const INTEL: Test = Test {
    payload: Payload::Guest("memory-holes"),
    extension: Some("holes"),
    command_line: "",
    end: End::Seen,
    ..BIOS
};

/// What the guest says of tables alone.
const TABLES: &[&str] =
    &["TEST holes tables-in-a-hole-translate-nothing ok", "TEST holes done ", " passed, 0 failed"];

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "holes",
        proves: "an extension that reads, writes and translates where no memory is has an answer, and the kernel goes on",
        expect: &["TEST holes memory-is-written ok", "TEST holes read ok", "TEST holes done "],
        ..ARMV8
    },
    Test {
        name: "holes-vhe",
        proves: "an extension that accesses what is no memory has an answer, and the kernel goes on, in the EL2&0 regime",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..ARMV8
    },
    Test {
        name: "holes-lying-tree",
        proves: "a bus error of an access to what the device tree calls memory is an answer, and the kernel goes on",
        ..LYING_TREE
    },
    Test {
        name: "holes-lying-tree-page-hook",
        proves: "page tables in what the device tree calls memory, and is none, do not stop the kernel by the example `page-hook`",
        extension: Some("page-hook"),
        ..LYING_TREE
    },
    Test {
        name: "holes-page-hook",
        proves: "a root VM whose page tables lie where no memory is does not stop the kernel by the example `page-hook`",
        extension: Some("page-hook"),
        ..ARMV8
    },
    Test {
        name: "holes",
        boards: &["qemu-q35-bios"],
        proves: "an extension reads and writes page 0, and where no memory is it has an answer, on AMD",
        ..PC
    },
    Test {
        name: "holes-page-hook",
        boards: &["qemu-q35-bios"],
        proves: "a root VM whose page tables lie where no memory is does not stop the kernel by `page-hook`, on AMD",
        extension: Some("page-hook"),
        expect: TABLES,
        ..PC
    },
    Test {
        name: "holes",
        proves: "an extension reads and writes page 0, and where no memory is it has an answer, on Intel",
        expect: &["TEST holes page-0-is-written ok", "TEST holes done ", " passed, 0 failed"],
        ..INTEL
    },
    Test {
        name: "holes-page-hook",
        proves: "a root VM whose page tables lie where no memory is does not stop the kernel by `page-hook`, on Intel",
        extension: Some("page-hook"),
        expect: TABLES,
        ..INTEL
    },
];
