//! Plinth below an OS that already runs at EL1, or below firmware at EL2, and the way back, on QEMU's Arm board: with a small OS of the
//! tests' own, an application of the firmware's, and Linux, which is launched on in place, by way of the stub that it has left at EL2.

use super::armv8::VIRT;
use super::late_launch::{AMD_AND_ARM, LATE, NEWER, SECOND};
use super::{BARE_2, LINUX, POWER_DOWN, Payload, Test};

/// A guest that stands in the loader's place, and launches Plinth below itself.
const TAKEOVER: Test = Test {
    name: "takeover",
    proves: "an OS at EL1 launches Plinth below itself and stops it, ten times, and finds EL2 and EL1 as they were; GICv3",
    loader: Some("armv8-takeover"),
    payload: Payload::Guest("armv8-takeover"),
    command_line: "",
    memory: 256,
    timeout: 120,
    expect: &[
        "TEST takeover extension-is-refused ok",
        "pp 0: launched; the OS is the root VM now",
        "pp 0: promoted; it runs the bare machine again",
        "TEST takeover everything-in-its-place ok",
        "TEST takeover done ",
    ],
    cpus: 1,
    ..VIRT
};

/// The same on four processors.
const TAKEOVER_4: Test = Test {
    name: "takeover-4",
    proves: "an OS at EL1 launches Plinth on 4 CPUs, all or none, with one refused, one off and on meanwhile, one that stops all; GICv3",
    cpus: 4,
    expect: &[
        "pp 3: launched; the OS is the root VM now",
        "TEST takeover last-is-refused ok",
        "TEST takeover launched-by-plinth ok",
        "pp 3: promoted; it runs the bare machine again",
        "TEST takeover with-its-own-stub ok",
        "TEST takeover done ",
    ],
    ..TAKEOVER
};

/// An application that runs the loader, which starts that again.
const RAISED: Test = Test {
    name: "firmware-raised",
    boards: &["qemu-virt-uefi"],
    proves: "firmware launches Plinth and stops it, four times, and finds EL2, its timer and the second CPU as they were; it is not raised unasked",
    payload: Payload::Guest("firmware-raised"),
    bare: true,
    cpus: 2,
    command_line: "",
    memory: 512,
    timeout: 120,
    expect: &[
        "TEST firmware-raised begins-at-el2 ok",
        "plinth: launched on 1 processor(s)",
        "plinth: error: pp 0: no PP leaves: firmware at EL2 launched, and who asks does not say",
        "TEST firmware-raised not-without-saying-so ok",
        "plinth: stopped: 1 processor(s) run on the bare machine again",
        "no PP leaves: other processors run that were started under the hypervisor",
        "plinth: pp 1: turned off, as the OS has left it",
        "TEST firmware-raised second-processor-starts-at-el2 ok",
        "TEST firmware-raised every-register-is-kept ok",
        "TEST firmware-raised done ok",
    ],
    forbid: &["FAILED"],
    ..LINUX
};

/// Linux boots bare, started at EL2. Rows that are the same on AMD are in `late_launch`.
const BARE_LINUX: Test = Test { boards: &["qemu-virt"], ..LATE };
const A53: &[&str] = &["-machine", "gic-version=2", "-cpu", "cortex-a53"];
const VHE: &[&str] = &["-cpu", "max,pauth-impdef=on"];

/// Twice, on 2 CPUs.
const SHORT: Test = Test {
    command_line: "plinth.test=late-cycles plinth.cycles=2",
    cpus: 2,
    expect: &["TEST late-cycles cpus=2 ok", POWER_DOWN],
    ..BARE_LINUX
};

/// The board's loader launches.
const SEEN: Test = Test {
    command_line: "plinth.test=late-seen",
    extension: Some("default"),
    cpus: 2,
    expect: &["TEST late-seen cpus=2 ok", POWER_DOWN],
    ..BARE_LINUX
};

/// A machine that is refused as it is: its test is told why.
const UNSUITABLE: Test =
    Test { cpus: 2, expect: &["TEST late-unsuitable cpus=2 ok", POWER_DOWN], ..BARE_LINUX };

pub(super) const TESTS: &[Test] = &[
    TAKEOVER,
    TAKEOVER_4,
    Test {
        name: "takeover-gicv2-a53-4",
        proves: "an OS at EL1 launches Plinth on 4 Cortex-A53 with GICv2, all or none, by the kernel's leave alone",
        arguments: A53,
        settings: &["may-stop = \"always\""],
        ..TAKEOVER_4
    },
    Test {
        name: "takeover-vhe-4",
        proves: "an OS at EL1 launches Plinth on 4 CPUs with VHE, SVE and SME, where the extension is in the EL2&0 regime",
        arguments: VHE,
        ..TAKEOVER_4
    },
    RAISED,
    Test {
        name: "firmware-raised-vhe",
        proves: "firmware launches Plinth and stops it, and has EL2 back, where the extension is in the EL2&0 regime",
        arguments: VHE,
        ..RAISED
    },
    Test {
        name: "firmware-raised-gicv2-a53",
        proves: "firmware launches Plinth and stops it, and has EL2 back, on Cortex-A53 with GICv2",
        arguments: A53,
        ..RAISED
    },
    Test {
        name: "firmware-refused",
        proves: "an extension that faults at its bootstrap leaves the firmware with EL2 and its timer as they were",
        extension: Some("faults-in-bootstrap"),
        expect: &[
            "plinth: not launched: ",
            "TEST firmware-raised el2-is-as-it-was ok",
            "TEST firmware-raised given-back ok",
        ],
        ..RAISED
    },
    Test {
        name: "linux-stop-2",
        boards: &["qemu-virt-uefi"],
        proves: "launched and stopped again, the firmware boots Linux bare at EL2, which starts the second CPU there",
        command_line: "plinth.test=bare",
        settings: &["stop = true"],
        cpus: 2,
        expect: &[
            "plinth: launched on 1 processor(s)",
            "plinth: stopped: 1 processor(s) run on the bare machine again",
            "CPU: All CPU(s) started at EL2",
            BARE_2,
            POWER_DOWN,
        ],
        forbid: &["FAILED"],
        memory: 512,
        timeout: 300,
        ..LINUX
    },
    Test {
        name: "late-cycles-a53-gicv2-2",
        proves: "a running Linux under load is taken over and given back twice on 2 Cortex-A53 with GICv2",
        arguments: A53,
        ..SHORT
    },
    Test {
        name: "late-cycles-nvhe-2",
        proves: "a running Linux that was told to stay out of EL2 is taken over and given back, on 2 CPUs with all features that QEMU has",
        arguments: VHE,
        command_line: "plinth.test=late-cycles plinth.cycles=2 kvm-arm.mode=nvhe",
        ..SHORT
    },
    Test {
        name: "late-kvm-2",
        proves: "a VM of KVM's runs before and after on every CPU, keeps Plinth away as long as it is there, and is refused while \
                 Plinth runs; at rest Linux has no exits",
        command_line: "plinth.test=late-kvm",
        cpus: 2,
        expect: &["TEST late-kvm cpus=2 ok", POWER_DOWN],
        ..BARE_LINUX
    },
    Test {
        name: "late-kexec-2",
        proves: "before another kernel takes the machine Plinth is stopped, and that kernel starts at EL2 on every CPU",
        command_line: "plinth.test=late-kexec",
        late: Some(&SECOND),
        cpus: 2,
        expect: &["plinth: stopped: 2 CPUs", "CPU: All CPU(s) started at EL2", BARE_2, POWER_DOWN],
        ..BARE_LINUX
    },
    Test {
        name: "late-newer-2",
        proves: "Debian's newer kernel is taken over and given back where KVM was told to leave EL2 alone, and the module that EL2 is there",
        command_line: "plinth.test=late-cycles plinth.cycles=2 kvm-arm.mode=none started_at_el2=1",
        late: Some(&NEWER),
        ..SHORT
    },
    Test {
        name: "late-kvm-refused-2",
        proves: "where KVM holds EL2's vectors check and start say so, and what to boot with, and change nothing",
        command_line: "plinth.test=late-unsuitable plinth.not=kvm",
        late: Some(&NEWER),
        ..UNSUITABLE
    },
    Test {
        name: "late-vhe-refused-2",
        proves: "where Linux runs at EL2 itself check and start say so, and what to boot with, and change nothing",
        command_line: "plinth.test=late-unsuitable plinth.not=vhe",
        arguments: VHE,
        ..UNSUITABLE
    },
    Test {
        name: "late-el1-refused-2",
        proves: "where firmware starts Linux at EL1 check and start say so, and change nothing",
        command_line: "plinth.test=late-unsuitable plinth.not=el1",
        arguments: &["-machine", "virtualization=off"],
        ..UNSUITABLE
    },
    Test {
        name: "late-efi-2",
        proves: "a Linux that EFI started with a device tree without memory in it is taken over and given back",
        boards: &["qemu-virt-uefi"],
        ..SHORT
    },
    Test {
        name: "late-acpi-2",
        proves: "a Linux that has ACPI alone is taken over and given back: vmmctl makes the device tree of the tables that Linux shows",
        boards: &["qemu-virt-uefi"],
        arguments: &["-machine", "acpi=on"],
        ..SHORT
    },
    Test {
        name: "late-seen-2",
        proves: "a Plinth that this board's loader launched is found by the module, and seen; it is stopped where the bare machine \
                 can go on, by force alone",
        boards: AMD_AND_ARM,
        ..SEEN
    },
    Test {
        name: "late-seen-2",
        proves: "a Plinth that was launched below the firmware is found by the device tree",
        boards: &["qemu-virt-uefi"],
        ..SEEN
    },
    Test {
        name: "late-seen-acpi-2",
        proves: "a Plinth that was launched below the firmware is found by ACPI's tables",
        boards: &["qemu-virt-uefi"],
        arguments: &["-machine", "acpi=on"],
        ..SEEN
    },
];
