//! Intel's virtualization extension: CPUID, CR4 and its registers are those of a processor without it.

use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, plinth, probe};

pub(super) fn run(report: &mut Report) {
    if cpu::is_amd() {
        return report.skip("vmx", "not an Intel processor");
    }
    extension_hidden(report);
    registers_absent(report);
}

/// CPUID and CR4 show no VMX, and CR4 does not take it.
fn extension_hidden(report: &mut Report) {
    const VMX: u32 = 1 << 5;
    const VMXE: u64 = 1 << 13;
    if !plinth::is_there() {
        return report.skip("vmx-hidden", "the bare machine may have it");
    }
    check!(report, "cpuid-vmx-hidden", cpu::cpuid(1, 0)[2] & VMX == 0);
    let before = cpu::read_cr4();
    check!(report, "cr4-vmxe-hidden", before & VMXE == 0);
    // SAFETY: The write must fault; if it does not, nothing but the next check notices.
    let fault = unsafe { probe!("mov cr4, rax"; in("rax") before | VMXE) };
    check!(report, "cr4-vmxe-refused", fault, Some(Fault::general_protection(3)));
    let after = cpu::read_cr4();
    check!(report, "cr4-vmxe-unchanged", after, before);
}

/// The capability MSRs are not there, and IA32_FEATURE_CONTROL is that of a processor whose firmware has locked VMX off.
fn registers_absent(report: &mut Report) {
    const FEATURE_CONTROL: u32 = 0x3a;
    if !plinth::is_there() {
        return report.skip("vmx-registers", "the bare machine may have them");
    }
    const ABSENT: Fault = Fault::general_protection(2);
    const LOCKED: u64 = 1 << 0;
    const VMX: u64 = 1 << 1 | 1 << 2;
    let control = cpu::read_msr(FEATURE_CONTROL);
    check!(report, "feature-control-locked", control.is_ok_and(|value| value & (LOCKED | VMX) == LOCKED));
    for value in [control.unwrap_or(0), LOCKED | VMX] {
        // SAFETY: The register is locked: the write must fault.
        let written = unsafe { cpu::write_msr(FEATURE_CONTROL, value) };
        check!(report, "feature-control-refused", written, Err(ABSENT));
    }
    for number in 0x480..=0x493 {
        let read = cpu::read_msr(number).map(|_| ());
        // SAFETY: The write must fault; all of these are read-only or locked on a processor that has them.
        let written = unsafe { cpu::write_msr(number, 0) };
        check!(report, "vmx-register-absent", [read, written], [Err(ABSENT); 2]);
    }
}
