//! Intel's VMX, on Bochs. It is slow: few boots of Linux, and many checks in each boot of a guest.

use super::{
    End, GOING_ON, GUEST, GUEST_VM, HOSTILE, LINUX, LONG_TURNS, POWER_DOWN, Payload, SIGNATURE, Test,
};
use crate::test::conformance;

/// Linux, started by GRUB on a PC with a BIOS.
pub(super) const BIOS: Test = Test { boards: &["bochs-intel"], memory: 512, timeout: 900, ..LINUX };

/// A processor on which Plinth cannot run. Linux itself is too slow there to be waited for.
const REFUSED: Test = Test { end: End::Seen, ..BIOS };
/// What the loader says last.
const STARTS: &str = "plinth: starting the payload";

/// A test guest, started by UEFI firmware.
pub(super) const UEFI: Test =
    Test { boards: &["bochs-intel-uefi"], memory: 256, timeout: 600, end: End::Seen, ..GUEST };

/// The guest that causes every exit.
const EXITS: Test =
    Test { payload: Payload::Guest("exits"), expect: &[LAUNCHED, "TEST exits done "], ..UEFI };

const LAUNCHED: &str = "plinth: pp 0: launched";
/// The extension is gone for good.
const GONE: &str = "the extension is gone (it faulted); the kernel passes the root VM through without it";

pub(super) const TESTS: &[Test] = &[
    Test { boards: &["bochs-intel"], memory: 512, timeout: 900, ..HOSTILE },
    Test {
        name: "linux-1",
        proves: "Debian's Linux boots as the root VM, works and powers off, on Intel VMX with 1 CPU",
        expect: &[LAUNCHED, SIGNATURE, "TEST smoke cpus=1 ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "linux-2",
        proves: "Linux starts the second CPU itself, under Plinth, and takes it off-line and back again and again",
        cpus: 2,
        expect: &["plinth: pp 1: started by the root VM", SIGNATURE, "TEST smoke cpus=2 ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "cpus",
        proves: "INIT and startup IPIs, in every order, do to the second processor what the bare machine does",
        payload: Payload::Guest("cpus"),
        command_line: "",
        cpus: 2,
        // Not what the kernel says of it on the second processor: the guest may be writing to the same port meanwhile.
        expect: &["TEST cpus second-sees-plinth ok", "TEST cpus done ", " passed, 0 failed"],
        end: End::Seen,
        ..BIOS
    },
    Test {
        name: "loops-2",
        proves: "an extension that does not return on one CPU is stopped by the other, in its fail callback too",
        payload: Payload::Guest("hang"),
        command_line: "",
        extension: Some("loops"),
        cpus: 2,
        settings: &["watchdog = 20"],
        expect: &[
            "the extension has not returned from its Vmexit callback in time",
            "loops in its fail callback too, after None",
            "the extension has not returned from its Fail callback in time",
            "the extension is gone (it did not return)",
            "TEST hang done ",
            " passed, 0 failed",
        ],
        end: End::Seen,
        ..BIOS
    },
    Test {
        name: "ipi-storm-2",
        proves: "a root VM that sends every kind of interrupt to both CPUs, and attacks else what it can, harms only itself",
        payload: Payload::Guest("ipi-storm"),
        command_line: "",
        cpus: 2,
        expect: &["ipi-storm: seed ", " commands sent, ", "TEST ipi-storm done ", " passed, 0 failed"],
        end: End::Seen,
        ..BIOS
    },
    Test {
        name: "forged",
        proves: "hypercalls and virtualization instructions of a program in ring 3 are refused, and Plinth stays",
        payload: Payload::Guest("forged"),
        command_line: "",
        expect: &["TEST forged plinth-is-there ok", "TEST forged done ", " passed, 0 failed"],
        end: End::Seen,
        ..BIOS
    },
    Test {
        name: "no-vmx",
        proves: "an Intel processor without VMX is refused with the reason, and Linux starts without Plinth",
        model: Some("p4_prescott_celeron_336"),
        expect: &[
            "plinth: not launched: this processor has no virtualization extension that Plinth supports",
            GOING_ON,
            STARTS,
        ],
        ..REFUSED
    },
    Test {
        name: "no-ept",
        proves: "an Intel processor with VMX and without EPT is refused with the reason",
        model: Some("core2_penryn_t9600"),
        expect: &["plinth: not launched: this processor has no nested paging", GOING_ON, STARTS],
        ..REFUSED
    },
    Test {
        name: "no-unrestricted-guest",
        proves: "an Intel processor with EPT and without unrestricted guests is refused with the reason",
        model: Some("corei5_lynnfield_750"),
        expect: &["plinth: not launched: this processor lacks a feature that Plinth needs", GOING_ON, STARTS],
        ..REFUSED
    },
    Test {
        name: "exits-1",
        proves: "every kind of exit has the bare machine's answer, on Intel VMX",
        ..EXITS
    },
    Test {
        name: "exits-arrandale",
        proves: "every kind of exit has the bare machine's answer, on the oldest VMX with unrestricted guests: no XSAVE, no 1 GiB pages",
        model: Some("corei5_arrandale_m520"),
        ..EXITS
    },
    Test {
        name: "exits-sandy-bridge",
        proves: "every kind of exit has the bare machine's answer, on an Intel processor without INVPCID",
        model: Some("corei7_sandy_bridge_2600k"),
        ..EXITS
    },
    Test {
        name: "exits-skylake-x",
        proves: "every kind of exit has the bare machine's answer, on an Intel processor with XSAVES",
        model: Some("corei7_skylake_x"),
        ..EXITS
    },
    Test {
        name: "no-unrestricted-guest",
        proves: "a processor without unrestricted guests is refused with the reason, and the payload runs without Plinth",
        model: Some("corei5_lynnfield_750"),
        expect: &[
            "plinth: not launched: processor 0 of 1: this processor lacks a feature that Plinth needs",
            "on Intel unrestricted guests and virtual NMIs) (detail 0x80)",
            "TEST exits runs on the bare machine",
            "TEST exits done ",
        ],
        ..EXITS
    },
    Test {
        name: "vmx-locked-off",
        proves: "VMX that the firmware locked off is refused with the reason, and the payload runs without Plinth",
        before: Some("vmx-locked-off"),
        expect: &[
            "TEST before vmx-locked-off ok",
            "virtualization is switched off by the firmware",
            GOING_ON,
            "TEST report runs on the bare machine",
            "TEST report done ",
        ],
        payload: Payload::Guest("report"),
        ..UEFI
    },
    Test {
        name: "vmx-in-use",
        proves: "VMX that another owner has switched on is refused with the reason, and the payload runs without Plinth",
        before: Some("vmx-in-use"),
        expect: &[
            "TEST before vmx-in-use ok",
            "virtualization is already in use on this processor",
            GOING_ON,
            "TEST report runs on the bare machine",
            "TEST report done ",
        ],
        payload: Payload::Guest("report"),
        ..UEFI
    },
    Test {
        name: "broken-entry",
        proves: "a misconfigured entry of the extended page tables is logged with its words, and is a machine check to the guest",
        payload: Payload::Guest("broken-entry"),
        kernel: Some("plinth-faulty"),
        expect: &[
            "nested page tables are broken at guest-physical 0x",
            "the VM gets a machine check",
            "TEST broken-entry done ",
        ],
        forbid: &["broken-entry skipped"],
        ..UEFI
    },
    Test {
        name: "broken-entry-in-delivery",
        proves: "a misconfigured entry that meets the delivery of an event ends the root VM, not in a loop of machine checks",
        payload: Payload::Guest("broken-entry"),
        command_line: "in-delivery",
        kernel: Some("plinth-faulty"),
        expect: &[
            "the VM gets a machine check",
            "TEST broken-entry shuts down now",
            "the VM shuts down",
            "the root VM shut down (triple fault); restarting the machine",
        ],
        ..UEFI
    },
    Test {
        name: "mtrr",
        proves: "writes of MTRRs take effect, memory types of the root VM's map follow, and the hypervisor's own stay",
        payload: Payload::Guest("mtrr"),
        expect: &[
            "TEST mtrr same-values ok",
            "memory types have changed; the root VM's map follows",
            "TEST mtrr range-is-followed ok",
            "TEST mtrr reservation-is-refused ok",
            "TEST mtrr scattered-is-refused ok",
            "TEST mtrr done ",
        ],
        ..UEFI
    },
    Test {
        name: "timer",
        proves: "an extension gets its processor back at a time, from a guest that never exits and has interrupts disabled",
        payload: Payload::Guest("timer"),
        extension: Some("timed"),
        expect: &["timed: pp 0: a run ended at ", "TEST timer interrupts-off ok", "TEST timer done "],
        ..UEFI
    },
    Test {
        name: "loops-1",
        proves: "an extension that does not return on the only CPU is stopped by the root VM's next interrupt, which is not lost",
        payload: Payload::Guest("hang-alone"),
        extension: Some("loops"),
        settings: &["watchdog = 100"],
        expect: &[
            "the extension has not returned from its Vmexit callback in time",
            "loops in its fail callback too, after None",
            "the extension has not returned from its Fail callback in time",
            "the extension is gone (it did not return)",
            "TEST hang-alone one-interrupt-then ok",
            "TEST hang-alone done ",
        ],
        ..UEFI
    },
    Test {
        name: "ticks",
        proves: "interrupts that come while the extension takes its time reach the root VM once each, by its own rules",
        payload: Payload::Guest("ticks"),
        extension: Some("slow"),
        expect: &["TEST ticks a-storm-does-not-stop-the-extension ok", "TEST ticks done "],
        ..UEFI
    },
    Test {
        name: "stop",
        proves: "a processor that is given back goes on as the bare machine, with all of its state, VMX off",
        payload: Payload::Guest("stop"),
        expect: &[
            "promoted; it runs the bare machine again",
            "0 NMI(s) met the way back",
            "the bare machine goes on",
            "TEST stop done ",
        ],
        ..UEFI
    },
    Test {
        name: "stop-nmi",
        proves: "an NMI that comes while the kernel leaves, where nothing holds it back, reaches the handler of the bare machine's OS",
        payload: Payload::Guest("stop"),
        kernel: Some("plinth-faulty"),
        expect: &["1 NMI(s) met the way back", "the bare machine goes on", "TEST stop done "],
        ..UEFI
    },
    Test {
        name: "reads-kernel",
        proves: "an extension that reads the kernel's memory is stopped on Intel too",
        payload: Payload::Guest("reads-kernel"),
        extension: Some("reads-kernel"),
        expect: &["extension: contained: vector 14", "TEST reads-kernel done "],
        forbid: &["not contained"],
        ..UEFI
    },
    Test {
        name: "uses-fpu",
        proves: "an extension that touches the guest's SSE registers is stopped on Intel too",
        payload: Payload::Guest("reads-kernel"),
        extension: Some("uses-fpu"),
        expect: &["extension: contained: vector 6", "TEST reads-kernel done "],
        forbid: &["not contained"],
        ..UEFI
    },
    Test {
        name: "crash",
        proves: "the root VM lives on when an extension crashes, and has the port that it had asked to see",
        payload: Payload::Guest("crash"),
        extension: Some("crashes"),
        expect: &[GONE, "TEST crash port-is-the-machines ok", "TEST crash done "],
        ..UEFI
    },
    Test {
        name: "crash-in-fail",
        proves: "the root VM lives on when an extension crashes, and in its fail callback again",
        payload: Payload::Guest("crash"),
        extension: Some("crashes-in-fail"),
        expect: &["extension: fails in its fail callback", GONE, "TEST crash done "],
        ..UEFI
    },
    Test {
        name: "hostile",
        proves: "a million hostile system calls each come back on Intel too, and leak nothing",
        payload: Payload::Guest("hostile"),
        extension: Some("hostile-syscalls"),
        settings: LONG_TURNS,
        expect: &["extension: hostile: 10", ", 0 leaks", "TEST hostile done "],
        forbid: &["no handle any more"],
        ..UEFI
    },
    Test {
        name: "kick-2",
        proves: "a kick reaches the other processor's guest, which sleeps, once, on Intel too",
        payload: Payload::Guest("kick"),
        extension: Some("kicks"),
        cpus: 2,
        expect: &["TEST kick every-kick-is-seen ok", "TEST kick done "],
        ..UEFI
    },
    Test {
        name: "conformance",
        proves: "the kernel serves every call of the ABI, and every error of it, as they are specified, on Intel VMX",
        payload: Payload::Guest("hostile"),
        extension: Some("conformance"),
        settings: LONG_TURNS,
        expect: &["extension: ABI done: ", ", 0 failed", "TEST hostile done "],
        forbid: &["ABI .* FAILED"],
        check: Some(conformance::check),
        ..UEFI
    },
    Test {
        name: "denied",
        proves: "the calls that an extension's manifest does not name are denied on Intel VMX, and it is the VMM with the others",
        payload: Payload::Guest("report"),
        extension: Some("denied"),
        expect: &["denied: none of ", "denied: all of ", "TEST report done "],
        ..UEFI
    },
    Test {
        name: "traced-calls",
        proves: "an extension's system call with the trap flag set leaves the kernel alone, where the processor traps in it too",
        payload: Payload::Guest("forbidden"),
        extension: Some("traced-calls"),
        expect: &["extension: forbidden: 2 attempts, 2 contained", "TEST forbidden done "],
        forbid: &["not contained"],
        ..UEFI
    },
    Test {
        name: "forbidden",
        proves: "an extension that touches what is not its own, or runs what is the kernel's, is stopped every time",
        payload: Payload::Guest("forbidden"),
        extension: Some("forbidden"),
        settings: LONG_TURNS,
        expect: &["extension: forbidden: ", " contained", "TEST forbidden done "],
        forbid: &["not contained"],
        ..UEFI
    },
    Test {
        name: "walk",
        proves: "a root VM that reads and writes all of physical memory finds and leaves nothing in the reservation",
        payload: Payload::Guest("walk"),
        expect: &[" pages read, ", "TEST walk done "],
        ..UEFI
    },
    Test {
        name: "example-page-hook",
        proves: "the example `page-hook` sees each write to a page, and each read of one that may only be run",
        payload: Payload::Guest("page-hook"),
        extension: Some("page-hook"),
        expect: &["extension: page-hook: pp 0: ", " touches ", "TEST page-hook done "],
        forbid: &["execute-only skipped"],
        ..UEFI
    },
    Test {
        name: "example-guest-vm",
        proves: "the example `guest-vm` runs a guest VM beside the root VM; neither finds the other's FPU, and interrupts come through",
        payload: Payload::Guest("guest-vm"),
        extension: Some("guest-vm"),
        expect: GUEST_VM,
        ..UEFI
    },
    Test {
        name: "example-trace",
        proves: "the example `trace` logs first exits, and a histogram on demand",
        payload: Payload::Guest("report"),
        extension: Some("trace"),
        expect: &[
            "trace: pp 0: first id read exit",
            "trace: hypercall ",
            " exits in all",
            "TEST report done ",
        ],
        ..UEFI
    },
    Test {
        name: "example-cpuid-spoof",
        proves: "the example `cpuid-spoof` hides AES instructions from Linux and from its programs",
        command_line: "plinth.test=aes",
        extension: Some("cpuid-spoof"),
        expect: &["TEST aes cpus=1 aes=no ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "example-hello-c",
        proves: "the example `hello-c`, which a C compiler built, hides AES instructions from Linux and from its programs",
        command_line: "plinth.test=aes",
        extension: Some("hello-c"),
        expect: &["extension: hello-c: hello from C", "TEST aes cpus=1 aes=no ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "example-msr-guard",
        proves: "the example `msr-guard` keeps Linux's system call entry from being bent, and logs who tried",
        command_line: "plinth.test=msr-guard",
        extension: Some("msr-guard"),
        expect: &[
            "extension: msr-guard: pp 0: write of 0x8000000000000000 to LSTAR at ",
            "TEST msr-guard cpus=1 ok",
            POWER_DOWN,
        ],
        ..BIOS
    },
    Test {
        name: "example-page-hook-linux",
        proves: "under the example `page-hook` Linux finishes the code in the page of its system call entry, seen read by read, and works",
        extension: Some("page-hook"),
        expect: &[
            "extension: page-hook: pp 0: system calls enter at 0xffff",
            "extension: page-hook: pp 0: 0xffff",
            " touches ",
            "TEST smoke cpus=1 ok",
            POWER_DOWN,
        ],
        ..BIOS
    },
    Test {
        name: "triple-fault",
        proves: "a triple fault of the root VM restarts the machine",
        payload: Payload::Guest("triple-fault"),
        expect: &[
            "TEST triple-fault begins",
            "the root VM shut down (triple fault); restarting the machine",
            "vs 0x0: ip ",
            "vs 0x0: idtr limit 0x0000000000000000",
            "the extension restarts the machine",
        ],
        ..UEFI
    },
];
