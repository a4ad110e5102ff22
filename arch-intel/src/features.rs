//! What this processor offers, and whether it can launch.

use plinth_arch_x86::EptCapabilities;
use plinth_arch_x86::apic::LocalApic;
use plinth_arch_x86::launch;
use plinth_arch_x86::msr;
use plinth_arch_x86::speculation::Processor;
use plinth_launch::{LaunchError, LaunchStatus};
use raw_cpuid::{CpuId, CpuIdReaderNative};
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

use crate::control_registers::CACHING;
use crate::vmcs::controls::{self, Controls, FeatureControl};

/// Bits that CR0 and CR4 must and may have in VMX operation (Intel SDM vol. 3D, appendix A.7 and A.8).
const CR0_FIXED0: u32 = 0x486;
const CR0_FIXED1: u32 = 0x487;
const CR4_FIXED0: u32 = 0x488;
const CR4_FIXED1: u32 = 0x489;

/// CR4.VMXE.
pub(crate) const CR4_VMXE: u64 = 1 << 13;
/// CR4.OSXSAVE.
const CR4_OSXSAVE: u64 = 1 << 18;
/// CR0 bits that unrestricted guests need not have set: PE and PG.
const CR0_FREE: u64 = 1 | 1 << 31;

/// What VMX offers here, and what it is used with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// The first word of every VMXON and VMCS region.
    pub(crate) revision: u32,
    pub(crate) controls: Controls,
    /// INVEPT with one EPT pointer; else it forgets everything.
    pub(crate) invept_single: bool,
    /// VPIDs are used, and INVVPID can forget them one by one.
    pub(crate) vpid: bool,
    /// The VMX-preemption timer: see [`controls::Choice`].
    pub(crate) timer_bit: Option<u8>,
    pub(crate) ept: EptCapabilities,
    /// Bits that CR0 and CR4 must have, and may have, in VMX operation.
    pub(crate) cr0_must: u64,
    pub(crate) cr0_may: u64,
    pub(crate) cr4_must: u64,
    pub(crate) cr4_may: u64,
    /// The kernel's own tables have five levels (CR4.LA57).
    pub(crate) five_levels: bool,
    /// Leaves of 1 GiB in the kernel's own tables.
    pub(crate) giant_leaves: bool,
    /// Width of a physical address.
    pub(crate) physical_bits: u8,
    /// CR4 bits that harden the kernel, and OSXSAVE: SMEP, SMAP, UMIP.
    pub(crate) host_cr4: u64,
    /// The page of the local APIC's registers; the guest cannot move it.
    pub(crate) apic_page: u64,
    /// Guest VMs get no large leaves that they can execute.
    pub(crate) splits_guest_code: bool,
}

static FEATURES: Once<Features> = Once::new();

impl Features {
    /// A processor with nothing optional.
    const NONE: Self = Self {
        revision: 0,
        controls: Controls {
            pin: 0,
            processor: 0,
            secondary: 0,
            exit: 0,
            entry: 0,
            guest_pin: 0,
            guest_processor: 0,
        },
        invept_single: false,
        vpid: false,
        timer_bit: None,
        ept: EptCapabilities { execute_only: false, large_leaves: false, giant_leaves: false },
        cr0_must: 0,
        cr0_may: u64::MAX,
        cr4_must: CR4_VMXE,
        cr4_may: u64::MAX,
        five_levels: false,
        giant_leaves: false,
        physical_bits: 36,
        host_cr4: 0,
        apic_page: 0,
        splits_guest_code: true,
    };

    /// What was found when the first processor launched; nothing optional before that.
    pub(crate) fn current() -> &'static Self {
        FEATURES.get().unwrap_or(&Self::NONE)
    }

    /// Keeps what the first processor offers.
    pub(crate) fn keep(self) -> &'static Self {
        FEATURES.call_once(|| self)
    }

    /// CR0 bits that a guest must keep set whatever it writes.
    pub(crate) fn guest_cr0_must(&self) -> u64 {
        self.cr0_must & !CR0_FREE
    }

    /// CR0 bits of which a guest sees a copy: those, and in other VMs than the root VM how memory is cached. VM entry and
    /// exit leave CD and NW as they are (Intel SDM vol. 3C, 26.3.2.1 and 27.5.1): a guest VM that could set them would have
    /// the kernel and the root VM go on without caches.
    pub(crate) fn cr0_mask(&self, is_root: bool) -> u64 {
        self.guest_cr0_must() | if is_root { 0 } else { CACHING }
    }
}

/// Whether this is the vendor whose processors have VMX.
pub fn is_our_vendor() -> bool {
    CpuId::new()
        .get_vendor_info()
        .is_some_and(|vendor| matches!(vendor.as_str(), "GenuineIntel" | "CentaurHauls" | "  Shanghai  "))
}

fn refused(error: LaunchError) -> LaunchStatus {
    LaunchStatus::failed(error, 0)
}

/// What the processor offers, or why Plinth cannot launch on it.
///
/// # Errors
/// The typed reason that the loader prints.
pub(crate) fn probe() -> Result<Features, LaunchStatus> {
    let cpuid = CpuId::new();
    let info = cpuid.get_feature_info().ok_or(refused(LaunchError::NoVirtualization))?;
    if !info.has_vmx() {
        let hidden = info.has_hypervisor();
        let error = if hidden { LaunchError::HiddenByHypervisor } else { LaunchError::NoVirtualization };
        return Err(refused(error));
    }
    // SAFETY: the MSR exists wherever CPUID shows VMX (Intel SDM vol. 3C, "Enabling and Entering VMX Operation").
    let feature_control = unsafe { msr::read(msr::index::FEATURE_CONTROL) };
    FeatureControl::from_msr(feature_control).check()?;
    let cr4 = launch::read_cr4();
    if cr4 & CR4_VMXE != 0 {
        return Err(refused(LaunchError::AlreadyInUse));
    }
    launch::check_event_delivery(cr4)?;
    read_capabilities(&cpuid)
}

/// Allows VMX where the firmware has left that open.
pub(crate) fn allow_vmx() {
    // SAFETY: `probe` has seen VMX. An MSR that is not locked takes the value; locking it is what VMXON asks for.
    unsafe {
        if let FeatureControl::Open(value) = FeatureControl::from_msr(msr::read(msr::index::FEATURE_CONTROL))
        {
            msr::write(msr::index::FEATURE_CONTROL, value);
        }
    }
}

fn capability_msr(register: u32) -> u64 {
    // SAFETY: callers read only MSRs that CPUID or another capability announces.
    unsafe { msr::read(register) }
}

fn read_capabilities(cpuid: &CpuId<CpuIdReaderNative>) -> Result<Features, LaunchStatus> {
    let choice = controls::choose(capability_msr)?;
    let extended = cpuid.get_extended_processor_and_feature_identifiers();
    let extended = extended.ok_or(refused(LaunchError::MissingFeature))?;
    // Processors reach each other through the local APIC.
    let reachable = LocalApic::current().is_enabled();
    if !extended.has_execute_disable() || !extended.has_64bit_mode() || !reachable {
        return Err(refused(LaunchError::MissingFeature));
    }
    let address_size = cpuid.get_processor_capacity_feature_info();
    let physical_bits = address_size.map_or(36, |info| info.physical_address_bits()).min(46);
    Ok(Features {
        revision: choice.revision,
        controls: choice.controls,
        invept_single: choice.invept_single,
        vpid: choice.vpid,
        timer_bit: choice.timer_bit,
        ept: EptCapabilities::from_msr(choice.ept_vpid),
        cr0_must: capability_msr(CR0_FIXED0),
        cr0_may: capability_msr(CR0_FIXED1),
        cr4_must: capability_msr(CR4_FIXED0),
        cr4_may: capability_msr(CR4_FIXED1),
        five_levels: launch::has_five_levels(),
        giant_leaves: extended.has_1gib_pages(),
        physical_bits,
        host_cr4: host_cr4(cpuid),
        apic_page: LocalApic::current().page(),
        splits_guest_code: Processor::current().has_itlb_multihit(),
    })
}

fn host_cr4(cpuid: &CpuId<CpuIdReaderNative>) -> u64 {
    const SMEP: u64 = 1 << 20;
    const SMAP: u64 = 1 << 21;
    const UMIP: u64 = 1 << 11;
    let bit = |has: bool, bit: u64| if has { bit } else { 0 };
    let xsave = cpuid.get_feature_info().is_some_and(|info| info.has_xsave());
    let more = cpuid.get_extended_feature_info();
    let has = |test: fn(&raw_cpuid::ExtendedFeatures) -> bool| more.as_ref().is_some_and(test);
    bit(xsave, CR4_OSXSAVE)
        | bit(has(|info| info.has_smep()), SMEP)
        | bit(has(|info| info.has_smap()), SMAP)
        | bit(has(|info| info.has_umip()), UMIP)
}
