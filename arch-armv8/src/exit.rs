//! Classifies the exceptions of a guest: from ESR_EL2 to the HAL's exit classes.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_cpu::registers::{FAR_EL2, HPFAR_EL2, Readable};
use plinth_extension_api::abi::MemoryAccess;
use plinth_hal::{Event, Exit, ExitClass, VsHw};

use crate::mpidr::own_hardware_id;
use crate::paging::cpu_root::Miss;
use crate::stage2::shootdown::Root;
use crate::stage2::tlb;
use crate::switch::{FIQ, IRQ};
use crate::syndrome::{Syndrome, class, is_id_register};
use crate::sysreg::{read_system, write_system};
use crate::vs::El2Vs;

/// Classifies a synchronous exit that is neither a call nor a system instruction. `None` if the kernel has handled it and
/// the guest resumes.
#[inline(never)]
pub(crate) fn classify(vs: &mut El2Vs, root: Root) -> Option<Exit> {
    let syndrome = vs.syndrome();
    match syndrome.class() {
        // Trapped for the timer's sake alone (`cpu::timed`): it waits now.
        class::WAIT if vs.is_root() => None,
        class::WAIT => Some(Exit::of(ExitClass::Wait)),
        class::DATA_ABORT | class::INSTRUCTION_ABORT => memory(vs, syndrome, root),
        class::STEP if vs.is_stepping() => Some(Exit::of(ExitClass::Reserved)),
        // While the kernel single-steps the guest, all debug exceptions come to EL2. The guest's own debug exceptions end
        // the step.
        _ if vs.is_stepping() && syndrome.is_debug() => {
            vs.reflect();
            Some(Exit::of(ExitClass::Reserved))
        }
        // The root VM used a feature that its ID registers hide. In a guest VM the extension decides.
        number if vs.is_root() && class::is_hidden(number) => {
            hidden(vs, number);
            None
        }
        number => Some(Exit { class: ExitClass::Other, number, detail: syndrome.details() }),
    }
}

/// Makes an instruction undefined for the root VM: the CPU has it, the root VM's ID registers do not show it. Only the first
/// one is logged.
#[cold]
fn hidden(vs: &mut El2Vs, class: u64) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "processor {:#x}: the root VM executes at {:#x} what its ID registers do not show (class {class:#x}); it is undefined, and more are not logged",
            own_hardware_id(),
            vs.entry().pc
        );
    }
    vs.inject(Event::Undefined);
}

/// A physical interrupt or an SError. In the root VM these go to EL1; one that reaches EL2 all the same is reported as an
/// interrupt exit.
#[inline]
pub(crate) fn interrupt(vs: &El2Vs, kind: u64) -> Exit {
    if matches!(kind, IRQ | FIQ) && !vs.is_root() {
        return Exit::of(ExitClass::Interrupt);
    }
    Exit { class: ExitClass::Other, number: kind, detail: vs.syndrome().0 }
}

/// An access to a system register.
#[inline]
pub(crate) fn system(syndrome: Syndrome) -> Exit {
    let (number, detail) = (syndrome.register(), syndrome.general());
    let class = match syndrome.is_read() {
        true if is_id_register(number) => ExitClass::IdRead,
        true => ExitClass::RegisterRead,
        false => ExitClass::RegisterWrite,
    };
    Exit { class, number, detail }
}

fn memory(vs: &mut El2Vs, syndrome: Syndrome, root: Root) -> Option<Exit> {
    if !syndrome.is_translation() {
        return Some(Exit { class: ExitClass::Other, number: syndrome.class(), detail: syndrome.details() });
    }
    let page = faulting_page(syndrome)?;
    let miss = if syndrome.is_unmapped() { root.miss(vs.nested_root(), page) } else { Miss::Nothing };
    match miss {
        Miss::Copied => return None,
        Miss::Recalled => {
            vs.forget_exit();
            tlb::flush_current_guest_here();
            root.fill(vs.nested_root());
            return Some(Exit::of(ExitClass::Kick));
        }
        Miss::Nothing => {}
    }
    let mut access = MemoryAccess::empty();
    access.set(MemoryAccess::WRITE, syndrome.is_write() || syndrome.is_walk() && syndrome.0 & 1 << 6 != 0);
    access.set(MemoryAccess::EXECUTE, syndrome.class() == class::INSTRUCTION_ABORT);
    access.set(MemoryAccess::PAGE_WALK, syndrome.is_walk());
    let number = page | FAR_EL2.get() & 0xFFF;
    Some(Exit { class: ExitClass::Memory, number, detail: access.bits() })
}

/// The guest-physical page of an abort. HPFAR_EL2 is not valid after a permission fault (Arm ARM, HPFAR_EL2), so the guest's
/// own stage 1 is asked; `None` if the guest has changed its translation meanwhile.
fn faulting_page(syndrome: Syndrome) -> Option<u64> {
    const ADDRESS: u64 = 0x0000_FFFF_FFFF_F000;
    if !syndrome.is_permission() || syndrome.is_walk() {
        return Some(HPFAR_EL2.get() << 8 & ADDRESS);
    }
    read_translation(FAR_EL2.get()).map(|address| address & ADDRESS)
}

/// The guest-physical address to which the guest's stage 1 translates an EL1 read of `address`; `None` if nothing is mapped
/// there.
pub(crate) fn read_translation(address: u64) -> Option<u64> {
    const PAGE: u64 = 0x0000_FFFF_FFFF_F000;
    let kept = read_system!("par_el1");
    // SAFETY: the guest's translation registers are loaded; the instruction writes PAR_EL1 alone, which is put back.
    unsafe { asm!("at s1e1r, {}", "isb", in(reg) address, options(nostack, preserves_flags)) };
    let result = read_system!("par_el1");
    // SAFETY: the guest's own value.
    unsafe { write_system!("par_el1", kept) };
    (result & 1 == 0).then_some(result & PAGE | address & !PAGE & 0xFFF)
}
