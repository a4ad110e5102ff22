//! The payload: a Linux kernel, started by its 64-bit boot protocol.

use core::arch::asm;
use core::convert::Infallible;
use core::ptr::addr_of_mut;

use plinth_loader_multiboot2::boot_info::BootInfo;
use plinth_loader_multiboot2::linux::{BOOT_PARAMETERS, ENTRY_OFFSET, Kernel, Parameters};
use plinth_loader_multiboot2::memory_map::MemoryMap;

use super::Error;
use super::prepare::bytes;
use super::serial::say;

/// Linux does not want to lie below this address.
const LOWEST: u64 = 16 << 20;
/// The longest command line that is passed on.
const COMMAND_LINE: usize = 2048;

#[repr(C, align(4096))]
struct Handover {
    parameters: [u8; BOOT_PARAMETERS],
    command_line: [u8; COMMAND_LINE],
}

static mut HANDOVER: Handover =
    Handover { parameters: [0; BOOT_PARAMETERS], command_line: [0; COMMAND_LINE] };

/// Boots the payload. Comes back only with the reason why it cannot be.
pub(super) fn boot<'a>(info: &BootInfo<'a>, map: &MemoryMap, rsdp: u64) -> Result<Infallible, Error<'a>> {
    let module = info.module("payload").ok_or(Error::NoModule("payload"))?;
    let kernel = Kernel::parse(bytes(&module)).map_err(Error::Payload)?;
    let floor = LOWEST.max(info.modules_end());
    let place = map.highest(kernel.init_size(), kernel.alignment(), floor, 4 << 30);
    let place = place.ok_or(Error::NoMemory("the payload"))?;
    let body = kernel.body();
    // SAFETY: the place is usable memory above all modules; memory is identity mapped.
    unsafe { core::ptr::copy_nonoverlapping(body.as_ptr(), place as *mut u8, body.len()) };
    // SAFETY: this function runs once, on one processor, and nobody else knows the static.
    let handover = unsafe { &mut *addr_of_mut!(HANDOVER) };
    let words = module.arguments.as_bytes();
    let length = words.len().min(COMMAND_LINE - 1);
    handover.command_line[..length].copy_from_slice(&words[..length]);
    let initrd = info.module("initrd").map_or((0, 0), |initrd| (initrd.start, initrd.end - initrd.start));
    if initrd.0 + initrd.1 > kernel.initrd_last() + 1 {
        return Err(Error::InitrdTooHigh(kernel.initrd_last()));
    }
    let command_line = &raw const handover.command_line as u64;
    kernel.parameters(
        &mut handover.parameters,
        &Parameters { initrd, command_line, rsdp, text_screen: info.text_screen(), map },
    );
    say(format_args!("starting the payload at {place:#x}"));
    // SAFETY: the protocol's state: 64-bit mode, identity mapped memory, code segment 0x10 and data segments 0x18, interrupts
    // off, RSI at the boot parameters.
    unsafe {
        asm!(
            "jmp rax",
            in("rax") place + ENTRY_OFFSET,
            in("rsi") &raw const handover.parameters,
            options(noreturn),
        )
    }
}
