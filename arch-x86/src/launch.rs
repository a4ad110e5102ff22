//! What both vendors' launches have in common: the call of the image's entry point, and the way from the caller's
//! registers and stack to the kernel's.

use core::arch::asm;

use plinth_hal::{Arch, PAGE_SIZE, Spa, SpaRange, UserVa};
use plinth_kernel::{Entry, Platform};
use plinth_launch::image::Machine;
use plinth_launch::{COMMAND_LINE_MAX, LaunchError, LaunchInfo, LaunchStatus};

use crate::ap_startup::SecondaryCpus;
use crate::apic::LocalApic;
use crate::per_cpu::PER_CPU_PAGES;
use crate::root_state::EntryFrame;
use crate::speculation::Processor;
use crate::{HostFormat, IdentityMemory, KernelFormat, PAT, acpi_sleep, kpti, msr};

/// Lowest address of the extension's part of the address space: above all physical memory that is mapped.
const USER_BASE: u64 = 0x6000_0000_0000;

/// CR0 in the kernel: PE, MP, EM, TS, ET, NE, WP, PG. EM and TS keep the extension off the guest's FPU registers.
pub const HOST_CR0: u64 = 0x8001_003F;
/// EFER in the kernel: SCE, LME, LMA, NXE.
pub const HOST_EFER: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;
/// CR4 in the kernel besides what the vendor adds: PAE; and MCE and LA57 as the firmware has them. LA57 cannot change in long
/// mode (Intel SDM vol. 3A, 2.5; AMD APM vol. 2, 5.3.5).
const CR4_PAE: u64 = 1 << 5;
const CR4_MCE: u64 = 1 << 6;
const CR4_LA57: u64 = 1 << 12;

/// A call of the image's entry point.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The launch contract.
    pub info: &'a LaunchInfo,
    /// Which call it is: the processor's number.
    pub pp: u64,
    /// What the entry point has left on the caller's stack.
    pub frame: &'a EntryFrame,
    /// The entry point for processors that the root VM starts: as the image's, but on a stack of their own.
    pub arrival: plinth_launch::Entry,
}

/// CR4 in the kernel on a processor that was found with `found`; `more` is what the vendor adds.
pub const fn host_cr4(found: u64, more: u64) -> u64 {
    CR4_PAE | found & (CR4_MCE | CR4_LA57) | more
}

/// This processor's CR4.
pub fn read_cr4() -> u64 {
    let cr4: u64;
    // SAFETY: reading CR4 at privilege level 0 changes nothing.
    unsafe { asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags)) };
    cr4
}

/// Whether this processor's page tables have five levels (CR4.LA57).
pub fn has_five_levels() -> bool {
    read_cr4() & CR4_LA57 != 0
}

/// CR4 with what the kernel's tables take and nothing else, on a processor that has what this one has.
pub(crate) fn tables_cr4() -> u64 {
    host_cr4(if has_five_levels() { CR4_LA57 } else { 0 }, 0)
}

/// Looks whether the OS takes events in the way that the kernel delivers them.
///
/// # Errors
/// [`LaunchError::FredInUse`].
pub const fn check_event_delivery(cr4: u64) -> Result<(), LaunchStatus> {
    /// CR4.FRED (Intel, "Flexible Return and Event Delivery", 3.1).
    const FRED: u64 = 1 << 32;
    if cr4 & FRED == 0 { Ok(()) } else { Err(LaunchStatus::failed(LaunchError::FredInUse, 0)) }
}

/// Looks whether a processor can use the tables that were made for the first one, which has `five_levels` or not.
///
/// # Errors
/// [`LaunchError::OtherPaging`].
pub const fn check_levels(here: bool, five_levels: bool) -> Result<(), LaunchStatus> {
    if here == five_levels {
        Ok(())
    } else {
        Err(LaunchStatus::failed(LaunchError::OtherPaging, here as u64))
    }
}

/// The machine's memory.
///
/// # Safety
/// `info` is a checked launch contract, what it says is true, and all memory is identity mapped.
pub unsafe fn memory(info: &LaunchInfo) -> IdentityMemory {
    let pool = SpaRange::new(Spa::new(info.pool.start), info.pool.size);
    let reservation = SpaRange::new(Spa::new(info.reservation.start), info.reservation.size);
    // SAFETY: all memory is identity mapped, by the loader now and by the kernel later; the pool is the kernel's.
    unsafe { IdentityMemory::new(pool, reservation, info.memory_end) }
}

/// What the kernel is told about the machine.
///
/// # Errors
/// [`LaunchError::SleepOutOfReach`].
///
/// # Safety
/// As [`memory`]; and the contract stays.
pub unsafe fn platform<A: Arch<Memory = IdentityMemory, HostFormat = KernelFormat>>(
    info: &LaunchInfo,
    giant_leaves: bool,
    nested_format: A::NestedFormat,
    physical_bits: u8,
    cold: &SecondaryCpus,
) -> Result<Platform<A>, LaunchStatus> {
    let apic = Spa::new(LocalApic::current().page());
    // SAFETY: forwarded to the caller.
    acpi_sleep::prepare(&unsafe { memory(info) }, info.acpi_rsdp)?;
    // SAFETY: forwarded to the caller.
    let command_line = unsafe { command_line(info) };
    let separate = Processor::current().separates_tables(command_line);
    let whose = match (separate, kpti::has_pcids()) {
        (true, true) => "page tables of its own, with PCIDs",
        (true, false) => "page tables of its own",
        (false, _) => "the kernel's page tables",
    };
    log::info!("the extension runs on {whose}");
    Ok(Platform {
        info: *info,
        command_line,
        // SAFETY: the contract says that the extension's file is there, outside the pool, and stays.
        extension: unsafe {
            core::slice::from_raw_parts(info.extension.start as *const u8, info.extension.size as usize)
        },
        // SAFETY: forwarded to the caller.
        memory: unsafe { memory(info) },
        host_format: HostFormat::new(giant_leaves, physical_bits)
            .with_five_levels(has_five_levels())
            .with_user_side(separate),
        nested_format,
        elf_machine: Machine::X86_64,
        physical_end: 1 << physical_bits.min(52),
        devices: [Some(SpaRange::new(apic, PAGE_SIZE)), None, None, None],
        trapped: SpaRange::new(apic, PAGE_SIZE).into(),
        start_page: cold.page(),
        user_base: UserVa::new(USER_BASE),
        entry: Entry { code: kpti::entry_code(), pages: PER_CPU_PAGES },
    })
}

/// The kernel's own options; none where there are more than anybody writes.
///
/// # Safety
/// As [`memory`]; and the contract stays.
unsafe fn command_line(info: &LaunchInfo) -> &'static [u8] {
    let line = info.command_line;
    if line.start == 0 || line.size > COMMAND_LINE_MAX {
        return &[];
    }
    // SAFETY: the contract says that the text is there, and all memory is identity mapped.
    unsafe { core::slice::from_raw_parts(line.start as *const u8, line.size as usize) }
}

/// Makes the kernel's control registers, tables and PAT this processor's.
///
/// # Safety
/// The tables at `cr3` map the running code and all memory in use at the same addresses; the processor takes `cr4` and
/// `efer`.
pub unsafe fn load_host_registers(cr3: u64, cr4: u64, efer: u64) {
    // SAFETY: NX and system calls are enabled before tables with NX are used; the PAT is the one that the formats encode
    // for.
    unsafe {
        msr::write(msr::index::EFER, efer);
        kpti::load(cr3, cr4);
        asm!("mov cr0, {}", in(reg) HOST_CR0, options(nostack, preserves_flags));
        msr::write(msr::index::PAT, PAT);
    }
}

/// Goes on in `run` on another stack.
///
/// # Safety
/// `stack` is the top of a mapped stack that nobody uses; `argument` stays, and everything that `run` needs is loaded.
pub unsafe fn call_on_stack<T>(stack: u64, argument: &mut T, run: extern "sysv64" fn(&mut T) -> !) -> ! {
    // SAFETY: the stack is as the caller says; `run` never returns, and gets its argument where its calling convention
    // wants it.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "call {run}",
            "ud2",
            stack = in(reg) stack,
            run = in(reg) run,
            in("rdi") argument,
            options(noreturn),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_levels_stay_through_the_launch() {
        assert_eq!(host_cr4(0, 0x100), 0x120);
        assert_eq!(host_cr4(u64::MAX, 0), 0x1060, "MCE and LA57 as they are, and nothing else");
    }

    #[test]
    fn an_os_that_takes_events_by_fred_is_refused() {
        assert_eq!(check_event_delivery(0xFFFF_FFFF), Ok(()));
        assert_eq!(check_event_delivery(1 << 32).unwrap_err().error(), Some(LaunchError::FredInUse));
    }

    #[test]
    fn processors_with_other_tables_than_the_first_ones_are_refused() {
        for levels in [false, true] {
            assert_eq!(check_levels(levels, levels), Ok(()));
            let refused = check_levels(!levels, levels).unwrap_err();
            assert_eq!(refused.error(), Some(LaunchError::OtherPaging));
        }
    }
}
