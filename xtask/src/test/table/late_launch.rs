//! Plinth below a Linux that runs already, by `loaders/linux`: on all CPUs or none, again and again, and away as if nothing had
//! been.

use super::{AMD, BARE_2, End, LINUX, Late, POWER_DOWN, Test, intel};
use crate::test::{CALL_TRACE, LINUX_PANIC, vmmctl};

/// Debian 12's own kernel, with the default extension.
const PLAIN: Late = Late { linux: "6.1", extensions: &[], modules: &[], second_kernel: false };

/// Debian 12's newer kernel.
pub(super) const NEWER: Late = Late { linux: "6.12", ..PLAIN };

/// A second kernel is at hand.
pub(super) const SECOND: Late = Late { second_kernel: true, ..PLAIN };

/// Extensions that fail in every way while they start.
const REFUSALS: Late = Late {
    extensions: &[
        "exits-in-start",
        "faults-in-start",
        "faults-in-bootstrap",
        "faults-in-second-bootstrap",
        "no-callbacks",
    ],
    ..PLAIN
};

const CRASHES: Late = Late { extensions: &["crashes-later"], ..PLAIN };

/// What goes wrong seldom.
const EDGES: Late = Late { extensions: &["faults-in-third-bootstrap", "loops"], ..PLAIN };

const KVM: Late = Late { modules: &["irqbypass", "ccp", "kvm", "kvm-amd"], ..PLAIN };
const KVM_INTEL: Late = Late { modules: &["irqbypass", "kvm", "kvm-intel"], ..PLAIN };

/// Boards on which the same test runs.
pub(super) const AMD_AND_ARM: &[&str] = &["qemu-q35-amd", "qemu-virt"];

/// Linux boots bare; its test launches.
pub(super) const LATE: Test = Test { boards: AMD, late: Some(&PLAIN), timeout: 600, ..LINUX };

/// Launched and stopped ten times while the machine works.
const CYCLES: Test =
    Test { boards: AMD_AND_ARM, command_line: "plinth.test=late-cycles", timeout: 900, ..LATE };

/// The same on Intel's VMX, on Bochs: slow, so that there is little in each boot.
const INTEL: Test = Test { late: Some(&PLAIN), ..intel::BIOS };

/// The same a hundred times.
const MANY_CYCLES: Test =
    Test { command_line: "plinth.test=late-cycles plinth.cycles=100", timeout: 3600, full: true, ..CYCLES };

const CYCLED_1: &[&str] = &["TEST late-cycles cpus=1 ok", POWER_DOWN];
const CYCLED_4: &[&str] = &["TEST late-cycles cpus=4 ok", POWER_DOWN];

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "late-cycles-1",
        proves: "a running Linux under load is taken over and given back ten times, logs nothing and keeps its memory, on 1 CPU",
        expect: CYCLED_1,
        ..CYCLES
    },
    Test {
        name: "late-cycles-4",
        proves: "a running Linux under load is taken over and given back ten times, on 4 CPUs",
        cpus: 4,
        expect: CYCLED_4,
        ..CYCLES
    },
    Test {
        name: "late-cycles-long-1",
        proves: "a running Linux under load is taken over and given back a hundred times, on 1 CPU",
        expect: CYCLED_1,
        ..MANY_CYCLES
    },
    Test {
        name: "late-cycles-long-4",
        proves: "a running Linux under load is taken over and given back a hundred times, on 4 CPUs",
        cpus: 4,
        expect: CYCLED_4,
        ..MANY_CYCLES
    },
    Test {
        name: "late-cycles-long-2",
        proves: "a running Linux under load is taken over and given back a hundred times on Intel VMX, on 2 CPUs",
        command_line: "plinth.test=late-cycles plinth.cycles=100",
        timeout: 3600,
        full: true,
        cpus: 2,
        expect: &["TEST late-cycles cpus=2 ok", POWER_DOWN],
        ..INTEL
    },
    Test {
        name: "late-refusals-2",
        boards: AMD_AND_ARM,
        proves: "broken files, extensions that fail, too little memory, wrong requests and callers without rights are refused, \
                 each with its error, and the next launch works",
        command_line: "plinth.test=late-refusals",
        late: Some(&REFUSALS),
        cpus: 2,
        expect: &["TEST late-refusals cpus=2 ok", POWER_DOWN],
        ..LATE
    },
    Test {
        name: "vmmctl-2",
        boards: AMD_AND_ARM,
        proves: "each of vmmctl's commands, its output, its files and its exit codes: before, while Plinth runs, after a crash of the \
                 extension, after the stop, by nobody, and on a kernel that is locked down",
        command_line: "plinth.test=late-vmmctl",
        late: Some(&CRASHES),
        cpus: 2,
        expect: &["TEST late-vmmctl top fills the screen", "TEST late-vmmctl cpus=2 ok", POWER_DOWN],
        check: Some(vmmctl::check),
        ..LATE
    },
    Test {
        name: "late-hotplug-4",
        boards: AMD_AND_ARM,
        proves: "CPUs are off line before the launch, go and come meanwhile, and are off line at the stop",
        command_line: "plinth.test=late-hotplug",
        cpus: 4,
        expect: &["TEST late-hotplug cpus=4 ok", POWER_DOWN],
        ..LATE
    },
    Test {
        name: "late-five-levels-2",
        proves: "CPUs of a Linux whose page tables have five levels are launched, go and come meanwhile, and are given back",
        command_line: "plinth.test=late-hotplug plinth.flag=la57",
        cpus: 2,
        arguments: &["-cpu", "EPYC,+la57"],
        expect: &["TEST late-hotplug cpus=2 ok", POWER_DOWN],
        ..LATE
    },
    Test {
        name: "late-edges-4",
        proves: "the third CPU fails, one does not come on line for a start or a stop, NMIs come all the time, programs forge \
                 hypercalls, an extension never returns, Linux hibernates, and nobody may stop Plinth: each time Linux goes on",
        command_line: "plinth.test=late-edges",
        late: Some(&EDGES),
        cpus: 4,
        expect: &["TEST late-edges figures: ", "TEST late-edges cpus=4 ok", POWER_DOWN],
        ..LATE
    },
    Test {
        name: "late-crash-2",
        boards: AMD_AND_ARM,
        proves: "Linux survives an extension that crashes, and stops and launches again",
        command_line: "plinth.test=late-crash",
        late: Some(&CRASHES),
        cpus: 2,
        expect: &["TEST late-crash cpus=2 ok", POWER_DOWN],
        ..LATE
    },
    Test {
        name: "late-modules-2",
        proves: "KVM is refused while Plinth runs and works afterwards; the module's end is Plinth's",
        command_line: "plinth.test=late-modules",
        late: Some(&KVM),
        cpus: 2,
        expect: &["TEST late-modules cpus=2 ok", POWER_DOWN],
        ..LATE
    },
    Test {
        name: "late-sleep-2",
        proves: "before a sleep with memory kept Plinth is stopped; the machine sleeps, wakes, and launches again",
        command_line: "plinth.test=late-sleep",
        arguments: &["-global", "ICH9-LPC.disable_s3=0"],
        cpus: 2,
        expect: &["TEST late-sleep cpus=2 ok"],
        end: End::Reset,
        ..LATE
    },
    Test {
        name: "late-kexec-2",
        proves: "before another kernel takes the machine Plinth is stopped, and that kernel has it all",
        command_line: "plinth.test=late-kexec",
        late: Some(&SECOND),
        cpus: 2,
        expect: &["plinth: stopped: 2 CPUs", BARE_2, POWER_DOWN],
        ..LATE
    },
    Test {
        name: "late-newer-cycles-2",
        boards: AMD,
        proves: "Debian's newer kernel is taken over and given back ten times under load",
        cpus: 2,
        late: Some(&NEWER),
        expect: &["TEST late-cycles cpus=2 ok", POWER_DOWN],
        ..CYCLES
    },
    Test {
        name: "late-kdump-2",
        proves: "a crash kernel boots under Plinth on the CPU that panicked, and reads all of memory",
        command_line: "plinth.test=late-kdump crashkernel=192M",
        late: Some(&SECOND),
        cpus: 2,
        expect: &["TEST late-kdump memory=", POWER_DOWN],
        allow: &[LINUX_PANIC, CALL_TRACE],
        ..LATE
    },
    Test {
        name: "late-reboot-2",
        proves: "the machine resets while Plinth runs",
        command_line: "plinth.test=late-reboot",
        cpus: 2,
        expect: &["TEST late-reboot cpus=2 ok"],
        end: End::Reset,
        ..LATE
    },
    Test {
        name: "late-cycles-modules-1",
        proves: "a running Linux under load is taken over and given back on Intel VMX, and logs nothing; KVM is refused meanwhile \
                 and works afterwards; the module's end is Plinth's",
        command_line: "plinth.test=late-cycles,late-modules plinth.cycles=2",
        late: Some(&KVM_INTEL),
        expect: &["TEST late-cycles cpus=1 ok", "TEST late-modules cpus=1 ok", POWER_DOWN],
        ..INTEL
    },
    Test {
        name: "late-hotplug-2",
        proves: "CPUs go and come below Plinth on Intel VMX, and have all their features when they are given back",
        command_line: "plinth.test=late-hotplug",
        cpus: 2,
        expect: &["TEST late-hotplug cpus=2 ok", POWER_DOWN],
        ..INTEL
    },
    Test {
        name: "late-rest",
        proves: "a root VM in x2APIC mode takes no exit at rest, nor for its timer's ticks, by what vmmctl shows",
        command_line: "plinth.test=late-rest",
        // The board's loader launches Plinth with it, and the module finds it there.
        extension: Some("x2apic-allowed"),
        expect: &["TEST late-rest cpus=1 ok", POWER_DOWN],
        ..INTEL
    },
];
