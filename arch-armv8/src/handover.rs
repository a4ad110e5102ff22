//! What the launch prepares for each CPU: the kernel's state, stacks and devices that the kernel starts with there.

use plinth_hal::Spa;
use plinth_kernel::{Kernel, PpResources};

use crate::El2;
use crate::machine::device_tree::{GicKind, PrivateRegisters};
use crate::memory::IdentityMemory;

/// What the kernel's life on a processor starts with.
#[derive(Clone, Copy)]
pub(crate) struct Handover {
    pub(crate) kernel: &'static Kernel<El2>,
    pub(crate) memory: IdentityMemory,
    pub(crate) resources: PpResources,
    pub(crate) emergency_stack: Spa,
    pub(crate) gic: GicKind,
    pub(crate) private: PrivateRegisters,
}
