//! An extension that wants the kernel to fall: system calls with numbers and arguments that no honest one would use.
//!
//! What is left out is what the kernel would rightly obey: ending the extension, resuming, restarting the
//! machine, and spoiling the root VM, which belongs to its extension. The rest must come back, with an
//! answer or an error, and leave the kernel as it was.

mod allowed;
mod arguments;
mod capacity;
mod exhaust;
pub mod feud;

use plinth_extension_api::abi::{Call, Status};
use plinth_extension_api::{Exit, Plinth, syscall};

use arguments::Known;
use capacity::Capacity;

use crate::random::Random;

/// How many calls one attack makes, but for those that exhaust memory.
const CALLS: u64 = 1_000_000;

const PAGE_SIZE: u64 = 4096;

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Calls made.
    pub calls: u64,
    /// Of them, those that the kernel refused.
    pub failures: u64,
    /// What there was less of afterwards than before: pages, VMs, VPs and VSs that can be had.
    pub leaks: u64,
}

/// Attacks; the same way each time.
pub fn attack(exit: &Exit<'_>) -> Tally {
    let mut attack = Attack { tally: Tally::default(), random: Random::new(0x504C), known: Known::new(exit) };
    // Once for tables that the kernel makes on first use and keeps.
    let _ = Capacity::measure(&mut attack);
    let before = Capacity::measure(&mut attack);
    while attack.tally.calls < CALLS {
        attack.step();
    }
    exhaust::run(&mut attack);
    attack.clean_up();
    let after = Capacity::measure(&mut attack);
    attack.tally.leaks = before.missing_in(&after);
    if attack.tally.leaks != 0 {
        plinth_extension_api::log::error!("hostile: leaked: {before:?} before, {after:?} after");
    }
    attack.tally
}

struct Attack {
    tally: Tally,
    random: Random,
    known: Known,
}

impl Attack {
    fn step(&mut self) {
        match self.random.below(32) {
            0..4 => self.nonsense(),
            4 => self.reopen(),
            _ => self.known_call(),
        }
    }

    /// A number that is no call: any bits, another signature, flags, an opcode that nobody uses.
    fn nonsense(&mut self) {
        let call = Call::ALL[self.random.below(Call::ALL.len() as u64) as usize].number();
        let number = match self.random.below(4) {
            0 => self.random.next(),
            1 => call ^ 1 << (48 + self.random.below(16)),
            2 => call | 1 << (32 + self.random.below(16)),
            _ => call | 0x8000 | self.random.next() & 0xffff_0000,
        };
        let arguments = self.arguments();
        let honest =
            number >> 32 == Call::ALL[0].number() >> 32 && Call::from_opcode(number as u32).is_some();
        if !honest {
            let _ = self.call(number, arguments);
        }
    }

    /// A call that exists, with arguments of all kinds.
    fn known_call(&mut self) {
        let call = Call::ALL[self.random.below(Call::ALL.len() as u64) as usize];
        let arguments = allowed::adapt(call, self.arguments(), &self.known);
        if let Some(arguments) = arguments {
            let outcome = self.call(call.number(), arguments);
            if outcome.status == Status::SUCCESS {
                self.known.learn(call, arguments, outcome.outputs);
                self.undo(call, arguments, outcome.outputs[0]);
            }
        }
    }

    /// Sees to it that there is not more and more of what a successful call has made.
    fn undo(&mut self, call: Call, arguments: [u64; 6], output: u64) {
        match (call, arguments) {
            (Call::VmMap, [_, vm, gpa, _, size, _]) => {
                let forgotten = self.known.remember_mapping([vm, gpa, size]);
                self.unmap(forgotten);
            }
            (Call::MemAllocateHuge, [_, bytes, ..]) => {
                let _ = self.call(Call::MemFreeHuge.number(), [syscall::handle(), output, bytes, 0, 0, 0]);
            }
            _ => {}
        }
    }

    /// Closes the handle, uses it once more, opens another.
    fn reopen(&mut self) {
        let old = syscall::handle();
        let _ = self.call(Call::HandleClose.number(), [old, 0, 0, 0, 0, 0]);
        let _ = self.call(Call::VmCreate.number(), [old, 0, 0, 0, 0, 0]);
        if let Err(failure) = Plinth::open() {
            plinth_extension_api::log::error!("hostile: no handle any more: {failure}");
        }
    }

    fn arguments(&mut self) -> [u64; 6] {
        let mut arguments = [0; 6].map(|_: u64| self.known.pick(&mut self.random));
        if self.random.below(16) != 0 {
            arguments[0] = syscall::handle();
        }
        arguments
    }

    fn call(&mut self, number: u64, arguments: [u64; 6]) -> syscall::Outcome {
        // SAFETY: The only pages that a call could free are those that calls have given, which nothing here dereferences;
        // `allowed` leaves out the calls that do not come back.
        let outcome = unsafe { syscall::raw(number, arguments) };
        self.tally.calls += 1;
        self.tally.failures += u64::from(outcome.status != Status::SUCCESS);
        outcome
    }

    /// Unmaps what is left of a mapping.
    fn unmap(&mut self, [vm, gpa, size]: [u64; 3]) {
        for offset in (0..size).step_by(PAGE_SIZE as usize) {
            let arguments = [syscall::handle(), vm, gpa + offset, PAGE_SIZE, 0, 0];
            let _ = self.call(Call::VmUnmap.number(), arguments);
        }
    }

    /// Gives back what the calls have given.
    fn clean_up(&mut self) {
        let handle = syscall::handle();
        self.known.mappings().into_iter().for_each(|mapping| self.unmap(mapping));
        for (call, id) in self.known.leftovers() {
            let _ = self.call(call.number(), [handle, id, 0, 0, 0, 0]);
        }
    }
}
