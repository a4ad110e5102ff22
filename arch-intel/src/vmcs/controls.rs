//! Which VMX controls Plinth uses on a processor, from its capability MSRs alone.
//!
//! Nothing here reads hardware: the MSRs come from the caller, so that the choice can be tested with those of any
//! processor. `docs/intel-vmx.md` says why each control is set or clear.

use plinth_launch::{LaunchError, LaunchStatus};

use crate::vmcs::capability::{Capability, Missing};

/// Capability MSRs (Intel SDM vol. 3D, appendix A).
pub(crate) const BASIC: u32 = 0x480;
const PIN: u32 = 0x481;
const PROCESSOR: u32 = 0x482;
const EXIT: u32 = 0x483;
const ENTRY: u32 = 0x484;
const MISCELLANEOUS: u32 = 0x485;
const SECONDARY: u32 = 0x48B;
const EPT_VPID: u32 = 0x48C;
/// Added to the number of a control MSR: the one that tells which default settings can be changed.
const TRUE_OFFSET: u32 = 0x0C;

/// Pin-based controls: NMIs exit, and have a virtual blocking of their own.
const PIN_INTERRUPTS: u32 = 1 << 0;
const PIN_NMI: u32 = 1 << 3;
const PIN_VIRTUAL_NMI: u32 = 1 << 5;
pub(crate) const PIN_TIMER: u32 = 1 << 6;

/// Processor-based controls.
pub(crate) const INTERRUPT_WINDOW: u32 = 1 << 2;
pub(crate) const NMI_WINDOW: u32 = 1 << 22;
const IO_BITMAPS: u32 = 1 << 25;
const MSR_BITMAPS: u32 = 1 << 28;
const ACTIVATE_SECONDARY: u32 = 1 << 31;
/// What else exits in other VMs than the root VM, because it would reach the processor itself: HLT, MWAIT, RDPMC, CR8 and
/// MONITOR.
const GUEST_EXITS: u32 = 1 << 7 | 1 << 10 | 1 << 11 | 1 << 19 | 1 << 20 | 1 << 29;

/// Secondary controls that are needed: EPT and unrestricted guests.
const EPT: u32 = 1 << 1;
const UNRESTRICTED: u32 = 1 << 7;
/// VPIDs.
const VPID: u32 = 1 << 5;
/// XSAVES and XRSTORS; then the XSS-exiting bitmap counts.
pub(crate) const XSAVES: u32 = 1 << 20;
/// PCONFIG; then its exiting bitmap counts.
pub(crate) const PCONFIG: u32 = 1 << 27;
/// Secondary controls without which an instruction that the processor has would be missing in the guest: RDTSCP,
/// INVPCID, XSAVES, TPAUSE and its like, PCONFIG.
const INSTRUCTIONS: u32 = 1 << 3 | 1 << 12 | XSAVES | 1 << 26 | PCONFIG;

/// Those of [`INSTRUCTIONS`] that other VMs than the root VM go without: PCONFIG changes the keys of all memory.
const ROOT_INSTRUCTIONS: u32 = PCONFIG;

/// VM-exit controls: save debug controls, 64-bit host, save and load PAT and EFER.
const EXITS: u32 = 1 << 2 | 1 << 9 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21;
/// VM-entry controls: load debug controls, PAT and EFER.
const ENTRIES: u32 = 1 << 2 | 1 << 14 | 1 << 15;

/// Bits of IA32_VMX_EPT_VPID_CAP.
const FOUR_LEVELS: u64 = 1 << 6;
const WRITE_BACK_TABLES: u64 = 1 << 14;
const INVEPT: u64 = 1 << 20;
const INVEPT_SINGLE: u64 = 1 << 25;
const INVEPT_ALL: u64 = 1 << 26;
const INVVPID: u64 = 1 << 32;
const INVVPID_SINGLE: u64 = 1 << 41;
const INVVPID_ALL: u64 = 1 << 42;

/// The values of the control fields of a root VM's VS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controls {
    pub(crate) pin: u32,
    pub(crate) processor: u32,
    pub(crate) secondary: u32,
    pub(crate) exit: u32,
    pub(crate) entry: u32,
    /// Pin-based and processor-based controls of another VM's VS.
    pub(crate) guest_pin: u32,
    pub(crate) guest_processor: u32,
}

impl Controls {
    /// Secondary controls of another VM's VS.
    pub(crate) const fn guest_secondary(&self) -> u32 {
        self.secondary & !ROOT_INSTRUCTIONS
    }
}

/// What the capability MSRs offer, as far as Plinth uses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// The first word of every VMXON and VMCS region.
    pub(crate) revision: u32,
    pub(crate) controls: Controls,
    /// INVEPT with one EPT pointer; else it forgets everything.
    pub(crate) invept_single: bool,
    /// VPIDs are used, and INVVPID can forget them one by one.
    pub(crate) vpid: bool,
    /// IA32_VMX_EPT_VPID_CAP.
    pub(crate) ept_vpid: u64,
    /// The VMX-preemption timer, where there is one: it counts down when this bit of the TSC changes.
    pub(crate) timer_bit: Option<u8>,
}

const fn refused(error: LaunchError) -> LaunchStatus {
    LaunchStatus::failed(error, 0)
}

/// Chooses, by what `read` says of each capability MSR that the processor has.
///
/// # Errors
/// What is missing. The detail of a missing control is its bit in the field.
pub(crate) fn choose(read: impl Fn(u32) -> u64) -> Result<Choice, LaunchStatus> {
    let basic = read(BASIC);
    let controls = choose_controls(basic, &read)?;
    let ept_vpid = read(EPT_VPID);
    let needed = FOUR_LEVELS | WRITE_BACK_TABLES | INVEPT;
    if ept_vpid & needed != needed || ept_vpid & (INVEPT_SINGLE | INVEPT_ALL) == 0 {
        return Err(refused(LaunchError::NoNestedPaging));
    }
    let flushable =
        ept_vpid & (INVVPID | INVVPID_SINGLE | INVVPID_ALL) == INVVPID | INVVPID_SINGLE | INVVPID_ALL;
    let vpid = flushable && controls.secondary & VPID != 0;
    Ok(Choice {
        revision: basic as u32 & 0x7FFF_FFFF,
        controls: Controls {
            secondary: if vpid { controls.secondary } else { controls.secondary & !VPID },
            ..controls
        },
        invept_single: ept_vpid & INVEPT_SINGLE != 0,
        vpid,
        ept_vpid,
        timer_bit: timer_bit(basic, &read),
    })
}

/// Intel SDM vol. 3D, appendix A.6.
fn timer_bit(basic: u64, read: &impl Fn(u32) -> u64) -> Option<u8> {
    const TIMER_RATE: u64 = 0x1F;
    let has_timer = Capability::from_msr(read(PIN + true_offset(basic))).offers(PIN_TIMER);
    has_timer.then(|| (read(MISCELLANEOUS) & TIMER_RATE) as u8)
}

/// What is added to the number of a control MSR.
const fn true_offset(basic: u64) -> u32 {
    /// IA32_VMX_BASIC: the TRUE capability MSRs exist.
    const TRUE_CONTROLS: u64 = 1 << 55;
    if basic & TRUE_CONTROLS != 0 { TRUE_OFFSET } else { 0 }
}

fn choose_controls(basic: u64, read: &impl Fn(u32) -> u64) -> Result<Controls, LaunchStatus> {
    let offset = true_offset(basic);
    let capability = |register: u32| Capability::from_msr(read(register + offset));
    let missing =
        |missing: Missing| LaunchStatus::failed(LaunchError::MissingFeature, u64::from(missing.bits));
    let processor = capability(PROCESSOR);
    if !processor.offers(ACTIVATE_SECONDARY) {
        return Err(refused(LaunchError::NoNestedPaging));
    }
    let secondary = Capability::from_msr(read(SECONDARY));
    if !secondary.offers(EPT) {
        return Err(refused(LaunchError::NoNestedPaging));
    }
    let (pin, root_pin) = (capability(PIN), PIN_NMI | PIN_VIRTUAL_NMI);
    let root_processor = IO_BITMAPS | MSR_BITMAPS | ACTIVATE_SECONDARY;
    if !processor.offers(INTERRUPT_WINDOW | NMI_WINDOW) {
        return Err(missing(Missing { bits: INTERRUPT_WINDOW | NMI_WINDOW }));
    }
    Ok(Controls {
        pin: pin.choose(root_pin, 0).map_err(missing)?,
        processor: processor.choose(root_processor, 0).map_err(missing)?,
        guest_pin: pin.choose(root_pin | PIN_INTERRUPTS, 0).map_err(missing)?,
        guest_processor: processor.choose(root_processor | GUEST_EXITS, 0).map_err(missing)?,
        secondary: secondary.choose(EPT | UNRESTRICTED, VPID | INSTRUCTIONS).map_err(missing)?,
        exit: capability(EXIT).choose(EXITS, 0).map_err(missing)?,
        entry: capability(ENTRY).choose(ENTRIES, 0).map_err(missing)?,
    })
}

/// What the firmware has made of IA32_FEATURE_CONTROL (Intel SDM vol. 3C, "Enabling and Entering VMX Operation").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FeatureControl {
    /// Locked with VMX outside SMX allowed.
    Allowed,
    /// Not locked: this value allows VMX.
    Open(u64),
    /// Locked with VMX off.
    Denied,
}

impl FeatureControl {
    const LOCKED: u64 = 1 << 0;
    const VMX_ALLOWED: u64 = 1 << 2;

    /// From the value of the MSR.
    pub(crate) const fn from_msr(value: u64) -> Self {
        match (value & Self::LOCKED != 0, value & Self::VMX_ALLOWED != 0) {
            (false, _) => Self::Open(value | Self::LOCKED | Self::VMX_ALLOWED),
            (true, true) => Self::Allowed,
            (true, false) => Self::Denied,
        }
    }

    /// # Errors
    /// The firmware has locked VMX off.
    pub(crate) const fn check(self) -> Result<(), LaunchStatus> {
        match self {
            Self::Denied => Err(refused(LaunchError::DisabledByFirmware)),
            Self::Allowed | Self::Open(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod machines;
#[cfg(test)]
mod tests;
