//! The instruction at an exit: where the next one is, and what it does to memory.
//!
//! Processors with NRIPS leave the next instruction's address in the VMCB. On the others the instruction is
//! really fetched, through the guest's own page tables, and its length is decoded.

use plinth_arch_x86::decode::{CodeSize, ExitInstruction, LONGEST_INSTRUCTION, exit_length};
use plinth_arch_x86::stopped_guest::{StoppedGuest, fetch};
use plinth_hal::{BadInstruction, GuestMemory};

use crate::vmcb::exit;
use crate::vs::SvmVs;

/// The address of the instruction after the one that exited.
#[inline]
pub(crate) fn next_rip(vs: &SvmVs, guest: &impl GuestMemory) -> Result<u64, BadInstruction> {
    let control = &vs.view().control;
    let code = control.exit_code as u32;
    if code == exit::IOIO {
        return Ok(control.exit_info[1]);
    }
    let rip = vs.view().save.rip;
    if vs.features.next_rip && control.next_rip != 0 {
        return Ok(control.next_rip);
    }
    let kind = kind(code, control.exit_info[0]).ok_or(BadInstruction)?;
    let mode = vs.code_size();
    let mut bytes = [0; LONGEST_INSTRUCTION + 1];
    let fetched = fetch(vs, guest, &mut bytes);
    let length = exit_length(kind, mode, &bytes[..fetched]).map_err(|_| BadInstruction)?;
    Ok(wrap(rip.wrapping_add(u64::from(length)), mode))
}

/// The instruction whose interception an exit code stands for.
#[inline]
fn kind(code: u32, info: u64) -> Option<ExitInstruction> {
    Some(match code {
        exit::CPUID => ExitInstruction::Cpuid,
        exit::MSR if info & 1 == 0 => ExitInstruction::Rdmsr,
        exit::MSR => ExitInstruction::Wrmsr,
        exit::VMMCALL => ExitInstruction::Vmmcall,
        exit::HLT => ExitInstruction::Hlt,
        exit::INVD => ExitInstruction::Invd,
        exit::VMRUN => ExitInstruction::Vmrun,
        exit::VMLOAD => ExitInstruction::Vmload,
        exit::VMSAVE => ExitInstruction::Vmsave,
        exit::STGI => ExitInstruction::Stgi,
        exit::CLGI => ExitInstruction::Clgi,
        exit::SKINIT => ExitInstruction::Skinit,
        exit::INVLPGA => ExitInstruction::Invlpga,
        _ => return None,
    })
}

/// Instruction pointers wrap at the end of what the mode can address.
const fn wrap(rip: u64, mode: CodeSize) -> u64 {
    match mode {
        CodeSize::Bits64 => rip,
        CodeSize::Bits32 | CodeSize::Bits16 => rip & 0xffff_ffff,
    }
}
