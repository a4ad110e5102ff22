//! The instructions of Intel's virtualization and safer-mode extensions: undefined, as on a processor without them,
//! whichever vendor made it.

use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, plinth, probe};

/// A hypercall that nobody knows.
const UNKNOWN: u64 = 0x0123_4567_89ab_cdef;
/// What operands in memory hold before and must hold afterwards.
const CONTENT: [u64; 2] = [0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00];

/// Checks that an instruction of so many bytes raises #UD and changes nothing. RSI leads to sixteen bytes of memory.
macro_rules! undefined {
    ($report:expr, $name:literal, $length:literal, $bytes:literal) => {{
        let memory = CONTENT;
        let (rax, rcx): (u64, u64);
        // SAFETY: The instruction must fault; its operands are RAX, RCX and the local variable.
        let fault = unsafe {
            probe!($bytes; inout("rax") 0u64 => rax, inout("rcx") 0u64 => rcx, in("rsi") memory.as_ptr())
        };
        check!($report, concat!($name, "-undefined"), fault, Some(Fault::undefined($length)));
        check!($report, concat!($name, "-changes-nothing"), rax | rcx == 0 && memory == CONTENT);
    }};
}

pub(super) fn run(report: &mut Report) {
    if cpu::is_amd() {
        return report.skip("vmx", "not an Intel processor");
    }
    undefined!(report, "vmlaunch", 3, ".byte 0x0f, 0x01, 0xc2");
    undefined!(report, "vmresume", 3, ".byte 0x0f, 0x01, 0xc3");
    undefined!(report, "vmxoff", 3, ".byte 0x0f, 0x01, 0xc4");
    undefined!(report, "vmfunc", 3, ".byte 0x0f, 0x01, 0xd4");
    undefined!(report, "vmxon", 4, ".byte 0xf3, 0x0f, 0xc7, 0x36");
    undefined!(report, "vmclear", 4, ".byte 0x66, 0x0f, 0xc7, 0x36");
    undefined!(report, "vmptrld", 3, ".byte 0x0f, 0xc7, 0x36");
    undefined!(report, "vmptrst", 3, ".byte 0x0f, 0xc7, 0x3e");
    undefined!(report, "vmread", 3, ".byte 0x0f, 0x78, 0xc8");
    undefined!(report, "vmread-memory", 3, ".byte 0x0f, 0x78, 0x0e");
    undefined!(report, "vmwrite", 3, ".byte 0x0f, 0x79, 0xc8");
    undefined!(report, "vmwrite-memory", 3, ".byte 0x0f, 0x79, 0x0e");
    undefined!(report, "invept", 5, ".byte 0x66, 0x0f, 0x38, 0x80, 0x0e");
    undefined!(report, "invvpid", 5, ".byte 0x66, 0x0f, 0x38, 0x81, 0x0e");
    undefined!(report, "getsec", 2, ".byte 0x0f, 0x37");
    undefined!(report, "vmmcall", 3, ".byte 0x0f, 0x01, 0xd9");
    undefined!(report, "vmcall-zero", 3, ".byte 0x0f, 0x01, 0xc1");
    let result = plinth::hypercall(UNKNOWN, 0);
    check!(report, "vmcall-unknown", result.is_err_and(|fault| fault.vector == 6));
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

/// IA32_FEATURE_CONTROL and the capability MSRs are those of a processor without VMX: not there.
fn registers_absent(report: &mut Report) {
    const FEATURE_CONTROL: u32 = 0x3a;
    if !plinth::is_there() {
        return report.skip("vmx-registers", "the bare machine may have them");
    }
    const ABSENT: Fault = Fault::general_protection(2);
    for number in (0x480..=0x493).chain([FEATURE_CONTROL]) {
        let read = cpu::read_msr(number).map(|_| ());
        // SAFETY: The write must fault; all of these are read-only or locked on a processor that has them.
        let written = unsafe { cpu::write_msr(number, 0) };
        check!(report, "vmx-register-absent", [read, written], [Err(ABSENT); 2]);
    }
}
