//! The hypervisor stub that Linux leaves at EL2 when it goes down to EL1 (arch/arm64/include/asm/virt.h, arch/arm64/kernel/hyp-stub.S).

/// Its calls are numbered from 0: SET_VECTORS, SOFT_RESTART, RESET_VECTORS, FINALISE_EL2, and in later versions GET_ICH_VTR_EL2. A
/// number below this one is nobody else's: with one that no stub knows a program asks whether there is a stub.
pub(crate) const CALLS: u64 = 0x100;

/// HVC_STUB_ERR: what it answers to a call that it does not know.
pub(crate) const NOT_THERE: u64 = 0x0BAD_CA11;
