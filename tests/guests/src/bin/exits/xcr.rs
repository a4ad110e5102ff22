//! XSETBV: valid values take, invalid ones raise #GP.

use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu};

/// Leaf 1 ECX: XSAVE.
const XSAVE: u32 = 1 << 26;
/// The x87 and SSE states (AMD64 APM vol. 2, 11.5.2).
const X87: u64 = 1 << 0;
const SSE: u64 = 1 << 1;
/// #GP at XSETBV, which is three bytes long.
const REFUSED: Result<(), Fault> = Err(Fault::general_protection(3));

pub(super) fn run(report: &mut Report) {
    if cpu::cpuid(1, 0)[2] & XSAVE == 0 {
        return report.skip("xsetbv", "the processor has no XSAVE");
    }
    let cr4 = cpu::read_cr4();
    // SAFETY: Nothing in a UEFI application uses XSAVE; CR4 and XCR0 are put back.
    unsafe { cpu::write_cr4(cr4 | cpu::CR4_OSXSAVE) };
    let before = cpu::read_xcr(0);
    valid(report);
    invalid(report);
    // SAFETY: As they were.
    let restored = unsafe { cpu::write_xcr(0, before) };
    // SAFETY: As it was.
    unsafe { cpu::write_cr4(cr4) };
    check!(report, "xsetbv-restores", restored.is_ok());
}

fn valid(report: &mut Report) {
    for value in [X87, X87 | SSE] {
        // SAFETY: A state that every processor with XSAVE has; nothing here uses it.
        let written = unsafe { cpu::write_xcr(0, value) };
        let found = cpu::read_xcr(0);
        check!(report, "xsetbv-valid", written.is_ok() && found == value);
        // The size that CPUID tells follows XCR0.
        let size = cpu::cpuid(0xd, 0)[1];
        check!(report, "cpuid-xsave-size", size, 512 + 64);
    }
}

fn invalid(report: &mut Report) {
    let before = cpu::read_xcr(0);
    for (name, register, value) in [
        ("xsetbv-without-x87", 0, SSE),
        ("xsetbv-zero", 0, 0),
        ("xsetbv-reserved-bit", 0, X87 | 1 << 62),
        ("xsetbv-unknown-register", 1, X87),
    ] {
        // SAFETY: The write must fault; if it does not, the next test tells.
        let result = unsafe { cpu::write_xcr(register, value) };
        check!(report, name, result, REFUSED);
    }
    let after = cpu::read_xcr(0);
    check!(report, "xsetbv-refused-changes-nothing", after, before);
}
