//! What is served between an exit and the next entry, with all that EL2 holds for the guest still in place.
//!
//! This is the shortest way there is: a declared answer costs no more than looking it up, and a question to the
//! firmware (which some OSes ask at each exception, as a workaround for what their processor speculates) little more than
//! asking it.

use core::sync::atomic::Ordering;

use aarch64_cpu::registers::{ELR_EL2, ESR_EL2, Readable, SPSR_EL2, Writeable};
use plinth_hal::IdPolicy;

use crate::memory::Words;
use crate::switch::{self, SYNCHRONOUS};
use crate::syndrome::{Syndrome, class};
use crate::vs::PSTATE_SKIPPED;
use crate::{firmware, id_registers, launch, psci};

/// What is at hand when the guest exits.
pub(crate) struct Serving<'a> {
    pub(crate) registers: &'a Words,
    pub(crate) policy: &'a IdPolicy,
    /// Calls to the firmware are the root VM's to make.
    pub(crate) root: bool,
    pub(crate) declared: &'a mut u64,
}

impl Serving<'_> {
    /// Runs the guest until an exit is left to the caller. Returns its kind.
    ///
    /// # Safety
    /// As [`switch::enter`], with the registers of the exit page.
    #[inline]
    pub(crate) unsafe fn run(&mut self) -> u64 {
        loop {
            // SAFETY: forwarded to the caller.
            let kind = unsafe { switch::enter(self.registers.as_ptr() as u64) };
            if kind != SYNCHRONOUS || !self.serve(Syndrome(ESR_EL2.get())) {
                return kind;
            }
            *self.declared += 1;
        }
    }

    #[inline]
    fn serve(&self, syndrome: Syndrome) -> bool {
        if let Some(register) = syndrome.id_register() {
            return self.declared_answer(syndrome, register);
        }
        self.root && syndrome.is_firmware_conduit() && self.ask_firmware(syndrome)
    }

    /// Answers a read of an ID register, if its value is declared: the first two words of the answer.
    #[inline]
    fn declared_answer(&self, syndrome: Syndrome, register: u64) -> bool {
        let Some(found) = self.policy.find(register as u32, 0) else { return false };
        let word = |words: &[u32; 4]| u64::from(words[0]) | u64::from(words[1]) << 32;
        let keep = word(&found.keep);
        let native = if keep == 0 { 0 } else { id_registers::native(register).unwrap_or(0) };
        // 31 is XZR, whose place in the page nobody reads.
        self.registers[syndrome.general() as usize]
            .store(native & keep | word(&found.set), Ordering::Relaxed);
        skip();
        true
    }

    /// Asks the firmware what only it knows, if that is what the guest wants.
    #[inline]
    fn ask_firmware(&self, syndrome: Syndrome) -> bool {
        let get = |number: usize| self.registers[number].load(Ordering::Relaxed);
        let arguments = [get(0), get(1), get(2), get(3)];
        if !psci::is_question(arguments) || !launch::has_firmware() {
            return false;
        }
        // SAFETY: the call only tells something.
        let answer = unsafe { firmware::call(arguments) };
        for (register, value) in self.registers.iter().zip(answer) {
            register.store(value, Ordering::Relaxed);
        }
        // HVC has been executed when it is taken.
        if syndrome.class() == class::SMC {
            skip();
        }
        true
    }
}

/// Moves the guest on behind the instruction that was trapped.
#[inline]
fn skip() {
    ELR_EL2.set(ELR_EL2.get() + 4);
    SPSR_EL2.set(SPSR_EL2.get() & PSTATE_SKIPPED);
}
