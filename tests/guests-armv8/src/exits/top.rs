//! The end of the address space: an instruction that the hypervisor carries out stands in its last word.

use plinth_test_guests_armv8::machine::Conduit;
use plinth_test_guests_armv8::trap::{self, Trap, class};
use plinth_test_guests_armv8::{Machine, Report, check, mmu};

/// MRS X0, ID_AA64PFR0_EL1: trapped where the hypervisor hides a feature.
const READ_ID: u32 = 0xD538_0400;
/// SMC #0: always trapped, and a question of this number is for the firmware.
const CALL: u32 = 0xD400_0003;
const PSCI_VERSION: u64 = 0x8400_0000;

/// What follows the last address is 0, where this image maps a device, and executes nothing.
pub(crate) fn run(report: &mut Report, machine: &Machine) {
    if machine.banks().any(|bank| bank.start == 0) {
        report.skip("last-instruction", "there is memory at address 0, where it goes on");
        return;
    }
    let fault = |instruction| mmu::with_last_word(instruction, |at| trap::branch_with(at, PSCI_VERSION));
    check!(report, "last-instruction-reads-an-id", fault(READ_ID).map(Trap::class), Some(class::FETCH));
    match machine.conduit {
        Conduit::Smc => {
            check!(report, "last-instruction-calls", fault(CALL).map(Trap::class), Some(class::FETCH))
        }
        _ => report.skip("last-instruction-calls", "no firmware is called by SMC"),
    }
}
