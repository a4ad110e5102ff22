//! Changes an answer: the root VM finds a processor without AES instructions, and software falls back to code
//! that does without.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Failure, Id, IdValue, Plinth, Resume, VmId};
use plinth_extension_api::{extension, log, passthrough};

struct CpuidSpoof;

impl Extension for CpuidSpoof {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        log::info!("cpuid-spoof: hiding the AES instructions");
        plinth.vm_intercept_ids(VmId::ROOT)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        match exit.id_read() {
            Some(id) => exit.answer_id(without_aes(id, passthrough::id_value(exit))),
            None => passthrough::vmexit(exit),
        }
    }
}

/// CPUID leaf 1, ECX bit 25 (AMD64 APM vol. 3, E.3.2).
#[cfg(target_arch = "x86_64")]
fn without_aes(id: Id, [eax, ebx, ecx, edx]: IdValue) -> IdValue {
    let hidden = if id.leaf == 1 { 1 << 25 } else { 0 };
    [eax, ebx, ecx & !hidden, edx]
}

/// ID_AA64ISAR0_EL1, bits 7:4 (Arm ARM, D19.2).
#[cfg(target_arch = "aarch64")]
fn without_aes(id: Id, value: IdValue) -> IdValue {
    const ID_AA64ISAR0_EL1: u64 = 3 << 14 | 6 << 3;
    let hidden = if id.register == ID_AA64ISAR0_EL1 { 0xF << 4 } else { 0 };
    value & !hidden
}

extension!(CpuidSpoof, groups: [VM, VP, VS, INTRINSIC]);
