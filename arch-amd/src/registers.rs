//! Registers of a VS by their number in the ABI.

use plinth_arch_x86::root_state::Segment;
use plinth_extension_api::abi::register as number;

use crate::vmcb::{EFER_SVME, Save};

/// Reads a register; `None` for one that SVM's VMCB does not hold.
pub(crate) fn read(save: &Save, register: u64) -> Option<u64> {
    if let Some((segment, part)) = segment_part(register) {
        let segment = segment_of(save, segment);
        return Some(match part {
            0 => u64::from(segment.selector),
            1 => segment.base,
            2 => u64::from(segment.limit),
            _ => u64::from(segment.attributes),
        });
    }
    Some(match register {
        number::INSTRUCTION_POINTER => save.rip,
        number::FLAGS => save.rflags,
        number::X86_CR0 => save.cr0,
        number::X86_CR2 => save.cr2,
        number::X86_CR3 => save.cr3,
        number::X86_CR4 => save.cr4,
        number::X86_EFER => save.efer & !EFER_SVME,
        number::X86_DR6 => save.dr6,
        number::X86_DR7 => save.dr7,
        number::X86_PAT => save.pat,
        number::X86_STAR => save.star,
        number::X86_LSTAR => save.lstar,
        number::X86_CSTAR => save.cstar,
        number::X86_SFMASK => save.sfmask,
        number::X86_KERNEL_GS_BASE => save.kernel_gs_base,
        number::X86_SYSENTER_CS => save.sysenter_cs,
        number::X86_SYSENTER_ESP => save.sysenter_esp,
        number::X86_SYSENTER_EIP => save.sysenter_eip,
        _ if register == number::X86_GDTR => save.gdtr.base,
        _ if register == number::X86_GDTR + 1 => u64::from(save.gdtr.limit),
        _ if register == number::X86_IDTR => save.idtr.base,
        _ if register == number::X86_IDTR + 1 => u64::from(save.idtr.limit),
        _ => return None,
    })
}

/// Writes a register; `None` for one that SVM's VMCB does not hold, or a value that it cannot take.
pub(crate) fn write(save: &mut Save, register: u64, value: u64) -> Option<()> {
    if let Some((segment, part)) = segment_part(register) {
        let segment = segment_of_mut(save, segment);
        match part {
            0 => segment.selector = u16::try_from(value).ok()?,
            1 => segment.base = value,
            2 => segment.limit = u32::try_from(value).ok()?,
            _ => segment.attributes = u16::try_from(value).ok().filter(|value| *value < 0x1000)?,
        }
        return Some(());
    }
    match register {
        number::X86_EFER => save.efer = value | EFER_SVME,
        _ if register == number::X86_GDTR + 1 => save.gdtr.limit = u32::from(u16::try_from(value).ok()?),
        _ if register == number::X86_IDTR + 1 => save.idtr.limit = u32::from(u16::try_from(value).ok()?),
        _ => *plain(save, register)? = value,
    }
    Some(())
}

/// The registers that take any value: VMRUN checks them, and a refusal is an exit.
fn plain(save: &mut Save, register: u64) -> Option<&mut u64> {
    Some(match register {
        number::INSTRUCTION_POINTER => &mut save.rip,
        number::FLAGS => &mut save.rflags,
        number::X86_CR0 => &mut save.cr0,
        number::X86_CR2 => &mut save.cr2,
        number::X86_CR3 => &mut save.cr3,
        number::X86_CR4 => &mut save.cr4,
        number::X86_DR6 => &mut save.dr6,
        number::X86_DR7 => &mut save.dr7,
        number::X86_PAT => &mut save.pat,
        number::X86_STAR => &mut save.star,
        number::X86_LSTAR => &mut save.lstar,
        number::X86_CSTAR => &mut save.cstar,
        number::X86_SFMASK => &mut save.sfmask,
        number::X86_KERNEL_GS_BASE => &mut save.kernel_gs_base,
        number::X86_SYSENTER_CS => &mut save.sysenter_cs,
        number::X86_SYSENTER_ESP => &mut save.sysenter_esp,
        number::X86_SYSENTER_EIP => &mut save.sysenter_eip,
        number::X86_GDTR => &mut save.gdtr.base,
        number::X86_IDTR => &mut save.idtr.base,
        _ => return None,
    })
}

/// Which segment and which part of it a number means.
fn segment_part(register: u64) -> Option<(u64, u64)> {
    (number::X86_ES..number::X86_GDTR).contains(&register).then(|| {
        let offset = register - number::X86_ES;
        (offset / 4, offset % 4)
    })
}

fn segment_of(save: &Save, index: u64) -> &Segment {
    match index {
        0 => &save.es,
        1 => &save.cs,
        2 => &save.ss,
        3 => &save.ds,
        4 => &save.fs,
        5 => &save.gs,
        6 => &save.ldtr,
        _ => &save.tr,
    }
}

fn segment_of_mut(save: &mut Save, index: u64) -> &mut Segment {
    match index {
        0 => &mut save.es,
        1 => &mut save.cs,
        2 => &mut save.ss,
        3 => &mut save.ds,
        4 => &mut save.fs,
        5 => &mut save.gs,
        6 => &mut save.ldtr,
        _ => &mut save.tr,
    }
}
