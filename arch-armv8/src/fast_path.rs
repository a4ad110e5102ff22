//! What is served between an exit and the next entry, with all that EL2 holds for the guest still in place.
//!
//! This is the shortest way there is: a declared answer costs no more than looking it up, and a question to the
//! firmware (which some OSes ask at each exception, as a workaround for what their processor speculates) little more than
//! asking it.

use aarch64_cpu::registers::{ELR_EL2, ESR_EL2, Readable, SPSR_EL2, Writeable};
use plinth_hal::{Exit, ExitClass, IdPolicy};

use crate::exit_registers::{ExitPage, call_number, other_arguments, set_results};
use crate::id::values::Natives;
use crate::pstate::Pstate;
use crate::switch::{self, SYNCHRONOUS};
use crate::syndrome::{Syndrome, class};
use crate::vs::El2Vs;
use crate::{caller::el1, exit, hyp_stub, launch, power::firmware, psci::calls};

/// Why the guest stopped.
pub(crate) enum Stop {
    /// A call: the syndrome and the first register tell all.
    Call(Exit),
    /// A read of an ID register: the syndrome tells all.
    IdRead(Exit),
    /// Another system instruction: the same.
    System(Exit),
    /// Another synchronous exception.
    Exception,
    /// An interrupt or an error: its kind.
    Interrupt(u64),
}

/// What is at hand when the guest exits.
pub(crate) struct FastPath<'a> {
    pub(crate) vs: &'a El2Vs,
    pub(crate) exit_page: ExitPage,
    pub(crate) policy: &'a IdPolicy,
    pub(crate) natives: &'a Natives,
    pub(crate) declared: &'a mut u64,
}

impl FastPath<'_> {
    /// Runs the guest until an exit is left to the caller.
    ///
    /// # Safety
    /// As [`switch::enter`], with the registers of the exit page.
    #[inline]
    pub(crate) unsafe fn run(&mut self) -> Stop {
        loop {
            // SAFETY: forwarded to the caller.
            let kind = unsafe { switch::enter(self.exit_page.world_switch_words().as_ptr() as u64) };
            if kind != SYNCHRONOUS {
                return Stop::Interrupt(kind);
            }
            if let Some(stop) = self.sort(Syndrome(ESR_EL2.get())) {
                return stop;
            }
            *self.declared = self.declared.wrapping_add(1);
        }
    }

    /// Sorts an exception; `None` where it is served.
    #[inline]
    fn sort(&self, syndrome: Syndrome) -> Option<Stop> {
        match syndrome.class() {
            class::SYSTEM => {
                let exit = exit::system(syndrome);
                if exit.class != ExitClass::IdRead {
                    return Some(Stop::System(exit));
                }
                if self.declared_answer(&exit) {
                    return None;
                }
                if self.vs.shows_id_reads() {
                    return Some(Stop::IdRead(exit));
                }
                self.answer_id(&exit, self.natives.get(exit.number));
                None
            }
            number @ (class::HVC | class::SMC) => self.call(number, syndrome).map(Stop::Call),
            _ => Some(Stop::Exception),
        }
    }

    /// Answers a read of an ID register, if its value is declared: the first two words of the answer.
    #[inline]
    fn declared_answer(&self, exit: &Exit) -> bool {
        let Some(found) = self.policy.find(exit.number as u32, 0) else { return false };
        let word = |words: &[u32; 4]| u64::from(words[0]) | u64::from(words[1]) << 32;
        let native = self.natives.get(exit.number);
        self.answer_id(exit, native & word(&found.keep) | word(&found.set));
        true
    }

    #[inline]
    fn answer_id(&self, exit: &Exit, value: u64) {
        // 31 is XZR, whose place in the page nobody reads.
        self.exit_page.writer().set_general(exit.detail as usize, value);
        skip();
    }

    /// A call: the firmware's, which are the root VM's to make, or the hypervisor's. By SMCCC an immediate other than 0 is
    /// no call of the firmware's. All that the root VM says by SMC is for the firmware.
    #[inline]
    fn call(&self, number: u64, syndrome: Syndrome) -> Option<Exit> {
        let exit = |class| Some(Exit { class, number, detail: 0 });
        let function = call_number(self.exit_page.registers_once());
        if !self.vs.is_root() || !calls::is_firmware_call(function) || syndrome.immediate() != 0 {
            if function < hyp_stub::CALLS && self.answer_for_stub(number, syndrome) {
                return None;
            }
            let is_firmwares = self.vs.is_root() && number == class::SMC;
            return exit(if is_firmwares { ExitClass::Processor } else { ExitClass::Hypercall });
        }
        let arguments = other_arguments(function, self.exit_page.registers_once());
        if self.ask_firmware(syndrome, arguments) { None } else { exit(ExitClass::Processor) }
    }

    /// A call of the hypervisor stub that the root VM's OS has left at EL2, which is not there now. Returns whether it is one.
    #[cold]
    #[inline(never)]
    fn answer_for_stub(&self, number: u64, syndrome: Syndrome) -> bool {
        let is_stubs =
            number == class::HVC && syndrome.immediate() == 0 && self.vs.is_root() && el1::has_stub();
        if is_stubs {
            self.exit_page.writer().set_general(0, hyp_stub::NOT_THERE);
        }
        is_stubs
    }

    /// Asks the firmware what only it knows, if that is what the guest wants.
    #[inline]
    fn ask_firmware(&self, syndrome: Syndrome, arguments: [u64; 4]) -> bool {
        if !calls::is_question(arguments) || !launch::has_firmware() {
            return false;
        }
        // SAFETY: the call only tells something.
        let results = unsafe { firmware::call(arguments) };
        set_results(self.exit_page.writer(), results);
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
    ELR_EL2.set(ELR_EL2.get().wrapping_add(4));
    SPSR_EL2.set(Pstate::saved(SPSR_EL2.get()).skipped().raw());
}
