//! CPUID: the machine's own answers, with Plinth's signature and without SVM.

use plinth_extension_api::abi::{CPUID_SIGNATURE, CPUID_VERSION_LEAF, VERSION};
use plinth_test_guests::{Report, check, cpu, plinth};

/// Leaf 1 ECX: XSAVE, OSXSAVE, a hypervisor.
const XSAVE: u32 = 1 << 26;
const OSXSAVE: u32 = 1 << 27;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 8000_0001 ECX: SVM.
const SVM: u32 = 1 << 2;

pub(super) fn run(report: &mut Report) {
    if plinth::is_there() {
        signature(report);
        hidden(report);
    } else {
        report.skip("cpuid-signature", "not under Plinth");
    }
    own_answers(report);
    mirrors_cr4(report);
}

fn signature(report: &mut Report) {
    let [highest, ebx, ecx, edx] = cpu::cpuid(0x4000_0000, 0);
    check!(report, "cpuid-signature", highest == CPUID_VERSION_LEAF && [ebx, ecx, edx] == CPUID_SIGNATURE);
    let [version, processors, ..] = cpu::cpuid(CPUID_VERSION_LEAF, 0);
    check!(report, "cpuid-version", u64::from(version) == VERSION && (1..=64).contains(&processors));
    let others = (0x4000_0002..=0x4000_00ff).all(|leaf| cpu::cpuid(leaf, 0) == [0; 4]);
    check!(report, "cpuid-other-leaves-zero", others);
    check!(report, "cpuid-hypervisor-present", cpu::cpuid(1, 0)[2] & HYPERVISOR != 0);
}

fn hidden(report: &mut Report) {
    check!(report, "cpuid-svm-hidden", cpu::cpuid(0x8000_0001, 0)[2] & SVM == 0);
    let leaf = cpu::cpuid(0x8000_000A, 0);
    check!(report, "cpuid-svm-leaf-zero", leaf == [0; 4]);
}

/// Leaves that no hypervisor changes hang together, whatever the machine.
fn own_answers(report: &mut Report) {
    let [highest, ..] = cpu::cpuid(0, 0);
    let [highest_extended, ..] = cpu::cpuid(0x8000_0000, 0);
    check!(report, "cpuid-ranges", highest >= 7 && highest_extended >= 0x8000_0008);
    let width = cpu::cpuid(0x8000_0008, 0)[0] & 0xff;
    check!(report, "cpuid-address-width", (36..=52).contains(&width));
}

/// OSXSAVE is what this machine's CR4 says, and follows it.
fn mirrors_cr4(report: &mut Report) {
    if cpu::cpuid(1, 0)[2] & XSAVE == 0 {
        return report.skip("cpuid-osxsave", "the processor has no XSAVE");
    }
    let before = cpu::read_cr4();
    let mirrored = [before | cpu::CR4_OSXSAVE, before & !cpu::CR4_OSXSAVE].map(|cr4| {
        // SAFETY: Nothing in a UEFI application uses XSAVE, and CR4 is put back.
        unsafe { cpu::write_cr4(cr4) };
        cpu::cpuid(1, 0)[2] & OSXSAVE != 0
    });
    // SAFETY: As it was.
    unsafe { cpu::write_cr4(before) };
    check!(report, "cpuid-osxsave", mirrored, [true, false]);
}
