//! Shows the root VM KVM's name behind Plinth's own, with none of KVM's features: with a hypervisor that it knows Linux uses the
//! APIC in x2APIC mode, though no unit remaps its interrupts.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Failure, IdValue, Plinth, Resume, VmId};
use plinth_extension_api::{extension, passthrough};

struct X2apicAllowed;

impl Extension for X2apicAllowed {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        plinth.vm_intercept_ids(VmId::ROOT)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let value = if exit.id_read().is_some() { value(exit) } else { return passthrough::vmexit(exit) };
        exit.answer_id(value)
    }
}

/// The leaves behind [`NAME`] are KVM's (Linux, Documentation/virt/kvm/x86/cpuid.rst).
#[cfg(target_arch = "x86_64")]
fn value(exit: &mut Exit<'_>) -> IdValue {
    /// The second place where Linux looks for a hypervisor's name (`hypervisor_cpuid_base`).
    const NAME: u32 = 0x4000_0100;
    /// The features.
    const FEATURES: u32 = NAME + 1;
    let word = |text: &[u8; 4]| u32::from_le_bytes(*text);
    match exit.id_read().map(|id| id.leaf) {
        Some(NAME) => [FEATURES, word(b"KVMK"), word(b"VMKV"), word(b"M\0\0\0")],
        Some(FEATURES) => [0; 4],
        _ => passthrough::id_value(exit),
    }
}

/// Arm has no such mode.
#[cfg(target_arch = "aarch64")]
fn value(exit: &mut Exit<'_>) -> IdValue {
    passthrough::id_value(exit)
}

extension!(X2apicAllowed, groups: [VM, VP, VS, INTRINSIC]);
