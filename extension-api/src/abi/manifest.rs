//! Which opcode groups an extension may call: its manifest, an ELF note that the kernel reads with the image.

use super::table::{constants, layout};

layout! {
    /// A manifest: an ELF note (`PT_NOTE`) of alignment 4, of which a file has at most one. A call of a group that it does
    /// not name is `Denied`.
    #[derive(Clone, Copy, Debug)]
    Manifest as MANIFEST {
        /// Bytes of `owner` up to its zero: 7.
        owner_size: u32,
        /// Bytes of `groups`: 8.
        groups_size: u32,
        /// 1, `MANIFEST_KIND`.
        kind: u32,
        /// The text `Plinth`, filled up with zeroes.
        owner: [u8; 8],
        /// Bit n stands for group n: bits 31:0, then 63:32.
        groups: [u32; 2],
    }
}

constants! {
    /// What a manifest is made of.
    MANIFESTS:
    /// Type of the ELF note.
    MANIFEST_KIND = 1;
    /// The VM group.
    GROUP_VM = 1 << 4;
    /// The VP group.
    GROUP_VP = 1 << 5;
    /// The VS group.
    GROUP_VS = 1 << 6;
    /// The intrinsic group.
    GROUP_INTRINSIC = 1 << 7;
    /// The memory group.
    GROUP_MEMORY = 1 << 8;
    /// The time group.
    GROUP_TIME = 1 << 9;
    /// The PP group.
    GROUP_PP = 1 << 10;
    /// Allowed whatever a manifest says: control, handle, debug, callback.
    GROUPS_ALWAYS = 0b1111;
    /// What a file without a manifest may call: all but the intrinsic group.
    GROUPS_WITHOUT_MANIFEST = 0x77F;
}

/// Who a manifest's note is by.
pub const MANIFEST_OWNER: &str = "Plinth";

bitflags::bitflags! {
    /// Opcode groups that an extension may call, besides those that are always allowed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Groups: u64 {
        /// VMs and their memory.
        const VM = GROUP_VM;
        /// Virtual processors.
        const VP = GROUP_VP;
        /// Register states, and running them.
        const VS = GROUP_VS;
        /// The machine's own registers, and its reset.
        const INTRINSIC = GROUP_INTRINSIC;
        /// Memory of the extension's own.
        const MEMORY = GROUP_MEMORY;
        /// The machine's time.
        const TIME = GROUP_TIME;
        /// Physical processors.
        const PP = GROUP_PP;
    }
}

impl Manifest {
    /// The manifest that allows `groups`.
    pub const fn new(groups: Groups) -> Self {
        let groups = groups.bits();
        Self {
            owner_size: MANIFEST_OWNER.len() as u32 + 1,
            groups_size: size_of::<u64>() as u32,
            kind: MANIFEST_KIND as u32,
            owner: *b"Plinth\0\0",
            groups: [groups as u32, (groups >> 32) as u32],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::GROUPS;

    #[test]
    fn every_group_has_its_bit() {
        for group in GROUPS {
            let bit = 1 << group.number;
            let is_its = |name: &str| {
                name.strip_prefix("GROUP_").is_some_and(|name| name.eq_ignore_ascii_case(group.name))
            };
            let named = MANIFESTS.iter().any(|constant| is_its(constant.name) && constant.value == bit);
            let always = GROUPS_ALWAYS & bit != 0;
            assert!(named != always, "{}", group.name);
            assert!(Groups::all().bits() & bit != 0 || always);
            assert!((GROUPS_WITHOUT_MANIFEST & bit == 0) == (bit == GROUP_INTRINSIC));
        }
    }

    #[test]
    fn its_owner_is_zero_terminated() {
        let Manifest { owner_size, owner, .. } = Manifest::new(Groups::all());
        assert_eq!(owner[..owner_size as usize].split_last(), Some((&0, MANIFEST_OWNER.as_bytes())));
    }
}
