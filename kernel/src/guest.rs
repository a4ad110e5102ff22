//! A VM's memory as the kernel reads it: instruction bytes and the guest's own page tables.

use plinth_hal::page_table::{Permissions, PoolTables};
use plinth_hal::{Arch, Gpa, GuestMemory, PAGE_SIZE, PhysicalMemory, Spa};

use crate::kernel::{Kernel, Machine};
use crate::objects::Vm;

/// Reads the memory of one VM.
///
/// The root VM's memory is the machine's, one to one: no walk of its nested tables is needed, only a look at whether
/// the hypervisor's own memory is meant.
pub(crate) enum GuestView<'a, A: Arch> {
    /// Guest-physical is system-physical but for the hypervisor's reservation, which reads as zeroes.
    Identity(&'a Machine<A>),
    /// By the VM's nested tables.
    Tables { kernel: &'a Kernel<A>, machine: &'a Machine<A>, vm: crate::handle::Id },
}

impl<A: Arch> GuestView<'_, A> {
    fn translate(&self, at: Gpa) -> Option<Translated<A::Memory>> {
        match self {
            Self::Identity(machine) => {
                let spa = Spa::new(at.raw());
                if machine.is_own(spa) {
                    return Some(Translated::Zeroes);
                }
                let there = at.raw() >= PAGE_SIZE && at.raw() < machine.memory_end;
                there.then_some(Translated::At(machine.memory, spa))
            }
            Self::Tables { kernel, machine, vm } => {
                let memory = machine.memory;
                let spa = kernel.vms.with(*vm, |vm| translate(kernel, memory, vm, at)).ok()??;
                Some(Translated::At(memory, spa))
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
        // The hot case by itself: a word of the root VM. What does not exist reads as all ones, as on the bus.
        if let Self::Identity(machine) = self {
            let spa = Spa::new(at.raw());
            return Some(if machine.is_own(spa) { 0 } else { machine.memory.read_u64(spa) });
        }
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
