//! The interrupt commands, one after the other: each check begins where the one before it has left the second processor.

use core::sync::atomic::Ordering;

use plinth_test_guests::apic::{self, Apic};
use plinth_test_guests::{Report, check, plinth};

use super::stub::{EXIT, SLEEP, Stub};
use super::{SECOND, state, waiting};

/// INIT, asserted; its de-assertion, level triggered; startup IPI, which has the page's number in its low byte (Intel SDM vol. 3A,
/// "Interrupt Command Register"; AMD APM vol. 2, 16.5).
const INIT: u32 = 0x4500;
const INIT_DEASSERT: u32 = 0x8500;
const STARTUP: u32 = 0x4600;
/// The shorthand: all but the sender.
const OTHERS: u32 = 3 << 18;
/// An id that no processor has.
const ABSENT: u32 = 0x55;
/// How often what must do nothing is repeated.
const AGAIN: u32 = 20;

/// The processors and the two pages.
struct Lab {
    apic: Apic,
    one: Stub,
    other: Stub,
}

impl Lab {
    fn init(&self) {
        self.apic.send_to(SECOND, INIT);
    }

    fn startup(&self, stub: Stub) {
        self.apic.send_to(SECOND, STARTUP | stub.vector());
    }

    /// How often the code in either page began.
    fn starts(&self) -> [u32; 2] {
        [self.one.starts(), self.other.starts()]
    }
}

pub(crate) fn run(report: &mut Report, apic: Apic, [one, other]: [Stub; 2]) {
    let lab = Lab { apic, one, other };
    before_init(report, &lab);
    first_start(report, &lab);
    while_it_runs(report, &lab);
    stop_and_start(report, &lab);
    nmis(report, &lab);
    by_shorthand(report, &lab);
    in_an_exit(report, &lab);
    asleep(report, &lab);
}

/// Where the firmware has left the processor, it ignores a startup IPI; where it has never run, it starts. What comes after
/// must not suffer either way.
fn before_init(report: &mut Report, lab: &Lab) {
    lab.startup(lab.one);
    waiting::a_while(lab.one);
    report.check("startup-without-init", lab.one.starts() <= 1);
}

fn first_start(report: &mut Report, lab: &Lab) {
    lab.init();
    lab.startup(lab.other);
    lab.startup(lab.other);
    report.check("init-startup-startup-starts", waiting::until(|| lab.other.starts() != 0));
    report.check("it-runs", waiting::counts_alone(lab.other, lab.one));
    check!(report, "it-starts-once", lab.other.starts(), 1);
    state::check(report, lab.other);
}

/// What a running processor ignores.
fn while_it_runs(report: &mut Report, lab: &Lab) {
    let before = lab.starts();
    let mut ignored = |name: &str, send: &dyn Fn()| {
        let runs = (0..AGAIN).all(|_| {
            send();
            waiting::counts(lab.other)
        });
        report.check(name, runs && lab.starts() == before);
    };
    ignored("startup-while-running", &|| lab.startup(lab.one));
    ignored("startup-others-while-running", &|| lab.apic.send(OTHERS | STARTUP | lab.one.vector()));
    ignored("init-deassert", &|| lab.apic.send_to(SECOND, INIT_DEASSERT));
    ignored("init-to-nobody", &|| lab.apic.send_to(ABSENT, INIT));
    ignored("startup-to-nobody", &|| lab.apic.send_to(ABSENT, STARTUP | lab.one.vector()));
}

fn stop_and_start(report: &mut Report, lab: &Lab) {
    let before = lab.starts();
    lab.init();
    report.check("init-stops", waiting::stops(lab.other));
    lab.init();
    lab.init();
    lab.startup(lab.one);
    report.check("init-twice-startup-starts", waiting::until(|| lab.one.starts() > before[0]));
    report.check("it-runs-elsewhere", waiting::counts_alone(lab.one, lab.other));
    check!(report, "it-started-once-again", lab.starts(), [before[0] + 1, before[1]]);
    state::check(report, lab.one);
    first_of_two(report, lab);
}

/// Of two startup IPIs to different pages the first one starts it, and the second finds it running.
fn first_of_two(report: &mut Report, lab: &Lab) {
    let before = lab.starts();
    lab.init();
    lab.startup(lab.other);
    if plinth::is_there() {
        lab.startup(lab.one);
    } else {
        report.skip("second-startup-at-once", "QEMU starts the processor where the last one says");
    }
    report.check("the-first-startup-counts", waiting::until(|| lab.other.starts() > before[1]));
    report.check("and-it-runs", waiting::counts_alone(lab.other, lab.one));
    check!(report, "the-second-is-ignored", lab.starts(), [before[0], before[1] + 1]);
}

/// A running processor takes an NMI in real mode; one that waits for a startup IPI takes none.
fn nmis(report: &mut Report, lab: &Lab) {
    lab.other.take_nmis();
    let nmis = || lab.other.record().nmis.load(Ordering::SeqCst);
    for sent in 1..=3 {
        lab.apic.send_to(SECOND, apic::NMI | 1 << 14);
        report.check("nmi-while-running", waiting::until(|| nmis() >= sent) && waiting::counts(lab.other));
        check!(report, "nmi-arrives-once", nmis(), sent);
    }
    if !plinth::is_there() {
        return report.skip("nmi-while-waiting", "emulators let it run whatever is at the reset vector");
    }
    let before = lab.starts();
    lab.init();
    report.check("it-waits", waiting::stops(lab.other));
    for _ in 0..AGAIN {
        lab.apic.send_to(SECOND, apic::NMI | 1 << 14);
    }
    report.check("nmi-while-waiting", waiting::stops(lab.other));
    lab.startup(lab.other);
    report.check("it-starts-afterwards", waiting::until(|| lab.other.starts() > before[1]));
    report.check("and-runs-afterwards", waiting::counts(lab.other));
}

fn by_shorthand(report: &mut Report, lab: &Lab) {
    let before = lab.starts();
    lab.apic.send(OTHERS | INIT);
    report.check("init-others-stops", waiting::stops(lab.other));
    lab.apic.send(OTHERS | STARTUP | lab.one.vector());
    report.check("startup-others-starts", waiting::until(|| lab.one.starts() > before[0]));
    report.check("it-runs-by-shorthand", waiting::counts_alone(lab.one, lab.other));
    check!(report, "startup-others-starts-once", lab.starts(), [before[0] + 1, before[1]]);
}

/// An INIT that finds it in a hypervisor, as most of these do, leaves it as any other does.
fn in_an_exit(report: &mut Report, lab: &Lab) {
    for (busy, next) in [(lab.one, lab.other), (lab.other, lab.one)].into_iter().cycle().take(AGAIN as usize)
    {
        let before = next.starts();
        report.check("it-exits", busy.turns_to(EXIT));
        lab.init();
        busy.counts_again();
        lab.startup(next);
        report.check("init-in-an-exit", waiting::until(|| next.starts() > before));
        state::check(report, next);
    }
}

/// Out of HLT with interrupts off only an INIT helps.
fn asleep(report: &mut Report, lab: &Lab) {
    let before = lab.starts();
    report.check("it-sleeps", lab.one.turns_to(SLEEP));
    let count = lab.one.count();
    lab.startup(lab.other);
    waiting::a_while(lab.other);
    check!(report, "startup-while-asleep", lab.starts(), before);
    lab.init();
    lab.startup(lab.other);
    report.check("init-out-of-sleep", waiting::until(|| lab.other.starts() > before[1]));
    report.check("it-runs-after-sleep", waiting::counts(lab.other));
    check!(report, "it-slept", lab.one.count(), count);
}
