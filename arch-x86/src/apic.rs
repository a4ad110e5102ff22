//! The local APIC, as far as the kernel has to own it: what starts and stops processors, and the NMI by which
//! processors get each other's attention.
//!
//! In xAPIC mode the registers are a page; nested paging lets the guest read it, and each write comes here
//! to be looked at and done. In x2APIC mode only writes of one MSR come.

use plinth_hal::{ProcessorEvent, Target};

use crate::cold_start::{self, ARRIVALS};
use crate::interrupts::Registers;
use crate::msr;

/// APIC register offsets (AMD APM vol. 2, 16.3.2).
const ID: u64 = 0x20;
const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;

/// Registers of the local vector table and around it, by offset.
pub(crate) mod lvt {
    pub(crate) const END_OF_INTERRUPT: u64 = 0xB0;
    pub(crate) const SPURIOUS: u64 = 0xF0;
    pub(crate) const TIMER: u64 = 0x320;
    pub(crate) const LINT0: u64 = 0x350;
    /// Writing it starts the timer, 0 stops it.
    pub(crate) const TIMER_COUNT: u64 = 0x380;
    pub(crate) const TIMER_LEFT: u64 = 0x390;
    pub(crate) const TIMER_DIVISOR: u64 = 0x3E0;
}

/// An entry of the local vector table: it delivers nothing.
pub(crate) const MASKED: u32 = 1 << 16;
/// Delivery mode: the vector is the old controller's to say.
pub(crate) const EXTINT: u32 = 7;

/// IA32_APIC_BASE: the APIC is on.
const ENABLED: u64 = 1 << 11;
/// IA32_APIC_BASE: x2APIC mode.
const X2APIC_ENABLED: u64 = 1 << 10;
/// IA32_APIC_BASE: the page number.
const BASE_MASK: u64 = 0x000F_FFFF_FFFF_F000;

/// Interrupt command: delivery mode NMI, level asserted.
const NMI: u32 = 0x4400;
/// Interrupt command: edge-triggered INIT, asserted.
const INIT: u32 = 0x4500;
/// Interrupt command: startup IPI, asserted; bits 7:0 are the page.
const STARTUP: u32 = 0x4600;
/// Interrupt command: not yet accepted.
const PENDING: u32 = 1 << 12;

/// This processor's local APIC.
#[derive(Clone, Copy, Debug)]
pub struct LocalApic {
    base: u64,
}

impl LocalApic {
    /// The APIC of the processor that asks.
    pub fn current() -> Self {
        // SAFETY: every x86-64 processor has a local APIC with this MSR.
        let base = unsafe { msr::read(msr::index::APIC_BASE) };
        Self { base: base & BASE_MASK }
    }

    /// The page of its registers.
    pub fn page(self) -> u64 {
        self.base
    }

    fn x2apic(self) -> bool {
        // SAFETY: as in `current`; the guest may have switched modes since.
        unsafe { msr::read(msr::index::APIC_BASE) & X2APIC_ENABLED != 0 }
    }

    /// Its id.
    pub fn id(self) -> u32 {
        if self.x2apic() {
            // SAFETY: x2APIC mode is on.
            unsafe { msr::read(msr::index::X2APIC_ID) as u32 }
        } else {
            self.read(ID) >> 24
        }
    }

    /// Sends an NMI to the processor with this id. A command that the guest is composing stays as it is.
    pub fn send_nmi(self, id: u32) {
        self.send(id, NMI);
    }

    fn send(self, id: u32, command: u32) {
        if self.x2apic() {
            // SAFETY: x2APIC mode is on; callers send only NMIs to processors that expect them, and INIT and SIPI
            // to processors that are the guest's.
            unsafe { msr::write(msr::index::X2APIC_ICR, u64::from(id) << 32 | u64::from(command)) };
            return;
        }
        let high = self.read(ICR_HIGH);
        self.wait_idle();
        self.write(ICR_HIGH, id << 24);
        self.write(ICR_LOW, command);
        self.wait_idle();
        self.write(ICR_HIGH, high);
    }

    /// Puts the APIC into the state that INIT leaves (AMD APM vol. 2, 16.3.2 and table 14-1), whatever was pending
    /// and in service dropped. `accept` takes what is pending and says whether an NMI came; so does the result.
    pub fn reset(self, mut accept: impl FnMut() -> bool) -> bool {
        const TASK_PRIORITY: u64 = 0x80;
        const LOGICAL_DESTINATION: u64 = 0xD0;
        const DESTINATION_FORMAT: u64 = 0xE0;
        const LOCAL_VECTORS: [u64; 6] = [0x320, 0x330, 0x340, 0x350, 0x360, 0x370];
        const ENABLED: u32 = 1 << 8;
        const SPURIOUS_VECTOR: u32 = 0xFF;
        self.set(lvt::SPURIOUS, SPURIOUS_VECTOR | ENABLED);
        LOCAL_VECTORS.into_iter().for_each(|vector| self.set(vector, MASKED));
        self.set(lvt::TIMER_COUNT, 0);
        self.set(TASK_PRIORITY, 0);
        let nmi = self.drop_interrupts(&mut accept);
        if !self.x2apic() {
            self.set(LOGICAL_DESTINATION, 0);
            self.set(DESTINATION_FORMAT, u32::MAX);
        }
        self.set(lvt::SPURIOUS, SPURIOUS_VECTOR);
        nmi
    }

    /// Accepts and ends interrupts until none is left; there are no more than vectors.
    fn drop_interrupts(self, accept: &mut impl FnMut() -> bool) -> bool {
        let mut nmi = false;
        for _ in 0..=u8::MAX {
            nmi |= accept();
            if !self.is_serving() {
                break;
            }
            self.end_of_interrupt();
        }
        nmi
    }

    /// Whether any interrupt has been accepted and not ended.
    fn is_serving(self) -> bool {
        (0x100..=0x170).step_by(0x10).any(|offset| self.get(offset) != 0)
    }

    /// Whether the APIC is on at all; else interrupts pass it by.
    pub(crate) fn is_enabled(self) -> bool {
        // SAFETY: as in `current`.
        unsafe { msr::read(msr::index::APIC_BASE) & ENABLED != 0 }
    }

    /// The vector of interrupts that are gone when the processor asks for them.
    pub(crate) fn spurious_vector(self) -> u8 {
        self.get(lvt::SPURIOUS) as u8
    }

    /// Reads a register in either mode.
    pub(crate) fn get(self, offset: u64) -> u32 {
        if self.x2apic() {
            // SAFETY: x2APIC mode is on, and callers name registers that it has.
            unsafe { msr::read(msr::index::X2APIC_FIRST + (offset >> 4) as u32) as u32 }
        } else {
            self.read(offset)
        }
    }

    /// Writes a register in either mode.
    fn set(self, offset: u64, value: u32) {
        if self.x2apic() {
            // A processor may lack one of the local vectors: that write faults and is not needed.
            // SAFETY: x2APIC mode is on; the APIC is the guest's, which is being reset.
            let _ =
                unsafe { msr::write_guarded(msr::index::X2APIC_FIRST + (offset >> 4) as u32, value.into()) };
        } else {
            self.write(offset, value);
        }
    }

    /// Really sends an INIT or a SIPI.
    pub fn forward(self, event: ProcessorEvent) {
        let (target, command) = match event {
            ProcessorEvent::Done => return,
            ProcessorEvent::Reset(target) => (target, INIT),
            ProcessorEvent::Start { target, entry } => (target, STARTUP | (entry & 0xff) as u32),
        };
        if let Target::Id(id) = target {
            self.send(id, command);
        }
    }

    /// Sends an INIT to every processor but this one: each waits for a startup IPI then.
    pub(crate) fn reset_others(self) {
        /// INIT, asserted, to all excluding self.
        const INIT_OTHERS: u32 = 0x000C_4500;
        self.send(0, INIT_OTHERS);
    }

    /// Starts a processor in Plinth's own code, if that is in place ([`crate::cold_start`]). Processors with hardware
    /// virtualization need no time between the two commands.
    pub fn start_cold(self, id: u32) -> bool {
        let Some(page) = cold_start::page() else { return false };
        ARRIVALS.leave(id);
        self.send(id, INIT);
        self.send(id, STARTUP | page);
        true
    }

    /// Repeats the second of the two, which only a processor heeds that waits for it.
    pub fn start_again(self, id: u32) {
        if let Some(page) = cold_start::page() {
            self.send(id, STARTUP | page);
        }
    }

    fn wait_idle(self) {
        while self.read(ICR_LOW) & PENDING != 0 {
            core::hint::spin_loop();
        }
    }

    /// Does what the guest's write of `value` to the register at `offset` of the page does, unless it
    /// starts or stops processors: that is the answer then.
    pub fn guest_write(self, offset: u64, value: u32) -> ProcessorEvent {
        if offset == ICR_LOW
            && let Some(event) = classify(value, self.read(ICR_HIGH) >> 24)
        {
            return event;
        }
        if offset != ICR_LOW || !self.send_guest_nmi(value, self.read(ICR_HIGH) >> 24) {
            self.write(offset, value);
        }
        ProcessorEvent::Done
    }

    /// Sends an NMI of the guest's, where there are processors that none must reach ([`cold_start`]). Returns false where
    /// the command is another one, or can be sent as it is.
    fn send_guest_nmi(self, command: u32, destination: u32) -> bool {
        if command >> 8 & 7 != MODE_NMI || cold_start::page().is_none() {
            return false;
        }
        let Some(target) = target(command, destination) else { return false };
        let Some(reached) = ARRIVALS.reached(target, self.id(), self.x2apic()) else { return false };
        reached.for_each(|id| self.send_nmi(id));
        true
    }

    /// The same for a write to the command register in x2APIC mode.
    pub fn guest_command(self, value: u64) -> ProcessorEvent {
        if let Some(event) = classify(value as u32, (value >> 32) as u32) {
            return event;
        }
        if self.send_guest_nmi(value as u32, (value >> 32) as u32) {
            return ProcessorEvent::Done;
        }
        // A reserved bit would fault here instead of in the guest: the guarded write swallows it.
        // SAFETY: an interrupt that the guest may send to itself and its like; INIT and SIPI were sorted out.
        let _ = unsafe { msr::write_guarded(msr::index::X2APIC_ICR, value) };
        ProcessorEvent::Done
    }

    /// Reads the register at `offset`.
    pub fn read(self, offset: u64) -> u32 {
        // SAFETY: the page is the APIC's own, mapped by the kernel's tables; reading has no side effect.
        unsafe { core::ptr::read_volatile((self.base + offset) as *const u32) }
    }

    fn write(self, offset: u64, value: u32) {
        // SAFETY: as in `read`. The guest owns its APIC: no write of its can harm but INIT and SIPI, which do not
        // come here, and the kernel itself writes only commands.
        unsafe { core::ptr::write_volatile((self.base + (offset & 0xFF0)) as *mut u32, value) };
    }
}

impl Registers for LocalApic {
    fn get(&self, offset: u64) -> u32 {
        (*self).get(offset)
    }

    fn set(&self, offset: u64, value: u32) {
        (*self).set(offset, value);
    }

    fn send_self(&self, vector: u8) {
        /// Interrupt command: fixed, asserted, to this processor.
        const TO_SELF: u32 = 0x0004_4000;
        self.send(0, TO_SELF | u32::from(vector));
    }

    fn timer_runs(&self) -> bool {
        /// The mode in the timer's entry: once, again and again, or at a value of the TSC.
        const PERIODIC: u32 = 1;
        const DEADLINE: u32 = 2;
        match (*self).get(lvt::TIMER) >> 17 & 3 {
            // SAFETY: a processor without the MSR does not let that bit of the entry be set.
            DEADLINE => unsafe { msr::read(msr::index::TSC_DEADLINE) != 0 },
            PERIODIC => (*self).get(lvt::TIMER_COUNT) != 0,
            _ => (*self).get(lvt::TIMER_LEFT) != 0,
        }
    }
}

/// Delivery modes (AMD APM vol. 2, 16.5).
const MODE_NMI: u32 = 4;
const MODE_INIT: u32 = 5;
const MODE_STARTUP: u32 = 6;

/// What an interrupt command does to processors; `None` for a mere interrupt.
fn classify(command: u32, destination: u32) -> Option<ProcessorEvent> {
    let asserted = command & 1 << 14 != 0;
    let edge = command & 1 << 15 == 0;
    match command >> 8 & 7 {
        // INIT with the level de-asserted only synchronizes arbitration ids, on old processors.
        MODE_INIT if !asserted && !edge => Some(ProcessorEvent::Done),
        MODE_INIT => Some(ProcessorEvent::Reset(target(command, destination)?)),
        MODE_STARTUP => {
            let entry = u64::from(command & 0xff);
            Some(ProcessorEvent::Start { target: target(command, destination)?, entry })
        }
        _ => None,
    }
}

/// Whom a command means, by its destination shorthand.
fn target(command: u32, destination: u32) -> Option<Target> {
    const LOGICAL: u32 = 1 << 11;
    match command >> 18 & 3 {
        0 if command & LOGICAL != 0 => Some(Target::Logical(destination)),
        0 if destination == 0xff || destination == u32::MAX => Some(Target::All),
        0 => Some(Target::Id(destination)),
        // "Self" makes no sense for INIT and SIPI; the hardware ignores it (AMD APM vol. 2, table 16-5).
        1 => Some(Target::Nobody),
        2 => Some(Target::All),
        _ => Some(Target::Others),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_and_startup_are_told_from_interrupts() {
        assert_eq!(classify(0x4500, 3), Some(ProcessorEvent::Reset(Target::Id(3))));
        assert_eq!(classify(0xC500, 3), Some(ProcessorEvent::Reset(Target::Id(3))));
        assert_eq!(classify(0x8500, 3), Some(ProcessorEvent::Done));
        assert_eq!(classify(0x4699, 1), Some(ProcessorEvent::Start { target: Target::Id(1), entry: 0x99 }));
        assert_eq!(classify(0x000C_4500, 0), Some(ProcessorEvent::Reset(Target::Others)));
        assert_eq!(classify(0x0400, 1), None, "an NMI");
        assert_eq!(classify(0x00FB, 1), None, "a fixed interrupt");
    }
}
