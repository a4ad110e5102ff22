//! `vmmctl stop`: all CPUs or none.

use std::io::Write;

use crate::Failure;
use crate::device::uapi::{self, Request as _, STOP_FORCE, Stop};
use crate::device::{Device, DeviceError};

/// Gives the machine back to Linux.
pub(crate) fn stop(force: bool, device: &mut dyn Device, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut request = Stop { flags: if force { STOP_FORCE } else { 0 }, ..Stop::new() };
    match device.stop(&mut request) {
        Ok(()) => {}
        Err(DeviceError::Refused) => {
            let (cpu, status, left) = (uapi::cpu(request.cpu), request.status, request.cpus_left);
            return Err(Failure::NotStopped { cpu, status, left });
        }
        Err(DeviceError::Busy) => {
            return Err(uapi::cpu(request.cpu).map_or(Failure::Busy, Failure::OffLine));
        }
        Err(error) => return Err(error.failure("stop")),
    }
    writeln!(out, "Plinth has stopped; Linux runs on the bare machine")?;
    Ok(0)
}
