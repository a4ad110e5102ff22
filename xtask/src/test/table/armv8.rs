//! Debian's Linux as the root VM at EL1, on QEMU's Arm board: its interrupt controllers and its processors.

use anyhow::{Result, bail};

use crate::emulator::Watched;
use crate::test::board::Bench;
use crate::test::dmesg;

use super::boards::CONFORMANCE;
use super::{GUEST_VM, LINUX, LONG_TURNS, POWER_DOWN, Payload, SIGNATURE, Test};

/// Linux on QEMU's Arm board.
pub(super) const VIRT: Test = Test { boards: &["qemu-virt"], memory: 512, ..LINUX };

/// A guest that sets off a test extension.
const ATTACK: Test =
    Test { payload: Payload::Guest("armv8-attack"), command_line: "", memory: 256, timeout: 60, ..VIRT };

/// A guest that repeats a refused call does not fill the log.
fn refusals_are_logged_once(_: &Bench<'_>, _: &Test, watched: &Watched) -> Result<()> {
    match watched.lines.iter().filter(|line| line.contains("is not passed on")).count() {
        1 => Ok(()),
        count => bail!("{count} lines about calls that are not passed on"),
    }
}

/// A guest whose second processor is kicked.
const KICK: Test = Test {
    payload: Payload::Guest("armv8-kick"),
    extension: Some("kicks"),
    cpus: 2,
    expect: &["TEST kick kick-asleep ok", "TEST kick kick-running ok", "TEST kick done "],
    ..ATTACK
};

/// An extension that does not return, and a processor with a clock of its own.
const LOOPS: Test = Test {
    payload: Payload::Guest("armv8-hang"),
    extension: Some("loops"),
    command_line: "",
    memory: 256,
    timeout: 60,
    settings: &["watchdog = 500"],
    expect: &[
        "pp 0: the extension has not returned from its Vmexit callback in time",
        "extension: loops in its fail callback too, after None",
        "pp 0: the extension has not returned from its Fail callback in time",
        "the extension is gone (it did not return); the kernel passes the root VM through without it",
        "TEST hang done ",
    ],
    ..VIRT
};

/// A guest that is ended at a time, with its own interrupts in every state.
const TIMER: Test = Test {
    name: "timer",
    proves: "the timer of a PP ends a run of the root VM in time, whatever its interrupts do, and loses none of them; GICv3",
    payload: Payload::Guest("armv8-timer"),
    extension: Some("timed"),
    timeout: 120,
    expect: &["timed: pp 0: a run ended at ", "TEST timer interrupts-off ok", "TEST timer done "],
    ..ATTACK
};

/// A guest that does not want to be ended.
const SHUT_OUT: Test = Test {
    name: "ppi",
    proves: "a root VM cannot shut the timer's interrupt out by a redistributor, its own or another one; GICv3",
    payload: Payload::Guest("armv8-ppi"),
    extension: Some("timed"),
    cpus: 2,
    expect: &[
        "TEST ppi clear-enable ok",
        "as no register is written",
        "TEST ppi from-another ok",
        "TEST ppi done ",
    ],
    ..ATTACK
};

/// A guest VM that spins.
pub(super) const SLICES: Test = Test {
    name: "slices",
    proves: "the timer of a PP ends a run of a guest VM that takes no exit, where no interrupt comes; GICv3",
    payload: Payload::Guest("armv8-slices"),
    extension: Some("slices"),
    timeout: 120,
    expect: &["TEST slices slices ok", "TEST slices done "],
    ..ATTACK
};

/// Linux, and an extension that sets its timer again and again.
const TICKS: Test = Test {
    name: "linux-ticks-4",
    proves: "Linux works on 4 CPUs while its extension has each of them exit a thousand times a second; GICv3",
    extension: Some("ticks"),
    cpus: 4,
    timeout: 300,
    expect: &[
        "plinth: pp 3: launched",
        "ticks: pp 3: 1000 of them",
        SIGNATURE,
        "TEST smoke cpus=4 ok",
        POWER_DOWN,
    ],
    // The hypervisor's own interrupt, which Linux knows from the device tree, is none of Linux's.
    forbid: &["Spurious percpu IRQ", "[Uu]nexpected"],
    ..VIRT
};

/// A guest that walks all of memory, and all that is EL2's.
const WALK: Test = Test {
    name: "walk",
    proves: "a root VM that reads and writes all memory, and tries all of EL2, finds and leaves nothing in the reservation",
    payload: Payload::Guest("armv8-walk"),
    command_line: "",
    memory: 256,
    expect: &[" pages read, ", "TEST walk done "],
    ..VIRT
};

/// A guest that attacks on all processors.
const STORM: Test = Test {
    name: "storm-4",
    proves: "a root VM whose 4 CPUs interrupt, start and stop each other and try all else at random harms only itself",
    payload: Payload::Guest("armv8-storm"),
    command_line: "",
    cpus: 4,
    memory: 256,
    expect: &["storm: seed ", " commands in all, 0 mistakes", "TEST storm astray ok", "TEST storm done "],
    timeout: 300,
    ..VIRT
};

pub(super) const TESTS: &[Test] = &[
    SHUT_OUT,
    Test {
        name: "ppi-vhe",
        proves: "a root VM cannot shut the timer's interrupt out by a redistributor, in the EL2&0 regime",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..SHUT_OUT
    },
    Test {
        name: "exits-4",
        proves: "every kind of exit that a guest at EL1 can cause has the bare machine's answer, on 4 CPUs",
        payload: Payload::Guest("armv8-exits"),
        command_line: "",
        cpus: 4,
        expect: &[
            "is not passed on; more such calls are not logged",
            "TEST exits smc-flood ok",
            "TEST exits done ",
        ],
        check: Some(refusals_are_logged_once),
        ..VIRT
    },
    Test {
        name: "forbidden",
        proves: "an extension that touches what is not its own, or runs what is the kernel's, is stopped every time",
        extension: Some("forbidden"),
        settings: LONG_TURNS,
        expect: &["extension: forbidden: ", " contained", "TEST attack done "],
        forbid: &["not contained"],
        ..ATTACK
    },
    Test {
        name: "forbidden-vhe",
        proves: "an extension that touches what is not its own is stopped every time, in the EL2&0 regime",
        extension: Some("forbidden"),
        settings: LONG_TURNS,
        arguments: &["-cpu", "max,pauth-impdef=on"],
        expect: &["extension: forbidden: ", " contained", "TEST attack done "],
        forbid: &["not contained"],
        ..ATTACK
    },
    Test {
        name: "hostile",
        proves: "a million hostile system calls each come back, leak nothing, and leave kernel and root VM as they were",
        extension: Some("hostile-syscalls"),
        settings: LONG_TURNS,
        expect: &["extension: hostile: 10", ", 0 leaks", "TEST attack done "],
        forbid: &["no handle any more"],
        ..ATTACK
    },
    Test { boards: &["qemu-virt"], memory: 256, timeout: 60, ..CONFORMANCE },
    Test {
        name: "denied",
        proves: "the calls that an extension's manifest does not name are denied on Arm, and it is the VMM with the others",
        payload: Payload::Guest("armv8-exits"),
        extension: Some("denied"),
        expect: &["denied: none of ", "denied: all of ", "TEST exits done "],
        ..ATTACK
    },
    Test {
        name: "crash",
        proves: "the root VM lives on under the kernel when an extension without a fail callback crashes",
        extension: Some("crashes"),
        expect: &[
            "the extension faulted in its Vmexit callback: vector 0",
            "the extension is gone (it faulted); the kernel passes the root VM through without it",
            "TEST attack done ",
        ],
        ..ATTACK
    },
    Test {
        name: "kick",
        proves: "a kick reaches a guest that takes no exit, or when it wakes, once; a new declared answer too; GICv3",
        ..KICK
    },
    Test {
        name: "kick-gicv2-a53",
        proves: "a kick reaches a guest that takes no exit, or when it wakes, once; Cortex-A53 with GICv2",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        ..KICK
    },
    Test {
        name: "kick-vhe",
        proves: "a kick reaches a guest that takes no exit, or when it wakes, once, in the EL2&0 regime",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..KICK
    },
    Test {
        name: "loops",
        proves: "an extension that does not return is stopped by the hypervisor's timer, and the root VM loses no interrupt",
        ..LOOPS
    },
    Test {
        name: "loops-gicv2-a53",
        proves: "an extension that does not return is stopped, and the root VM loses no interrupt, on a Cortex-A53 with GICv2",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        ..LOOPS
    },
    Test {
        name: "loops-vhe",
        proves: "an extension that does not return is stopped, and the root VM loses no interrupt, in the EL2&0 regime",
        arguments: &["-cpu", "cortex-a76"],
        ..LOOPS
    },
    TIMER,
    Test {
        name: "timer-gicv2-a53",
        proves: "the timer of a PP ends a run in time where no interrupt of the root VM waits, and loses none; Cortex-A53 with GICv2",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        ..TIMER
    },
    Test {
        name: "timer-vhe",
        proves: "the timer of a PP ends a run of the root VM in time and loses no interrupt, in the EL2&0 regime; GICv3",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..TIMER
    },
    SLICES,
    Test {
        name: "slices-gicv2-a53",
        proves: "the timer of a PP ends a run of a guest VM that takes no exit, on a Cortex-A53 with GICv2",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        ..SLICES
    },
    Test {
        name: "slices-vhe",
        proves: "the timer of a PP ends a run of a guest VM that takes no exit, in the EL2&0 regime",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..SLICES
    },
    TICKS,
    Test {
        name: "linux-ticks-gicv2-a53-4",
        proves: "Linux works on 4 Cortex-A53 with GICv2 while each exits a thousand times a second; an interrupt of Linux may delay an exit",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        ..TICKS
    },
    Test {
        name: "linux-ticks-vhe-4",
        proves: "Linux works on 4 CPUs with VHE while its extension has each of them exit a thousand times a second",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..TICKS
    },
    Test {
        name: "example-page-hook",
        proves: "the example `page-hook` sees each write to a page, and each read of one that may only be run",
        payload: Payload::Guest("armv8-page-hook"),
        extension: Some("page-hook"),
        expect: &["extension: page-hook: pp 0: ", " touches ", "TEST page-hook done "],
        ..ATTACK
    },
    Test {
        name: "example-guest-vm",
        proves: "the example `guest-vm` runs a guest VM beside the root VM; neither finds the other's FP, and interrupts come through",
        payload: Payload::Guest("armv8-guest-vm"),
        extension: Some("guest-vm"),
        expect: GUEST_VM,
        ..ATTACK
    },
    Test {
        name: "guest-vm-vhe",
        proves: "the example `guest-vm` runs a guest VM beside the root VM, in the EL2&0 regime, on a processor with SVE and SME",
        payload: Payload::Guest("armv8-guest-vm"),
        extension: Some("guest-vm"),
        arguments: &["-cpu", "max,pauth-impdef=on"],
        expect: GUEST_VM,
        ..ATTACK
    },
    Test {
        name: "guest-vm-gicv2-a53",
        proves: "the example `guest-vm` runs a guest VM beside the root VM, on a Cortex-A53 with GICv2",
        payload: Payload::Guest("armv8-guest-vm"),
        extension: Some("guest-vm"),
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        expect: GUEST_VM,
        ..ATTACK
    },
    Test {
        name: "example-trace",
        proves: "the example `trace` logs first exits, and a histogram on demand",
        payload: Payload::Guest("armv8-exits"),
        extension: Some("trace"),
        expect: &[
            "extension: trace: pp 0: first hypercall exit, code ",
            "extension: trace: hypercall ",
            " exits in all",
            "TEST exits done ",
        ],
        forbid: &[],
        ..ATTACK
    },
    WALK,
    Test {
        name: "walk-gicv2-a53",
        proves: "a root VM that reads and writes all memory finds and leaves nothing in the reservation, on a Cortex-A53 with GICv2",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        ..WALK
    },
    Test {
        name: "walk-vhe",
        proves: "a root VM that reads and writes all memory finds and leaves nothing in the reservation, with VHE and atomic instructions",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..WALK
    },
    Test { boards: &["versal"], memory: 2048, cpus: 4, ..WALK },
    STORM,
    Test {
        name: "storm-gicv2-a53-4",
        proves: "a root VM whose CPUs interrupt, start and stop each other harms only itself, on 4 Cortex-A53 with GICv2",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        ..STORM
    },
    Test {
        name: "storm-vhe-4",
        proves: "a root VM whose CPUs interrupt, start and stop each other harms only itself, on 4 CPUs with VHE and atomic instructions",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..STORM
    },
    Test {
        name: "exits-gicv2-a53",
        proves: "every kind of exit that EL1 can cause has the bare machine's answer, on 2 Cortex-A53 with GICv2",
        payload: Payload::Guest("armv8-exits"),
        command_line: "",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        cpus: 2,
        expect: &["TEST exits no-exit-at-rest ok", "TEST exits done "],
        ..VIRT
    },
    Test {
        name: "exits-vhe",
        proves: "every kind of exit that EL1 can cause has the bare machine's answer, on 2 Cortex-A76 in the EL2&0 regime",
        payload: Payload::Guest("armv8-exits"),
        command_line: "",
        arguments: &["-cpu", "cortex-a76"],
        cpus: 2,
        settings: &["log = debug"],
        expect: &["shared_regime: true", "TEST exits no-exit-at-rest ok", "TEST exits done "],
        ..VIRT
    },
    Test {
        name: "exits-vhe-off",
        proves: "every kind of exit that EL1 can cause has the bare machine's answer, on 2 Cortex-A76, the extension on a stage 2 of its own",
        payload: Payload::Guest("armv8-exits"),
        command_line: "",
        arguments: &["-cpu", "cortex-a76"],
        cpus: 2,
        settings: &["vhe = off", "log = debug"],
        expect: &["shared_regime: false", "TEST exits no-exit-at-rest ok", "TEST exits done "],
        ..VIRT
    },
    Test {
        name: "exits-bare",
        proves: "the guest's checks hold at EL1 of the bare machine too",
        payload: Payload::Guest("armv8-exits"),
        command_line: "",
        bare: true,
        cpus: 2,
        expect: &["TEST exits done "],
        ..VIRT
    },
    Test {
        name: "linux-bare-4",
        proves: "the smoke test holds at EL1 without Plinth, on 4 CPUs",
        bare: true,
        cpus: 4,
        expect: &["TEST smoke cpus=4 ok", POWER_DOWN],
        ..VIRT
    },
    Test {
        name: "linux-dmesg-2",
        proves: "Linux logs the same at EL1 under Plinth as at EL1 without, but for what is explained, on 2 CPUs",
        command_line: "plinth.test=dmesg",
        cpus: 2,
        expect: &["DMESG BEGIN", "DMESG END", "TEST dmesg ok", POWER_DOWN],
        check: Some(dmesg::same_as_bare),
        ..VIRT
    },
    Test {
        name: "linux-gicv3-a72-1",
        proves: "Debian's Linux boots as the root VM, works and powers off, on 1 Cortex-A72 with GICv3",
        expect: &["plinth: pp 0: launched", SIGNATURE, "TEST smoke cpus=1 ok", POWER_DOWN],
        ..VIRT
    },
    Test {
        name: "linux-gicv3-a72-4",
        proves: "Debian's Linux works as the root VM on 4 Cortex-A72 with GICv3, with three taken off-line and back",
        cpus: 4,
        expect: &["plinth: pp 3: launched", SIGNATURE, "TEST smoke cpus=4 ok", POWER_DOWN],
        ..VIRT
    },
    Test {
        name: "linux-gicv2-a53-4",
        proves: "Debian's Linux works as the root VM on 4 Cortex-A53 with GICv2, with three taken off-line and back",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        cpus: 4,
        expect: &["plinth: pp 3: launched", SIGNATURE, "TEST smoke cpus=4 ok", POWER_DOWN],
        ..VIRT
    },
    Test {
        name: "linux-gicv3-max-4",
        proves: "Debian's Linux works as the root VM on 4 CPUs with VHE, with three taken off-line and back",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        cpus: 4,
        expect: &["plinth: pp 3: launched", SIGNATURE, "TEST smoke cpus=4 ok", POWER_DOWN],
        ..VIRT
    },
];
