//! The local interrupt controller in its memory-mapped form (AMD64 APM vol. 2, 16.3).

use crate::cpu;
use crate::trap;

/// MSR with the page's address; bit 11 enables the controller, bit 10 selects the form without a page.
const BASE: u32 = 0x1b;
const ENABLED: u64 = 1 << 11;
const EXTENDED: u64 = 1 << 10;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Offset of the ID register.
const ID: u64 = 0x20;
/// Offset of the task priority register.
pub const TASK_PRIORITY: u64 = 0x80;
const END_OF_INTERRUPT: u64 = 0xb0;
/// Offset of the interrupt command register, its half with the command.
pub const COMMAND: u64 = 0x300;
/// Its half with the destination.
const DESTINATION: u64 = 0x310;
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
