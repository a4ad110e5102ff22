//! Which VMX controls may, must and cannot be set, from the capability MSRs alone (Intel SDM vol. 3D, appendix A).

/// What a capability MSR says of a control field: bits 31:0 must be 1, bits 63:32 may be 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capability(u64);

/// A control that the kernel cannot do without is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The bits.
    pub(crate) bits: u32,
}

impl Capability {
    /// From the value of the MSR.
    pub(crate) const fn from_msr(value: u64) -> Self {
        Self(value)
    }

    const fn must(self) -> u32 {
        self.0 as u32
    }

    const fn may(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether all of `bits` can be set.
    pub(crate) const fn offers(self, bits: u32) -> bool {
        self.may() & bits == bits
    }

    /// The field with all of `required`, those of `optional` that are offered, and what the processor insists on.
    ///
    /// # Errors
    /// [`Missing`] for required bits that are not offered.
    pub(crate) const fn choose(self, required: u32, optional: u32) -> Result<u32, Missing> {
        if !self.offers(required) {
            return Err(Missing { bits: required & !self.may() });
        }
        Ok(self.must() | required | optional & self.may())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPABILITY: Capability = Capability::from_msr(0x0000_00F7_0000_0016);

    #[test]
    fn what_must_be_set_is_set() {
        assert_eq!(CAPABILITY.choose(0, 0), Ok(0x16));
    }

    #[test]
    fn an_optional_control_is_taken_where_it_is_offered() {
        assert_eq!(CAPABILITY.choose(1, 0x88), Ok(0x97));
    }

    #[test]
    fn a_required_control_that_is_missing_is_named() {
        assert_eq!(CAPABILITY.choose(0x0B, 0), Err(Missing { bits: 8 }));
    }
}
