//! Exit codes and what they mean everywhere.

use plinth_arch_x86::acpi_sleep::PortAccess;
use plinth_extension_api::abi::MemoryAccess;
use plinth_hal::{Exit, ExitClass};

use crate::vmcb::exit_code;
use crate::vs::SvmVs;

/// [`Exit::detail`] of processor control by an MSR; 0 is by the APIC's page.
pub(crate) const BY_MSR: u64 = 1;

/// Sorts the exit that has just happened.
#[inline]
pub(crate) fn classify(vs: &mut SvmVs) -> Exit {
    let control = &vs.view().control;
    let (code, info) = (control.exit_code as u32, control.exit_info);
    match code {
        exit_code::CPUID => Exit::of(ExitClass::IdRead),
        exit_code::NESTED_PAGE_FAULT => nested_page_fault(vs, info),
        exit_code::NMI => Exit::of(ExitClass::Kick),
        exit_code::VMMCALL => {
            Exit { class: ExitClass::Hypercall, number: 0, detail: u64::from(vs.view().save.cpl) }
        }
        exit_code::IOIO => port_access(vs).exit(),
        exit_code::VMRUN
        | exit_code::VMLOAD
        | exit_code::VMSAVE
        | exit_code::STGI
        | exit_code::CLGI
        | exit_code::SKINIT
        | exit_code::INVLPGA => Exit::of(ExitClass::Virtualization),
        exit_code::INVD => Exit::of(ExitClass::Cache),
        // INIT by a command of the guest's never arrives here: this one is the chipset's way to restart.
        exit_code::SHUTDOWN | exit_code::INIT => Exit::of(ExitClass::Shutdown),
        exit_code::INTR => Exit::of(ExitClass::Interrupt),
        exit_code::HLT => Exit::of(ExitClass::Wait),
        exit_code::INVALID => Exit::of(ExitClass::EntryRefused),
        _ => Exit { class: ExitClass::Other, number: u64::from(code), detail: info[0] },
    }
}

/// The first port of an access to ports.
#[inline]
pub(crate) fn port(vs: &SvmVs) -> u16 {
    (vs.view().control.exit_info[0] >> 16) as u16
}

/// EXITINFO1 of IOIO (AMD APM vol. 2, 15.10.2): port 31:16, size 6:4, bit 2 for INS and OUTS, bit 0 for IN.
pub(crate) fn port_access(vs: &SvmVs) -> PortAccess {
    let info = vs.view().control.exit_info[0];
    PortAccess {
        port: port(vs),
        size: (info >> 4 & 7) as u8,
        is_read: info & 1 != 0,
        is_string: info & 4 != 0,
    }
}

/// Whether a nested page fault was about reserved bits in an entry: the kernel's mistake (AMD APM vol. 2, 15.25.6).
pub(crate) fn is_broken_entry(vs: &SvmVs) -> bool {
    const RESERVED: u64 = 1 << 3;
    vs.view().control.exit_info[0] & RESERVED != 0
}

/// EXITINFO1 is a page-fault error code (AMD APM vol. 2, 15.25.6), EXITINFO2 the guest-physical address.
fn nested_page_fault(vs: &SvmVs, info: [u64; 2]) -> Exit {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    const PAGE_WALK: u64 = 1 << 33;
    let mut access = MemoryAccess::empty();
    access.set(MemoryAccess::WRITE, info[0] & WRITE != 0);
    access.set(MemoryAccess::EXECUTE, info[0] & FETCH != 0);
    access.set(MemoryAccess::PAGE_WALK, info[0] & PAGE_WALK != 0);
    let apic = plinth_arch_x86::apic::LocalApic::current().page();
    if access == MemoryAccess::WRITE && info[1] & !0xFFF == apic && vs.is_root {
        return Exit { class: ExitClass::Processor, number: info[1], detail: 0 };
    }
    Exit { class: ExitClass::Memory, number: info[1], detail: access.bits() }
}
