//! Exits that are answered between the exit and the next entry, with the guest's whole EL2 state still loaded.
//!
//! This is the shortest path of the backend. A static answer to an ID register read costs one lookup. A call that only asks
//! the firmware a question costs little more than the firmware's own work; some OSes make such a call at each exception, as
//! a workaround for speculation (SMCCC_ARCH_WORKAROUND).

use aarch64_cpu::registers::{ELR_EL2, ESR_EL2, Readable, SPSR_EL2, Writeable};
use plinth_hal::{Exit, ExitClass, IdPolicy};

use crate::exit_registers::{ExitPage, call_number, other_arguments, set_results};
use crate::id::values::Natives;
use crate::pstate::Pstate;
use crate::switch::{self, SYNCHRONOUS};
use crate::syndrome::{Syndrome, class};
use crate::vs::El2Vs;
use crate::{caller::el1, exit, hyp_stub, power::firmware, psci::calls};

/// The reason of an exit that the fast path does not answer.
pub(crate) enum Stop {
    /// HVC or SMC, described by the syndrome and X0.
    Call(Exit),
    /// A read of an ID register, described by the syndrome.
    IdRead(Exit),
    /// Another trapped system instruction, described by the syndrome.
    System(Exit),
    /// Another synchronous exception.
    Exception,
    /// An interrupt or an error: its kind.
    Interrupt(u64),
}

/// What the fast path needs of the VS and the CPU.
pub(crate) struct FastPath<'a> {
    pub(crate) vs: &'a El2Vs,
    pub(crate) exit_page: ExitPage,
    pub(crate) policy: &'a IdPolicy,
    pub(crate) natives: &'a Natives,
    pub(crate) declared: &'a mut u64,
}

impl FastPath<'_> {
    /// Runs the guest, and answers its exits, until one needs the caller.
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

    /// Classifies a synchronous exception. `None` if the fast path has answered it.
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

    /// Answers a read of an ID register that has a static answer, from the first two words of that answer.
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
        // Register 31 is XZR: its slot in the exit page is never read.
        self.exit_page.writer().set_general(exit.detail as usize, value);
        skip();
    }

    /// Classifies a call: a firmware call, which only the root VM may make, or a hypercall. By SMCCC a firmware call has the
    /// immediate 0. Every SMC of the root VM is a firmware call.
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

    /// Answers a call of the root VM's OS to the hypervisor stub that it left at EL2 before the launch: the stub is not
    /// there. Returns whether the call was one.
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

    /// Forwards a call that only queries the firmware. Returns whether the call was one.
    #[inline]
    fn ask_firmware(&self, syndrome: Syndrome, arguments: [u64; 4]) -> bool {
        if !calls::is_question(arguments) || !firmware::is_present() {
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

/// Advances the guest's PC past the trapped instruction.
#[inline]
fn skip() {
    ELR_EL2.set(ELR_EL2.get().wrapping_add(4));
    SPSR_EL2.set(Pstate::saved(SPSR_EL2.get()).skipped().raw());
}
