//! The variants of entry and exit that this CPU needs, checked on each of them.

use crate::features::Features;

/// The CPU's properties that every entry and exit checks, in one byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways(u8);

impl Ways {
    const SHARED: u8 = 1 << 0;
    const RECORDS: u8 = 1 << 1;

    pub(super) fn of(features: &Features) -> Self {
        let bit = |is, bit| if is { bit } else { 0 };
        Self(bit(features.shared_regime, Self::SHARED) | bit(features.records, Self::RECORDS))
    }

    /// The kernel and the extension share the EL2&0 regime.
    #[inline]
    pub(super) const fn is_shared(self) -> bool {
        self.0 & Self::SHARED != 0
    }

    /// The CPU writes profiles or traces to memory by itself ([`crate::buffers`]).
    #[inline]
    pub(super) const fn has_records(self) -> bool {
        self.0 & Self::RECORDS != 0
    }
}
