//! Instructions answered as the bare machine would, without SVM: what the kernel does for the root VM once
//! the extension is gone.

use plinth_arch_x86::cpuid::without_virtualization;
use plinth_arch_x86::msr;
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, PhysicalMemory, Spa, VsHw};

use crate::vmcb::EFER_SVME;
use crate::vs::SvmVs;

const GENERAL_PROTECTION: Event = Event::Exception { vector: 13, error_code: Some(0) };

/// Answers an exit. Returns false for one that it does not know.
pub(crate) fn as_bare_machine(vs: &mut SvmVs, exit: &Exit, guest: &impl GuestMemory, exit_page: Spa) -> bool {
    match exit.class {
        ExitClass::IdRead => {
            cpuid(vs, exit_page);
            vs.advance(guest, exit_page).is_ok()
        }
        ExitClass::RegisterRead if exit.number == u64::from(msr::index::EFER) => {
            let efer = vs.view().save.efer & !EFER_SVME;
            write_general(vs, exit_page, 0, efer & 0xffff_ffff);
            write_general(vs, exit_page, 2, efer >> 32);
            vs.advance(guest, exit_page).is_ok()
        }
        ExitClass::RegisterWrite if exit.number == u64::from(msr::index::EFER) => {
            write_efer(vs, guest, exit_page)
        }
        ExitClass::RegisterRead | ExitClass::RegisterWrite => {
            vs.inject(GENERAL_PROTECTION);
            true
        }
        ExitClass::Virtualization => {
            vs.inject(Event::Undefined);
            true
        }
        _ => false,
    }
}

fn cpuid(vs: &SvmVs, exit_page: Spa) {
    let (leaf, subleaf) = (read_general(vs, exit_page, 0) as u32, read_general(vs, exit_page, 1) as u32);
    let [eax, ebx, ecx, edx] = without_virtualization(leaf, subleaf, vs.view().save.cr4);
    for (number, value) in [(0, eax), (3, ebx), (1, ecx), (2, edx)] {
        write_general(vs, exit_page, number, u64::from(value));
    }
}

/// EFER as a processor without SVM takes it (AMD APM vol. 2, 3.1.7): LME cannot change while paging is on.
fn write_efer(vs: &mut SvmVs, guest: &impl GuestMemory, exit_page: Spa) -> bool {
    const KNOWN: u64 = 0x1 | 1 << 8 | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14 | 1 << 15;
    const LME: u64 = 1 << 8;
    const LMA: u64 = 1 << 10;
    const CR0_PG: u64 = 1 << 31;
    let value = read_general(vs, exit_page, 0) & 0xffff_ffff | read_general(vs, exit_page, 2) << 32;
    let save = &vs.view().save;
    let flips_long_mode = (value ^ save.efer) & LME != 0 && save.cr0 & CR0_PG != 0;
    if value & !KNOWN != 0 || flips_long_mode {
        vs.inject(GENERAL_PROTECTION);
        return true;
    }
    let kept = save.efer & LMA | EFER_SVME;
    vs.vmcb().save.efer = value & !LMA | kept;
    vs.changed(crate::vmcb::clean::CONTROL_REGISTERS);
    vs.advance(guest, exit_page).is_ok()
}

fn read_general(vs: &SvmVs, exit_page: Spa, number: u64) -> u64 {
    vs.memory().read_u64(Spa::new(exit_page.raw() + number * 8))
}

fn write_general(vs: &SvmVs, exit_page: Spa, number: u64, value: u64) {
    vs.memory().write_u64(Spa::new(exit_page.raw() + number * 8), value);
}

/// Writes all caches back and empties them.
pub(crate) fn write_back_caches() {
    // SAFETY: WBINVD at privilege level 0 loses nothing.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
}
