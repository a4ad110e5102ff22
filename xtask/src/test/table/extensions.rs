//! Extensions that fail while they are started: the loader says what they did, and Linux boots without Plinth.

use super::{BARE_1, BARE_2, GOING_ON, NOT_LAUNCHED, POWER_DOWN, Test};

const REFUSED_1: &str = "plinth: not launched: processor 0 of 1: ";
const REFUSED_2: &str = "plinth: not launched: processor 0 of 2: ";

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "faults-in-start-1",
        proves: "an extension that faults in _start is refused",
        extension: Some("faults-in-start"),
        cpus: 1,
        expect: &[
            "the extension faulted in its Start callback: vector 6",
            REFUSED_1,
            "the extension faulted while starting; the kernel's log names the address (detail 0x6)",
            GOING_ON,
            BARE_1,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "exits-in-start-1",
        proves: "an extension that exits in _start is refused",
        extension: Some("exits-in-start"),
        cpus: 1,
        expect: &[
            REFUSED_1,
            "the extension exited while starting; its own log lines say why",
            GOING_ON,
            BARE_1,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "returns-from-start-1",
        proves: "an extension that returns from _start is refused",
        extension: Some("returns-from-start"),
        cpus: 1,
        expect: &[
            "the extension faulted in its Start callback: vector 14",
            REFUSED_1,
            "the extension faulted while starting; the kernel's log names the address (detail 0xe)",
            GOING_ON,
            BARE_1,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "faults-in-bootstrap-1",
        proves: "an extension that faults in its bootstrap callback is refused",
        extension: Some("faults-in-bootstrap"),
        cpus: 1,
        expect: &[
            "the extension faulted in its Bootstrap callback: vector 6",
            REFUSED_1,
            "the extension faulted while starting; the kernel's log names the address (detail 0x6)",
            GOING_ON,
            BARE_1,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "exits-in-bootstrap-1",
        proves: "an extension that exits in its bootstrap callback is refused",
        extension: Some("exits-in-bootstrap"),
        cpus: 1,
        expect: &[
            REFUSED_1,
            "the extension exited while starting; its own log lines say why",
            GOING_ON,
            BARE_1,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "returns-from-bootstrap-1",
        proves: "an extension that returns from its bootstrap callback is refused",
        extension: Some("returns-from-bootstrap"),
        cpus: 1,
        expect: &[
            "the extension faulted in its Bootstrap callback: vector 14",
            REFUSED_1,
            "the extension faulted while starting; the kernel's log names the address (detail 0xe)",
            GOING_ON,
            BARE_1,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "no-callbacks-1",
        proves: "an extension without callbacks is refused",
        extension: Some("no-callbacks"),
        cpus: 1,
        expect: &[
            REFUSED_1,
            "the extension waits without having registered its bootstrap and vmexit callbacks",
            GOING_ON,
            BARE_1,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "faults-in-start-2",
        proves: "an extension that faults in _start is refused, on 2 CPUs",
        extension: Some("faults-in-start"),
        cpus: 2,
        expect: &[
            "the extension faulted in its Start callback: vector 6",
            REFUSED_2,
            "the extension faulted while starting; the kernel's log names the address (detail 0x6)",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "exits-in-start-2",
        proves: "an extension that exits in _start is refused, on 2 CPUs",
        extension: Some("exits-in-start"),
        cpus: 2,
        expect: &[
            REFUSED_2,
            "the extension exited while starting; its own log lines say why",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "returns-from-start-2",
        proves: "an extension that returns from _start is refused, on 2 CPUs",
        extension: Some("returns-from-start"),
        cpus: 2,
        expect: &[
            "the extension faulted in its Start callback: vector 14",
            REFUSED_2,
            "the extension faulted while starting; the kernel's log names the address (detail 0xe)",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "faults-in-bootstrap-2",
        proves: "an extension that faults in its bootstrap callback is refused, on 2 CPUs",
        extension: Some("faults-in-bootstrap"),
        cpus: 2,
        expect: &[
            "the extension faulted in its Bootstrap callback: vector 6",
            REFUSED_2,
            "the extension faulted while starting; the kernel's log names the address (detail 0x6)",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "exits-in-bootstrap-2",
        proves: "an extension that exits in its bootstrap callback is refused, on 2 CPUs",
        extension: Some("exits-in-bootstrap"),
        cpus: 2,
        expect: &[
            REFUSED_2,
            "the extension exited while starting; its own log lines say why",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "returns-from-bootstrap-2",
        proves: "an extension that returns from its bootstrap callback is refused, on 2 CPUs",
        extension: Some("returns-from-bootstrap"),
        cpus: 2,
        expect: &[
            "the extension faulted in its Bootstrap callback: vector 14",
            REFUSED_2,
            "the extension faulted while starting; the kernel's log names the address (detail 0xe)",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "no-callbacks-2",
        proves: "an extension without callbacks is refused, on 2 CPUs",
        extension: Some("no-callbacks"),
        cpus: 2,
        expect: &[
            REFUSED_2,
            "the extension waits without having registered its bootstrap and vmexit callbacks",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "faults-in-second-bootstrap-2",
        proves: "a launch that fails on the second CPU takes the first one back",
        extension: Some("faults-in-second-bootstrap"),
        cpus: 2,
        expect: &[
            "pp 1: the extension faulted in its Bootstrap callback: vector 6",
            "plinth: took 1 launched processor(s) back to the bare machine",
            "plinth: not launched: processor 1 of 2: the extension faulted while starting",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
];
