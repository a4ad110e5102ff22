//! CR0, CR4 and EFER of a guest: what it sees, what it really has, and its writes that exit.
//!
//! VMX insists on CR0.NE and CR4.VMXE. The guest sees its own value of both; a write that changes one of them exits. In
//! other VMs than the root VM so it is with CR0.CD and CR0.NW, which have no effect there.

use core::arch::asm;

use plinth_arch_x86::exit_registers::ExitRegisters;
use plinth_arch_x86::exit_registers::number::RSP;
use plinth_extension_api::abi::register;
use plinth_hal::{Gpa, GuestMemory};

use crate::features::{CR4_VMXE, Features};
use crate::segments;
use crate::vmcs::current::Current;
use crate::vmcs::field::{
    CR0_MASK, CR0_SHADOW, CR4_SHADOW, ENTRY_CONTROLS, GUEST_CR0, GUEST_CR3, GUEST_CR4, GUEST_EFER,
    GUEST_RIGHTS, GUEST_RSP, PDPTE, QUALIFICATION,
};

const PE: u64 = 1 << 0;
const ET: u64 = 1 << 4;
const NW: u64 = 1 << 29;
const CD: u64 = 1 << 30;
/// How memory is cached.
pub(crate) const CACHING: u64 = CD | NW;
const PG: u64 = 1 << 31;
/// The bits that CR0 has: PE to NE, WP, AM, NW, CD, PG. Others are ignored.
const DEFINED: u64 = 0xE005_003F;
const PAE: u64 = 1 << 5;
const PCIDE: u64 = 1 << 17;
const LME: u64 = 1 << 8;
const LMA: u64 = 1 << 10;
/// Access rights of CS: 64-bit code.
const LONG: u32 = 1 << 13;
/// VM-entry control: the guest is in long mode.
const LONG_MODE: u32 = 1 << 9;

/// The write raises #GP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused;

/// CR0 as the guest sees it.
pub(crate) fn read_cr0(vmcs: &Current) -> u64 {
    let owned = vmcs.read(CR0_MASK);
    vmcs.read(GUEST_CR0) & !owned | vmcs.read(CR0_SHADOW) & owned
}

/// Gives the guest this CR0.
pub(crate) fn set_cr0(vmcs: &Current, features: &Features, value: u64) {
    let owned = vmcs.read(CR0_MASK);
    // SAFETY: of the bits that the kernel owns those are set that VMX insists on; the others are the guest's, and VM entry
    // checks them.
    unsafe { vmcs.control(GUEST_CR0, value & !owned | features.guest_cr0_must()) };
    vmcs.write(CR0_SHADOW, value);
}

/// CR4 as the guest sees it.
pub(crate) fn read_cr4(vmcs: &Current) -> u64 {
    vmcs.read(GUEST_CR4) & !CR4_VMXE
}

/// Gives the guest this CR4.
pub(crate) fn set_cr4(vmcs: &Current, features: &Features, value: u64) {
    // SAFETY: as in `set_cr0`.
    unsafe { vmcs.control(GUEST_CR4, value | features.cr4_must) };
    vmcs.write(CR4_SHADOW, value & !CR4_VMXE);
}

/// Gives the guest this EFER; the entry control for long mode follows.
pub(crate) fn set_efer(vmcs: &Current, value: u64) {
    let controls = vmcs.read(ENTRY_CONTROLS) & !LONG_MODE;
    vmcs.write(GUEST_EFER, value);
    // SAFETY: the control has to equal EFER.LMA.
    unsafe { vmcs.control(ENTRY_CONTROLS, controls | if value & LMA != 0 { LONG_MODE } else { 0 }) };
}

/// Whether the access that has just exited is one to CR8, which exits in other VMs than the root VM.
pub(crate) fn is_task_priority(vmcs: &Current) -> bool {
    vmcs.read(QUALIFICATION) & 15 == 8
}

/// Carries out the MOV to CR0 that has just exited, but for [`set_caching`]. Returns the value.
///
/// # Errors
/// [`Refused`]; nothing changed.
pub(crate) fn move_to(
    vmcs: &Current,
    features: &Features,
    guest: &impl GuestMemory,
    registers: ExitRegisters,
) -> Result<u64, Refused> {
    let qualification = vmcs.read(QUALIFICATION);
    let value = match (qualification >> 8 & 15) as usize {
        RSP => vmcs.read(GUEST_RSP),
        number => {
            let [value] = registers.take([number]);
            value
        }
    };
    // Accesses to CR0 by CLTS and LMSW touch no bit that the kernel owns, and of CR4 only VMXE exits, which the guest
    // does not have.
    if qualification & 0x3F != 0 {
        return Err(Refused);
    }
    write_cr0(vmcs, features, guest, value)?;
    Ok(value)
}

fn write_cr0(
    vmcs: &Current,
    features: &Features,
    guest: &impl GuestMemory,
    value: u64,
) -> Result<(), Refused> {
    let (old, efer, cr4) = (vmcs.read(GUEST_CR0), vmcs.read(GUEST_EFER), vmcs.read(GUEST_CR4));
    let long_code = efer & LMA != 0 && vmcs.read(GUEST_RIGHTS.nth(segments::CS)) & LONG != 0;
    let contradicts = value & PG != 0 && value & PE == 0 || value & NW != 0 && value & CD == 0;
    if value >> 32 != 0 || contradicts {
        return Err(Refused);
    }
    match (old & PG != 0, value & PG != 0) {
        (false, true) if efer & LME != 0 => {
            if cr4 & PAE == 0 || vmcs.read(GUEST_RIGHTS.nth(segments::CS)) & LONG != 0 {
                return Err(Refused);
            }
            set_efer(vmcs, efer | LMA);
        }
        (false, true) if cr4 & PAE != 0 => load_directory(vmcs, features, guest)?,
        (true, false) if long_code || cr4 & PCIDE != 0 => return Err(Refused),
        (true, false) => set_efer(vmcs, efer & !LMA),
        _ => {}
    }
    set_cr0(vmcs, features, value & DEFINED | ET);
    Ok(())
}

/// CD and NW are one for guest and host: no VM entry or exit changes them (Intel SDM vol. 3C, "Loading Guest Control
/// Registers"), so what the root VM wants is written to the processor's own CR0.
pub(crate) fn set_caching(value: u64) {
    let own: u64;
    // SAFETY: reading CR0 at privilege level 0 changes nothing.
    unsafe { asm!("mov {}, cr0", out(reg) own, options(nomem, nostack, preserves_flags)) };
    if (own ^ value) & CACHING != 0 {
        let own = own & !CACHING | value & CACHING;
        // SAFETY: only how memory is cached changes, to a combination that the caller has checked; caches stay coherent,
        // and the kernel only gets slower.
        unsafe { asm!("mov cr0, {}", in(reg) own, options(nostack, preserves_flags)) };
    }
}

/// The same after something other than the guest has written its control registers. Entries that a MOV to CR3 would refuse leave
/// the old ones.
pub(crate) fn follow_directory(vmcs: &Current, features: &Features, guest: &impl GuestMemory) {
    let paging = vmcs.read(GUEST_CR0) & PG != 0 && vmcs.read(GUEST_CR4) & PAE != 0;
    if paging && vmcs.read(GUEST_EFER) & LMA == 0 {
        let _ = load_directory(vmcs, features, guest);
    }
}

/// The four entries of a PAE page-directory-pointer table, which the processor keeps in registers: VM entry takes them from the
/// VMCS, and refuses what has a reserved bit (Intel SDM vol. 3C, 26.3.1.6 and 26.3.2.4).
fn load_directory(vmcs: &Current, features: &Features, guest: &impl GuestMemory) -> Result<(), Refused> {
    const RESERVED: u64 = 0x1E6;
    let reserved = RESERVED | u64::MAX.unbounded_shl(features.physical_bits.into());
    let table = vmcs.read(GUEST_CR3) & 0xFFFF_FFE0;
    let mut entries = [0; 4];
    for (index, entry) in entries.iter_mut().enumerate() {
        *entry = guest.read_u64(Gpa::new(table + index as u64 * 8)).ok_or(Refused)?;
        if *entry & 1 != 0 && *entry & reserved != 0 {
            return Err(Refused);
        }
    }
    for (index, entry) in entries.into_iter().enumerate() {
        vmcs.write(PDPTE.nth(index as u64), entry);
    }
    Ok(())
}

/// Whether a value can be written to a control register of a VS at all; VM entry checks the rest.
pub(crate) fn fits(features: &Features, number: u64, value: u64) -> bool {
    match number {
        register::X86_CR0 => value & !features.cr0_may == 0,
        register::X86_CR4 => value & (!features.cr4_may | CR4_VMXE) == 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmcs::in_memory::fresh;

    /// Memory with a directory at 0x1020.
    struct Directory([u64; 4]);

    impl GuestMemory for Directory {
        fn read_u64(&self, at: Gpa) -> Option<u64> {
            let index = at.raw().checked_sub(0x1020)? / 8;
            self.0.get(usize::try_from(index).ok()?).copied()
        }

        fn read_bytes(&self, _: Gpa, _: &mut [u8]) -> bool {
            false
        }
    }

    /// The entries that VM entry finds, after control registers have been written.
    fn followed(cr0: u64, cr4: u64, efer: u64, directory: [u64; 4]) -> [u64; 4] {
        let vmcs = fresh();
        // SAFETY: nothing of a processor is touched in a test.
        unsafe {
            vmcs.control(GUEST_CR0, cr0);
            vmcs.control(GUEST_CR4, cr4);
        }
        vmcs.write(GUEST_EFER, efer);
        vmcs.write(GUEST_CR3, 0x1020 | 0x18);
        (0..4).for_each(|index| vmcs.write(PDPTE.nth(index), 7));
        follow_directory(&vmcs, Features::current(), &Directory(directory));
        core::array::from_fn(|index| vmcs.read(PDPTE.nth(index as u64)))
    }

    #[test]
    fn the_directory_of_pae_follows_control_registers() {
        let directory = [0x3001, 0, 0x5019, 0xFFFE];
        assert_eq!(followed(PG | PE, PAE, 0, directory), directory);
        for (cr0, cr4, efer) in [(PE, PAE, 0), (PG | PE, 0, 0), (PG | PE, PAE, LMA | LME)] {
            assert_eq!(followed(cr0, cr4, efer, directory), [7; 4], "another mode has none");
        }
    }

    #[test]
    fn a_directory_that_vm_entry_would_refuse_is_not_taken() {
        for bit in [1, 2, 5, 6, 7, 8, 36, 63] {
            assert_eq!(followed(PG | PE, PAE, 0, [1, 1 | 1 << bit, 0, 0]), [7; 4], "{bit}");
        }
    }
}
