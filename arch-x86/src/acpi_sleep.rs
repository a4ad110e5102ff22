//! Sleep states in which the processors lose their state: they would wake in the root VM's code, outside Plinth, with the
//! reservation in reach. Until Plinth is woken first, the write that starts such a sleep is refused.
//!
//! The registers are ports of the root VM's that always exit: the byte of PM1_CNT that starts a sleep, and the byte of
//! PM1_STS that tells of waking. A sleep that is refused looks to the OS like one that ended at once: the wake status is set
//! until the OS clears it. All else that is written and read there reaches the machine.

mod access;

use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use plinth_acpi::sleep::{self, Sleep, WAKE_STATUS};
use plinth_hal::{Event, GuestMemory, PhysicalMemory, VsHw};
use plinth_launch::{LaunchError, LaunchStatus};
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

pub use self::access::PortAccess;
use crate::acpi;
use crate::apic::LocalApic;
use crate::exit_registers::ExitRegisters;
use crate::exit_registers::number::RAX;

/// The machine's registers.
static REGISTERS: Once<Sleep> = Once::new();
/// The accesses that can reach one of their ports start here, and in so many ports behind; none at first. An access to another
/// port pays for one comparison.
static WINDOW_START: AtomicU16 = AtomicU16::new(0);
static WINDOW_LENGTH: AtomicU16 = AtomicU16::new(0);
/// A sleep has been refused, and the OS has not cleared the wake status yet.
static WOKEN: AtomicBool = AtomicBool::new(false);
/// Which of the ports the extension wants to see as well: a bit for each, in the order of [`ports`].
static REQUESTED: AtomicU16 = AtomicU16::new(0);

/// What becomes of an access of the root VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// It would start a sleep of this kind, as the register knows it: it is skipped.
    Sleep(u8),
    /// It is INS or OUTS, whose value lies in memory, and which no OS uses here: #GP.
    Fault,
    /// It clears the wake status, and is carried out.
    Clears,
    /// It is carried out.
    Harmless,
}

/// Finds the registers, and says so if there are none or if the machine cannot be switched off.
///
/// # Errors
/// [`LaunchError::SleepOutOfReach`] where a register is no port, so that its writes cannot be refused.
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

/// Where accesses start that reach one of `ports`, and how many such places there are.
fn window(ports: impl Iterator<Item = u16>) -> [u16; 2] {
    /// Bytes of the widest access.
    const WIDEST: u16 = 4;
    let (first, last) = ports.fold((u16::MAX, 0), |(first, last), port| (port.min(first), port.max(last)));
    let start = first.saturating_sub(WIDEST - 1);
    [start, last.saturating_add(1).saturating_sub(start)]
}

/// Whether an access to `port` may be about one of these ports: whoever asks has it [served](serve) then.
#[inline]
pub fn may_concern(port: u16) -> bool {
    port.wrapping_sub(WINDOW_START.load(Ordering::Relaxed)) < WINDOW_LENGTH.load(Ordering::Relaxed)
}

/// The ports that always exit from the root VM, and that no guest VM reaches.
pub fn ports() -> impl Iterator<Item = u16> {
    REGISTERS.get().into_iter().flat_map(Sleep::ports)
}

/// Notes whether the extension wants to see accesses of the root VM to one of these ports.
pub(crate) fn request(port: u16, wanted: bool) {
    for (index, _) in ports().enumerate().filter(|(_, owned)| *owned == port) {
        if wanted {
            REQUESTED.fetch_or(bit(index), Ordering::Relaxed);
        } else {
            REQUESTED.fetch_and(!bit(index), Ordering::Relaxed);
        }
    }
}

/// The bit of a port in [`REQUESTED`]: there are ten ports at most.
const fn bit(index: usize) -> u16 {
    1_u16.wrapping_shl(index as u32)
}

/// Whether the extension wants to see an access.
fn is_requested(access: &PortAccess) -> bool {
    let requested = REQUESTED.load(Ordering::Relaxed);
    ports().enumerate().any(|(index, port)| access.lane(port).is_some() && requested & bit(index) != 0)
}

/// Serves an access of the root VM that has exited and that [may be](may_concern) about these ports. Returns whether that is
/// all. Else the extension decides it, as any other.
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
