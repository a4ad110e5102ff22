//! Machines on which Plinth cannot run: the loader says why, and Linux boots without it.

use super::{BARE_2, GOING_ON, NOT_LAUNCHED, POWER_DOWN, Test};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "no-svm",
        proves: "an AMD processor without SVM is refused with the reason",
        arguments: &["-cpu", "EPYC,-svm"],
        expect: &[
            "plinth: not launched: processor 0 of 2: a hypervisor is already running and hides virtualization; \
             enable nested virtualization in it, or start on the bare machine",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "no-hypervisor-bit",
        proves: "where nothing hides SVM, it is the processor that lacks it",
        arguments: &["-cpu", "EPYC,-svm,-hypervisor"],
        expect: &[
            "plinth: not launched: processor 0 of 2: this processor has no virtualization extension that Plinth supports",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "other-vendor",
        proves: "a processor of another vendor, without an extension that is supported, is refused",
        arguments: &["-cpu", "Skylake-Client"],
        expect: &["plinth: not launched: processor 0 of 2: ", GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
];
