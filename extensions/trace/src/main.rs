//! Counts exits by class on each PP, logs the first of each class, and writes a histogram to the log when the root VM's
//! kernel makes the report hypercall.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use plinth_extension_api::abi::{EXIT_CLASSES, HYPERCALL_REPORT};
use plinth_extension_api::{Exit, ExitClass, Extension, MAX_PPS, Resume};
use plinth_extension_api::{extension, log, passthrough, root};

/// Exits by class.
type Counts = [AtomicU64; EXIT_CLASSES];

struct Trace {
    /// One for each PP. Another one reads it for the report, so these are atomics; else `PerPp` of `Cell`s would do.
    counts: [Counts; MAX_PPS],
}

impl Extension for Trace {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let count = &self.counts[exit.pp() as usize][exit.class() as usize];
        if count.fetch_add(1, Relaxed) == 0 {
            log_first(exit);
        }
        if exit.is_hypercall(HYPERCALL_REPORT) {
            self.report();
            return exit.answer_hypercall(0);
        }
        passthrough::vmexit(exit)
    }
}

fn log_first(exit: &Exit<'_>) {
    let (pp, class, code) = (exit.pp(), exit.class().name(), exit.code());
    log::info!("trace: pp {pp}: first {class} exit, code {code:#x}, at {:#x}", exit.instruction_pointer());
}

impl Trace {
    /// A line for each class that there was any of, on all PPs together: count, share of all, bar.
    fn report(&self) {
        let total = |class: ExitClass| -> u64 {
            let launched = self.counts.iter().take(root::launched() as usize);
            launched.map(|counts| counts[class as usize].load(Relaxed)).sum()
        };
        let all: u64 = ExitClass::ALL.iter().map(|class| total(*class)).sum();
        for &class in ExitClass::ALL {
            let count = total(class);
            if count != 0 {
                let permille = count * 1000 / all;
                let bar = &BAR[..1 + permille as usize * (BAR.len() - 1) / 1000];
                log::info!(
                    "trace: {:27} {count:10} {:3}.{}% {bar}",
                    class.name(),
                    permille / 10,
                    permille % 10
                );
            }
        }
        log::info!("trace: {all} exits in all");
    }
}

const BAR: &str = "########################################";

extension!(
    Trace = Trace { counts: [const { [const { AtomicU64::new(0) }; EXIT_CLASSES] }; MAX_PPS] },
    groups: [VP, VS, INTRINSIC]
);
