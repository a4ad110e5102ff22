//! The VMCS that is current on this processor.
//!
//! A VMCS is current only while its VS is active, on that VS's own processor. At rest it is clear: whoever looks at
//! it then makes it current for a moment and clears it again. So no VMCS is ever active on two processors.

use crate::vmcs::field::{Control, Field, Guest, Width};
use crate::vmx;

/// Proof that the VMCS in question is current.
#[derive(Debug)]
pub(crate) struct Current(());

impl Current {
    /// # Safety
    /// The processor is in VMX root operation with a current VMCS, which is the one that the caller means.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Self(())
    }

    /// Reads a field.
    #[inline(always)]
    pub(crate) fn read<W: Width, K>(&self, field: Field<W, K>) -> W {
        // SAFETY: by `assume`.
        W::from_register(unsafe { vmx::vmread(field.encoding) })
    }

    /// Writes a field of the guest's state.
    #[inline(always)]
    pub(crate) fn write<W: Width>(&self, field: Field<W, Guest>, value: W) {
        // SAFETY: by `assume`; VM entry checks the guest's state, and the guest reaches only what its nested tables map.
        unsafe { vmx::vmwrite(field.encoding, value.into_register()) };
    }

    /// Writes a field that isolation rests on.
    ///
    /// # Safety
    /// Addresses are of structures that live as long as the VMCS; host state is what the kernel runs with; controls
    /// keep the guest behind its nested tables and bitmaps.
    #[inline(always)]
    pub(crate) unsafe fn control<W: Width>(&self, field: Field<W, Control>, value: W) {
        // SAFETY: forwarded to the caller.
        unsafe { vmx::vmwrite(field.encoding, value.into_register()) };
    }
}
