//! Launching on all processors or none, and the way back.

use super::error::Error;
use super::prepare::{Memory, Prepared};
use super::processors::{Processors, Work};
use super::{arch, running, say};
use plinth_launch::LaunchStatus;

/// Enters the kernel on every processor. On success this application goes on as a guest, and gets what
/// the hypervisor owns; else every processor is as it was.
pub(crate) fn launch(prepared: Prepared, processors: &Processors) -> Result<Memory, Error> {
    let count = processors.count();
    for pp in 0..count {
        if let Err(error) = launch_one(&prepared, processors, pp) {
            undo(prepared.memory, processors, pp, &error);
            return Err(error);
        }
    }
    say!("launched on {count} processor(s)");
    Ok(prepared.memory)
}

fn launch_one(prepared: &Prepared, processors: &Processors, pp: usize) -> Result<(), Error> {
    let work = Work::Launch { entry: prepared.entry, info: prepared.info, pp: pp as u64 };
    let status = LaunchStatus::from_raw(processors.run(pp, work)?);
    match status.is_launched() {
        true => Ok(()),
        false => Err(Error::Refused { pp, count: processors.count(), status }),
    }
}

/// Takes the first `launched` processors back. The memory is only given back to the firmware if no processor can be in
/// the kernel any more: those that it was to start itself may wait there.
fn undo(memory: Memory, processors: &Processors, launched: usize, cause: &Error) {
    let back = take_back(processors, launched);
    match (&back, cause) {
        (Ok(()), Error::Refused { .. }) if !arch::may_hold_processors() => memory.free(),
        _ => memory.keep(),
    }
    match back {
        Ok(()) if launched == 0 => {}
        Ok(()) => say!("took {launched} launched processor(s) back to the bare machine"),
        Err(error) => say!("{error}"),
    }
}

/// Promotes every processor.
pub(crate) fn stop(processors: &Processors) -> Result<(), Error> {
    if arch::detect().is_none() {
        return Err(Error::NotRunning);
    }
    take_back(processors, processors.count())?;
    arch::stopped();
    say!("stopped: {} processor(s) run on the bare machine again", processors.count());
    Ok(())
}

/// Promotes the first `count` processors, the last one first and each whatever became of the others; the
/// error is that of the last one that failed.
fn take_back(processors: &Processors, count: usize) -> Result<(), Error> {
    let mut result = Ok(());
    for pp in (0..count).rev() {
        result = stop_one(processors, pp).and(result);
    }
    result
}

fn stop_one(processors: &Processors, pp: usize) -> Result<(), Error> {
    match processors.run(pp, Work::Stop)? {
        0 | running::NOT_RUNNING => Ok(()),
        code => Err(Error::StillRunning { pp, code }),
    }
}
