//! `vmmctl status`: what runs, by the module's word and by the hypervisor's own.

use std::collections::BTreeMap;
use std::io::Write;

use plinth_extension_api::abi::{ExitClass, MachineStatus, PpStatus};
use serde::Serialize;

use crate::device::Device;
use crate::device::uapi::{self, Info, State};
use crate::hypervisor::{Hypervisor, is_nobody, text, word};
use crate::{Failure, reasons};

/// What there is, as JSON shows it.
#[derive(Serialize)]
struct Report {
    state: &'static str,
    module: String,
    cpus: Vec<u32>,
    reservation_start: u64,
    reservation_size: u64,
    stopped_by: Option<&'static str>,
    /// What the running kernel tells; `None` where no Plinth runs.
    hypervisor: Option<Running>,
}

/// The running hypervisor.
#[derive(Serialize)]
struct Running {
    release: String,
    abi_version: u32,
    backend: &'static str,
    uptime_seconds: f64,
    may_stop: &'static str,
    memory_used: u64,
    memory_free: u64,
    extension: ExtensionReport,
    vms: u32,
    vps: u32,
    vss: u32,
    pps: Vec<PpReport>,
}

/// What has become of the extension.
#[derive(Serialize)]
struct ExtensionReport {
    state: &'static str,
    size: u64,
    sha256: String,
    /// Why it is gone.
    end: Option<String>,
}

/// A PP.
#[derive(Serialize)]
struct PpReport {
    pp: u32,
    hardware_id: u32,
    state: &'static str,
    answers: bool,
    exits: BTreeMap<&'static str, u64>,
}

impl Running {
    fn of(device: &mut dyn Device) -> Result<Self, Failure> {
        let mut hypervisor = Hypervisor::new(device)?;
        let status = hypervisor.status()?;
        let pps = hypervisor.pps(&status)?;
        let rate = hypervisor.frequency(&status)?;
        Ok(Self {
            release: text(&status.release),
            abi_version: status.abi_version,
            backend: word(&["simulated", "AMD SVM", "Intel VMX", "ARMv8 EL2"], status.backend),
            uptime_seconds: status.counter.saturating_sub(status.launched_at) as f64 / rate,
            may_stop: word(&["always", "extension", "never"], status.may_stop),
            memory_used: status.pool.saturating_sub(status.pool_free),
            memory_free: status.pool_free,
            extension: ExtensionReport::new(&status),
            vms: status.vms,
            vps: status.vps,
            vss: status.vss,
            pps: pps.iter().map(PpReport::new).collect(),
        })
    }
}

impl ExtensionReport {
    fn new(status: &MachineStatus) -> Self {
        let states = ["starting", "running", "faulted", "exited", "overdue", "misused"];
        let hash = status.extension_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            state: word(&states, status.extension),
            size: status.extension_size,
            sha256: hash,
            end: Some(text(&status.extension_end)).filter(|end| !end.is_empty()),
        }
    }
}

impl PpReport {
    fn new(status: &PpStatus) -> Self {
        let count = |class: &ExitClass| (class.name(), status.exits[*class as usize]);
        Self {
            pp: status.pp,
            hardware_id: status.hardware_id,
            state: word(&["outside", "cold", "starting", "launched", "failed"], status.standing),
            answers: status.is_lost == 0,
            exits: ExitClass::ALL.iter().map(count).filter(|(_, exits)| *exits != 0).collect(),
        }
    }
}

impl Report {
    fn new(info: &Info, hypervisor: Option<Running>) -> Self {
        // The module knows those that it has launched; another loader's run too.
        let is_other = hypervisor.is_some() && info.state() == Some(State::Idle);
        Self {
            state: if is_other { "running, launched by another loader" } else { state(info) },
            module: info.version(),
            cpus: uapi::cpus(&info.launched).collect(),
            reservation_start: info.reservation.start,
            reservation_size: info.reservation.size,
            stopped_by: stopped_by(info.stopped_by),
            hypervisor,
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
    let running = match Running::of(device) {
        Ok(running) => Some(running),
        Err(failure) if is_nobody(&failure) => None,
        // A kernel that is locked down lets nobody ask; what the module knows may be told.
        Err(Failure::NotAllowed) if info.not_now & reasons::LOCKED_DOWN != 0 => None,
        Err(failure) => return Err(failure),
    };
    let runs = running.is_some() || matches!(info.state(), Some(State::Running | State::Broken));
    let report = Report::new(&info, running);
    if json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        write_text(&report, out)?;
    }
    Ok(if runs { 0 } else { Failure::NotRunning.exit_code() })
}

fn write_text(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "State:     {}", report.state)?;
    writeln!(out, "Module:    {}", report.module)?;
    if !report.cpus.is_empty() {
        let cpus: Vec<String> = report.cpus.iter().map(u32::to_string).collect();
        writeln!(out, "CPUs:      {}", cpus.join(" "))?;
        writeln!(out, "Memory:    {} MiB at {:#x}", report.reservation_size >> 20, report.reservation_start)?;
    }
    if let Some(by) = report.stopped_by {
        writeln!(out, "Stopped:   last by {by}")?;
    }
    report.hypervisor.as_ref().map_or(Ok(()), |running| write_running(running, out))
}

fn write_running(running: &Running, out: &mut dyn Write) -> std::io::Result<()> {
    let Running { release, abi_version, backend, extension, .. } = running;
    writeln!(out, "Plinth:    {release}, ABI {abi_version}, {backend}")?;
    writeln!(out, "Uptime:    {}", duration(running.uptime_seconds))?;
    writeln!(out, "May stop:  {}", running.may_stop)?;
    writeln!(
        out,
        "Pool:      {} KiB used, {} KiB free",
        running.memory_used >> 10,
        running.memory_free >> 10
    )?;
    writeln!(out, "Objects:   {} VMs, {} VPs, {} VSs", running.vms, running.vps, running.vss)?;
    writeln!(
        out,
        "Extension: {}, {} KiB, SHA-256 {}",
        extension.state,
        extension.size >> 10,
        extension.sha256
    )?;
    if let Some(end) = &extension.end {
        writeln!(out, "           {end}")?;
    }
    for pp in &running.pps {
        let lost = if pp.answers { "" } else { ", does not answer" };
        let all: u64 = pp.exits.values().sum();
        writeln!(
            out,
            "PP {:<2}      {}{lost}, hardware id {:#x}, {all} exits",
            pp.pp, pp.state, pp.hardware_id
        )?;
        let mut most_first: Vec<_> = pp.exits.iter().collect();
        most_first.sort_by_key(|(_, exits)| std::cmp::Reverse(**exits));
        for (class, exits) in most_first {
            writeln!(out, "           {exits:>12} {class}")?;
        }
    }
    Ok(())
}

/// `1 d 02:03:04`.
fn duration(seconds: f64) -> String {
    let all = seconds as u64;
    let (days, hours, minutes) = (all / 86_400, all / 3600 % 24, all / 60 % 60);
    let time = format!("{hours:02}:{minutes:02}:{:02}", all % 60);
    if days == 0 { time } else { format!("{days} d {time}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_at_a_glance() {
        assert_eq!((&*duration(59.9), &*duration(93_784.0)), ("00:00:59", "1 d 02:03:04"));
    }
}
