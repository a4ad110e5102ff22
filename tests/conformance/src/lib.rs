//! The conformance run: one check for each call, and for each error of it that an extension can bring about.
//!
//! The same code runs as an extension on every board and, by closures, on arch-sim. Each check prints one line,
//! `ABI CALL CASE ok` or `FAILED`; which there must be says [`plinth_extension_api::abi::spec::checks`], so a check
//! that is missing, or a verdict that differs between machines, is seen by comparing lines.

#![no_std]

mod copy;
mod debug;
mod exhaust;
mod life;
mod machine;
mod memory;
mod run;
mod view;
mod vm;
mod vs;

pub use machine::Machine;
pub use run::{Run, Tally};

/// The checks that belong into `_start`, after the callbacks were registered by the machine's own start.
pub fn start(machine: &mut impl Machine) -> Tally {
    let mut run = Run::new(machine);
    life::start(&mut run);
    run.tally
}

/// The checks of the vmexit callback, all but those that a later exit shows. `active` is the VS that exited.
pub fn vmexit(machine: &mut impl Machine, active: u64) -> Tally {
    let mut run = Run::new(machine);
    run.every_call();
    life::vmexit(&mut run);
    debug::check(&mut run, active);
    vm::check(&mut run);
    memory::check(&mut run);
    copy::check(&mut run, active);
    view::check(&mut run, active);
    vs::check(&mut run, active);
    machine::check(&mut run);
    exhaust::check(&mut run);
    run.tally
}

/// A call worked, as the exit after it shows.
pub fn resumed(machine: &mut impl Machine, call: plinth_extension_api::abi::Call) -> Tally {
    let mut run = Run::new(machine);
    run.verdict(call, plinth_extension_api::abi::spec::Case::Works, Ok(()));
    run.tally
}
