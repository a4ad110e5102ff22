//! Everything that an extension must not do: touch memory that is not its own, and instructions that are the kernel's.
//!
//! A fault ends a callback, so each attempt is one turn of the extension: the guest makes the test hypercall until
//! there is none left, and the fail callback counts.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as machine;
#[cfg(target_arch = "x86_64")]
use x86_64 as machine;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use plinth_extension_api::{Exit, Extension, Fault, Plinth, Resume, log};

use crate::{CONTAINED, NOT_CONTAINED, argument, at_test};

/// An instruction, or a few.
pub(crate) struct Instruction {
    pub(crate) name: &'static str,
    /// Whether going on behind it is well too: what counts is that the kernel is.
    pub(crate) may_pass: fn() -> bool,
    /// Whether it makes a system call with the trap flag set, which one emulator gets wrong (docs/emulators.md).
    pub(crate) traced: bool,
    pub(crate) run: unsafe fn(),
}

/// Ways to touch an address.
#[derive(Clone, Copy, Debug)]
enum Access {
    Read,
    Write,
    Execute,
}

/// Size of an extension's stack.
const STACK: u64 = 32 * 1024;
const PAGE: u64 = 4096;
/// Places in the hypervisor's memory that are tried, and how far they are apart.
const KERNEL_PLACES: u64 = 32;
const KERNEL_STRIDE: u64 = 0x10_1000;

/// Written to by nothing but an attempt that must fail.
static READ_ONLY: [u64; 2] = [0x5EA1, 0x5EA1];
/// Where there is data and no code.
static DATA: AtomicU64 = AtomicU64::new(0);

/// What is attempted, one after the other.
#[derive(Debug)]
pub struct Forbidden {
    traced: bool,
    next: AtomicU64,
    contained: AtomicU64,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is nothing left to attempt.
    Done {
        /// Attempts.
        attempts: u64,
        /// Of them, those that were stopped or did no harm.
        contained: u64,
    },
    /// What must be stopped was not.
    NotContained(&'static str, u64),
}

impl Forbidden {
    /// Everything but system calls with the trap flag set.
    pub const fn new() -> Self {
        Self { traced: false, next: AtomicU64::new(0), contained: AtomicU64::new(0) }
    }

    /// Nothing but those.
    pub const fn traced() -> Self {
        Self { traced: true, ..Self::new() }
    }

    /// Attempts one thing after the other until one is stopped, which ends this turn. `kernel` is where the hypervisor's
    /// memory begins.
    pub fn turn(&self, plinth: Plinth, kernel: u64) -> Turn {
        loop {
            let index = self.next.fetch_add(1, Relaxed);
            let addresses = if self.traced { 0 } else { ADDRESSES * 3 };
            let instruction = self.instructions().nth(index.saturating_sub(addresses) as usize);
            if index < addresses {
                let (address, access) = (address(index / 3, plinth, kernel), ACCESSES[(index % 3) as usize]);
                if allowed(index / 3, access) {
                    self.contained();
                } else {
                    touch(address, access);
                    return Turn::NotContained("an access to memory", address);
                }
            } else if let Some(instruction) = instruction {
                // SAFETY: Either the processor leaves this program there, or the instruction changes nothing that Rust
                // knows of.
                unsafe { (instruction.run)() };
                if !(instruction.may_pass)() {
                    return Turn::NotContained(instruction.name, index);
                }
                self.contained();
            } else {
                return Turn::Done {
                    attempts: addresses + self.instructions().count() as u64,
                    contained: self.contained.load(Relaxed),
                };
            }
        }
    }

    fn instructions(&self) -> impl Iterator<Item = &'static Instruction> + use<> {
        let traced = self.traced;
        machine::INSTRUCTIONS.iter().filter(move |instruction| instruction.traced == traced)
    }

    /// An attempt was stopped.
    pub fn contained(&self) {
        self.contained.fetch_add(1, Relaxed);
    }
}

impl Default for Forbidden {
    fn default() -> Self {
        Self::new()
    }
}

/// The extension that makes the attempts.
#[derive(Debug)]
pub struct Attempts(pub Forbidden);

impl Extension for Attempts {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| match self.0.turn(exit.plinth(), argument(exit)) {
            Turn::Done { attempts, contained } => {
                log::info!("forbidden: {attempts} attempts, {contained} contained");
                log::info!("forbidden: {}", machine::protection());
                exit.answer_hypercall(if attempts == contained { 0 } else { NOT_CONTAINED })
            }
            Turn::NotContained(what, number) => {
                log::error!("not contained: {what} ({number:#x})");
                exit.answer_hypercall(NOT_CONTAINED)
            }
        })
    }

    fn fail(&self, exit: &mut Exit<'_>, fault: Option<Fault>) -> Resume {
        if fault.is_none() {
            return Resume::GiveUp;
        }
        self.0.contained();
        exit.answer_hypercall(CONTAINED)
    }
}

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Execute];

/// Places by number: [`OWN`] in the extension, [`FIXED`], [`KERNEL_PLACES`] in the kernel.
const ADDRESSES: u64 = OWN + FIXED.len() as u64 + KERNEL_PLACES;

/// How many places the extension has itself.
const OWN: u64 = 5;

/// Addresses at which something begins or ends, none of them the extension's.
const FIXED: [u64; 18] = [
    0,
    8,
    PAGE,
    0xF_0000,
    0x10_0000,
    0xFEE0_0000,
    0xFFFF_FFF8,
    1 << 32,
    (1 << 39) - PAGE,
    1 << 46,
    (1 << 47) - PAGE,
    (1 << 47) - 8,
    1 << 47,
    1 << 63,
    0xFFFF_8000_0000_0000,
    0xFFFF_FFFF_8000_0000,
    0xFFFF_FFFF_FFFF_F000,
    u64::MAX - 15,
];

fn address(index: u64, plinth: Plinth, kernel: u64) -> u64 {
    let local = 0u64;
    let stack = &raw const local as u64;
    match index {
        0 => touch as *const () as u64 & !7,
        1 => READ_ONLY.as_ptr() as u64,
        2 => DATA.as_ptr() as u64,
        // Just below the stack; a callback begins on an empty one, and has used less than a page of it.
        3 => (stack | (PAGE - 1)) + 1 - STACK - 8,
        4 => freed_page(plinth),
        _ => match FIXED.get((index - OWN) as usize) {
            Some(fixed) => *fixed,
            None => kernel + (index - OWN - FIXED.len() as u64) * KERNEL_STRIDE,
        },
    }
}

/// The address of a page that was this extension's a moment ago.
fn freed_page(plinth: Plinth) -> u64 {
    let Ok(page) = plinth.allocate_page() else { return 0 };
    // SAFETY: Nothing used it.
    let _ = unsafe { plinth.free_page(page) };
    page
}

/// Whether the extension may do so with its own: run its code, read its data, write what is not constant.
fn allowed(index: u64, access: Access) -> bool {
    matches!(
        (index, access),
        (0, Access::Read | Access::Execute) | (1, Access::Read) | (2, Access::Read | Access::Write)
    )
}

#[inline(never)]
fn touch(address: u64, access: Access) {
    // SAFETY: The processor leaves this program there; if it does not, the test has failed and says so.
    unsafe {
        match access {
            Access::Read => machine::read(address),
            Access::Write => machine::write(address),
            Access::Execute => machine::execute(address),
        }
    }
}
