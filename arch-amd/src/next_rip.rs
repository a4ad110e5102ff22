//! The instruction at an exit: where the next one is, and what it does to memory.
//!
//! Processors with NRIPS leave the next instruction's address in the VMCB. On the others the instruction is
//! really fetched, through the guest's own page tables, and its length is decoded.

use plinth_arch_x86::decode::{CodeSize, ExitInstruction, LONGEST_INSTRUCTION, exit_length, is_prefix};
use plinth_arch_x86::guest_walk::page_of_executed;
use plinth_arch_x86::stopped_guest::{StoppedGuest, fetch};
use plinth_hal::{BadInstruction, Gpa, GuestMemory, Gva};

use crate::vmcb::exit_code;
use crate::vs::SvmVs;

/// The address of the instruction after the one that exited.
#[inline(always)]
pub(crate) fn next_rip(vs: &SvmVs, guest: &impl GuestMemory) -> Result<u64, BadInstruction> {
    let control = &vs.view().control;
    let code = control.exit_code as u32;
    if code == exit_code::IOIO {
        return Ok(control.exit_info[1]);
    }
    if vs.features.next_rip && control.next_rip != 0 {
        return Ok(control.next_rip);
    }
    fetch_next(vs, guest)
}

/// The same where the processor does not say it: looks at the instruction.
#[inline(never)]
fn fetch_next(vs: &SvmVs, guest: &impl GuestMemory) -> Result<u64, BadInstruction> {
    let code = vs.view().control.exit_code as u32;
    let mode = vs.code_size();
    if mode == CodeSize::Bits64
        && let Some(next) = next_of_short_opcode(vs, code, guest)
    {
        return Ok(next);
    }
    decode_next(vs, guest, mode)
}

/// The shortest way: 64-bit code with four levels of tables, an opcode of two bytes behind few prefixes, all in one page.
#[inline]
fn next_of_short_opcode(vs: &SvmVs, code: u32, guest: &impl GuestMemory) -> Option<u64> {
    const CPUID: u64 = 0xA20F;
    const RDMSR: u64 = 0x320F;
    const WRMSR: u64 = 0x300F;
    const CR4_FIVE_LEVELS: u64 = 1 << 12;
    let (control, save) = (&vs.view().control, &vs.view().save);
    let opcode = match code {
        exit_code::CPUID => CPUID,
        exit_code::MSR if control.exit_info[0] & 1 == 0 => RDMSR,
        exit_code::MSR => WRMSR,
        _ => return None,
    };
    if save.cr4 & CR4_FIVE_LEVELS != 0 {
        return None;
    }
    let gpa = page_of_executed(save.cr3, Gva::new(save.rip), |entry| guest.read_u64(entry))?;
    let word = guest.read_u64(Gpa::new(gpa.raw() & !7))? >> (gpa.raw() % 8 * 8);
    if word & 0xFFFF == opcode {
        return Some(save.rip.wrapping_add(2));
    }
    let length = length_of_short_opcode(opcode, first_bytes(gpa, guest)?)?;
    Some(save.rip.wrapping_add(length))
}

/// The eight bytes from `gpa` on, fewer where the page ends before them: the missing ones are zero.
#[inline(never)]
fn first_bytes(gpa: Gpa, guest: &impl GuestMemory) -> Option<u64> {
    let (word, shift) = (gpa.raw() & !7, gpa.raw() % 8 * 8);
    let low = guest.read_u64(Gpa::new(word))? >> shift;
    let next = Gpa::new(word + 8);
    if shift == 0 || next.page_offset() == 0 {
        return Some(low);
    }
    Some(low | guest.read_u64(next)? << (64 - shift))
}

/// The length of an instruction that starts with `bytes` and whose opcode, behind any prefixes, is `opcode`.
#[inline(never)]
fn length_of_short_opcode(opcode: u64, mut bytes: u64) -> Option<u64> {
    const OPCODE_LENGTH: u64 = 2;
    let mut prefixes = 0_u64;
    while bytes & 0xFFFF != opcode {
        if !is_prefix(bytes as u8, CodeSize::Bits64) {
            return None;
        }
        bytes >>= 8;
        prefixes = prefixes.saturating_add(1);
    }
    Some(prefixes.saturating_add(OPCODE_LENGTH))
}

/// Whatever the guest has made of the instruction: fetches and decodes it.
#[cold]
#[inline(never)]
fn decode_next(vs: &SvmVs, guest: &impl GuestMemory, mode: CodeSize) -> Result<u64, BadInstruction> {
    let control = &vs.view().control;
    let kind = kind(control.exit_code as u32, control.exit_info[0]).ok_or(BadInstruction)?;
    let rip = vs.view().save.rip;
    let mut bytes = [0; LONGEST_INSTRUCTION + 1];
    let fetched = fetch(vs, guest, &mut bytes);
    let length = exit_length(kind, mode, fetched).map_err(|_| BadInstruction)?;
    Ok(wrap(rip.wrapping_add(u64::from(length)), mode))
}

/// The instruction whose interception an exit code stands for.
#[inline]
fn kind(code: u32, info: u64) -> Option<ExitInstruction> {
    Some(match code {
        exit_code::CPUID => ExitInstruction::Cpuid,
        exit_code::MSR if info & 1 == 0 => ExitInstruction::Rdmsr,
        exit_code::MSR => ExitInstruction::Wrmsr,
        exit_code::VMMCALL => ExitInstruction::Vmmcall,
        exit_code::HLT => ExitInstruction::Hlt,
        exit_code::INVD => ExitInstruction::Invd,
        exit_code::VMRUN => ExitInstruction::Vmrun,
        exit_code::VMLOAD => ExitInstruction::Vmload,
        exit_code::VMSAVE => ExitInstruction::Vmsave,
        exit_code::STGI => ExitInstruction::Stgi,
        exit_code::CLGI => ExitInstruction::Clgi,
        exit_code::SKINIT => ExitInstruction::Skinit,
        exit_code::INVLPGA => ExitInstruction::Invlpga,
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
