//! Plinth below a Linux that runs already, by `loaders/linux`: on all CPUs or none, again and again, and away as if nothing had
//! been.

use super::{AMD, LINUX, Late, POWER_DOWN, Test};

/// Debian 12's own kernel, with the default extension.
const PLAIN: Late = Late { linux: "6.1", extensions: &[], modules: &[], second_kernel: false };

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

/// Linux boots bare; its test launches.
const LATE: Test = Test { boards: AMD, late: Some(&PLAIN), timeout: 600, ..LINUX };

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "late-refusals-2",
        proves: "broken files, extensions that fail, too little memory, wrong requests and callers without rights are refused, \
                 each with its error, and the next launch works",
        command_line: "plinth.test=late-refusals",
        late: Some(&REFUSALS),
        cpus: 2,
        expect: &["TEST late-refusals cpus=2 ok", POWER_DOWN],
        ..LATE
    },
    Test {
        name: "late-hotplug-4",
        proves: "CPUs are off line before the launch, go and come meanwhile, and are off line at the stop",
        command_line: "plinth.test=late-hotplug",
        cpus: 4,
        expect: &["TEST late-hotplug cpus=4 ok", POWER_DOWN],
        ..LATE
    },
];
