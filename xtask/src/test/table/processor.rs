//! What the processor does, rather than its memory: guests that attack it, modes of it that firmware and OS choose.

use super::intel::UEFI;
use super::{GUEST, Payload, Test};

/// Guest VMs that would keep the processor, or leave it changed.
const ATTACKS: Test = Test {
    name: "guest-attacks",
    proves: "a guest VM leaves the root VM its caches, and exceptions that raise each other do not keep the processor",
    payload: Payload::Guest("guest-attacks"),
    extension: Some("guest-attacks"),
    expect: &["TEST guest-attacks done "],
    ..GUEST
};

pub(super) const TESTS: &[Test] = &[
    ATTACKS,
    Test { boards: UEFI.boards, memory: UEFI.memory, timeout: UEFI.timeout, end: UEFI.end, ..ATTACKS },
];
