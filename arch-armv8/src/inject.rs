//! Injection of exceptions into EL1, as the CPU itself takes them (Arm ARM, D1.3).

use crate::el1_context::{El1Context, SCTLR_EL1};
use crate::pstate::Pstate;
use crate::syndrome::class;

/// Encodings of what an exception writes.
const ELR_EL1: u64 = 3 << 14 | 4 << 7 | 1;
const SPSR_EL1: u64 = 3 << 14 | 4 << 7;
const ESR_EL1: u64 = 3 << 14 | 5 << 7 | 2 << 3;
const FAR_EL1: u64 = 3 << 14 | 6 << 7;
const VBAR_EL1: u64 = 3 << 14 | 12 << 7;

/// PC and PSTATE with which a guest resumes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) pc: u64,
    pub(crate) pstate: Pstate,
}

/// A synchronous exception as EL2 finds it: the class is that of a lower exception level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exception {
    pub(crate) class: u64,
    /// ISS.
    pub(crate) details: u64,
    /// Where, for the classes that say so.
    pub(crate) address: u64,
}

/// The ISS of a synchronous external abort: no device answers at the address.
pub(crate) const EXTERNAL_ABORT: u64 = 0x10;

/// Injects a synchronous exception into EL1, taken from `place`. Returns where the guest resumes.
pub(crate) fn synchronous(el1_context: &El1Context, place: Place, exception: Exception) -> Place {
    const INSTRUCTION_LENGTH_32: u64 = 1 << 25;
    let Exception { class, details, address } = exception;
    let own = class::has_levels(class) && place.pstate.level() == 1;
    let class = if own { class | class::SAME_LEVEL } else { class };
    if class::has_address(class & !class::SAME_LEVEL) {
        let _ = el1_context.write(FAR_EL1, address);
    }
    let _ = el1_context.write(ELR_EL1, place.pc);
    let _ = el1_context.write(SPSR_EL1, place.pstate.raw());
    let _ = el1_context.write(ESR_EL1, class << 26 | INSTRUCTION_LENGTH_32 | details);
    let base = el1_context.read(VBAR_EL1).unwrap_or(0);
    Place { pc: base.wrapping_add(place.pstate.vector()), pstate: state(el1_context, place.pstate) }
}

/// PSTATE in the handler: EL1h, masked, with the bits that exceptions set.
fn state(el1_context: &El1Context, old: Pstate) -> Pstate {
    const FLAGS_AND_PAN: u64 = 0xF << 28 | 1 << 22 | 1 << 24;
    const SPAN: u64 = 1 << 23;
    const PAN: u64 = 1 << 22;
    const DSSBS: u64 = 1 << 44;
    const SSBS: u64 = 1 << 12;
    let control = el1_context.read(SCTLR_EL1).unwrap_or(SPAN);
    let kept = old.raw() & if old.is_32() { 0xF << 28 | PAN } else { FLAGS_AND_PAN };
    let pan = if control & SPAN == 0 { PAN } else { 0 };
    let ssbs = if control & DSSBS != 0 { SSBS } else { 0 };
    Pstate::in_handler(kept | pan | ssbs)
}
