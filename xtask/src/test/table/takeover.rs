//! Plinth below an OS that already runs at EL1, and the way back, on QEMU's Arm board: with a small OS of the tests' own.

use super::armv8::VIRT;
use super::{Payload, Test};

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
];
