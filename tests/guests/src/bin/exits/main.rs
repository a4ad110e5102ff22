//! Every kind of exit that a root VM can cause under the default extension, seen from the inside: the answers are the
//! bare machine's, but for the virtualization extension, which is not there.

#![no_std]
#![no_main]

mod apic;
mod caches;
mod control_registers;
mod cpuid;
mod instructions;
mod interrupts;
mod msr;
mod prefixes;
mod real_mode;
mod reservation;
mod state;
mod virtualization;
mod vmx;
mod xcr;

use plinth_test_guests::{Report, trap};
use uefi::prelude::*;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("exits");
    for part in [
        cpuid::run,
        prefixes::run,
        msr::run,
        virtualization::run,
        vmx::run,
        control_registers::run,
        state::run,
        instructions::run,
        real_mode::run,
        caches::run,
        xcr::run,
        interrupts::run,
        apic::run,
        reservation::run,
    ] {
        part(&mut report);
    }
    report.done()
}
