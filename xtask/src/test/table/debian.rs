//! The package, as a person meets it: installed on a Debian system, and used through systemd.

use super::{LINUX, POWER_DOWN, Test};

pub(super) const TESTS: &[Test] = &[Test {
    name: "debian-2",
    proves: "on Debian with the package installed, systemd launches Plinth, vmmctl shows it and takes a trace, and systemd stops it",
    command_line: "root=/dev/vda rw quiet",
    debian: true,
    cpus: 2,
    timeout: 600,
    expect: &["TEST debian cpus=2 ok", POWER_DOWN],
    ..LINUX
}];
