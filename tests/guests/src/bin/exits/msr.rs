//! MSRs: EFER without SVM, and those that are not there.

use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, plinth};

/// In none of the ranges that AMD and Intel use.
const UNKNOWN: u32 = 0x4000_1000;
/// VM_CR where firmware has switched SVM off: SVMDIS and LOCK (AMD64 APM vol. 2, 15.30.1).
const SVM_OFF: u64 = 0x18;
/// IA32_PAT: not intercepted.
const PAT: u32 = 0x277;
/// A bit of EFER that no processor has.
const EFER_RESERVED: u64 = 1 << 63;

/// What RDMSR and WRMSR of two bytes raise for an MSR that is not there.
const ABSENT: Fault = Fault::general_protection(2);

pub(super) fn run(report: &mut Report) {
    efer(report);
    let pat = cpu::read_msr(PAT);
    check!(report, "rdmsr-passes-through", pat.is_ok_and(|pat| pat != 0));
    if plinth::is_there() {
        efer_without_svm(report);
        absent(report);
    } else {
        report.skip("msr-absent", "the bare machine may have them");
    }
}

/// EFER can be read, and its harmless bits can be written.
fn efer(report: &mut Report) {
    let Ok(before) = cpu::read_msr(cpu::EFER) else {
        return report.check("rdmsr-efer", false);
    };
    check!(report, "rdmsr-efer", before & cpu::EFER_LME != 0);
    let toggled = before ^ cpu::EFER_SCE;
    // SAFETY: No firmware uses SYSCALL; the register is put back.
    let written = unsafe { cpu::write_msr(cpu::EFER, toggled) };
    let found = cpu::read_msr(cpu::EFER);
    // SAFETY: As it was.
    let restored = unsafe { cpu::write_msr(cpu::EFER, before) };
    check!(report, "wrmsr-efer", written.is_ok() && restored.is_ok());
    check!(report, "wrmsr-efer-sticks", found, Ok(toggled));
}

fn efer_without_svm(report: &mut Report) {
    let efer = cpu::read_msr(cpu::EFER).unwrap_or(u64::MAX);
    check!(report, "rdmsr-efer-svme-hidden", efer & cpu::EFER_SVME == 0);
    for (name, value) in [
        ("wrmsr-efer-svme-refused", efer | cpu::EFER_SVME),
        ("wrmsr-efer-reserved-refused", efer | EFER_RESERVED),
        ("wrmsr-efer-lme-refused", efer & !cpu::EFER_LME),
    ] {
        // SAFETY: The write must fault; if it does not, the hypervisor is broken and so is this test.
        let result = unsafe { cpu::write_msr(cpu::EFER, value) };
        check!(report, name, result, Err(ABSENT));
    }
    let after = cpu::read_msr(cpu::EFER);
    check!(report, "wrmsr-efer-unchanged", after, Ok(efer));
}

fn absent(report: &mut Report) {
    // SAFETY: Each write must fault, vanish or change nothing; if one does not, the hypervisor is broken and so is this test.
    let write_value = |number, value| unsafe { cpu::write_msr(number, value) };
    let write = |number| write_value(number, 1);
    // A register that the kernel does not know reads as on the machine, which may have it.
    let unknown = cpu::read_msr(UNKNOWN);
    check!(report, "msr-unknown-is-not-written", write(UNKNOWN), Err(ABSENT));
    check!(report, "msr-unknown-unchanged", cpu::read_msr(UNKNOWN), unknown);
    if cpu::is_amd() {
        check!(report, "msr-vm-hsave-pa-is-0", cpu::read_msr(cpu::VM_HSAVE_PA), Ok(0));
        let writes = [0, 1].map(|value| write_value(cpu::VM_HSAVE_PA, value));
        check!(report, "msr-vm-hsave-pa-stays-0", writes, [Ok(()), Err(ABSENT)]);
        check!(report, "msr-vm-cr-says-off", cpu::read_msr(cpu::VM_CR), Ok(SVM_OFF));
        check!(report, "msr-vm-cr-write-vanishes", write(cpu::VM_CR), Ok(()));
        check!(report, "msr-vm-cr-still-off", cpu::read_msr(cpu::VM_CR), Ok(SVM_OFF));
    } else {
        // The other vendor's: Intel's table does not name them, and Bochs has them on every model.
        for register in [cpu::VM_CR, cpu::VM_HSAVE_PA] {
            let before = cpu::read_msr(register);
            check!(report, "msr-of-svm-is-not-written", write(register), Err(ABSENT));
            check!(report, "msr-of-svm-unchanged", cpu::read_msr(register), before);
        }
    }
}
