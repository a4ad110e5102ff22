//! Test guests: what they see of the machine, and what becomes of them when the extension misbehaves.

use super::{End, GOING_ON, GUEST, LONG_TURNS, Payload, Test};
use crate::test::conformance;

/// What a guest says at its end.
macro_rules! done {
    ($guest:literal) => {
        concat!("TEST ", $guest, " done ")
    };
}

/// The extension is gone for good.
const GONE: &str = "the extension is gone (it faulted); the kernel passes the root VM through without it";

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "svm-in-use",
        proves: "SVM that another owner has switched on is refused with the reason, and the payload runs without Plinth",
        before: Some("svm-in-use"),
        payload: Payload::Guest("report"),
        expect: &[
            "TEST before svm-in-use ok",
            "virtualization is already in use on this processor",
            GOING_ON,
            "TEST report runs on the bare machine",
            "TEST report done ",
        ],
        ..GUEST
    },
    Test {
        name: "exits-1",
        proves: "every kind of exit has the bare machine's answer, on 1 CPU",
        payload: Payload::Guest("exits"),
        expect: &[done!("exits")],
        ..GUEST
    },
    Test {
        name: "exits-2",
        proves: "every kind of exit has the bare machine's answer, on 2 CPUs",
        payload: Payload::Guest("exits"),
        cpus: 2,
        expect: &[done!("exits")],
        ..GUEST
    },
    Test {
        name: "timer",
        proves: "an extension gets its processor back at a time, from a guest that exits or takes interrupts",
        payload: Payload::Guest("timer"),
        extension: Some("timed"),
        expect: &["timed: pp 0: a run ended at ", done!("timer")],
        ..GUEST
    },
    Test {
        name: "exits-bare",
        proves: "the guest's checks hold on the bare machine too",
        payload: Payload::Guest("exits"),
        bare: true,
        expect: &[done!("exits")],
        ..GUEST
    },
    Test {
        name: "reads-kernel",
        proves: "an extension that reads the kernel's memory is stopped, and its fail callback goes on",
        payload: Payload::Guest("reads-kernel"),
        extension: Some("reads-kernel"),
        expect: &["extension: contained: vector 14", done!("reads-kernel")],
        forbid: &["not contained"],
        ..GUEST
    },
    Test {
        name: "uses-fpu",
        proves: "an extension that touches the guest's SSE registers is stopped",
        payload: Payload::Guest("reads-kernel"),
        extension: Some("uses-fpu"),
        expect: &["extension: contained: vector 6", done!("reads-kernel")],
        forbid: &["not contained"],
        ..GUEST
    },
    Test {
        name: "crash",
        proves: "the root VM lives on when an extension without a fail callback crashes, with the port that it had asked to see",
        payload: Payload::Guest("crash"),
        extension: Some("crashes"),
        expect: &["the extension faulted in its Vmexit callback: vector 6", GONE, done!("crash")],
        ..GUEST
    },
    Test {
        name: "crash-in-fail",
        proves: "the root VM lives on when an extension crashes, and in its fail callback again, on 2 CPUs",
        payload: Payload::Guest("crash"),
        extension: Some("crashes-in-fail"),
        cpus: 2,
        expect: &[
            "the extension faulted in its Vmexit callback: vector 6",
            "extension: fails in its fail callback",
            "the extension faulted in its Fail callback: vector 6",
            GONE,
            done!("crash"),
        ],
        ..GUEST
    },
    Test {
        name: "loops-2",
        proves: "an extension that does not return on one CPU is stopped by the other, in its fail callback too",
        payload: Payload::Guest("hang"),
        extension: Some("loops"),
        cpus: 2,
        settings: &["watchdog = 1000"],
        expect: &[
            "pp 1: the extension has not returned from its Vmexit callback in time",
            "extension: loops in its fail callback too, after None",
            "pp 1: the extension has not returned from its Fail callback in time",
            "the extension is gone (it did not return); the kernel passes the root VM through without it",
            done!("hang"),
        ],
        ..GUEST
    },
    Test {
        name: "loops-1",
        proves: "an extension that does not return on the only CPU is stopped by the root VM's next interrupt, which is not lost",
        payload: Payload::Guest("hang-alone"),
        extension: Some("loops"),
        settings: &["watchdog = 1000"],
        expect: &[
            "pp 0: the extension has not returned from its Vmexit callback in time",
            "extension: loops in its fail callback too, after None",
            "pp 0: the extension has not returned from its Fail callback in time",
            "the extension is gone (it did not return); the kernel passes the root VM through without it",
            "TEST hang-alone one-interrupt-then ok",
            done!("hang-alone"),
        ],
        ..GUEST
    },
    Test {
        name: "ticks",
        proves: "interrupts that come while the extension takes its time reach the root VM once each, by its own rules",
        payload: Payload::Guest("ticks"),
        extension: Some("slow"),
        expect: &["TEST ticks a-storm-does-not-stop-the-extension ok", done!("ticks")],
        timeout: 180,
        ..GUEST
    },
    Test {
        name: "hostile",
        proves: "a million hostile system calls each come back, leak nothing, and leave kernel and root VM as they were",
        payload: Payload::Guest("hostile"),
        extension: Some("hostile-syscalls"),
        settings: LONG_TURNS,
        expect: &["extension: hostile: 10", ", 0 leaks", done!("hostile")],
        forbid: &["no handle any more"],
        ..GUEST
    },
    Test {
        name: "kick-2",
        proves: "a kick reaches the other processor's guest, which sleeps, once",
        payload: Payload::Guest("kick"),
        extension: Some("kicks"),
        cpus: 2,
        expect: &["TEST kick every-kick-is-seen ok", done!("kick")],
        ..GUEST
    },
    Test {
        name: "conformance",
        proves: "the kernel serves every call of the ABI, and every error of it, as they are specified",
        payload: Payload::Guest("hostile"),
        extension: Some("conformance"),
        settings: LONG_TURNS,
        expect: &["extension: ABI done: ", ", 0 failed", done!("hostile")],
        forbid: &["ABI .* FAILED"],
        check: Some(conformance::check),
        timeout: 120,
        ..GUEST
    },
    Test {
        name: "denied",
        proves: "the calls that an extension's manifest does not name are denied, and it is the VMM with the others",
        payload: Payload::Guest("report"),
        extension: Some("denied"),
        expect: &["denied: none of ", "denied: all of ", "TEST report done "],
        ..GUEST
    },
    Test {
        name: "traced-calls",
        proves: "an extension's system call with the trap flag set does not trap in the kernel",
        payload: Payload::Guest("forbidden"),
        extension: Some("traced-calls"),
        expect: &["extension: forbidden: 2 attempts, 2 contained", done!("forbidden")],
        forbid: &["not contained"],
        ..GUEST
    },
    Test {
        name: "ipi-storm-4",
        proves: "a root VM that sends every kind of interrupt to every CPU, and attacks else what it can, harms only itself",
        payload: Payload::Guest("ipi-storm"),
        cpus: 4,
        timeout: 300,
        expect: &["ipi-storm: seed ", "ipi-storm: 200000 commands sent, ", done!("ipi-storm")],
        ..GUEST
    },
    Test {
        name: "walk",
        proves: "a root VM that reads and writes all of physical memory finds and leaves nothing in the reservation",
        payload: Payload::Guest("walk"),
        timeout: 180,
        expect: &[" pages read, ", done!("walk")],
        ..GUEST
    },
    Test {
        name: "forbidden",
        proves: "an extension that touches what is not its own, or runs what is the kernel's, is stopped every time",
        payload: Payload::Guest("forbidden"),
        extension: Some("forbidden"),
        settings: LONG_TURNS,
        expect: &["extension: forbidden: ", " contained", done!("forbidden")],
        forbid: &["not contained"],
        ..GUEST
    },
    Test {
        name: "report",
        proves: "the exit counts are written to the log on demand",
        payload: Payload::Guest("report"),
        expect: &[
            "extension: exits: pp 0: id read: ",
            "extension: exits: pp 0: hypercall: ",
            done!("report"),
        ],
        ..GUEST
    },
    Test {
        name: "stop",
        proves: "a processor that is given back goes on as the bare machine, with all of its state",
        payload: Payload::Guest("stop"),
        expect: &[
            "promoted; it runs the bare machine again",
            "0 NMI(s) met the way back",
            "the bare machine goes on",
            done!("stop"),
        ],
        ..GUEST
    },
    Test {
        name: "stop-nmi",
        proves: "an NMI that comes while the kernel leaves reaches the handler of the bare machine's OS",
        payload: Payload::Guest("stop"),
        kernel: Some("plinth-faulty"),
        expect: &["1 NMI(s) met the way back", "the bare machine goes on", done!("stop")],
        ..GUEST
    },
    Test {
        name: "triple-fault",
        proves: "a triple fault of the root VM restarts the machine",
        payload: Payload::Guest("triple-fault"),
        expect: &["TEST triple-fault begins"],
        end: End::Reset,
        ..GUEST
    },
];
