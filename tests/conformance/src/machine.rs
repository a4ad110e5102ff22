//! What the run needs from the machine it runs on, and the checks of what reaches the machine itself.

use core::fmt;

use plinth_extension_api::abi::{Call, Error, MAX_PPS, TIMER_OFF};

use crate::run::Run;

/// How an extension's code reaches the kernel, its own memory and the log; and what differs by machine.
pub trait Machine {
    /// Makes a call with any number and arguments: the status, and REG0 and REG1.
    fn call(&mut self, number: u64, arguments: [u64; 6]) -> (u64, [u64; 2]);
    /// The open handle.
    fn handle(&self) -> u64;
    /// Opens the handle again, after it was closed. Returns whether that worked.
    fn reopen(&mut self) -> bool;
    /// Prints a line.
    fn say(&mut self, line: fmt::Arguments<'_>);
    /// Writes a word of the extension's memory.
    fn store(&mut self, at: u64, value: u64);
    /// Reads a word of the extension's memory.
    fn load(&self, at: u64) -> u64;
    /// The address of some code of the extension.
    fn code(&self) -> u64;
    /// A register of the machine that the kernel lists for reading.
    fn readable(&self) -> u64;
    /// A register of the machine whose reads can exit.
    fn interceptable(&self) -> u64;
    /// The number of an interrupt that VSs can take.
    fn interrupt(&self) -> u64;
    /// Whether the machine has I/O ports.
    fn has_ports(&self) -> bool;
}

/// A register that no machine lists.
const UNLISTED: u64 = 1 << 60;

pub(crate) fn check(run: &mut Run<'_, impl Machine>) {
    let readable = run.machine.readable();
    run.works(Call::IntrinsicRead, &[readable]);
    run.fails(Call::IntrinsicRead, &[UNLISTED], Error::Denied, 1, "");
    run.fails(Call::IntrinsicWrite, &[UNLISTED, 0], Error::Denied, 1, "");
    run.works_so(Call::TimeRead, &[], |run, [before, _]| {
        run.call(Call::TimeRead, &[]).is_ok_and(|[after, _]| after > before)
    });
    let pp = run.works_so(Call::PpQuery, &[], |_, [pp, count]| pp < count);
    // That it works, the exit shows that comes of it.
    run.need(Call::PpKick, &[pp]);
    run.fails(Call::PpKick, &[MAX_PPS - 1], Error::InvalidArgument, 1, "");
    // Off, and then at a time that has passed: one exit comes of it.
    run.need(Call::TimerSet, &[TIMER_OFF]);
    run.need(Call::TimerSet, &[0]);
}
