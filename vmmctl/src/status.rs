//! `vmmctl status`: what runs.

use std::io::Write;

use serde::Serialize;

use crate::Failure;
use crate::device::Device;
use crate::device::uapi::{self, Info, State};

/// What the module says, as JSON shows it.
#[derive(Serialize)]
struct Report {
    state: &'static str,
    module: String,
    cpus: Vec<u32>,
    reservation_start: u64,
    reservation_size: u64,
    stopped_by: Option<&'static str>,
}

impl Report {
    fn new(info: &Info) -> Self {
        Self {
            state: state(info),
            module: info.version(),
            cpus: uapi::cpus(&info.launched).collect(),
            reservation_start: info.reservation.start,
            reservation_size: info.reservation.size,
            stopped_by: stopped_by(info.stopped_by),
        }
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Reserved => "reserved",
        State::Running => "running",
        State::Broken => "broken",
    }
}

fn state(info: &Info) -> &'static str {
    info.state().map_or("unknown", state_name)
}

/// Who stopped Plinth last.
const fn stopped_by(number: u32) -> Option<&'static str> {
    match number {
        1 => Some("request"),
        2 => Some("sleep"),
        3 => Some("reboot"),
        4 => Some("refused launch"),
        _ => None,
    }
}

/// Shows what runs. The exit code is that of "does not run" where nothing does.
pub(crate) fn status(json: bool, device: &mut dyn Device, out: &mut dyn Write) -> Result<u8, Failure> {
    let info = device.info().map_err(|error| error.failure("say what there is"))?;
    let report = Report::new(&info);
    if json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        write_text(&report, out)?;
    }
    let runs = matches!(info.state(), Some(State::Running | State::Broken));
    Ok(if runs { 0 } else { Failure::NotRunning.exit_code() })
}

fn write_text(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "State:   {}", report.state)?;
    writeln!(out, "Module:  {}", report.module)?;
    if !report.cpus.is_empty() {
        let cpus: Vec<String> = report.cpus.iter().map(u32::to_string).collect();
        writeln!(out, "CPUs:    {}", cpus.join(" "))?;
        writeln!(out, "Memory:  {} MiB at {:#x}", report.reservation_size >> 20, report.reservation_start)?;
    }
    match report.stopped_by {
        Some(by) => writeln!(out, "Stopped: last by {by}"),
        None => Ok(()),
    }
}
