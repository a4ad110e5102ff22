//! The root VM's firmware calls, by SMC or HVC. The kernel implements PSCI itself, because a CPU that starts must start
//! under Plinth. Calls that concern the machine alone are forwarded to the firmware.

use core::sync::atomic::{AtomicBool, Ordering};

use plinth_hal::{ProcessorEvent, Target};

use crate::psci::calls::{self, Request};
use crate::psci::power_state::{POWER_STATES, Start, hardware_id};
use crate::{mpidr, power::firmware, power::secondary};

/// Serves a call of the root VM. Returns the values of X0 to X3 after the call, and the event that the kernel has to handle.
pub(crate) fn serve(arguments: [u64; 4]) -> ([u64; 4], ProcessorEvent) {
    let [_, first, second, third] = arguments;
    let with = |result: i64| [result.cast_unsigned(), first, second, third];
    let done = |result| (with(result), ProcessorEvent::Done);
    match calls::decode(arguments) {
        Request::CpuOn { target, entry, context } => match start(target, entry, context) {
            Ok(event) => (with(calls::SUCCESS), event),
            Err(error) => done(error),
        },
        // Other CPUs see this one as off once the VS is reset.
        Request::CpuOff => {
            (with(calls::SUCCESS), ProcessorEvent::Reset(Target::Id(hardware_id(mpidr::own_affinity()))))
        }
        Request::CpuSuspend => {
            // Every power state is served as the lightest one, as PSCI allows: standby, ended by an interrupt.
            // BOUND: an interrupt of the root VM's, which has asked for that. No other processor waits for one that sleeps here.
            aarch64_cpu::asm::wfi();
            done(calls::SUCCESS)
        }
        Request::AffinityInfo { target } => done(POWER_STATES.info(target)),
        Request::Features { function } if !calls::is_offered(function) => done(calls::NOT_SUPPORTED),
        Request::Features { .. } | Request::Forward if !firmware::is_present() => done(calls::own(arguments)),
        Request::Features { .. } | Request::Forward => {
            // SAFETY: the call is one of those that only tell something, or end the machine as the root VM wants.
            (unsafe { firmware::call(arguments) }, ProcessorEvent::Done)
        }
        Request::Unknown => {
            if is_first(&REFUSED) {
                log::info!(
                    "processor {:#x}: call {:#x} of the firmware is not passed on; more such calls are not logged",
                    mpidr::own_affinity(),
                    arguments[0]
                );
            }
            done(calls::NOT_SUPPORTED)
        }
    }
}

/// Whether a refused call, and a CPU that did not start, have been logged: the root VM can repeat both at will, so each is
/// logged once.
static REFUSED: AtomicBool = AtomicBool::new(false);
static NOT_STARTED: AtomicBool = AtomicBool::new(false);

fn is_first(logged: &AtomicBool) -> bool {
    !logged.swap(true, Ordering::Relaxed)
}

/// Starts a CPU: the kernel wakes one that is parked under Plinth; the firmware starts one that has never run.
fn start(target: u64, entry: u64, context: u64) -> Result<ProcessorEvent, i64> {
    match POWER_STATES.begin(target, entry, context)? {
        Start::Warm => Ok(ProcessorEvent::Start { target: Target::Id(hardware_id(target)), entry }),
        Start::Cold(pp) => match secondary::power_on(pp) {
            calls::SUCCESS => Ok(ProcessorEvent::Done),
            error => {
                if is_first(&NOT_STARTED) {
                    log::warn!(
                        "the firmware does not start processor {target:#x}: PSCI error {error}; more are not logged"
                    );
                }
                POWER_STATES.give_up(pp);
                Err(calls::INTERNAL_FAILURE)
            }
        },
    }
}
