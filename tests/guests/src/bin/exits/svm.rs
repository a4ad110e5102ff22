//! The instructions of AMD's virtualization extension: undefined, as on a processor without it.

use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, plinth, probe};

/// A hypercall that nobody knows.
const UNKNOWN: u64 = 0x0123_4567_89ab_cdef;

/// Checks that an instruction, given by its bytes, raises #UD and changes nothing.
macro_rules! undefined {
    ($report:expr, $name:literal, $bytes:literal) => {{
        let (rax, rcx): (u64, u64);
        // SAFETY: The instruction must fault; RAX and RCX, its only operands, are 0.
        let fault = unsafe {
            probe!($bytes; inout("rax") 0u64 => rax, inout("rcx") 0u64 => rcx)
        };
        check!($report, concat!($name, "-undefined"), fault, Some(Fault::undefined(3)));
        check!($report, concat!($name, "-changes-nothing"), rax | rcx == 0);
    }};
}

pub(super) fn run(report: &mut Report) {
    if !cpu::is_amd() {
        return report.skip("svm", "not an AMD processor");
    }
    undefined!(report, "vmrun", ".byte 0x0f, 0x01, 0xd8");
    undefined!(report, "vmload", ".byte 0x0f, 0x01, 0xda");
    undefined!(report, "vmsave", ".byte 0x0f, 0x01, 0xdb");
    undefined!(report, "stgi", ".byte 0x0f, 0x01, 0xdc");
    undefined!(report, "clgi", ".byte 0x0f, 0x01, 0xdd");
    undefined!(report, "skinit", ".byte 0x0f, 0x01, 0xde");
    undefined!(report, "invlpga", ".byte 0x0f, 0x01, 0xdf");
    undefined!(report, "vmcall", ".byte 0x0f, 0x01, 0xc1");
    undefined!(report, "vmmcall-zero", ".byte 0x0f, 0x01, 0xd9");
    let result = plinth::hypercall(UNKNOWN, 0);
    check!(report, "vmmcall-unknown", result.is_err_and(|fault| fault.vector == 6));
}
