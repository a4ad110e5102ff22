//! Interrupts: the firmware's timer, NMIs and inter-processor interrupts to this processor.

use plinth_test_guests::apic::{self, Apic};
use plinth_test_guests::{Report, check, cpu, trap};

/// Long enough for any interrupt to arrive, in ticks of the time-stamp counter.
const SOON: u64 = 20_000_000;

pub(super) fn run(report: &mut Report) {
    (0..3).for_each(|_| cpu::halt());
    report.check("hlt-woken-by-timer", true);
    let Some(apic) = Apic::find() else {
        return report.skip("interrupts", "the interrupt controller has no page");
    };
    nmi(report, apic);
    own(report, apic);
}

/// Each NMI arrives, and arrives once.
fn nmi(report: &mut Report, apic: Apic) {
    for sent in 1..=3 {
        apic.send_to_own_id(apic::NMI);
        wait(|| trap::nmis() >= sent);
        cpu::pause(SOON);
        let arrived = trap::nmis();
        check!(report, "nmi-to-self-once", arrived, sent);
    }
}

fn own(report: &mut Report, apic: Apic) {
    let vector = u32::from(trap::TEST_VECTOR);
    apic.send(apic::SELF | vector);
    wait(|| trap::interrupts() >= 1);
    let by_shorthand = trap::interrupts();
    check!(report, "ipi-to-self", by_shorthand, 1);
    apic.send_to_own_id(vector);
    wait(|| trap::interrupts() >= 2);
    cpu::pause(SOON);
    let by_id = trap::interrupts();
    check!(report, "ipi-to-own-id", by_id, 2);
}

fn wait(arrived: impl Fn() -> bool) {
    let start = cpu::ticks();
    while !arrived() && cpu::ticks().wrapping_sub(start) < SOON {
        core::hint::spin_loop();
    }
}
