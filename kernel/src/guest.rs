//! A VM's memory as the kernel reads it: instruction bytes and the guest's own page tables.

use plinth_hal::page_table::{Permissions, PoolTables};
use plinth_hal::{Arch, Gpa, GuestMemory, PAGE_SIZE, PhysicalMemory, Spa, SpaRange};

use crate::kernel::Kernel;
use crate::objects::Vm;

/// Reads the memory of one VM.
///
/// The root VM's memory is the machine's, one to one, until the extension changes its map; while that
/// holds, no walk of its nested tables is needed, only a look at whether the hypervisor's own memory is meant.
pub(crate) enum GuestView<'a, A: Arch> {
    /// Guest-physical is system-physical but for the hypervisor's reservation, which reads as zeroes.
    Identity { memory: A::Memory, reservation: SpaRange, end: u64 },
    /// By the VM's nested tables.
    Tables { kernel: &'a Kernel<A>, memory: A::Memory, vm: crate::handle::Id },
}

impl<A: Arch> GuestView<'_, A> {
    fn translate(&self, at: Gpa) -> Option<Translated<A::Memory>> {
        match self {
            Self::Identity { memory, reservation, end } => {
                let spa = Spa::new(at.raw());
                if reservation.contains(spa) {
                    return Some(Translated::Zeroes);
                }
                (at.raw() >= PAGE_SIZE && at.raw() < *end).then_some(Translated::At(*memory, spa))
            }
            Self::Tables { kernel, memory, vm } => {
                let spa = kernel.vms.with(*vm, |vm| translate(kernel, *memory, vm, at)).ok()??;
                Some(Translated::At(*memory, spa))
            }
        }
    }
}

/// Where a guest-physical address leads.
enum Translated<M> {
    Zeroes,
    At(M, Spa),
}

/// The frame behind a guest-physical address of `vm`, if it may be read.
fn translate<A: Arch>(kernel: &Kernel<A>, memory: A::Memory, vm: &Vm<A>, at: Gpa) -> Option<Spa> {
    let mut frames = kernel.kernel_frames(memory);
    let input = plinth_hal::page_table::InputAddress::from_raw(at.raw());
    let mapping = vm.nested.query(&PoolTables { memory, frames: &mut frames }, input)?;
    mapping.attributes.permissions.contains(Permissions::READ).then_some(mapping.spa)
}

impl<A: Arch> GuestMemory for GuestView<'_, A> {
    #[inline]
    fn read_u64(&self, at: Gpa) -> Option<u64> {
        match self.translate(at)? {
            Translated::Zeroes => Some(0),
            Translated::At(memory, spa) => Some(memory.read_u64(spa)),
        }
    }

    #[inline]
    fn read_bytes(&self, at: Gpa, buffer: &mut [u8]) -> bool {
        match self.translate(at) {
            None => return false,
            Some(Translated::Zeroes) => buffer.fill(0),
            Some(Translated::At(memory, spa)) => memory.read_bytes(spa, buffer),
        }
        true
    }
}
