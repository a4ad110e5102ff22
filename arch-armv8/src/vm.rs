//! What all virtual states of a VM share: the root of the nested tables, the TLB tag (VMID), and the traps that the
//! extension has asked for.

use core::sync::atomic::AtomicU64;

use plinth_hal::{
    Authority, FrameSource, InterceptError, Intercepts, OutOfFrames, PhysicalMemory, Spa, VmHw,
};

use crate::El2;
use crate::memory::IdentityMemory;
use crate::syndrome::is_id_register;
use crate::trap_config::HCR_TID3;
use crate::write_traps;

/// The root VM's tag.
pub(crate) const ROOT_TAG: u16 = 1;
/// HCR_EL2.TVM: writes of the registers of [`write_traps`] are trapped.
const TRAP_WRITES: u64 = 1 << 26;

/// A VM at EL2.
#[derive(Debug)]
pub struct El2Vm {
    memory: IdentityMemory,
    /// Its first word: bits for HCR_EL2. Its second: the mask of [`write_traps`].
    page: Spa,
    nested_root: Spa,
    tag: u16,
}

impl El2Vm {
    /// The additional bits for HCR_EL2, and the mask of [`write_traps`].
    pub(crate) fn traps(&self) -> Option<[&'static AtomicU64; 2]> {
        self.memory.page(self.page).map(|words| [&words[0], &words[1]])
    }

    fn write_mask_at(&self) -> Spa {
        self.page.wrapping_add(8)
    }

    fn write_mask(&self) -> u64 {
        self.memory.read_u64(self.write_mask_at())
    }

    fn set_traps(&self, bits: u64, on: bool) {
        let others = self.memory.read_u64(self.page) & !bits;
        self.memory.write_u64(self.page, others | if on { bits } else { 0 });
    }

    pub(crate) fn tag(&self) -> u16 {
        self.tag
    }

    pub(crate) fn nested_root(&self) -> Spa {
        self.nested_root
    }
}

impl VmHw for El2Vm {
    type Arch = El2;

    fn create(
        memory: IdentityMemory,
        frames: &mut impl FrameSource,
        nested_root: Spa,
        tag: u16,
    ) -> Result<Self, OutOfFrames> {
        Ok(Self { memory, page: frames.allocate(1)?, nested_root, tag })
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.page, 1);
    }

    /// ID registers are trapped all or none (HCR_EL2.TID3), and only reads of them exist. Of the registers that
    /// govern translation the writes can be trapped.
    fn intercept_register(
        &mut self,
        register: u64,
        intercepts: Intercepts,
        _: Authority,
    ) -> Result<(), InterceptError> {
        match (intercepts, write_traps::bit(register)) {
            (Intercepts { writes: false, reads }, None) if is_id_register(register) => {
                self.set_traps(HCR_TID3, reads);
            }
            (Intercepts { reads: false, writes }, Some(bit)) => {
                let mask = self.write_mask() & !bit | if writes { bit } else { 0 };
                self.memory.write_u64(self.write_mask_at(), mask);
                self.set_traps(TRAP_WRITES, mask != 0);
            }
            _ => return Err(InterceptError::Unknown),
        }
        Ok(())
    }

    fn intercept_port(&mut self, _: u16, _: bool, _: Authority) -> Result<(), InterceptError> {
        Err(InterceptError::Unknown)
    }
}
