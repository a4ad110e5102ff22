//! Waiting for the other processor, bounded by work and not by time: an emulator may run one long before the other.

use super::stub::Stub;

/// Looks at what is waited for. Only a failure uses them up.
const LOOKS: u64 = 2_000_000_000;
/// As many looks without a change are taken for a standstill. What is only slow comes to light in a later check.
const STILL: u64 = 1_000_000;
/// Steps in which a processor that runs has seen what was sent to it.
const STEPS: u32 = 20_000;

/// Waits until `done`; whether it came to that.
pub(crate) fn until(mut done: impl FnMut() -> bool) -> bool {
    // Without PAUSE, for which emulators leave their translated code.
    (0..LOOKS).any(|_| done())
}

/// Gives a processor the chance to do what it should not.
pub(crate) fn a_while(stub: Stub) {
    (0..STILL).for_each(|_| {
        core::hint::black_box(stub.count());
    });
}

/// Whether the code in `stub` goes on counting.
pub(crate) fn counts(stub: Stub) -> bool {
    let from = stub.count();
    until(|| stub.count().wrapping_sub(from) >= STEPS)
}

/// Whether only the code in `stub` counts, and not that in `left`.
pub(crate) fn counts_alone(stub: Stub, left: Stub) -> bool {
    // Once it counts here, it does not count there any more.
    counts(stub) && {
        let before = left.count();
        counts(stub) && left.count() == before
    }
}

/// Whether it comes to a standstill.
pub(crate) fn stops(stub: Stub) -> bool {
    let (mut last, mut since) = (stub.count(), 0);
    until(|| {
        let now = stub.count();
        since = if now == last { since + 1 } else { 0 };
        last = now;
        since >= STILL
    })
}
