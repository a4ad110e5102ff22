//! FP and SIMD: the registers are the guest's throughout, and its own switch works.

use core::arch::asm;

use plinth_extension_api::abi::HYPERCALL_REPORT;
use plinth_test_guests_armv8::trap::{catch, class};
use plinth_test_guests_armv8::vectors::{CONTROL, Vectors, through_exit};
use plinth_test_guests_armv8::{Machine, Report, check, write};

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    // SAFETY: FP off and on again; nothing else uses it.
    let off = unsafe {
        write!("cpacr_el1", 0_u64);
        catch(|| asm!(".arch_extension fp\n.arch_extension simd\nfmov d0, x0", options(nostack)))
    };
    // SAFETY: as above.
    unsafe { write!("cpacr_el1", 3_u64 << 20) };
    check!(report, "switched-off", off.map(|trap| trap.class()), Some(class::FP));
    // SAFETY: as above.
    let on =
        catch(|| unsafe { asm!(".arch_extension fp\n.arch_extension simd\nfmov d0, x0", options(nostack)) });
    check!(report, "switched-on", on, None);
    if machine.reservation().is_none() {
        return;
    }
    let (before, mut after) = (Vectors::pattern(), Vectors::zero());
    let control = through_exit(HYPERCALL_REPORT, &before, &mut after);
    check!(report, "registers-survive-an-exit", before == after);
    check!(report, "control-survives-an-exit", control, CONTROL);
}
