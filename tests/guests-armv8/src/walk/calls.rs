//! HVC and SMC with every immediate, and with function numbers at random: what nobody offers is refused.

use plinth_test_extensions::random::Random;
use plinth_test_guests_armv8::calls::{self, NOT_SUPPORTED};
use plinth_test_guests_armv8::{Report, check, scratch};

/// Immediates in one run.
const BATCH: u32 = 512;
/// Numbers that are tried by each of the two.
const NUMBERS: u32 = 10_000;

pub(crate) fn run(report: &mut Report) {
    let mut random = Random::new(0x504C);
    check!(report, "hvc-immediates", immediates(&mut random, scratch::hvc), [BATCH.into(); 2]);
    check!(report, "smc-immediates", immediates(&mut random, scratch::smc), [0; 2]);
    for (name, call) in [("hvc-numbers", calls::hvc as fn([u64; 4]) -> [u64; 4]), ("smc-numbers", calls::smc)]
    {
        let wrong = (0..NUMBERS).filter(|_| !is_refused(&mut random, call)).count();
        check!(report, name, wrong, 0);
    }
}

/// Runs a call with every immediate but 0, [`BATCH`] of them at a time. Returns how many of a batch raise an exception, and
/// are undefined, where that is the same for all.
fn immediates(random: &mut Random, encode: fn(u16) -> u32) -> [u64; 2] {
    let mut run = |first: u32| {
        let instructions = (first..first + BATCH).map(|immediate| encode(immediate.max(1) as u16));
        let [_, x1, x2, x3] = [0; 4].map(|_: u64| random.next());
        // SAFETY: with a number that nobody offers a call does nothing.
        unsafe { scratch::run(instructions, [calls::random_number(random), x1, x2, x3]) }
    };
    let first = run(0);
    let same = (1..0x1_0000 / BATCH).all(|batch| run(batch * BATCH) == first);
    if same { first } else { [u64::MAX; 2] }
}

/// Makes a call that nobody offers.
fn is_refused(random: &mut Random, call: fn([u64; 4]) -> [u64; 4]) -> bool {
    let [x1, x2, x3] = [0; 3].map(|_: u64| random.next());
    call([calls::random_number(random), x1, x2, x3])[0] == NOT_SUPPORTED
}
