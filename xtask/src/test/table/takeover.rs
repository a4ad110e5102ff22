//! Plinth below an OS that already runs at EL1, or below firmware at EL2, and the way back, on QEMU's Arm board: with a small OS of the
//! tests' own, and an application of the firmware's.

use super::armv8::VIRT;
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
    proves: "it does so on 4 CPUs, all or none, with one refused, one off and on meanwhile, one that stops all; GICv3",
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

pub(super) const TESTS: &[Test] = &[
    TAKEOVER,
    TAKEOVER_4,
    Test {
        name: "takeover-gicv2-a53-4",
        proves: "the same on 4 Cortex-A53 with GICv2, by the kernel's leave alone",
        arguments: &["-machine", "gic-version=2", "-cpu", "cortex-a53"],
        settings: &["may-stop = \"always\""],
        ..TAKEOVER_4
    },
    Test {
        name: "takeover-vhe-4",
        proves: "the same on 4 processors with VHE, SVE and SME, where the extension is in the EL2&0 regime",
        arguments: &["-cpu", "max,pauth-impdef=on"],
        ..TAKEOVER_4
    },
    RAISED,
    Test {
        name: "firmware-raised-vhe",
        proves: "the same where the extension is in the EL2&0 regime",
        arguments: &["-cpu", "max,pauth-impdef=on"],
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
];
