//! What the kernel tells the root VM's kernel about itself: status, log and trace, with an extension and without.

use plinth_extension_api::abi::{EXTENSION_FAULTED, EXTENSION_RUNNING};

use super::armv8::VIRT;
use super::intel::UEFI;
use super::{GUEST, Payload, Test};

/// The state of an extension that runs throughout, and of one that crashes.
const RUNS: &str = "the extension's state is Some(1), then Some(1)";
const CRASHES: &str = "the extension's state is Some(1), then Some(2)";
const _: () = assert!(EXTENSION_RUNNING == 1 && EXTENSION_FAULTED == 2);

const DONE: &str = "TEST served done ";

/// A guest that asks for all of it on an x86 machine, and on Arm.
const ASKS: Test = Test { payload: Payload::Guest("served"), ..GUEST };
const ASKS_ARM: Test =
    Test { payload: Payload::Guest("armv8-served"), command_line: "", memory: 256, timeout: 60, ..VIRT };

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "served",
        proves: "the kernel tells the root VM's kernel its status, its log and a trace of exits, past the extension; AMD",
        cpus: 2,
        expect: &[RUNS, DONE],
        ..ASKS
    },
    Test {
        name: "served-crashed",
        proves: "the kernel tells its status, its log and a trace of exits after the extension has crashed; AMD",
        extension: Some("crashes"),
        expect: &[CRASHES, DONE],
        ..ASKS
    },
    Test {
        name: "served-intel",
        proves: "the kernel tells its status, its log and a trace of exits with and without an extension; Intel",
        payload: Payload::Guest("served"),
        extension: Some("crashes"),
        expect: &[CRASHES, DONE],
        ..UEFI
    },
    Test {
        name: "served-arm",
        proves: "the kernel tells the root VM's kernel its status, its log and a trace of exits, past the extension; Arm",
        expect: &[RUNS, DONE],
        ..ASKS_ARM
    },
    Test {
        name: "served-arm-crashed",
        proves: "the kernel tells its status, its log and a trace of exits after the extension has crashed; Arm",
        extension: Some("crashes"),
        expect: &[CRASHES, DONE],
        ..ASKS_ARM
    },
];
