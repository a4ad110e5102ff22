//! HVC and SMC.

use core::arch::asm;

use plinth_test_guests_armv8::calls::{self, NOT_SUPPORTED, PSCI_VERSION};
use plinth_test_guests_armv8::machine::Conduit;
use plinth_test_guests_armv8::{Machine, Report, check, plinth, trap};

/// A function that nobody offers: a fast call of the owners of trusted applications.
const UNKNOWN: u64 = 0xB000_1234;
/// A vendor's hypervisor service.
const VENDOR: u64 = 0x8600_1234;
/// A yielding call of the standard service.
const YIELDING: u64 = 0x0400_0001;
/// How many unknown calls are made in a row.
const FLOOD: u64 = 1000;
/// SMCCC_VERSION.
const SMCCC_VERSION: u64 = 0x8000_0000;

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    if machine.reservation().is_some() {
        under_plinth(report, machine);
    }
    if machine.conduit != Conduit::None {
        let call = |number| calls::result(calls::firmware(machine.conduit, [number, 5, 6, 7]));
        check!(report, "firmware-unknown", call(UNKNOWN), NOT_SUPPORTED);
        check!(report, "psci-version", call(PSCI_VERSION) >> 16 >= 1 || call(PSCI_VERSION) == 2);
    }
    let hvc = trap::at_el0(hvc_at_el0, 0);
    check!(report, "hvc-at-el0", hvc.map(trap::Trap::class), Some(trap::class::UNKNOWN));
    let smc = trap::at_el0(smc_at_el0, 0);
    check!(report, "smc-at-el0", smc.map(trap::Trap::class), Some(trap::class::UNKNOWN));
}

fn under_plinth(report: &mut Report, machine: &Machine) {
    check!(report, "hvc-report", plinth::report());
    for (name, number) in
        [("hvc-unknown", UNKNOWN), ("hvc-vendor", VENDOR), ("hvc-yielding", YIELDING), ("hvc-zero", 0)]
    {
        check!(report, name, calls::hvc([number, 5, 6, 7])[0], NOT_SUPPORTED);
    }
    // Under Plinth the root VM's SMC never hangs, firmware or not.
    check!(report, "smc-unknown", calls::smc([UNKNOWN, 5, 6, 7])[0], NOT_SUPPORTED);
    check!(report, "smc-yielding", calls::smc([YIELDING, 5, 6, 7])[0], NOT_SUPPORTED);
    let unknown = [NOT_SUPPORTED, 5, 6, 7];
    check!(report, "smc-keeps-its-arguments", calls::smc([UNKNOWN, 5, 6, 7]), unknown);
    let flood = (0..FLOOD).all(|call| calls::smc([UNKNOWN + call, 5, 6, 7])[0] == NOT_SUPPORTED);
    check!(report, "smc-flood", flood);
    if machine.conduit == Conduit::Smc {
        let version = calls::smc([PSCI_VERSION, 0, 0, 0])[0];
        check!(report, "psci-by-hvc", calls::hvc([PSCI_VERSION, 0, 0, 0])[0], version);
        let smccc = calls::smc([SMCCC_VERSION, 0, 0, 0])[0];
        check!(report, "smccc-version", calls::hvc([SMCCC_VERSION, 0, 0, 0])[0], smccc);
    }
    // SAFETY: raises an exception, which is caught.
    let immediate = trap::catch(|| unsafe { asm!("hvc #0xffff", clobber_abi("C")) });
    check!(report, "hvc-immediate", immediate.map(trap::Trap::class), Some(trap::class::UNKNOWN));
}

#[unsafe(naked)]
unsafe extern "C" fn hvc_at_el0() {
    core::arch::naked_asm!("hvc #0", "svc #0")
}

#[unsafe(naked)]
unsafe extern "C" fn smc_at_el0() {
    core::arch::naked_asm!("smc #0", "svc #0")
}
