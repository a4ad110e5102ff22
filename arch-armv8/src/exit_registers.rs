//! What an instruction that exited takes from the general registers, each read once: see [`plinth_hal::ExitRegisters`].

use crate::memory::Words;
use crate::psci::calls::without_hint;

/// An exit page of this machine.
pub(crate) type ExitPage = plinth_hal::ExitPage<&'static Words>;

/// The general registers at an exit, to be read once.
pub(crate) type ExitRegisters = plinth_hal::ExitRegisters<&'static Words>;

/// The way to write into an exit page.
pub(crate) type ExitPageWriter = plinth_hal::ExitPageWriter<&'static Words>;

/// The number of XZR in instructions. The exit page has a word for it, which means nothing.
const ZERO_REGISTER: u64 = 31;

/// The operand of an instruction that has exited, by the register's number there.
#[inline]
pub(crate) fn operand(registers: ExitRegisters, number: u64) -> u64 {
    let [value] = registers.take([number as usize]);
    if number < ZERO_REGISTER { value } else { 0 }
}

/// Sets the register that such an instruction writes.
#[inline]
pub(crate) fn set_result(writer: ExitPageWriter, number: u64, value: u64) {
    if number < ZERO_REGISTER {
        writer.set_general(number as usize, value);
    }
}

/// The arguments of a call by SMCCC: X0 to X3, without what is no part of the function's number.
#[inline]
pub(crate) fn call_arguments(registers: ExitRegisters) -> [u64; 4] {
    without_hint(registers.take([0, 1, 2, 3]))
}

/// X0 of such a call, for who has to know whose call it is.
#[inline]
pub(crate) fn call_number(registers: ExitRegisters) -> u64 {
    let [number] = registers.take([0]);
    number
}

/// As [`call_arguments`], with X0 that has been read.
#[inline]
pub(crate) fn other_arguments(number: u64, registers: ExitRegisters) -> [u64; 4] {
    let [first, second, third] = registers.take([1, 2, 3]);
    without_hint([number, first, second, third])
}

/// Sets the results of such a call: X0 to X3.
#[inline]
pub(crate) fn set_results(writer: ExitPageWriter, results: [u64; 4]) {
    for (number, value) in results.into_iter().enumerate() {
        writer.set_general(number, value);
    }
}
