//! Which ways there are in and out of a guest on a processor: looked at in each passage.

use crate::features::Features;

/// What each passage has to know of the processor, in one byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways(u8);

impl Ways {
    const SHARED: u8 = 1 << 0;
    const RECORDS: u8 = 1 << 1;

    pub(super) fn of(features: &Features) -> Self {
        let bit = |is, bit| if is { bit } else { 0 };
        Self(bit(features.shared_regime, Self::SHARED) | bit(features.records, Self::RECORDS))
    }

    /// The extension is translated by the kernel's own tables.
    #[inline]
    pub(super) const fn is_shared(self) -> bool {
        self.0 & Self::SHARED != 0
    }

    /// The processor writes profiles or traces by itself ([`crate::buffers`]).
    #[inline]
    pub(super) const fn has_records(self) -> bool {
        self.0 & Self::RECORDS != 0
    }
}
