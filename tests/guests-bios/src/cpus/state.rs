//! The state in which a startup IPI finds a processor: that after INIT (Intel SDM vol. 3A, "Processor State After Reset"; AMD
//! APM vol. 2, table 14-1).

use core::sync::atomic::{AtomicU32, Ordering};

use plinth_test_guests::{Report, check, plinth};

use super::SECOND;
use super::stub::Stub;

/// CR0 but for CD and NW, which INIT leaves alone: ET.
const CR0: u32 = 0x10;
const CR0_CACHES: u32 = 3 << 29;
const DR6: u32 = 0xFFFF_0FF0;
const DR7: u32 = 0x400;
/// Bit 1 is always set.
const FLAGS: u32 = 2;
/// CPUID leaf 1, ECX: VMX. Leaf 8000_0001h, ECX: SVM.
const VMX: u32 = 1 << 5;
const SVM: u32 = 1 << 2;

fn read<const N: usize>(words: &[AtomicU32; N]) -> [u32; N] {
    core::array::from_fn(|index| words[index].load(Ordering::SeqCst))
}

/// Checks what the code in `stub` has noted at its last beginning.
pub(crate) fn check(report: &mut Report, stub: Stub) {
    let record = stub.record();
    let [signature, own, features] = read(&record.identity);
    check!(report, "second-id", own >> 24, SECOND);
    check!(report, "general-registers", read(&record.general), [0, 0, signature, 0, 0, 0, 0, 0]);
    let [cr0, cr3, cr4] = read(&record.control);
    check!(report, "control-registers", [cr0 & !CR0_CACHES, cr3, cr4], [CR0, 0, 0]);
    check!(report, "debug-registers", read(&record.debug), [DR6, DR7]);
    check!(report, "flags", record.flags.load(Ordering::SeqCst), FLAGS);
    check!(report, "code-segment", record.code_segment.load(Ordering::SeqCst), stub.vector() << 8);
    check!(report, "data-segments-and-ip", read(&record.segments), [0, 0, 0]);
    let tables = [read(&record.interrupt_table), read(&record.descriptor_table)];
    check!(report, "descriptor-tables", tables, [[0xFFFF, 0], [0xFFFF, 0]]);
    check!(report, "efer", record.efer.load(Ordering::SeqCst), 0);
    let first = plinth_test_guests::cpu::cpuid(1, 0)[0];
    check!(report, "same-processor", signature, first);
    if !plinth::is_there() {
        return report.skip("second-sees-plinth", "it is not there");
    }
    let expected = plinth::signature();
    check!(report, "second-sees-plinth", read(&record.signature), expected);
    check!(report, "second-has-no-vmx", features & VMX, 0);
    check!(report, "second-has-no-svm", record.extended.load(Ordering::SeqCst) & SVM, 0);
}
