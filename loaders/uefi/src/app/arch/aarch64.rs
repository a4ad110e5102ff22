//! AArch64: the firmware's device tree, cache maintenance, and processors that the OS starts later, by PSCI.
//!
//! The firmware runs at EL2. It is demoted in place: the call of the kernel's entry returns at EL1 with the firmware's
//! own translation and vectors, and firmware that looks at `CurrentEL` when it runs, as EDK2 and U-Boot do, goes on. A stop raises it
//! to EL2 again, with the translation and the vectors that it has by then.

pub(crate) use super::cpu_protocol::allow_execution;
use super::{Devices, Plinth, name};
use crate::app::error::Error;
use crate::app::firmware;
use crate::app::memory::Pages;
use crate::app::running::NOT_RUNNING;
use crate::app::say;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::asm;
use plinth_acpi::Tables;
use plinth_device_tree::Tree;
use plinth_extension_api::abi::{HYPERCALL_STOP, HYPERCALL_STOP_AT_EL2};
use plinth_launch::image::Machine;
use plinth_launch::{Entry, LaunchInfo, Range};
use uefi::{CStr16, Guid, boot, cstr16, guid};

/// What images are built for.
pub(crate) const MACHINE: Machine = Machine::Aarch64;
/// The file that a removable medium is started from (UEFI specification, "Removable Media Boot Behavior").
pub(crate) const REMOVABLE: &CStr16 = cstr16!("\\EFI\\BOOT\\BOOTAA64.EFI");
/// The reservation may lie anywhere.
pub(crate) const RESERVATION_BELOW: u64 = u64::MAX;
/// The other processors are off: the OS starts them, under Plinth.
pub(crate) const LAUNCHES_ALL: bool = false;

/// A configuration table of this kind says that Plinth runs: nothing else at EL1 can be asked without risk.
const PLINTH: Guid = guid!("6e16c0b5-92c9-4d3e-8b52-0f2a35c4a7d1");

/// Processors start at an address of the kernel's choice.
pub(crate) fn low_page() -> Result<Option<Pages>, Error> {
    Ok(None)
}

/// The device tree, and the console that it names.
pub(crate) fn devices() -> Result<Devices, Error> {
    let address = firmware::device_tree().map_or_else(made_of_acpi, Ok)?;
    // SAFETY: a device tree is there, as the firmware or `made_of_acpi` says.
    let tree = unsafe { read_tree(address) }?;
    Ok(Devices { console: tree.console(), fdt: address })
}

/// The device tree at `address`.
///
/// # Safety
/// The firmware, or this loader, says that one is there. It stays.
unsafe fn read_tree(address: u64) -> Result<Tree<'static>, Error> {
    // SAFETY: the caller vouches for a tree, whose header is longer than this.
    let header = unsafe { &*(address as *const [u8; 8]) };
    let size = plinth_device_tree::total_size(header).ok_or(Error::NoDeviceTree)?;
    // SAFETY: the tree says its own size, and stays as long as the firmware.
    let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, size) };
    Tree::new(bytes).map_err(Error::DeviceTree)
}

/// The firmware's device tree; `None` where there is no sound one.
pub(super) fn firmwares_tree() -> Option<Tree<'static>> {
    // SAFETY: the firmware says that one is there.
    firmware::device_tree().and_then(|address| unsafe { read_tree(address) }.ok())
}

/// Whether a launch takes processors out of the firmware's spin table, which the kernel keeps though the launch fails.
pub(crate) fn may_hold_processors() -> bool {
    firmwares_tree().is_some_and(|tree| tree.spinning().next().is_some())
}

/// Makes a device tree of ACPI's tables, which stays.
fn made_of_acpi() -> Result<u64, Error> {
    let banks = firmware::banks();
    let read = |at, buffer: &mut [u8]| read_memory(&banks, at, buffer);
    let tables = Tables::new(read, firmware::acpi_rsdp()).ok_or(Error::NoDeviceTree)?;
    let blob = plinth_acpi_tree::device_tree(&tables, &banks).map_err(Error::Acpi)?;
    // In words, because it has to be aligned.
    let mut words: Vec<u64> = alloc::vec![0; blob.len().div_ceil(8)];
    for (word, bytes) in words.iter_mut().zip(blob.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(whole);
    }
    Ok(words.leak().as_ptr() as u64)
}

/// Reads what lies in one of `banks`; ones elsewhere.
pub(super) fn read_memory(banks: &[Range], at: u64, buffer: &mut [u8]) {
    let size = buffer.len() as u64;
    let holds = |bank: &Range| at >= bank.start && size <= bank.size && at - bank.start <= bank.size - size;
    if at == 0 || !banks.iter().any(holds) {
        buffer.fill(0xFF);
        return;
    }
    for (offset, byte) in buffer.iter_mut().enumerate() {
        // SAFETY: memory, by the firmware's map, which maps it all at its own address; volatile, because it is not ours.
        *byte = unsafe { (at as *const u8).add(offset).read_volatile() };
    }
}

/// Writes what was loaded back to memory: the kernel fetches it, and for a few instructions runs without caches.
pub(crate) fn publish(range: Range) {
    let cache_type: u64;
    // SAFETY: reads a register that says how long cache lines are.
    unsafe {
        asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nomem, nostack, preserves_flags));
    }
    let line = 4 << (cache_type >> 16 & 0xF);
    for at in (range.start & !(line - 1)..range.start + range.size).step_by(line as usize) {
        // SAFETY: the range is this application's; cleaning and invalidating a line loses nothing.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers, and an invalidation of instructions, which are fetched again.
    unsafe { asm!("dsb sy", "ic iallu", "dsb sy", "isb", options(nostack, preserves_flags)) };
}

/// Enters the kernel on this processor. Interrupts are off meanwhile, which the kernel leaves so.
///
/// # Safety
/// `entry` and `info` are as the launch contract says.
pub(crate) unsafe fn enter(entry: Entry, info: *const LaunchInfo, pp: u64) -> u64 {
    let mask: u64;
    // SAFETY: reads the interrupt mask.
    unsafe { asm!("mrs {}, daif", out(reg) mask, options(nostack, preserves_flags)) };
    // SAFETY: forwarded to the caller.
    let status = unsafe { entry(info, pp) };
    // SAFETY: the mask that was there.
    unsafe { asm!("msr daif, {}", in(reg) mask, options(nostack, preserves_flags)) };
    status
}

/// Leaves a note for the loader's other commands.
pub(crate) fn launched() {
    let version = plinth_extension_api::abi::VERSION as u32;
    let note: &'static Plinth = Box::leak(Box::new(Plinth { abi_version: version, processors: 1 }));
    // SAFETY: the note stays as long as the firmware, and nobody changes it.
    let noted = unsafe { boot::install_configuration_table(&PLINTH, core::ptr::from_ref(note).cast()) };
    // Without the note, only `status` and `stop` know less.
    let _ = noted;
    if !name::show() {
        let lost = if may_hold_processors() { ", and finds one processor alone" } else { "" };
        say!("the firmware's tables cannot be changed: the OS does not find Plinth there{lost}");
    }
}

/// Looks for the note.
pub(crate) fn detect() -> Option<Plinth> {
    let address = firmware::table(PLINTH)?;
    // SAFETY: `launched` has put it there, by the same layout, and it stays.
    Some(unsafe { *(address as *const Plinth) })
}

/// Promotes this processor: 0 when it runs bare again, at EL2, [`NOT_RUNNING`] if it did already. Interrupts are off meanwhile: the
/// firmware's handlers must not see the level change.
pub(crate) fn stop_this_processor() -> u64 {
    if detect().is_none() {
        return NOT_RUNNING;
    }
    let result;
    // SAFETY: Plinth is below, so the instruction is a hypercall. It changes X0 to X3 at most, and where it is granted the level, at
    // which the same addresses lead to the same memory. The mask is the one that was there.
    unsafe {
        asm!(
            "mrs {mask}, daif",
            "msr daifset, #15",
            "hvc #0",
            "msr daif, {mask}",
            mask = out(reg) _,
            inout("x0") HYPERCALL_STOP => result,
            inout("x1") HYPERCALL_STOP_AT_EL2 => _,
            out("x2") _,
            out("x3") _,
            options(nostack)
        );
    }
    result
}

/// Takes the note away, since an HVC of firmware at EL2 is its own, and Plinth's name.
pub(crate) fn stopped() {
    name::hide();
    // SAFETY: without an address the table is removed, which nobody but this loader knows.
    let removed = unsafe { boot::install_configuration_table(&PLINTH, core::ptr::null()) };
    if removed.is_err() {
        say!(
            "the firmware keeps the note that Plinth runs, which is not so: do not use `stop` and `status` in this boot"
        );
    }
}

/// Bits that only differ from boot to boot, where there are no random ones: good enough to place an
/// image, for nothing else.
pub(crate) fn jitter() -> u64 {
    let ticks: u64;
    // SAFETY: reads a counter.
    unsafe { asm!("mrs {}, cntpct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
    ticks.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// The processor's own random numbers (FEAT_RNG) are not used: few have them, and their firmware offers them.
pub(crate) fn random() -> Option<[u64; 4]> {
    None
}
