//! Every offset of GICv3's distributor and redistributor that has registers, read with every width and all low bits; and in the frame
//! of private interrupts, which the kernel writes for the root VM, written so too. The test compares the lines with those of the
//! bare machine.

#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;

use plinth_test_guests_armv8::machine::Gic;
use plinth_test_guests_armv8::{Machine, Report, check, entry, gic, say, trap};

/// Bytes that are looked at from each beginning, and the identification at a frame's end.
const REGISTERS: u64 = 0x1000;
const IDENTIFICATION: u64 = 0xFFC0;
const FRAME: u64 = 0x1_0000;
const ROW: u64 = 0x100;
const WIDTHS: [u64; 4] = [1, 2, 4, 8];

/// What is the hypervisor's timer's (interrupt 26), by word: the bare machine's EL1 has no such timer.
const fn not_compared(offset: u64) -> u32 {
    match offset {
        0x80 | 0x100 | 0x180 | 0x200 | 0x280 | 0x300 | 0x380 | 0xD00 | 0xF80 => 1 << 26,
        0x418 => 0xFF << 16,
        0xC04 => 3 << 20,
        _ => 0,
    }
}

/// Mixes what was found (FNV-1a).
fn mix(so_far: u64, found: u64) -> u64 {
    (so_far ^ found).wrapping_mul(0x100_0000_01B3)
}

/// Reads one place; a fault's syndrome where there is one.
fn read(at: u64, width: u64) -> u64 {
    let mut value = 0_u64;
    // SAFETY: a register of the interrupt controller, whose reading changes nothing; a fault is skipped.
    let fault = trap::catch(|| unsafe {
        match width {
            1 => asm!("ldrb {0:w}, [{1}]", inout(reg) value, in(reg) at),
            2 => asm!("ldrh {0:w}, [{1}]", inout(reg) value, in(reg) at),
            4 => asm!("ldr {0:w}, [{1}]", inout(reg) value, in(reg) at),
            _ => asm!("ldr {0}, [{1}]", inout(reg) value, in(reg) at),
        }
    });
    fault.map_or(value, |fault| fault.syndrome)
}

/// Writes one place. Returns a fault's syndrome where there is one.
fn write(at: u64, width: u64, value: u64) -> u64 {
    // SAFETY: a register of private interrupts, which this processor does not let in; a fault is skipped.
    let fault = trap::catch(|| unsafe {
        match width {
            1 => asm!("strb {0:w}, [{1}]", in(reg) value, in(reg) at),
            2 => asm!("strh {0:w}, [{1}]", in(reg) value, in(reg) at),
            4 => asm!("str {0:w}, [{1}]", in(reg) value, in(reg) at),
            _ => asm!("str {0}, [{1}]", in(reg) value, in(reg) at),
        }
    });
    fault.map_or(0, |fault| fault.syndrome)
}

/// The offsets of a frame, row by row.
fn rows() -> impl Iterator<Item = core::ops::Range<u64>> {
    let last = IDENTIFICATION..FRAME - 8;
    (0..REGISTERS / ROW).map(|row| row * ROW..(row + 1) * ROW).chain([last])
}

fn reads(name: &str, frame: u64) {
    for row in rows() {
        let mixed =
            WIDTHS.map(|width| row.clone().fold(0, |all, offset| mix(all, read(frame + offset, width))));
        say!("offsets: {name} {:#x} read {mixed:x?}", row.start);
    }
}

/// Writes ones and then zeroes to each place of a row, and looks at the whole frame after each. Where the processor does not fault
/// what is not aligned, as it must in a device's registers (older QEMUs do not), such places are left out: there the kernel does.
fn writes(frame: u64) {
    let faults = trap::catch(|| {
        // SAFETY: reading changes nothing; the fault is skipped.
        unsafe { asm!("ldr {0:w}, [{1}]", out(reg) _, in(reg) frame + 1) }
    });
    let is_tried = |offset: &u64, width: u64| faults.is_some() || offset.is_multiple_of(width);
    let words = || {
        (0..REGISTERS).step_by(4).fold(0, |all, offset| {
            let word = read(frame + offset, 4) as u32 & !not_compared(offset);
            mix(all, u64::from(word))
        })
    };
    for row in rows() {
        let mixed = WIDTHS.map(|width| {
            [u64::MAX, 0].into_iter().fold(0, |all, value| {
                let tried = row.clone().filter(|offset| is_tried(offset, width));
                let faults = tried.fold(all, |all, offset| mix(all, write(frame + offset, width, value)));
                mix(faults, words())
            })
        });
        say!("offsets: private {:#x} written {mixed:x?}", row.start);
    }
}

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("offsets", &machine);
    let (Gic::V3(distributor, redistributors), Some(private)) =
        (machine.gic, gic::private_frame(machine.gic))
    else {
        report.skip("offsets", "there is no GICv3");
        report.done(&machine)
    };
    reads("distributor", distributor);
    reads("redistributor", redistributors);
    reads("private", private);
    writes(private);
    check!(report, "offsets", true);
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST offsets panicked FAILED: {info}");
    entry::stop()
}
