//! Firmware launches Plinth below itself and stops it, again and again, and finds EL2 as it was: this application runs the loader,
//! which starts this application again, one level below, which runs the loader to stop.
//!
//! It begins on the bare machine. Where a launch fails it is started at EL2, and EL2 must be as it was then, too.

#![no_std]
#![no_main]

extern crate alloc;

mod call;
mod el2;
mod loader;
mod processor;

use plinth_test_guests_efi::timer::{EVENTS, events};
use uefi::prelude::*;
use uefi::runtime::{self, ResetType};

use el2::El2;
use loader::Shared;

/// How often it is launched and stopped.
const ROUNDS: u32 = 4;
/// The round in which the firmware starts the second processor under Plinth.
const SECOND_PROCESSOR: u32 = 2;
/// Says that this application cannot go on.
type Stuck = &'static str;

/// Prints a verdict, and takes note of a bad one.
fn check(name: &str, is: bool) -> Result<(), Stuck> {
    uefi::println!("TEST firmware-raised {name} {}", if is { "ok" } else { "FAILED" });
    if is { Ok(()) } else { Err("a check has failed") }
}

fn level() -> u64 {
    el2::level()
}

/// The machine is the firmware's: EL2 is as it was, and its timer rings.
fn look_at_el2(shared: &Shared) -> Result<(), Stuck> {
    check("at-el2", level() == 2)?;
    let difference = shared.before.difference(&El2::current());
    if let Some((name, was, is)) = difference {
        uefi::println!("firmware-raised: {name} was {was:#x} and is {is:#x}");
    }
    check("el2-is-as-it-was", difference.is_none())?;
    check("timer-rings-at-el2", events() == Some(EVENTS))?;
    check("second-processor-starts-at-el2", processor::start() == Some(2))?;
    check("second-processor-is-off-again", processor::end())
}

/// Under Plinth: what must not raise it does not, and the loader does.
fn under_plinth(shared: &mut Shared) -> Result<(), Stuck> {
    check("timer-rings-at-el1", events() == Some(EVENTS))?;
    check("not-without-saying-so", call::stop(0) == call::REFUSED && level() == 1)?;
    check("not-with-upper-tables", call::stop_with_upper_tables() == call::REFUSED && level() == 1)?;
    if shared.round == SECOND_PROCESSOR {
        check("second-processor-starts-at-el1", processor::start() == Some(1))?;
        check("not-while-it-runs", call::stop(call::AT_EL2) == call::REFUSED && level() == 1)?;
        check("second-processor-is-off", processor::end())?;
    }
    if shared.round == ROUNDS {
        check("every-register-is-kept", call::stop_keeps_registers())?;
        return look_at_el2(shared);
    }
    check("loader-stops-it", loader::run(shared, "stop"))?;
    look_at_el2(shared)
}

fn run() -> Result<(), Stuck> {
    let Some(shared) = loader::shared() else {
        check("begins-at-el2", level() == 2)?;
        el2::mark();
        let shared = loader::share(El2::current()).ok_or("the firmware takes no table")?;
        loader::let_it_launch().ok_or("plinth.toml does not say that nothing is launched")?;
        loader::run(shared, "");
        return Err("the loader has come back");
    };
    shared.round += 1;
    if level() == 2 {
        look_at_el2(shared)?;
        return check("given-back", true);
    }
    under_plinth(shared)?;
    if shared.round == ROUNDS {
        return check("done", true);
    }
    loader::run(shared, "");
    Err("the loader has come back")
}

#[entry]
fn main() -> Status {
    if let Err(stuck) = run() {
        uefi::println!("TEST firmware-raised FAILED: {stuck}");
    }
    runtime::reset(ResetType::SHUTDOWN, Status::SUCCESS, None)
}
