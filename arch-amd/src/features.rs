//! What this processor offers, and whether it can launch.

use plinth_arch_x86::apic::LocalApic;
use plinth_arch_x86::{cpuid, launch, msr};
use plinth_extension_api::abi::cpuid::has_guest_invlpgb;
use plinth_launch::{LaunchError, LaunchStatus};
use raw_cpuid::{CpuId, CpuIdReaderNative};
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

use crate::encryption;
use crate::vm::VM_CR;
use crate::vmcb::EFER_SVME;

/// VM_CR.SVMDIS (AMD APM vol. 2, 15.30.1).
const SVM_DISABLED: u64 = 1 << 4;

static FEATURES: Once<Features> = Once::new();

/// The optional parts of SVM that are used where the processor has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// The VMCB holds the address of the next instruction after an instruction intercept.
    pub(crate) next_rip: bool,
    /// The VMCB holds the instruction's bytes after a nested page fault.
    pub(crate) decode_assists: bool,
    /// The processor delivers NMIs to a guest, and holds them back, by itself.
    pub(crate) virtual_nmi: bool,
    /// One ASID can be flushed alone.
    pub(crate) flush_by_asid: bool,
    /// Guests can execute INVLPGB and TLBSYNC.
    pub(crate) broadcast_flush: bool,
    /// The VMCB holds the guest's SPEC_CTRL.
    pub(crate) virtual_spec_ctrl: bool,
    /// How many ASIDs there are, the host's 0 included.
    pub(crate) asids: u32,
    /// The kernel's tables have five levels, and so have nested ones (CR4.LA57).
    pub(crate) five_levels: bool,
    /// Leaves of 1 GiB.
    pub(crate) giant_leaves: bool,
    /// Width of a physical address.
    pub(crate) physical_bits: u8,
    /// CR4 bits that harden the kernel: SMEP, SMAP, UMIP.
    pub(crate) hardening: u64,
}

impl Features {
    /// A processor with nothing optional.
    pub(crate) const NONE: Self = Self {
        next_rip: false,
        decode_assists: false,
        virtual_nmi: false,
        flush_by_asid: false,
        broadcast_flush: false,
        virtual_spec_ctrl: false,
        asids: 2,
        five_levels: false,
        giant_leaves: false,
        physical_bits: 36,
        hardening: 0,
    };

    /// What was found when the first processor launched; nothing optional before that.
    pub(crate) fn current() -> Self {
        FEATURES.get().copied().unwrap_or(Self::NONE)
    }

    /// Keeps these, if they are the first ones. Returns those that count: the first processor's.
    pub(crate) fn keep(self) -> Self {
        *FEATURES.call_once(|| self)
    }
}

/// CR4.SMEP.
const SMEP: u64 = 1 << 20;
/// CR4.SMAP.
const SMAP: u64 = 1 << 21;
/// CR4.UMIP.
const UMIP: u64 = 1 << 11;

/// Whether this is the vendor whose processors have SVM.
pub fn is_our_vendor() -> bool {
    let cpuid = CpuId::new();
    cpuid.get_vendor_info().is_some_and(|vendor| matches!(vendor.as_str(), "AuthenticAMD" | "HygonGenuine"))
}

/// What the processor offers, or why Plinth cannot launch on it.
///
/// # Errors
/// The typed reason that the loader prints.
pub(crate) fn probe() -> Result<Features, LaunchStatus> {
    let refused = |error| LaunchStatus::failed(error, 0);
    let cpuid = CpuId::new();
    let extended = cpuid.get_extended_processor_and_feature_identifiers();
    let extended = extended.ok_or(refused(LaunchError::NoVirtualization))?;
    if !extended.has_svm() {
        return Err(refused(missing_svm(&cpuid)));
    }
    // SAFETY: both MSRs exist wherever CPUID shows SVM (AMD APM vol. 2, 15.4).
    let (vm_cr, efer) = unsafe { (msr::read(VM_CR), msr::read(msr::index::EFER)) };
    if vm_cr & SVM_DISABLED != 0 {
        return Err(refused(LaunchError::DisabledByFirmware));
    }
    if efer & EFER_SVME != 0 {
        return Err(refused(LaunchError::AlreadyInUse));
    }
    launch::check_event_delivery(launch::read_cr4())?;
    encryption::check()?;
    if !LocalApic::current().is_enabled() {
        // Processors reach each other through it.
        return Err(refused(LaunchError::MissingFeature));
    }
    let svm = cpuid.get_svm_info().ok_or(refused(LaunchError::NoVirtualization))?;
    if !svm.has_nested_paging() {
        return Err(refused(LaunchError::NoNestedPaging));
    }
    if !extended.has_execute_disable() || !extended.has_64bit_mode() {
        return Err(refused(LaunchError::MissingFeature));
    }
    let address_size = cpuid.get_processor_capacity_feature_info();
    Ok(Features {
        next_rip: svm.has_nrip(),
        decode_assists: svm.has_decode_assists(),
        virtual_nmi: has(VIRTUAL_NMI),
        flush_by_asid: svm.has_flush_by_asid(),
        broadcast_flush: has_guest_invlpgb(cpuid::native),
        virtual_spec_ctrl: has(VIRTUAL_SPEC_CTRL),
        asids: svm.supported_asids(),
        five_levels: launch::has_five_levels(),
        giant_leaves: extended.has_1gib_pages(),
        physical_bits: address_size.map_or(36, |info| info.physical_address_bits()).min(46),
        hardening: hardening(&cpuid),
    })
}

/// CPUID leaf 8000_000Ah, EDX (AMD APM vol. 3, E.4.9).
const VIRTUAL_SPEC_CTRL: u32 = 1 << 20;
/// The same.
const VIRTUAL_NMI: u32 = 1 << 25;

/// Whether the processor has a feature of that leaf.
fn has(feature: u32) -> bool {
    const SVM_FEATURES: u32 = 0x8000_000A;
    core::arch::x86_64::__cpuid(SVM_FEATURES).edx & feature != 0
}

/// Why SVM is missing on a processor of a vendor that builds it into all its 64-bit ones.
fn missing_svm(cpuid: &CpuId<CpuIdReaderNative>) -> LaunchError {
    let hypervisor = cpuid.get_feature_info().is_some_and(|info| info.has_hypervisor());
    if hypervisor { LaunchError::HiddenByHypervisor } else { LaunchError::NoVirtualization }
}

fn hardening(cpuid: &CpuId<CpuIdReaderNative>) -> u64 {
    let Some(features) = cpuid.get_extended_feature_info() else { return 0 };
    let bit = |has: bool, bit: u64| if has { bit } else { 0 };
    bit(features.has_smep(), SMEP) | bit(features.has_smap(), SMAP) | bit(features.has_umip(), UMIP)
}
