//! The local APIC's timer as the only source of interrupts: what comes by the old controller is kept out meanwhile.

use crate::apic::Apic;
use crate::trap;

/// Registers (AMD64 APM vol. 2, 16.3.2).
const SPURIOUS: u64 = 0xf0;
const ENTRY: u64 = 0x320;
const LINT0: u64 = 0x350;
const COUNT: u64 = 0x380;
const LEFT: u64 = 0x390;
const DIVISOR: u64 = 0x3e0;

const ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const UNDIVIDED: u32 = 0b1011;

/// The timer, as long as it is used.
#[derive(Debug)]
pub struct Timer {
    apic: Apic,
    saved: [(u64, u32); 5],
}

impl Timer {
    /// Takes the timer and keeps all other interrupts out.
    pub fn take(apic: Apic) -> Self {
        let saved = [SPURIOUS, LINT0, COUNT, DIVISOR, ENTRY].map(|register| (register, apic.read(register)));
        apic.write(SPURIOUS, ENABLED | u32::from(trap::SPURIOUS_VECTOR));
        apic.write(LINT0, apic.read(LINT0) | MASKED);
        apic.write(DIVISOR, UNDIVIDED);
        Self { apic, saved }
    }

    /// Has [`trap::TEST_VECTOR`] come once, after so many of its counts.
    pub fn set(&self, counts: u32) {
        self.apic.write(ENTRY, trap::TEST_VECTOR.into());
        self.apic.write(COUNT, counts);
    }

    /// Has it come again and again, each time after so many counts.
    pub fn repeat(&self, counts: u32) {
        const PERIODIC: u32 = 1 << 17;
        self.apic.write(ENTRY, PERIODIC | u32::from(trap::TEST_VECTOR));
        self.apic.write(COUNT, counts);
    }

    /// Stops it.
    pub fn stop(&self) {
        self.apic.write(COUNT, 0);
    }

    /// Whether its interrupt waits to be taken.
    pub fn waits(&self) -> bool {
        const REQUESTS: u64 = 0x200;
        let (word, bit) = (trap::TEST_VECTOR / 32, trap::TEST_VECTOR % 32);
        self.apic.read(REQUESTS + u64::from(word) * 0x10) >> bit & 1 != 0
    }

    /// How many of its counts some work takes.
    pub fn measure(&self, work: impl FnOnce()) -> u32 {
        self.apic.write(ENTRY, MASKED | u32::from(trap::TEST_VECTOR));
        self.apic.write(COUNT, u32::MAX);
        work();
        let left = self.apic.read(LEFT);
        self.apic.write(COUNT, 0);
        u32::MAX - left
    }

    /// What its registers hold that nobody else must change for good.
    pub fn registers(&self) -> [u32; 2] {
        [self.apic.read(ENTRY), self.apic.read(DIVISOR)]
    }

    /// Puts everything back, and starts the timer again if it was the firmware's.
    pub fn give_back(self) {
        self.saved.iter().rev().for_each(|(register, value)| self.apic.write(*register, *value));
    }
}

/// Lets pending interrupts in. Interrupts are off before and afterwards.
pub fn accept() {
    // SAFETY: Every interrupt that can come has a handler.
    unsafe { core::arch::asm!("sti", "nop", "nop", "cli", options(nomem, nostack)) }
}
