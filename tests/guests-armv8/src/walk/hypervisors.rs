//! The hypervisor's memory: each page is read, written in one of all the ways there are, and read again.

use plinth_launch::Range;
use plinth_test_guests_armv8::{Report, check, mmu, reserved, say, trap};

const PAGE: u64 = 4096;
/// Without the MMU all memory is a device's: of the ways to write, the plain ones (Arm ARM, B2.7.2).
const PLAIN: usize = 4;

pub(crate) fn run(report: &mut Report, reservation: Range) {
    check!(report, "reservation-reads-zero", is_zero(reservation));
    let kinds = reserved::kinds();
    say!("walk: {kinds} ways to write");
    for kind in 0..kinds {
        let first = reservation.start + kind as u64 * PAGE;
        check!(report, "reservation-takes-a-write", (kind, reserved::write(kind, first + 64)), (kind, None));
        check!(report, "reservation-keeps-none", reserved::is_zero(first + 64), Some(true));
    }
    check!(report, "reservation-takes-writes", pages(reservation, 1).all(|page| is_untouched(page, kinds)));
    let without = || pages(reservation, 16).all(|page| is_untouched(page, PLAIN));
    check!(report, "reservation-takes-writes-without-mmu", mmu::without(without));
    check!(report, "reservation-is-not-run", pages(reservation, 64).all(is_not_run));
    check!(report, "reservation-is-zero-afterwards", is_zero(reservation));
}

fn pages(range: Range, step: usize) -> impl Iterator<Item = u64> {
    (range.start..range.start + range.size).step_by(PAGE as usize * step)
}

/// Writes in the way that the page's number says, at a place that depends on it too.
fn is_untouched(page: u64, kinds: usize) -> bool {
    let number = (page / PAGE) as usize;
    let at = page + 64 + (number % 60) as u64 * 64;
    reserved::write(number % kinds, at).is_none() && reserved::is_zero(at) == Some(true)
}

fn is_not_run(page: u64) -> bool {
    trap::branch_to(page + 0x400).is_some_and(|trap| trap.class() == trap::class::FETCH)
}

/// Whether all of it reads as zeroes.
pub(crate) fn is_zero(range: Range) -> bool {
    (range.start..range.start + range.size).step_by(512).all(|at| reserved::is_zero(at) == Some(true))
}
