//! Has the extension `holes` access addresses of the machine at which no memory is, and page 0, where real mode's interrupt
//! table is and which the kernel itself has not mapped at its address.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_extensions::{HOLE_READ, HOLE_TRANSLATE, HOLE_WRITE, TEST_HYPERCALL, hole};
use plinth_test_guests::{Report, check, plinth, say, trap};
use plinth_test_guests_bios as _;

/// Above what a PC with so little memory has, below the devices.
const NOTHING: u64 = 0x7000_0000;
/// Not in this machine's map, and beyond what a processor addresses.
const BEYOND: [u64; 2] = [1 << 45, !7];
/// In page 0, and real mode's own: an interrupt vector that nobody takes any more.
const VECTOR: u64 = 0x3F8;

static WORD: AtomicU64 = AtomicU64::new(0x1234_5678);

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(_: u64) -> ! {
    trap::install();
    let mut report = Report::new("holes");
    let word = WORD.as_ptr() as u64;
    check!(report, "memory-is-read", access(HOLE_READ, word), Ok(hole::DONE));
    check!(report, "memory-is-written", access(HOLE_WRITE, word), Ok(hole::DONE));
    check!(report, "and-as-before", WORD.load(Ordering::SeqCst), 0x1234_5678);
    check!(report, "translate", access(HOLE_TRANSLATE, word), Ok(hole::DONE));
    page_zero(&mut report);
    // Within the machine's map the bus answers, as it likes; beyond it nothing is mapped; and at the end of all addresses eight
    // bytes do not fit.
    let answers: [(u64, &[u64]); 3] = [
        (NOTHING, &[hole::DONE, hole::NOT_MAPPED, hole::ONES]),
        (BEYOND[0], &[hole::NOT_MAPPED, hole::ONES]),
        (BEYOND[1], &[hole::OTHER]),
    ];
    for (at, expected) in answers {
        say!("holes: at {at:#x}");
        for operation in [HOLE_READ, HOLE_WRITE] {
            let answer = access(operation, at);
            report.check("no-memory", answer.is_ok_and(|answer| expected.contains(&answer)));
        }
    }
    report.done()
}

/// What the extension finds and changes there is what this kernel does.
fn page_zero(report: &mut Report) {
    let word = VECTOR as *mut u64;
    // SAFETY: mapped by this kernel, as all low memory is; no code of real mode runs any more.
    let before = unsafe { word.read_volatile() };
    for pattern in [0, 0x5A5A_1234, u64::MAX] {
        // SAFETY: as above.
        unsafe { word.write_volatile(pattern) };
        let found = if pattern == u64::MAX { hole::ONES } else { hole::DONE };
        check!(report, "page-0-is-read", access(HOLE_READ, VECTOR), Ok(found));
    }
    check!(report, "page-0-is-written", access(HOLE_WRITE, VECTOR), Ok(hole::DONE));
    // SAFETY: as above.
    check!(report, "page-0-is-as-before", unsafe { word.read_volatile() }, u64::MAX);
    // SAFETY: as above.
    unsafe { word.write_volatile(before) };
}

fn access(operation: u64, address: u64) -> Result<u64, trap::Fault> {
    plinth::hypercall_with(TEST_HYPERCALL, operation, address)
}
