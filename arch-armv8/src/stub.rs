//! The hypervisor stub that Linux leaves at EL2 when it goes down to EL1 (arch/arm64/include/asm/virt.h, arch/arm64/kernel/hyp-stub.S).

/// Its calls are numbered from 0: SET_VECTORS, SOFT_RESTART, RESET_VECTORS, FINALISE_EL2, and in later versions GET_ICH_VTR_EL2.
pub(crate) const CALLS: u64 = 5;

/// HVC_STUB_ERR: what it answers to a call that it does not know.
pub(crate) const NOT_THERE: u64 = 0x0BAD_CA11;
