//! Segment registers in the VMCS: access rights instead of the VMCB's packed attributes.

use plinth_arch_x86::root_state::Segment;

use crate::vmcs::current::Current;
use crate::vmcs::field::{GUEST_BASE, GUEST_LIMIT, GUEST_RIGHTS, GUEST_SELECTOR};

/// Order of the segment fields: ES, CS, SS, DS, FS, GS, LDTR, TR.
pub(crate) const CS: u64 = 1;
pub(crate) const SS: u64 = 2;
pub(crate) const LDTR: u64 = 6;
pub(crate) const TR: u64 = 7;

/// Access rights: the segment must not be used.
const UNUSABLE: u32 = 1 << 16;
const PRESENT: u16 = 1 << 7;
/// Code or data, not a system segment.
const ORDINARY: u16 = 1 << 4;
const ACCESSED: u16 = 1;
/// Limits in pages.
const GRANULARITY: u32 = 1 << 15;

/// Access rights of packed attributes, for segment `index` (Intel SDM vol. 3C, "Guest Register State").
pub(crate) fn rights(index: u64, attributes: u16) -> u32 {
    if attributes & PRESENT == 0 {
        return UNUSABLE;
    }
    // The processor sets the accessed flag of what it loads; the table in memory may not show it yet.
    let accessed =
        if attributes & ORDINARY != 0 && index < LDTR { attributes | ACCESSED } else { attributes };
    u32::from(accessed & 0xff) | u32::from(accessed & 0xf00) << 4
}

/// Packed attributes of access rights; those of an unusable segment are 0.
pub(crate) const fn attributes(rights: u32) -> u16 {
    if rights & UNUSABLE != 0 { 0 } else { (rights & 0xff | rights >> 4 & 0xf00) as u16 }
}

/// The granularity bit that a limit needs: VM entry checks that they agree.
const fn granular(rights: u32, limit: u32) -> u32 {
    if rights & UNUSABLE != 0 {
        rights
    } else if limit & 0xfff != 0xfff {
        rights & !GRANULARITY
    } else if limit >> 20 != 0 {
        rights | GRANULARITY
    } else {
        rights
    }
}

/// Writes a whole segment.
pub(crate) fn write(vmcs: &Current, index: u64, segment: &Segment) {
    vmcs.write(GUEST_SELECTOR.nth(index), segment.selector);
    vmcs.write(GUEST_BASE.nth(index), segment.base);
    vmcs.write(GUEST_LIMIT.nth(index), segment.limit);
    vmcs.write(GUEST_RIGHTS.nth(index), granular(rights(index, segment.attributes), segment.limit));
}

/// Reads a whole segment.
pub(crate) fn read(vmcs: &Current, index: u64) -> Segment {
    Segment {
        selector: vmcs.read(GUEST_SELECTOR.nth(index)),
        attributes: attributes(vmcs.read(GUEST_RIGHTS.nth(index))),
        limit: vmcs.read(GUEST_LIMIT.nth(index)),
        base: vmcs.read(GUEST_BASE.nth(index)),
    }
}

/// Reads one part of a segment: 0 selector, 1 base, 2 limit, else attributes.
pub(crate) fn read_part(vmcs: &Current, index: u64, part: u64) -> u64 {
    match part {
        0 => u64::from(vmcs.read(GUEST_SELECTOR.nth(index))),
        1 => vmcs.read(GUEST_BASE.nth(index)),
        2 => u64::from(vmcs.read(GUEST_LIMIT.nth(index))),
        _ => u64::from(attributes(vmcs.read(GUEST_RIGHTS.nth(index)))),
    }
}

/// Writes one part; `None` for a value that does not fit.
pub(crate) fn write_part(vmcs: &Current, index: u64, part: u64, value: u64) -> Option<()> {
    match part {
        0 => vmcs.write(GUEST_SELECTOR.nth(index), u16::try_from(value).ok()?),
        1 => vmcs.write(GUEST_BASE.nth(index), value),
        2 => {
            let limit = u32::try_from(value).ok()?;
            let rights = granular(vmcs.read(GUEST_RIGHTS.nth(index)), limit);
            vmcs.write(GUEST_LIMIT.nth(index), limit);
            vmcs.write(GUEST_RIGHTS.nth(index), rights);
        }
        _ => {
            let attributes = u16::try_from(value).ok().filter(|value| *value < 0x1000)?;
            let rights = granular(rights(index, attributes), vmcs.read(GUEST_LIMIT.nth(index)));
            vmcs.write(GUEST_RIGHTS.nth(index), rights);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_access_rights_mean_the_same() {
        assert_eq!(rights(CS, 0xA9B), 0xA09B);
        assert_eq!(attributes(0xA09B), 0xA9B);
        assert_eq!(rights(LDTR, 0), UNUSABLE);
        assert_eq!(attributes(UNUSABLE), 0);
        assert_eq!(rights(SS, 0xC92), 0xC093, "a loaded segment has been accessed");
        assert_eq!(rights(TR, 0x08B), 0x8B);
    }

    #[test]
    fn granularity_follows_the_limit() {
        assert_eq!(granular(0x93, u32::MAX), 0x8093);
        assert_eq!(granular(0xC093, 0xFFFE), 0x4093);
        assert_eq!(granular(0x93, 0xFFFF), 0x93);
    }
}
