//! ACPI sleep states in which the processors lose their state (S2 to S4). After such a sleep the firmware
//! would wake the processors in the root VM's code, without the hypervisor, and the root VM could access the
//! reserved memory. Plinth has no wake-up code of its own, so it refuses the port write that starts such a
//! sleep.
//!
//! The ports of the bytes with SLP_EN (PM1_CNT) and WAK_STS (PM1_STS) always exit from the root VM. A refused
//! sleep looks to the OS like a sleep that ended at once: reads of PM1_STS show WAK_STS until the OS clears
//! it. All other accesses to these ports reach the machine.

mod access;

use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use plinth_acpi::sleep::{self, Sleep, WAKE_STATUS};
use plinth_hal::{Event, GuestMemory, PhysicalMemory, VsHw};
use plinth_launch::{LaunchError, LaunchStatus};
// BOUND: the boot processor fills it in before another processor reads it; `get` does not wait.
use spin::Once;

pub use self::access::PortAccess;
use crate::acpi;
use crate::apic::LocalApic;
use crate::exit_registers::ExitRegisters;
use crate::exit_registers::number::RAX;

/// The machine's sleep registers, as its ACPI tables describe them.
static REGISTERS: Once<Sleep> = Once::new();
/// The first port at which an access to one of the registers' ports can start, and how many ports such
/// accesses start at; at first 0. Thanks to this window an access to any other port costs one comparison.
static WINDOW_START: AtomicU16 = AtomicU16::new(0);
static WINDOW_LENGTH: AtomicU16 = AtomicU16::new(0);
/// Whether a sleep has been refused and the OS has not cleared WAK_STS since.
static WOKEN: AtomicBool = AtomicBool::new(false);
/// The ports whose accesses the extension has requested too: a bit for each, in the order of [`ports`].
static REQUESTED: AtomicU16 = AtomicU16::new(0);

/// How the kernel handles an access of the root VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// The write would start a sleep, with this value of SLP_TYP: skip it.
    Sleep(u8),
    /// INS or OUTS, whose value is in memory, and which no OS uses for these ports: inject #GP.
    Fault,
    /// The write clears WAK_STS: perform it, and clear [`WOKEN`].
    Clears,
    /// Any other access: perform it.
    Harmless,
}

/// Finds the sleep registers. Logs a warning if the machine has none, or if its tables do not describe S5
/// (power off).
///
/// # Errors
/// [`LaunchError::SleepOutOfReach`] if a register is in memory: the kernel can refuse writes of ports alone.
pub(crate) fn prepare(memory: &impl PhysicalMemory, rsdp: u64) -> Result<(), LaunchStatus> {
    let found = acpi::tables(memory, rsdp).and_then(|tables| sleep::registers(&tables));
    let Some(found) = found else {
        log::warn!(
            "the firmware names no registers that put the machine to sleep (ACPI FADT): a sleep is not refused"
        );
        return Ok(());
    };
    if let Some(address) = found.elsewhere {
        return Err(LaunchStatus::failed(LaunchError::SleepOutOfReach, address));
    }
    if found.controls.iter().flatten().any(|control| control.harmless == 0) {
        log::warn!("the firmware's tables do not tell how the machine is switched off: that is refused too");
    }
    REGISTERS.call_once(|| found);
    let [start, length] = window(ports());
    WINDOW_START.store(start, Ordering::Relaxed);
    WINDOW_LENGTH.store(length, Ordering::Relaxed);
    Ok(())
}

/// The values of [`WINDOW_START`] and [`WINDOW_LENGTH`] for `ports`.
fn window(ports: impl Iterator<Item = u16>) -> [u16; 2] {
    /// Bytes of the widest access.
    const WIDEST: u16 = 4;
    let (first, last) = ports.fold((u16::MAX, 0), |(first, last), port| (port.min(first), port.max(last)));
    let start = first.saturating_sub(WIDEST - 1);
    [start, last.saturating_add(1).saturating_sub(start)]
}

/// Whether an access that starts at `port` may reach a sleep register. If so, the caller passes the exit to
/// [`serve`].
#[inline]
pub fn may_concern(port: u16) -> bool {
    port.wrapping_sub(WINDOW_START.load(Ordering::Relaxed)) < WINDOW_LENGTH.load(Ordering::Relaxed)
}

/// The ports of the sleep registers: accesses of the root VM always exit, and no guest VM may access them.
pub fn ports() -> impl Iterator<Item = u16> {
    REGISTERS.get().into_iter().flat_map(Sleep::ports)
}

/// Records whether the extension requests exits of the root VM's accesses to `port`, if that is a sleep
/// register's.
pub(crate) fn request(port: u16, wanted: bool) {
    for (index, _) in ports().enumerate().filter(|(_, owned)| *owned == port) {
        if wanted {
            REQUESTED.fetch_or(bit(index), Ordering::Relaxed);
        } else {
            REQUESTED.fetch_and(!bit(index), Ordering::Relaxed);
        }
    }
}

/// The bit in [`REQUESTED`] of the port at `index` of [`ports`], which are ten at most.
const fn bit(index: usize) -> u16 {
    1_u16.wrapping_shl(index as u32)
}

/// Whether the extension has requested the exit of this access.
fn is_requested(access: &PortAccess) -> bool {
    let requested = REQUESTED.load(Ordering::Relaxed);
    ports().enumerate().any(|(index, port)| access.lane(port).is_some() && requested & bit(index) != 0)
}

/// Handles an exit of the root VM for a port access that [may reach](may_concern) a sleep register. Returns
/// true if the exit is finished. If false, the extension handles the exit as any other port access.
#[cold]
#[inline(never)]
pub fn serve(
    vs: &mut impl VsHw,
    access: &PortAccess,
    guest: &impl GuestMemory,
    registers: ExitRegisters,
) -> bool {
    const GENERAL_PROTECTION: Event = Event::Exception { vector: 13, error_code: Some(0) };
    let is_about = ports().any(|port| access.lane(port).is_some());
    let Some(machine) = REGISTERS.get().filter(|_| is_about) else { return false };
    let writer = registers.writer();
    // Once: the extension on another PP can write the exit page meanwhile.
    let [rax] = registers.take([RAX]);
    match judge(machine, access, rax as u32) {
        Verdict::Sleep(kind) => {
            WOKEN.store(true, Ordering::Relaxed);
            log_once(access, rax as u32, kind);
        }
        Verdict::Fault => {
            vs.inject(GENERAL_PROTECTION);
            return true;
        }
        Verdict::Clears | Verdict::Harmless if is_requested(access) => return false,
        verdict => {
            // SAFETY: the access is the root VM's, and starts no sleep, with this value.
            let value = unsafe { access.carry_out(rax as u32) };
            if verdict == Verdict::Clears {
                WOKEN.store(false, Ordering::Relaxed);
            }
            if access.is_read {
                writer.set_general(RAX, access.merged(rax, value | woken(machine, access)));
            }
        }
    }
    if vs.advance(guest).is_err() {
        vs.inject(Event::Undefined);
    }
    true
}

/// Decides an access to these ports that writes `value`, or reads.
fn judge(machine: &Sleep, access: &PortAccess, value: u32) -> Verdict {
    if access.is_string {
        return Verdict::Fault;
    }
    if access.is_read {
        return Verdict::Harmless;
    }
    let mut controls = machine.controls.iter().flatten();
    let sleep = controls.find_map(|control| control.forbidden(access.byte(control.port, value)?));
    let mut statuses = machine.statuses.iter().flatten();
    let clears = statuses.any(|port| access.byte(*port, value).is_some_and(|byte| byte & WAKE_STATUS != 0));
    match sleep {
        Some(kind) => Verdict::Sleep(kind),
        None if clears => Verdict::Clears,
        None => Verdict::Harmless,
    }
}

fn log_once(access: &PortAccess, value: u32, kind: u8) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "the root VM writes {:#x} to port {:#x} on the processor with the APIC id {}: a sleep of the kind {kind}, from which \
             the machine would wake without Plinth; refused, it goes on as if woken at once; more are not logged",
            access.written(value),
            access.port,
            LocalApic::current().id()
        );
    }
}

/// The wake status that the OS shall see in what it reads.
fn woken(machine: &Sleep, access: &PortAccess) -> u32 {
    if WOKEN.load(Ordering::Relaxed) { wake_bits(machine, access) } else { 0 }
}

fn wake_bits(machine: &Sleep, access: &PortAccess) -> u32 {
    let lanes = machine.statuses.iter().flatten().filter_map(|port| access.lane(*port));
    lanes.fold(0, |bits, lane| bits | u32::from(WAKE_STATUS).unbounded_shl(8 * lane))
}

#[cfg(test)]
mod tests;
