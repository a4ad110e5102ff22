//! The local interrupt controller in its memory-mapped form (AMD64 APM vol. 2, 16.3).

use core::arch::asm;

use crate::cpu;
use crate::trap;

/// MSR with the page's address; bit 11 enables the controller, bit 10 selects the form without a page.
const BASE: u32 = 0x1b;
const ENABLED: u64 = 1 << 11;
const EXTENDED: u64 = 1 << 10;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Offset of the ID register.
pub const ID: u64 = 0x20;
/// Offset of the task priority register.
pub const TASK_PRIORITY: u64 = 0x80;
const END_OF_INTERRUPT: u64 = 0xb0;
/// Offset of the interrupt command register, its half with the command.
pub const COMMAND: u64 = 0x300;
/// Its half with the destination.
pub const DESTINATION: u64 = 0x310;
/// Delivery status: the last command is still on its way.
const PENDING: u32 = 1 << 12;

/// A command that delivers an NMI.
pub const NMI: u32 = 4 << 8;
/// A command to the sender itself.
pub const SELF: u32 = 1 << 18;

/// The page of this processor.
#[derive(Clone, Copy, Debug)]
pub struct Apic {
    page: u64,
}

impl Apic {
    /// The controller, if it is in use and has a page. Its interrupts are ended there from now on.
    pub fn find() -> Option<Self> {
        let base = cpu::read_msr(BASE).ok()?;
        if base & (ENABLED | EXTENDED) != ENABLED {
            return None;
        }
        let page = base & ADDRESS;
        trap::set_end_of_interrupt(page + END_OF_INTERRUPT);
        Some(Self { page })
    }

    /// The address of a register.
    pub fn address(self, register: u64) -> u64 {
        self.page + register
    }

    /// Reads a register.
    pub fn read(self, register: u64) -> u32 {
        // SAFETY: The page is there as `find` saw, and reading these registers changes nothing.
        unsafe { (self.address(register) as *const u32).read_volatile() }
    }

    /// Writes a register.
    pub fn write(self, register: u64, value: u32) {
        // SAFETY: The page is there; the tests write priorities and interrupts to themselves, which are handled.
        unsafe { (self.address(register) as *mut u32).write_volatile(value) }
    }

    /// Writes `width` bytes of `value`, 1, 2, 4 or 8, anywhere in the page: most of that is nothing that the manuals define.
    pub fn store(self, offset: u64, width: u64, value: u64) {
        let at = self.address(offset);
        // SAFETY: The page is there, and the tests write nothing that starts or stops a processor which they need.
        unsafe {
            match width {
                1 => asm!("mov [{}], {}", in(reg) at, in(reg_byte) value as u8, options(nostack)),
                2 => asm!("mov [{}], {:x}", in(reg) at, in(reg) value as u16, options(nostack)),
                4 => asm!("mov [{}], {:e}", in(reg) at, in(reg) value as u32, options(nostack)),
                _ => asm!("mov [{}], {}", in(reg) at, in(reg) value, options(nostack)),
            }
        }
    }

    /// Whether the manuals define what a write of so many bytes does there.
    pub fn is_defined(offset: u64, width: u64) -> bool {
        let register = matches!(
            offset,
            0x20 | 0x30 | 0x80..=0x280 | 0x2F0..=0x390 | 0x3E0 | 0x400..=0x420 | 0x480..=0x4F0 | 0x500..=0x530
        );
        register && width == 4 && offset.is_multiple_of(16)
    }

    /// The registers that keep what is written to them, and the id.
    pub fn state(self) -> [u32; 12] {
        [ID, TASK_PRIORITY, 0xD0, 0xE0, 0xF0, DESTINATION, 0x320, 0x340, 0x350, 0x360, 0x370, 0x3E0]
            .map(|register| self.read(register))
    }

    /// Sends `command` to the processor with the id `destination`.
    pub fn send_to(self, destination: u32, command: u32) {
        self.write(DESTINATION, destination << 24);
        self.send(command);
    }

    /// Sends `command` to this processor by its id.
    pub fn send_to_own_id(self, command: u32) {
        self.write(DESTINATION, self.read(ID));
        self.send(command);
    }

    /// Sends `command` and waits until it is on its way.
    pub fn send(self, command: u32) {
        self.write(COMMAND, command);
        while self.read(COMMAND) & PENDING != 0 {
            core::hint::spin_loop();
        }
    }
}
