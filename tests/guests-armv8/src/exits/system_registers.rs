//! Registers that an OS reads, and those that are not there.

use plinth_test_guests_armv8::trap::{catch, class};
use plinth_test_guests_armv8::{Report, check, read, system};

/// What reading a register raises.
macro_rules! raises {
    ($name:expr) => {
        catch(|| _ = read!($name)).map(|trap| trap.class())
    };
}

pub(crate) fn run(report: &mut Report) {
    let first = system::ticks();
    check!(report, "virtual-counter", system::ticks() > first);
    let virtual_first = read!("cntvct_el0");
    let physical = read!("cntpct_el0");
    let virtual_last = read!("cntvct_el0");
    check!(report, "counters-agree", (virtual_first..=virtual_last).contains(&physical));
    check!(report, "physical-timer", raises!("cntp_ctl_el0"), None);
    check!(report, "granule", read!("id_aa64mmfr0_el1") >> 28 & 0xF != 0xF);
    check!(report, "el1-is-64-bit", read!("id_aa64pfr0_el1") >> 4 & 0xF != 0);
    check!(report, "multiprocessor", read!("mpidr_el1") >> 31 & 1, 1);
    check!(report, "implementer", read!("midr_el1") >> 16 & 0xF, 0xF);
    check!(report, "reserved-id-register", read!("S3_0_C0_C7_7"), 0);
    // A monitor that is not there is no register.
    if !matches!(read!("id_aa64dfr0_el1") >> 8 & 0xF, 0 | 0xF) {
        check!(report, "performance-monitor", raises!("pmcr_el0"), None);
        check!(report, "performance-counters", read!("pmcr_el0") >> 11 & 0x1F < 0x1F);
    }
    for (name, found) in [
        ("unknown-register", raises!("S3_3_C15_C15_7")),
        ("register-of-el3", raises!("S3_6_C1_C1_0")),
        ("register-of-nobody", raises!("S3_7_C15_C15_7")),
        ("unknown-debug-register", raises!("S2_7_C15_C15_7")),
    ] {
        check!(report, name, found, Some(class::UNKNOWN));
    }
}
