//! Cache maintenance: done, or done harmlessly.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_guests::{Report, check, plinth};

/// Something that is in the caches and must stay what it is.
static DATA: AtomicU64 = AtomicU64::new(0);

pub(super) fn run(report: &mut Report) {
    DATA.store(0x504c, Ordering::SeqCst);
    // SAFETY: It writes the caches back, which nobody can see.
    unsafe { asm!("wbinvd", options(nostack)) }
    check!(report, "wbinvd", DATA.load(Ordering::SeqCst) == 0x504c);
    if !plinth::is_there() {
        return report.skip("invd", "on the bare machine it would lose data");
    }
    DATA.store(0x504d, Ordering::SeqCst);
    // SAFETY: Under Plinth it writes the caches back first.
    unsafe { asm!("invd", options(nostack)) }
    check!(report, "invd", DATA.load(Ordering::SeqCst) == 0x504d);
}
