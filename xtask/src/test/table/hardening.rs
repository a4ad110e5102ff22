//! What protects the kernel from its own mistakes, seen at work: a kernel that is made for these tests does what it must
//! not, and says how it was stopped.

use anyhow::{Context, Result, bail};

use super::{End, GUEST, LINUX, LONG_TURNS, Payload, Test};
use crate::emulator::Watched;
use crate::test::KERNEL_PANIC;
use crate::test::board::Bench;

/// The acts on x86, twice: asked for by a system call, and by a fault with RFLAGS.AC set.
const X86_ACTS: &[&str] = &[
    "executes the extension's code: page fault in the kernel: it executed 0x6",
    "against its permissions (vector 14, error 0x11)",
    "reads the extension's data: page fault in the kernel: it read 0x6",
    "against its permissions (vector 14, error 0x1)",
    "writes the extension's data: page fault in the kernel: it wrote 0x6",
    "against its permissions (vector 14, error 0x3)",
    "writes its own code: page fault in the kernel: it wrote ",
    "against its permissions (vector 14, error 0x3)",
    "writes its own constants: page fault in the kernel: it wrote ",
    "against its permissions (vector 14, error 0x3)",
    "executes its own data: page fault in the kernel: it executed ",
    "against its permissions (vector 14, error 0x11)",
    "executes its own stack: page fault in the kernel: it executed ",
    "against its permissions (vector 14, error 0x11)",
    "reads page 0: page fault in the kernel: it read 0x8, where nothing is mapped (vector 14, error 0x0)",
    "reads below its stack: page fault in the kernel: it read ",
    "where nothing is mapped (vector 14, error 0x0)",
    "an NMI with the stack pointer at 0x",
    "taken on its own stack",
    "10 acts, 10 stopped",
    "10 acts, 10 stopped",
    "TEST forbidden done ",
];

/// The same where the extension has tables of its own.
const X86_SEPARATE_ACTS: &[&str] = &[
    "executes the extension's code: page fault in the kernel: it executed 0x6",
    "where nothing is mapped (vector 14, error 0x10)",
    "reads the extension's data: page fault in the kernel: it read 0x6",
    "where nothing is mapped (vector 14, error 0x0)",
    "writes the extension's data: page fault in the kernel: it wrote 0x6",
    "where nothing is mapped (vector 14, error 0x2)",
    "taken on its own stack",
    "10 acts, 10 stopped",
    "10 acts, 10 stopped",
    "TEST forbidden done ",
];

/// The same on Arm, where the extension's part is in the kernel's tables; the last act comes after an exit of the guest.
const ARM_ACTS: &[&str] = &[
    "executes the extension's code: exception in the kernel: it executed 0x8",
    "against its permissions (class 0x21, ESR 0x860000",
    "reads the extension's data: exception in the kernel: it read 0x8",
    "against its permissions (class 0x25",
    "writes the extension's data: exception in the kernel: it wrote 0x8",
    "against its permissions (class 0x25",
    "9 acts, 9 stopped",
    "reads the extension's data after an exit: exception in the kernel: it read 0x8",
    "after an exit 1 act, 1 stopped",
    "TEST attack done ",
];

/// The same where the extension has tables of its own.
const ARM_OWN_ACTS: &[&str] = &[
    "writes its own code: exception in the kernel: it wrote ",
    "against its permissions (class 0x25",
    "writes its own constants: exception in the kernel: it wrote ",
    "against its permissions (class 0x25",
    "executes its own data: exception in the kernel: it executed ",
    "against its permissions (class 0x21, ESR 0x860000",
    "executes its own stack: exception in the kernel: it executed ",
    "against its permissions (class 0x21, ESR 0x860000",
    "reads page 0: exception in the kernel: it read 0x8, where nothing is mapped (class 0x25",
    "reads below its stack: exception in the kernel: it read ",
    "where nothing is mapped (class 0x25",
    "6 acts, 6 stopped",
    "TEST attack done ",
];

const X86: Test = Test {
    name: "hardening",
    proves: "a kernel that runs the extension's code, touches its data unasked or breaks W^X is stopped, NMIs on no stack are not",
    payload: Payload::Guest("forbidden"),
    kernel: Some("plinth-faulty"),
    extension: Some("hardening"),
    expect: X86_ACTS,
    forbid: &["not stopped", "not taken"],
    ..GUEST
};

const ARM: Test = Test {
    name: "hardening",
    proves: "a kernel that breaks W^X, or reads page 0 or below its stack, is stopped",
    boards: &["qemu-virt"],
    payload: Payload::Guest("armv8-attack"),
    command_line: "",
    memory: 256,
    timeout: 60,
    kernel: Some("plinth-faulty"),
    extension: Some("hardening"),
    expect: ARM_OWN_ACTS,
    forbid: &["not stopped"],
    ..LINUX
};

/// What a processor with UMIP hides from ring 3.
const UMIP: Test = Test {
    name: "forbidden-umip",
    proves: "on a processor with UMIP an extension does not see the kernel's descriptor tables either",
    payload: Payload::Guest("forbidden"),
    extension: Some("forbidden"),
    settings: LONG_TURNS,
    arguments: &["-cpu", "EPYC,+umip"],
    expect: &[
        "extension: forbidden: ",
        " contained",
        "UMIP hides the descriptor tables",
        "TEST forbidden done ",
    ],
    forbid: &["not contained"],
    ..GUEST
};

/// The kernel's stack overflows on the second processor.
const OVERFLOW_2: Test = Test {
    name: "overflow-2",
    proves: "a kernel whose stack overflows stops one CPU, with all that a report needs; the other one's root VM lives on",
    payload: Payload::Guest("forbidden"),
    kernel: Some("plinth-faulty"),
    extension: Some("overflows"),
    cpus: 2,
    expect: &[
        "the kernel panicked in arch-x86/src/exceptions.rs:",
        "double fault in the kernel: its stack has overflowed, into 0x",
        "(vector 8, error 0x0)",
        "pp 1 stops, the others go on; kernel at 0x",
        "last exit described: code 0x",
        "please report this",
        "TEST forbidden done ",
    ],
    forbid: &["not stopped"],
    allow: &[KERNEL_PANIC],
    ..GUEST
};

/// No address is the same at the next boot: where the loader has put the kernel, and the kernel the extension.
const RANDOM: Test = Test {
    name: "addresses",
    proves: "the kernel and the extension lie elsewhere at the next boot",
    payload: Payload::Guest("report"),
    expect: &[KERNEL_AT, EXTENSION_AT, "TEST report done "],
    check: Some(lies_elsewhere),
    ..GUEST
};

const KERNEL_AT: &str = "plinth: kernel at ";
const EXTENSION_AT: &str = "plinth: extension at ";

pub(super) const TESTS: &[Test] = &[
    X86,
    Test {
        boards: &["bochs-intel-uefi"],
        // The board's own has no SMAP.
        model: Some("corei7_skylake_x"),
        settings: &["separate-tables = off"],
        timeout: 600,
        end: End::Seen,
        ..X86
    },
    Test {
        name: "hardening-separate",
        proves: "a kernel that runs the extension's code or touches its data is stopped, where `separate-tables` keeps both out of its tables",
        settings: &["separate-tables = on"],
        expect: X86_SEPARATE_ACTS,
        ..X86
    },
    UMIP,
    Test {
        boards: &["bochs-intel-uefi"],
        model: Some("corei3_cnl"),
        arguments: &[],
        timeout: 600,
        end: End::Seen,
        ..UMIP
    },
    ARM,
    Test {
        name: "hardening-vhe",
        proves: "a kernel that breaks W^X, or reaches the extension's pages, is stopped in the EL2&0 regime",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        expect: ARM_ACTS,
        ..ARM
    },
    OVERFLOW_2,
    Test { boards: &["bochs-intel-uefi"], timeout: 600, end: End::Seen, ..OVERFLOW_2 },
    Test {
        name: "overflow-2",
        proves: OVERFLOW_2.proves,
        payload: Payload::Guest("armv8-pair"),
        extension: Some("overflows"),
        cpus: 2,
        expect: &[
            "the kernel panicked in arch-armv8/src/switch.rs:",
            "exception in the kernel: its stack has overflowed, into 0x",
            "(class 0x25, ESR 0x96000047)",
            "pp 1 stops, the others go on; kernel at 0x",
            "last exit described: code 0x",
            "please report this",
            "TEST pair done ",
        ],
        allow: &[KERNEL_PANIC],
        ..ARM
    },
    RANDOM,
    Test { boards: &["bochs-intel-uefi"], timeout: 600, end: End::Seen, ..RANDOM },
    Test {
        payload: Payload::Guest("armv8-exits"),
        kernel: None,
        extension: None,
        expect: &[KERNEL_AT, EXTENSION_AT, "TEST exits done "],
        name: RANDOM.name,
        proves: RANDOM.proves,
        check: RANDOM.check,
        ..ARM
    },
];

/// How often it is booted again at the most: the kernel has some 500 places, and may be in the same one twice.
const AGAIN: usize = 3;

/// Boots again and compares, until both addresses have been others.
fn lies_elsewhere(bench: &Bench<'_>, test: &Test, watched: &Watched) -> Result<()> {
    let mut same = vec![KERNEL_AT, EXTENSION_AT];
    for _ in 0..AGAIN {
        let again = bench.boot(test, &bench.log(&format!("{}-again", test.name)))?.watched;
        for text in [KERNEL_AT, EXTENSION_AT] {
            if address(watched, text)? != address(&again, text)? {
                same.retain(|other| *other != text);
            }
        }
        if same.is_empty() {
            return Ok(());
        }
    }
    bail!("the same at each boot: {same:?}")
}

/// The address behind `text`.
fn address<'a>(watched: &'a Watched, text: &str) -> Result<&'a str> {
    let rest = watched.lines.iter().find_map(|line| line.split_once(text));
    let (_, rest) = rest.with_context(|| format!("no line says `{text}`"))?;
    rest.split([',', ' ']).next().context("there is no address")
}
