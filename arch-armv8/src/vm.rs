//! What all virtual states of a VM share: the nested table's root, the TLB tag, and what is trapped on top.

use plinth_hal::{BadRegister, FrameSource, Intercepts, OutOfFrames, PhysicalMemory, Spa, VmHw};

use crate::El2;
use crate::memory::IdentityMemory;
use crate::syndrome::is_id_register;

/// The root VM's tag.
pub(crate) const ROOT_TAG: u16 = 1;
/// HCR_EL2.TID3: reads of ID registers are trapped.
const TRAP_IDS: u64 = 1 << 18;

/// A VM at EL2.
#[derive(Debug)]
pub struct El2Vm {
    memory: IdentityMemory,
    /// Its first word: bits for HCR_EL2.
    page: Spa,
    nested_root: Spa,
    tag: u16,
}

impl El2Vm {
    /// Where the additional bits for HCR_EL2 are.
    pub(crate) fn traps(&self) -> Spa {
        self.page
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

    /// ID registers are trapped all or none (HCR_EL2.TID3), and only reads of them exist.
    fn intercept_register(&mut self, register: u64, intercepts: Intercepts) -> Result<(), BadRegister> {
        if !is_id_register(register) || intercepts.writes {
            return Err(BadRegister);
        }
        self.memory.write_u64(self.page, if intercepts.reads { TRAP_IDS } else { 0 });
        Ok(())
    }

    fn intercept_port(&mut self, _: u16, _: bool) -> Result<(), BadRegister> {
        Err(BadRegister)
    }
}
