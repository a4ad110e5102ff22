//! A guest's CR0, CR4 and EFER: the values that the guest reads (the read shadows), the values in use, and
//! writes that exit.
//!
//! VMX requires CR0.NE and CR4.VMXE to be 1. The guest reads its own values of both bits from the read
//! shadows, and a write that changes one of them exits. In guest VMs the same applies to CR0.CD and CR0.NW,
//! which have no effect there.

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
/// The bits of CR0 that control caching.
pub(crate) const CACHING: u64 = CD | NW;
const PG: u64 = 1 << 31;
/// CR0's defined bits: PE to NE, WP, AM, NW, CD, PG. Writes ignore the others.
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

/// CR0 as the guest reads it.
pub(crate) fn read_cr0(vmcs: &Current) -> u64 {
    let owned = vmcs.read(CR0_MASK);
    vmcs.read(GUEST_CR0) & !owned | vmcs.read(CR0_SHADOW) & owned
}

/// Sets the guest's CR0: the read shadow gets `value`, the register in use gets the bits that VMX requires
/// too.
pub(crate) fn set_cr0(vmcs: &Current, features: &Features, value: u64) {
    let owned = vmcs.read(CR0_MASK);
    // SAFETY: the bits that VMX requires are set, and the other bits are the guest's, which VM entry checks.
    unsafe { vmcs.control(GUEST_CR0, value & !owned | features.guest_cr0_must()) };
    vmcs.write(CR0_SHADOW, value);
}

/// CR4 as the guest reads it.
pub(crate) fn read_cr4(vmcs: &Current) -> u64 {
    vmcs.read(GUEST_CR4) & !CR4_VMXE
}

/// Sets the guest's CR4, as [`set_cr0`] sets CR0.
pub(crate) fn set_cr4(vmcs: &Current, features: &Features, value: u64) {
    // SAFETY: as in `set_cr0`.
    unsafe { vmcs.control(GUEST_CR4, value | features.cr4_must) };
    vmcs.write(CR4_SHADOW, value & !CR4_VMXE);
}

/// Sets the guest's EFER, and the VM-entry control "IA-32e mode guest" to EFER.LMA.
pub(crate) fn set_efer(vmcs: &Current, value: u64) {
    let controls = vmcs.read(ENTRY_CONTROLS) & !LONG_MODE;
    vmcs.write(GUEST_EFER, value);
    // SAFETY: VM entry requires the control to equal EFER.LMA.
    unsafe { vmcs.control(ENTRY_CONTROLS, controls | if value & LMA != 0 { LONG_MODE } else { 0 }) };
}

/// Whether the control-register access that has just exited is to CR8. It exits from guest VMs alone.
pub(crate) fn is_task_priority(vmcs: &Current) -> bool {
    vmcs.read(QUALIFICATION) & 15 == 8
}

/// Emulates the MOV to CR0 that has just exited, except for [`set_caching`]. Returns the value.
///
/// # Errors
/// [`Refused`] if the value is invalid; nothing has changed then.
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
    // CLTS and LMSW change no bit of CR0 whose writes exit. A write of CR4 exits only if it sets VMXE, which
    // the guest does not have.
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

/// Writes the root VM's CD and NW to the processor's own CR0. Guest and host share both bits: neither VM
/// entry nor VM exit changes them (Intel SDM vol. 3C, "Loading Guest Control Registers").
pub(crate) fn set_caching(value: u64) {
    let own: u64;
    // SAFETY: reading CR0 at privilege level 0 changes nothing.
    unsafe { asm!("mov {}, cr0", out(reg) own, options(nomem, nostack, preserves_flags)) };
    if (own ^ value) & CACHING != 0 {
        let own = own & !CACHING | value & CACHING;
        // SAFETY: only the caching mode changes, to a combination that the caller has checked. Caches stay
        // coherent, and the kernel only becomes slower.
        unsafe { asm!("mov cr0, {}", in(reg) own, options(nostack, preserves_flags)) };
    }
}

/// Loads the PDPTEs after the kernel or the extension has written the guest's control registers. Invalid
/// entries, with which a MOV to CR3 would fault, leave the old PDPTEs in place.
pub(crate) fn follow_directory(vmcs: &Current, features: &Features, guest: &impl GuestMemory) {
    let paging = vmcs.read(GUEST_CR0) & PG != 0 && vmcs.read(GUEST_CR4) & PAE != 0;
    if paging && vmcs.read(GUEST_EFER) & LMA == 0 {
        let _ = load_directory(vmcs, features, guest);
    }
}

/// Loads the four PDPTEs of PAE paging from the guest's memory into the VMCS. The processor keeps PDPTEs in
/// registers; VM entry loads these from the VMCS, and fails if a reserved bit is set (Intel SDM vol. 3C,
/// 26.3.1.6 and 26.3.2.4).
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

/// Whether an extension may write `value` to a VS's control register. Combinations of bits are checked by VM
/// entry.
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
