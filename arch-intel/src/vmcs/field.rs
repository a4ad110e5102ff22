//! The fields of the VMCS that Plinth uses, with their width and who may write them (Intel SDM vol. 3D, appendix B).

use core::marker::PhantomData;

/// The guest's own state: any value is safe, because VM entry checks it and the guest stays behind its nested tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest;

/// Controls, addresses and the host's state: a wrong value breaks isolation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control;

/// Written by the processor alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOnly;

/// What a field's width makes of a register.
pub(crate) trait Width: Copy {
    /// Cuts a register down to the width.
    fn from_register(value: u64) -> Self;
    /// Fills a register.
    fn into_register(self) -> u64;
}

macro_rules! width {
    ($($type:ty),*) => {$(
        impl Width for $type {
            #[inline(always)]
            fn from_register(value: u64) -> Self {
                value as Self
            }

            #[inline(always)]
            fn into_register(self) -> u64 {
                u64::from(self)
            }
        }
    )*};
}

width!(u16, u32, u64);

/// A field of width `W`, writable as `K` says. Natural-width fields are 64 bits wide here.
#[derive(Debug)]
pub(crate) struct Field<W, K> {
    /// Its encoding.
    pub(crate) encoding: u64,
    kind: PhantomData<(W, K)>,
}

impl<W, K> Clone for Field<W, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, K> Copy for Field<W, K> {}

impl<W, K> Field<W, K> {
    const fn at(encoding: u64) -> Self {
        Self { encoding, kind: PhantomData }
    }

    /// The `index`th of a row of fields whose encodings are 2 apart.
    pub(crate) const fn nth(self, index: u64) -> Self {
        Self::at(self.encoding + 2 * index)
    }
}

macro_rules! fields {
    ($kind:ident: $($width:ty { $($name:ident = $encoding:literal),* $(,)? })*) => {
        $($(pub(crate) const $name: Field<$width, $kind> = Field::at($encoding);)*)*
    };
}

fields! { Control:
    u16 { VPID = 0x0000, HOST_ES = 0x0C00, HOST_CS = 0x0C02, HOST_SS = 0x0C04, HOST_DS = 0x0C06, HOST_FS = 0x0C08,
          HOST_GS = 0x0C0A, HOST_TR = 0x0C0C }
    u32 { PIN_CONTROLS = 0x4000, PROCESSOR_CONTROLS = 0x4002, EXCEPTIONS = 0x4004, PAGE_FAULT_MASK = 0x4006,
          PAGE_FAULT_MATCH = 0x4008, CR3_TARGETS = 0x400A, EXIT_CONTROLS = 0x400C, EXIT_MSR_STORES = 0x400E,
          EXIT_MSR_LOADS = 0x4010, ENTRY_CONTROLS = 0x4012, ENTRY_MSR_LOADS = 0x4014, ENTRY_EVENT = 0x4016,
          ENTRY_ERROR_CODE = 0x4018, ENTRY_INSTRUCTION_LENGTH = 0x401A, SECONDARY_CONTROLS = 0x401E,
          HOST_SYSENTER_CS = 0x4C00 }
    u64 { IO_BITMAP_A = 0x2000, IO_BITMAP_B = 0x2002, MSR_BITMAP = 0x2004, TSC_OFFSET = 0x2010, EPT_POINTER = 0x201A,
          XSS_EXITING = 0x202C, PCONFIG_EXITING = 0x203E,
          HOST_PAT = 0x2C00, HOST_EFER = 0x2C02, CR0_MASK = 0x6000, CR4_MASK = 0x6002, HOST_CR0 = 0x6C00,
          HOST_CR3 = 0x6C02, HOST_CR4 = 0x6C04, HOST_FS_BASE = 0x6C06, HOST_GS_BASE = 0x6C08, HOST_TR_BASE = 0x6C0A,
          HOST_GDTR_BASE = 0x6C0C, HOST_IDTR_BASE = 0x6C0E, HOST_SYSENTER_ESP = 0x6C10, HOST_SYSENTER_EIP = 0x6C12,
          HOST_RIP = 0x6C16, GUEST_CR0 = 0x6800, GUEST_CR4 = 0x6804 }
}

fields! { Guest:
    u16 { GUEST_SELECTOR = 0x0800 }
    u32 { GUEST_LIMIT = 0x4800, GUEST_RIGHTS = 0x4814, GUEST_GDTR_LIMIT = 0x4810, GUEST_IDTR_LIMIT = 0x4812,
          INTERRUPTIBILITY = 0x4824, ACTIVITY = 0x4826, GUEST_SYSENTER_CS = 0x482A, TIMER_VALUE = 0x482E }
    u64 { LINK_POINTER = 0x2800, GUEST_DEBUG_CONTROL = 0x2802, GUEST_PAT = 0x2804, GUEST_EFER = 0x2806, PDPTE = 0x280A,
          CR0_SHADOW = 0x6004, CR4_SHADOW = 0x6006, GUEST_CR3 = 0x6802, GUEST_BASE = 0x6806,
          GUEST_GDTR_BASE = 0x6816, GUEST_IDTR_BASE = 0x6818, GUEST_DR7 = 0x681A, GUEST_RSP = 0x681C, GUEST_RIP = 0x681E,
          GUEST_RFLAGS = 0x6820, PENDING_DEBUG = 0x6822, GUEST_SYSENTER_ESP = 0x6824, GUEST_SYSENTER_EIP = 0x6826 }
}

fields! { ReadOnly:
    u32 { INSTRUCTION_ERROR = 0x4400, EXIT_REASON = 0x4402, EXIT_EVENT = 0x4404, EXIT_ERROR_CODE = 0x4406, VECTORING_EVENT = 0x4408,
          VECTORING_ERROR_CODE = 0x440A, INSTRUCTION_LENGTH = 0x440C }
    u64 { PHYSICAL_ADDRESS = 0x2400, QUALIFICATION = 0x6400 }
}
