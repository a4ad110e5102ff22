//! Makes the conformance checks at the test hypercall, and prints a line for each.

#![no_std]
#![no_main]

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use plinth_conformance::{Machine, Tally, resumed, start, vmexit};
use plinth_extension_api::abi::{Call, Failure, register};
use plinth_extension_api::{
    Exit, ExitClass, Extension, Plinth, Resume, extension, log, passthrough, syscall,
};
use plinth_test_extensions::is_test;

/// The board, from the extension's side.
struct Board;

impl Machine for Board {
    fn call(&mut self, number: u64, arguments: [u64; 6]) -> (u64, [u64; 2]) {
        // SAFETY: The run frees only pages that it has allocated and knows no more, and makes no resuming call that works.
        let outcome = unsafe { syscall::raw(number, arguments) };
        (outcome.status.raw(), outcome.outputs)
    }

    fn handle(&self) -> u64 {
        syscall::handle()
    }

    fn reopen(&mut self) -> bool {
        Plinth::open().is_ok()
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        log::info!("{line}");
    }

    fn store(&mut self, at: u64, value: u64) {
        // SAFETY: The run stores into pages alone that it has allocated; nothing else in this program knows of them.
        unsafe { (at as *mut u64).write_volatile(value) };
    }

    fn load(&self, at: u64) -> u64 {
        // SAFETY: As in `store`.
        unsafe { (at as *const u64).read_volatile() }
    }

    fn code(&self) -> u64 {
        code as *const () as u64
    }

    /// The time-stamp counter; ID_AA64PFR0_EL1.
    fn readable(&self) -> u64 {
        if cfg!(target_arch = "aarch64") { register::ARM_SYSTEM + FEATURES } else { COUNTER }
    }

    fn interceptable(&self) -> u64 {
        if cfg!(target_arch = "aarch64") { FEATURES } else { COUNTER }
    }

    /// An external vector; the IRQ.
    fn interrupt(&self) -> u64 {
        if cfg!(target_arch = "aarch64") { 0 } else { 0x40 }
    }

    fn has_ports(&self) -> bool {
        cfg!(target_arch = "x86_64")
    }
}

/// Some code of this program.
fn code() {}

/// The MSR IA32_TIME_STAMP_COUNTER.
const COUNTER: u64 = 0x10;
/// ID_AA64PFR0_EL1 as in MRS: Op0 3, Op1 0, CRn 0, CRm 4, Op2 0.
const FEATURES: u64 = 0xC020;

/// How far the run is.
struct Conformance {
    step: AtomicU32,
    passed: AtomicU64,
    failed: AtomicU64,
}

/// The steps: the test hypercall is awaited; the VS went on by `VsRunCurrent`; by `VsAdvanceAndRunCurrent`; all is done.
const AWAITED: u32 = 0;
const RAN: u32 = 1;
const ADVANCED: u32 = 2;
const DONE: u32 = 3;

impl Extension for Conformance {
    fn start(&self, _: Plinth) -> Result<(), Failure> {
        self.add(start(&mut Board));
        Ok(())
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let shown = match exit.class() {
            ExitClass::Attention => Some(Call::PpKick),
            ExitClass::Timer => Some(Call::TimerSet),
            _ => None,
        };
        if let Some(call) = shown {
            self.add(resumed(&mut Board, call));
            return Resume::Run;
        }
        match self.step.load(Ordering::Relaxed) {
            AWAITED if is_test(exit) => {
                self.add(vmexit(&mut Board, exit.vs().raw()));
                self.step.store(RAN, Ordering::Relaxed);
                // Arm has executed its hypercall by now; x86 makes it again.
                if cfg!(target_arch = "aarch64") {
                    exit.set_general(0, 0);
                }
                return Resume::Run;
            }
            RAN => {
                self.add(resumed(&mut Board, Call::VsRunCurrent));
                self.step.store(ADVANCED, Ordering::Relaxed);
            }
            ADVANCED => {
                self.add(resumed(&mut Board, Call::VsAdvanceAndRunCurrent));
                self.step.store(DONE, Ordering::Relaxed);
                let (passed, failed) =
                    (self.passed.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
                log::info!("ABI done: {passed} passed, {failed} failed");
            }
            _ => {}
        }
        if is_test(exit) { exit.answer_hypercall(0) } else { passthrough::vmexit(exit) }
    }
}

impl Conformance {
    fn add(&self, tally: Tally) {
        self.passed.fetch_add(tally.passed, Ordering::Relaxed);
        self.failed.fetch_add(tally.failed, Ordering::Relaxed);
    }
}

extension!(
    Conformance =
        Conformance { step: AtomicU32::new(AWAITED), passed: AtomicU64::new(0), failed: AtomicU64::new(0) }
);
