//! Registers of a VS by their number in the ABI.

use plinth_extension_api::abi::register as number;

use crate::control_registers as control;
use crate::features::Features;
use crate::lazy_state::LazyState;
use crate::segments;
use crate::vmcs::current::Current;
use crate::vmcs::field::{
    Field, GUEST_CR3, GUEST_DR7, GUEST_EFER, GUEST_GDTR_BASE, GUEST_GDTR_LIMIT, GUEST_IDTR_BASE,
    GUEST_IDTR_LIMIT, GUEST_PAT, GUEST_RFLAGS, GUEST_RIP, GUEST_SYSENTER_CS, GUEST_SYSENTER_EIP,
    GUEST_SYSENTER_ESP, Guest,
};

/// Registers that are a field of the VMCS and nothing else.
const PLAIN: [(u64, Field<u64, Guest>); 9] = [
    (number::INSTRUCTION_POINTER, GUEST_RIP),
    (number::FLAGS, GUEST_RFLAGS),
    (number::X86_CR3, GUEST_CR3),
    (number::X86_DR7, GUEST_DR7),
    (number::X86_PAT, GUEST_PAT),
    (number::X86_SYSENTER_ESP, GUEST_SYSENTER_ESP),
    (number::X86_SYSENTER_EIP, GUEST_SYSENTER_EIP),
    (number::X86_GDTR, GUEST_GDTR_BASE),
    (number::X86_IDTR, GUEST_IDTR_BASE),
];

/// Reads a register; `None` for one that a VS does not have.
pub(crate) fn read(vmcs: &Current, lazy: &LazyState, register: u64) -> Option<u64> {
    if let Some((_, field)) = PLAIN.iter().find(|(number, _)| *number == register) {
        return Some(vmcs.read(*field));
    }
    if let Some((segment, part)) = segment_part(register) {
        return Some(segments::read_part(vmcs, segment, part));
    }
    const GDTR_LIMIT: u64 = number::X86_GDTR + 1;
    const IDTR_LIMIT: u64 = number::X86_IDTR + 1;
    Some(match register {
        number::X86_CR0 => control::read_cr0(vmcs),
        number::X86_CR2 => lazy.cr2,
        number::X86_CR4 => control::read_cr4(vmcs),
        number::X86_EFER => vmcs.read(GUEST_EFER),
        number::X86_DR6 => lazy.dr6,
        number::X86_STAR => lazy.star,
        number::X86_LSTAR => lazy.lstar,
        number::X86_CSTAR => lazy.cstar,
        number::X86_SFMASK => lazy.sfmask,
        number::X86_KERNEL_GS_BASE => lazy.kernel_gs_base,
        number::X86_SYSENTER_CS => u64::from(vmcs.read(GUEST_SYSENTER_CS)),
        GDTR_LIMIT => u64::from(vmcs.read(GUEST_GDTR_LIMIT)),
        IDTR_LIMIT => u64::from(vmcs.read(GUEST_IDTR_LIMIT)),
        _ => return None,
    })
}

/// Writes a register; `None` for one that a VS does not have, or a value that it cannot take.
pub(crate) fn write(
    vmcs: &Current,
    lazy: &mut LazyState,
    features: &Features,
    register: u64,
    value: u64,
) -> Option<()> {
    if !control::fits(features, register, value) {
        return None;
    }
    if let Some((_, field)) = PLAIN.iter().find(|(number, _)| *number == register) {
        vmcs.write(*field, value);
        return Some(());
    }
    if let Some((segment, part)) = segment_part(register) {
        return segments::write_part(vmcs, segment, part, value);
    }
    const GDTR_LIMIT: u64 = number::X86_GDTR + 1;
    const IDTR_LIMIT: u64 = number::X86_IDTR + 1;
    match register {
        number::X86_CR0 => control::set_cr0(vmcs, features, value),
        number::X86_CR4 => control::set_cr4(vmcs, features, value),
        number::X86_EFER => control::set_efer(vmcs, value),
        number::X86_SYSENTER_CS => vmcs.write(GUEST_SYSENTER_CS, u32::try_from(value).ok()?),
        GDTR_LIMIT => vmcs.write(GUEST_GDTR_LIMIT, u32::from(u16::try_from(value).ok()?)),
        IDTR_LIMIT => vmcs.write(GUEST_IDTR_LIMIT, u32::from(u16::try_from(value).ok()?)),
        _ => *lazy_register(lazy, register, value)? = value,
    }
    Some(())
}

/// The registers outside the VMCS. They are loaded by WRMSR and MOV, which fault where VM entry would refuse: so they
/// are checked here.
fn lazy_register(lazy: &mut LazyState, register: u64, value: u64) -> Option<&mut u64> {
    const CANONICAL_SHIFT: u32 = 47;
    let canonical = matches!((value as i64) >> CANONICAL_SHIFT, 0 | -1);
    let low = value >> 32 == 0;
    match register {
        number::X86_CR2 => Some(&mut lazy.cr2),
        number::X86_DR6 if low => Some(&mut lazy.dr6),
        number::X86_STAR => Some(&mut lazy.star),
        number::X86_LSTAR if canonical => Some(&mut lazy.lstar),
        number::X86_CSTAR if canonical => Some(&mut lazy.cstar),
        number::X86_SFMASK if low => Some(&mut lazy.sfmask),
        number::X86_KERNEL_GS_BASE if canonical => Some(&mut lazy.kernel_gs_base),
        _ => None,
    }
}

/// Which segment and which part of it a number means.
fn segment_part(register: u64) -> Option<(u64, u64)> {
    (number::X86_ES..number::X86_GDTR).contains(&register).then(|| {
        let offset = register - number::X86_ES;
        (offset / 4, offset % 4)
    })
}
