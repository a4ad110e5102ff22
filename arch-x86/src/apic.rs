//! The local APIC, as far as the kernel has to own it: what starts and stops processors, and the NMI by which
//! processors get each other's attention.
//!
//! In xAPIC mode the registers are a page; nested paging lets the guest read it, and each write comes here
//! to be looked at and done. In x2APIC mode only writes of one MSR come.

mod access;
mod base;
mod command;
mod register;

use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use plinth_hal::{ProcessorEvent, Target};

use crate::ap_startup::{self, ARRIVALS};
use crate::decode::Width;
use crate::interrupts::Registers;
use crate::msr;
pub(crate) use access::Write;
use access::{ApicAccess, decode};
pub use base::GuestApic;
use base::{BaseWrite, Ids};
use command::Command;
pub(crate) use register::Register;

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

/// The spurious-interrupt register after a reset: disabled by software, so that all local vectors are masked.
const SPURIOUS_RESET: u32 = 0xFF;
/// The command register's low half: the last command is not yet accepted.
const PENDING: u32 = 1 << 12;

/// How often the command register is looked at for the end of a command, some 100 ns each: a tenth of a second.
const LOOKS: u32 = 1_000_000;

/// The highest id of any processor that runs under Plinth or may be started.
static HIGHEST_ID: AtomicU32 = AtomicU32::new(0);
/// What has been logged of what the guest does, or the hardware: only the first of each is.
static REFUSED: AtomicBool = AtomicBool::new(false);
static TURNED_OFF: AtomicBool = AtomicBool::new(false);
static STUCK: AtomicBool = AtomicBool::new(false);

/// Whether this is the first time.
fn first(logged: &AtomicBool) -> bool {
    !logged.swap(true, Ordering::Relaxed)
}

/// Says that there is a processor with this id, by which others reach it.
pub(crate) fn know(id: u32) {
    HIGHEST_ID.fetch_max(id, Ordering::Relaxed);
}

/// How an APIC shows its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Not at all.
    Off,
    /// As a page.
    XApic,
    /// As MSRs.
    X2Apic,
}

impl Mode {
    /// By the value of IA32_APIC_BASE.
    const fn of_base(base: u64) -> Self {
        match base {
            _ if base & ENABLED == 0 => Self::Off,
            _ if base & X2APIC_ENABLED == 0 => Self::XApic,
            _ => Self::X2Apic,
        }
    }
}

/// The write must not be done: the guest gets #GP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

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

    fn mode(self) -> Mode {
        // SAFETY: as in `current`; the guest may have switched modes since.
        Mode::of_base(unsafe { msr::read(msr::index::APIC_BASE) })
    }

    fn x2apic(self) -> bool {
        self.mode() == Mode::X2Apic
    }

    /// Its id.
    pub fn id(self) -> u32 {
        let id = self.get(Register::ID);
        if self.x2apic() { id } else { id >> 24 }
    }

    /// Its id, by which others reach this processor from now on.
    pub fn announce(self) -> u32 {
        let id = self.id();
        know(id);
        id
    }

    /// Sends an NMI to the processor with this id. A command that the guest is composing stays as it is.
    pub fn send_nmi(self, id: u32) {
        self.send(Command::nmi(id));
    }

    /// What sends this processor an NMI where no function can be called: the page of the registers, or 0 in x2APIC mode, and the
    /// command, in its upper half the destination.
    pub(crate) fn own_nmi(self) -> (u64, u64) {
        let Command { low, destination } = Command::nmi(self.id());
        let x2apic = self.x2apic();
        let (page, high) = if x2apic { (0, destination) } else { (self.page(), destination << 24) };
        (page, u64::from(high) << 32 | u64::from(low))
    }

    /// Where this processor's registers lie in memory, if they do.
    pub fn mapped_page(self) -> Option<u64> {
        (!self.x2apic()).then(|| self.page())
    }

    /// Sends a command of the kernel's own.
    fn send(self, command: Command) {
        if self.x2apic() {
            let value = u64::from(command.destination) << 32 | u64::from(command.low);
            // SAFETY: x2APIC mode is on; callers send only NMIs to processors that expect them, and INIT and SIPI
            // to processors that are the guest's.
            unsafe { msr::write(Register::COMMAND.msr(), value) };
            return;
        }
        let high = self.read(Register::DESTINATION);
        self.wait_idle();
        self.write(Register::DESTINATION, command.destination << 24);
        self.write(Register::COMMAND, command.low);
        self.wait_idle();
        self.write(Register::DESTINATION, high);
    }

    /// Puts the APIC into the state that INIT leaves (AMD APM vol. 2, 16.3.2 and table 14-1), whatever was pending
    /// and in service dropped. `accept` takes what is pending and says whether an NMI came; so does the result.
    pub fn reset(self, mut accept: impl FnMut() -> bool) -> bool {
        const ENABLED: u32 = 1 << 8;
        /// In the version: the number of the last local vector. That of corrected machine checks is the seventh, by number 6.
        const LAST_VECTOR_SHIFT: u32 = 16;
        const CMCI_VECTOR: u32 = 6;
        self.set(Register::SPURIOUS, SPURIOUS_RESET | ENABLED);
        Register::LOCAL_VECTORS.into_iter().for_each(|vector| self.set(vector, MASKED));
        if self.get(Register::VERSION) >> LAST_VECTOR_SHIFT & 0xFF >= CMCI_VECTOR {
            self.set(Register::CMCI, MASKED);
        }
        self.set(Register::TIMER_COUNT, 0);
        self.set(Register::TIMER_DIVISOR, 0);
        self.set(Register::TASK_PRIORITY, 0);
        let nmi = self.drop_interrupts(&mut accept);
        if !self.x2apic() {
            self.set(Register::LOGICAL_DESTINATION, 0);
            self.set(Register::DESTINATION_FORMAT, u32::MAX);
        }
        self.set(Register::SPURIOUS, SPURIOUS_RESET);
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
        (0..8).any(|word: u8| self.get(Register::in_service(word << 5)) != 0)
    }

    /// Whether the APIC is on at all; else interrupts pass it by.
    pub fn is_enabled(self) -> bool {
        self.mode() != Mode::Off
    }

    /// The vector of interrupts that are gone when the processor asks for them.
    pub(crate) fn spurious_vector(self) -> u8 {
        self.get(Register::SPURIOUS) as u8
    }

    /// Reads a register in either mode.
    pub(crate) fn get(self, register: Register) -> u32 {
        if self.x2apic() {
            // SAFETY: x2APIC mode is on, and callers name registers that it has.
            unsafe { msr::read(register.msr()) as u32 }
        } else {
            self.read(register)
        }
    }

    /// Writes a register in either mode.
    fn set(self, register: Register, value: u32) {
        if self.x2apic() {
            // A processor may lack one of the local vectors: that write faults and is not needed.
            // SAFETY: x2APIC mode is on; the APIC is the guest's, which is being reset.
            let _ = unsafe { msr::write_guarded(register.msr(), value.into()) };
        } else {
            self.write(register, value);
        }
    }

    /// Really sends an INIT or a SIPI.
    pub fn forward(self, event: ProcessorEvent) {
        match event {
            ProcessorEvent::Reset(Target::Id(id)) => self.send(Command::init(id)),
            ProcessorEvent::Start { target: Target::Id(id), entry } => {
                self.send(Command::startup(id, entry as u8));
            }
            _ => {}
        }
    }

    /// Sends an INIT to every processor but this one: each waits for a startup IPI then.
    pub(crate) fn reset_others(self) {
        self.send(Command::init_others());
    }

    /// Starts a processor in Plinth's own code, if that is in place ([`crate::ap_startup`]). Processors with hardware
    /// virtualization need no time between the two commands.
    pub fn start_cold(self, id: u32) -> bool {
        let Some(page) = ap_startup::page() else { return false };
        ARRIVALS.leave(id);
        self.send(Command::init(id));
        self.send(Command::startup(id, page));
        true
    }

    /// Repeats the second of the two, which only a processor heeds that waits for it.
    pub fn start_again(self, id: u32) {
        if let Some(page) = ap_startup::page() {
            self.send(Command::startup(id, page));
        }
    }

    /// Waits until the last command has left, or has had time enough.
    fn wait_idle(self) {
        let idle = (0..LOOKS).any(|_| {
            // BOUND: `LOOKS`.
            core::hint::spin_loop();
            self.read(Register::COMMAND) & PENDING == 0
        });
        if !idle && first(&STUCK) {
            log::error!("a local APIC does not get rid of its interrupt command; more are not logged");
        }
    }

    /// What the guest reads at `offset` of the page with an access of this width; 0 where the manuals define nothing.
    pub(crate) fn guest_read(self, offset: u64, width: Width) -> u32 {
        let register = Register::at(offset).filter(|_| width == Width::Double && self.mode() == Mode::XApic);
        register.map_or(0, |register| self.read(register))
    }

    /// Does what the guest's write of `value` at `offset` of the page does, unless it starts or stops processors: that is
    /// the answer then.
    pub(crate) fn guest_write(self, offset: u64, width: Width, value: u32) -> ProcessorEvent {
        let mode = self.mode();
        let destination = if mode == Mode::XApic { self.read(Register::DESTINATION) >> 24 } else { 0 };
        // A write to the page does not fault.
        self.carry_out(mode, Write::Page { offset, width, value, destination })
            .unwrap_or(ProcessorEvent::Done)
    }

    /// The same for a write to one of x2APIC mode's MSRs.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn guest_write_msr(self, number: u32, value: u64) -> Result<ProcessorEvent, Refused> {
        self.carry_out(self.mode(), Write::Msr { number, value })
    }

    fn carry_out(self, mode: Mode, write: Write) -> Result<ProcessorEvent, Refused> {
        match decode(mode, write) {
            ApicAccess::Nothing => {}
            ApicAccess::Fault => return Err(Refused),
            ApicAccess::Control(event) => return Ok(event),
            ApicAccess::Store(register, value) => self.store(mode, register, value.into())?,
            ApicAccess::Nmi(_, target) if self.sends_nmi_to(target, mode) => {}
            ApicAccess::Nmi(command, _) | ApicAccess::Send(command) => {
                // In xAPIC mode the guest has written the destination before.
                let high = if mode == Mode::X2Apic { u64::from(command.destination) << 32 } else { 0 };
                self.store(mode, Register::COMMAND, high | u64::from(command.low))?;
            }
        }
        Ok(ProcessorEvent::Done)
    }

    /// Stores what the guest has written to a register, by the way of this mode.
    fn store(self, mode: Mode, register: Register, value: u64) -> Result<(), Refused> {
        if mode == Mode::XApic {
            self.write(register, value as u32);
            return Ok(());
        }
        // SAFETY: the APIC is the guest's: an entry of the local vector table, or an interrupt that the guest may send to
        // itself and its like. `decode` has sorted out INIT and SIPI.
        unsafe { msr::write_guarded(register.msr(), value) }.map_err(|_| Refused)
    }

    /// Does what the guest's write of `value` to IA32_APIC_BASE does, and notes in `guest` what the hardware does not.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn guest_write_base(
        self,
        guest: &mut GuestApic,
        value: u64,
    ) -> Result<ProcessorEvent, Refused> {
        // SAFETY: as in `current`.
        let current = unsafe { msr::read(msr::index::APIC_BASE) };
        let ids = Ids {
            highest: HIGHEST_ID.load(Ordering::Relaxed),
            same_in_both_modes: self.x2apic() || x2apic_id() == self.id(),
        };
        let write = base::decide(current, *guest, value, ids);
        // SAFETY: the APIC is the guest's; `decide` keeps its page, and the kernel asks for the mode at each use.
        let store = |value| unsafe { msr::write_guarded(msr::index::APIC_BASE, value) }.map_err(|_| Refused);
        match write {
            BaseWrite::Refuse => {
                if first(&REFUSED) {
                    log::warn!(
                        "the root VM writes {value:#x} to IA32_APIC_BASE, which holds {current:#x}: refused, and more are not logged"
                    );
                }
                return Err(Refused);
            }
            BaseWrite::Write(value) => store(value)?,
            BaseWrite::TurnOff => {
                if first(&TURNED_OFF) {
                    log::info!(
                        "the root VM turns a local APIC off: it stays on for the hypervisor, without interrupts"
                    );
                }
                self.set(Register::SPURIOUS, SPURIOUS_RESET);
                guest.off = true;
            }
            BaseWrite::TurnOn => guest.off = false,
            BaseWrite::ReturnToPage(values) => {
                values.into_iter().try_for_each(store)?;
                guest.off = false;
                return Ok(ProcessorEvent::KickLost);
            }
        }
        Ok(ProcessorEvent::Done)
    }

    /// Sends an NMI of the guest's to each processor that it may reach, where there are some that none must reach
    /// ([`crate::ap_startup`]). Returns false where there are none, or no ids to send it to: it can be sent as it is.
    fn sends_nmi_to(self, target: Target, mode: Mode) -> bool {
        if ap_startup::page().is_none() {
            return false;
        }
        let Some(reached) = ARRIVALS.reached(target, self.id(), mode == Mode::X2Apic) else { return false };
        reached.for_each(|id| self.send_nmi(id));
        true
    }

    /// Reads a register of the page.
    fn read(self, register: Register) -> u32 {
        // SAFETY: the page is the APIC's own, mapped by the kernel's tables; a register lies within it, aligned, and reading
        // it has no side effect.
        unsafe { core::ptr::read_volatile((self.base.wrapping_add(register.offset())) as *const u32) }
    }

    /// Writes a register of the page.
    fn write(self, register: Register, value: u32) {
        // SAFETY: as in `read`. The guest owns its APIC: no write of its can harm but INIT, SIPI and another id, which
        // `decode` sorts out, and the kernel itself writes only commands.
        unsafe { core::ptr::write_volatile((self.base.wrapping_add(register.offset())) as *mut u32, value) };
    }
}

/// The id that this processor has in x2APIC mode (Intel SDM vol. 3A, "Deriving Logical x2APIC ID"; CPUID leaf 0Bh).
fn x2apic_id() -> u32 {
    const TOPOLOGY: u32 = 0xB;
    if __cpuid(0).eax >= TOPOLOGY { __cpuid_count(TOPOLOGY, 0).edx } else { __cpuid(1).ebx >> 24 }
}

impl Registers for LocalApic {
    fn get(&self, register: Register) -> u32 {
        (*self).get(register)
    }

    fn set(&self, register: Register, value: u32) {
        (*self).set(register, value);
    }

    fn send_self(&self, vector: u8) {
        self.send(Command::to_self(vector));
    }

    fn timer_runs(&self) -> bool {
        /// The mode in the timer's entry: once, again and again, or at a value of the TSC.
        const PERIODIC: u32 = 1;
        const DEADLINE: u32 = 2;
        match (*self).get(Register::TIMER) >> 17 & 3 {
            // SAFETY: a processor without the MSR does not let that bit of the entry be set.
            DEADLINE => unsafe { msr::read(msr::index::TSC_DEADLINE) != 0 },
            PERIODIC => (*self).get(Register::TIMER_COUNT) != 0,
            _ => (*self).get(Register::TIMER_LEFT) != 0,
        }
    }
}
