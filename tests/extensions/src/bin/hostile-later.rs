//! Passes everything through, but makes a million hostile system calls when Linux has been booting for a while.

#![no_std]
#![no_main]

use core::array;
use core::sync::atomic::{AtomicU32, Ordering};

use plinth_extension_api::abi::GENERAL_REGISTERS;
use plinth_extension_api::{Exit, ExitClass, Extension, Failure, Plinth, Resume, VmId};
use plinth_extension_api::{extension, log, passthrough};
use plinth_test_extensions::hostile;

/// The ID reads that it serves before: a PC's firmware and loader make a few dozen and a booting Linux some hundred, on Arm
/// Linux alone makes some dozens on each processor.
const SERVED: u32 = if cfg!(target_arch = "aarch64") { 30 } else { 150 };

static EXITS: AtomicU32 = AtomicU32::new(0);

struct HostileLater;

impl Extension for HostileLater {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        plinth.vm_intercept_ids(VmId::ROOT)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if exit.class() == ExitClass::IdRead && EXITS.fetch_add(1, Ordering::Relaxed) == SERVED {
            attack(exit);
        }
        passthrough::vmexit(exit)
    }
}

/// The exit page is one of the addresses that the calls are given: Linux gets its registers back.
fn attack(exit: &mut Exit<'_>) {
    let registers: [u64; GENERAL_REGISTERS] = array::from_fn(|number| exit.general(number));
    let tally = hostile::attack(exit);
    for (number, value) in registers.into_iter().enumerate() {
        exit.set_general(number, value);
    }
    log::info!("hostile: {} calls, {} refused, {} leaks", tally.calls, tally.failures, tally.leaks);
}

extension!(HostileLater);
