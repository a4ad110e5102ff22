//! The CPU architectural protocol (UEFI Platform Initialization specification, volume 2, chapter 12.3): how firmware without
//! `EFI_MEMORY_ATTRIBUTE_PROTOCOL` is asked to let memory be executed.

use crate::app::firmware;
use core::ffi::c_void;
use plinth_launch::Range;
use uefi::Status;
use uefi::proto::unsafe_protocol;

/// Write-back cached, and nothing forbidden (UEFI specification, "EFI_BOOT_SERVICES.GetMemoryMap()").
const EFI_MEMORY_WB: u64 = 8;

/// The protocol, as far as it is used.
#[derive(Debug)]
#[repr(C)]
#[unsafe_protocol("26baccb1-6f42-11d4-bce7-0080c73c8881")]
struct CpuArchitecture {
    /// FlushDataCache to GetTimerValue.
    others: [*const c_void; 7],
    set_memory_attributes:
        unsafe extern "efiapi" fn(this: *mut Self, base: u64, size: u64, attributes: u64) -> Status,
}

/// Lets the code in a range of whole pages be executed, if the firmware knows how.
pub(crate) fn allow_execution(range: Range) {
    let Ok(mut cpu) = firmware::open_any::<CpuArchitecture>() else { return };
    let this: *mut CpuArchitecture = &mut *cpu;
    // SAFETY: the protocol's own function; the range is memory of this application, and stays what it was otherwise.
    let status = unsafe { ((*this).set_memory_attributes)(this, range.start, range.size, EFI_MEMORY_WB) };
    // A firmware that refuses this has not forbidden execution either, or the launch will tell.
    let _ = status;
}
