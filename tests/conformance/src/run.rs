//! Making a check, and printing what came of it.

use core::fmt;

use plinth_extension_api::abi::spec::{Case, Check, Ending, Reach, Type};
use plinth_extension_api::abi::{Call, EVENT_NMI, Error, Failure, Status, register};

use crate::machine::Machine;

/// How many checks went how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As specified.
    pub passed: u64,
    /// Not.
    pub failed: u64,
}

/// A call's outputs, or its failure.
pub(crate) type Answer = Result<[u64; 2], Failure>;

/// A generation that no id reaches.
pub(crate) const STALE: u64 = 1 << 47;

/// A run of checks on a machine.
#[derive(Debug)]
pub struct Run<'m, M> {
    pub(crate) machine: &'m mut M,
    pub(crate) tally: Tally,
}

/// What a check found instead of what it asked for.
pub(crate) struct Found<'a>(pub(crate) &'a Answer);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(outputs) => write!(f, "it gave {outputs:x?}"),
            Err(failure) => write!(f, "it failed: {failure}"),
        }
    }
}

impl<'m, M: Machine> Run<'m, M> {
    pub(crate) fn new(machine: &'m mut M) -> Self {
        Self { machine, tally: Tally::default() }
    }

    /// Makes a call; `arguments` are those after the handle, where it takes one.
    pub(crate) fn call(&mut self, call: Call, arguments: &[u64]) -> Answer {
        let handle = self.machine.handle();
        self.call_with(handle, call, arguments)
    }

    /// Makes a call with any handle.
    fn call_with(&mut self, handle: u64, call: Call, arguments: &[u64]) -> Answer {
        let mut registers = [0; 6];
        let first = usize::from(call.contract().takes_handle());
        registers[0] = handle;
        for (register, argument) in registers[first..].iter_mut().zip(arguments) {
            *register = *argument;
        }
        let (status, outputs) = self.machine.call(call.number(), registers);
        Status::from_raw(status).result().map(|()| outputs)
    }

    /// Prints a check's verdict.
    pub(crate) fn verdict(&mut self, call: Call, case: Case, result: Result<(), &dyn fmt::Display>) {
        let check = Check { call, case };
        match result {
            Ok(()) => {
                self.tally.passed += 1;
                self.machine.say(format_args!("ABI {check} ok"));
            }
            Err(found) => {
                self.tally.failed += 1;
                self.machine.say(format_args!("ABI {check} FAILED: {found}"));
            }
        }
    }

    /// Checks that a call works, and returns its first output.
    pub(crate) fn works(&mut self, call: Call, arguments: &[u64]) -> u64 {
        self.works_so(call, arguments, |_, _| true)
    }

    /// Checks that a call works and has the effect that `holds` looks for in its outputs.
    pub(crate) fn works_so(
        &mut self,
        call: Call,
        arguments: &[u64],
        holds: impl FnOnce(&mut Self, [u64; 2]) -> bool,
    ) -> u64 {
        let answer = self.call(call, arguments);
        let held = answer.is_ok_and(|outputs| holds(self, outputs));
        let found = Found(&answer);
        self.verdict(call, Case::Works, if held { Ok(()) } else { Err(&found) });
        answer.map_or(0, |[first, _]| first)
    }

    /// Checks that a call fails so, about an argument.
    pub(crate) fn fails(
        &mut self,
        call: Call,
        arguments: &[u64],
        error: Error,
        argument: u8,
        tag: &'static str,
    ) {
        self.fails_as(call, arguments, Failure::argument(argument, error), tag);
    }

    /// Checks that a call fails so, about no argument.
    pub(crate) fn fails_whole(&mut self, call: Call, arguments: &[u64], error: Error) {
        self.fails_as(call, arguments, error.into(), "");
    }

    fn fails_as(&mut self, call: Call, arguments: &[u64], wanted: Failure, tag: &'static str) {
        let answer = self.call(call, arguments);
        self.failed_as(call, answer, wanted, tag);
    }

    /// Checks that an answer is this failure.
    pub(crate) fn failed_as(&mut self, call: Call, answer: Answer, wanted: Failure, tag: &'static str) {
        let case = Case::Fails { error: wanted.error, argument: wanted.argument, tag };
        let found = Found(&answer);
        self.verdict(call, case, if answer == Err(wanted) { Ok(()) } else { Err(&found) });
    }

    /// A call that the run itself needs; what it gives. A failure is said and counted.
    pub(crate) fn need(&mut self, call: Call, arguments: &[u64]) -> u64 {
        match self.call(call, arguments) {
            Ok([first, _]) => first,
            Err(failure) => {
                self.tally.failed += 1;
                self.machine.say(format_args!("ABI {} needed FAILED: {failure}", call.name()));
                0
            }
        }
    }

    /// What all calls have in common: a wrong handle, and an id in REG1 that names nothing.
    pub(crate) fn every_call(&mut self) {
        let page = self.need(Call::MemAllocatePage, &[]);
        for &call in Call::ALL {
            let contract = call.contract();
            if !contract.takes_handle() {
                continue;
            }
            let mut arguments = [0; 5];
            for (argument, input) in arguments.iter_mut().zip(&contract.inputs[1..]) {
                *argument = plausible(input.kind, input.name, page);
            }
            let handle = self.machine.handle() ^ 2;
            let answer = self.call_with(handle, call, &arguments);
            self.failed_as(call, answer, Failure::argument(0, Error::InvalidHandle), "");
            let stale = Failure::argument(1, Error::StaleId);
            let reached = |case: &plinth_extension_api::abi::spec::ErrorCase| {
                case.reach == Reach::Vmexit && (case.error, case.argument) == (stale.error, stale.argument)
            };
            if contract.errors.iter().any(reached) && contract.ending != Ending::Never {
                arguments[0] = STALE;
                let answer = self.call(call, &arguments);
                self.failed_as(call, answer, stale, "");
            }
        }
        self.need(Call::MemFreePage, &[page]);
    }
}

/// A value that an argument may have.
fn plausible(kind: Type, name: &str, page: u64) -> u64 {
    match kind {
        Type::Address => page,
        Type::Gpa | Type::Gva | Type::Bytes => 0x1000,
        Type::Flags if name == "event" => EVENT_NMI,
        Type::Flags | Type::Count | Type::View => 1,
        Type::Register => register::INSTRUCTION_POINTER,
        _ => 0,
    }
}
