//! `vmmctl check`: each requirement, yes or no, and what to do.

use std::io::Write;

use plinth_launch::image::Machine;
use serde::Serialize;

use crate::cli::CheckOptions;
use crate::device::Device;
use crate::device::uapi::{self, Info, State};
use crate::host::Host;
use crate::{Failure, Size, reasons, start};

/// One requirement.
#[derive(Serialize)]
struct Requirement {
    requirement: String,
    /// `None`: it cannot be told without the module.
    met: Option<bool>,
    /// What was found, or what to do where it is not met.
    text: String,
}

impl Requirement {
    fn met(requirement: &str, text: impl Into<String>) -> Self {
        Self { requirement: requirement.to_owned(), met: Some(true), text: text.into() }
    }

    fn unmet(requirement: &str, remedy: impl Into<String>) -> Self {
        Self { requirement: requirement.to_owned(), met: Some(false), text: remedy.into() }
    }
}

/// Checks this machine. The exit code is that of "cannot run" where a requirement is not met.
pub(crate) fn check(
    options: &CheckOptions,
    host: &Host,
    device: Result<Box<dyn Device>, Failure>,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let mut list = Vec::new();
    let info = module(device, &mut list);
    match &info {
        Some(info) => with_module(info, host, &mut list),
        None => without_module(host, &mut list),
    }
    memory(host, &mut list);
    files(options, host, info.as_ref(), &mut list);
    let runs = list.iter().all(|requirement| requirement.met != Some(false));
    if options.json {
        serde_json::to_writer(&mut *out, &list).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        list.iter().try_for_each(|requirement| write_text(requirement, out))?;
        writeln!(
            out,
            "{}",
            if runs { "`vmmctl start` can be tried." } else { "Plinth cannot start here as it is." }
        )?;
    }
    Ok(if runs { 0 } else { Failure::Unsuitable(Vec::new()).exit_code() })
}

fn write_text(requirement: &Requirement, out: &mut dyn Write) -> std::io::Result<()> {
    let answer = match requirement.met {
        Some(true) => "yes",
        Some(false) => "NO ",
        None => "?  ",
    };
    writeln!(out, "{answer}  {}: {}", requirement.requirement, requirement.text)
}

fn module(device: Result<Box<dyn Device>, Failure>, list: &mut Vec<Requirement>) -> Option<Info> {
    const REQUIREMENT: &str = "module and rights";
    let found = match device {
        Ok(mut device) => device.info().map_err(|error| error.failure("say what there is").to_string()),
        Err(failure) => Err(failure.to_string()),
    };
    list.push(match &found {
        Ok(info) => Requirement::met(REQUIREMENT, format!("the module plinth {} answers", info.version())),
        Err(text) => Requirement::unmet(REQUIREMENT, text.clone()),
    });
    found.ok()
}

/// The module's own answers.
fn with_module(info: &Info, host: &Host, list: &mut Vec<Requirement>) {
    let is_arm = info.machine == uapi::MACHINE_ARM64;
    for reason in reasons::REASONS.iter().filter(|reason| reason.is_of(is_arm)) {
        if info.not_now & reason.bit == 0 {
            list.push(Requirement::met(reason.requirement, "so it is"));
            continue;
        }
        let modules = host.hypervisor_modules().join(", ");
        let loaded = if modules.is_empty() { String::new() } else { format!("; loaded: {modules}") };
        let remedies = reasons::remedies(reason.bit, uapi::cpu(info.not_now_cpu));
        let loaded = if reason.bit == IN_USE { &*loaded } else { "" };
        list.push(Requirement::unmet(reason.requirement, format!("{}{loaded}", remedies.concat())));
    }
    let known = reasons::REASONS.iter().fold(0, |all, reason| all | reason.bit);
    for text in reasons::remedies(info.not_now & !known, None) {
        list.push(Requirement::unmet("the module's further reasons", text));
    }
    list.push(match info.state() {
        Some(State::Idle) => Requirement::met("nothing started by this module", "so it is"),
        Some(State::Reserved) => {
            Requirement::unmet("nothing started by this module", Failure::Busy.to_string())
        }
        _ => Requirement::unmet("nothing started by this module", Failure::Running.to_string()),
    });
}

/// `PLINTH_NOT_IN_USE`.
const IN_USE: u64 = 1 << 3;

/// What can be told without the module.
fn without_module(host: &Host, list: &mut Vec<Requirement>) {
    let requirement = "kernel not locked down";
    list.push(match host.lockdown() {
        Some(mode) => {
            Requirement::unmet(requirement, format!("lockdown={mode}: {}", reasons::REASONS[0].remedy))
        }
        None => Requirement::met(requirement, "so it is"),
    });
    if cfg!(target_arch = "x86_64") {
        let requirement = reasons::REASONS[1].requirement;
        list.push(if host.has_flag(&["svm", "vmx"]) {
            Requirement::met(requirement, "/proc/cpuinfo has svm or vmx")
        } else {
            Requirement::unmet(requirement, reasons::REASONS[1].remedy)
        });
        let modules = host.hypervisor_modules();
        let requirement = reasons::REASONS[3].requirement;
        list.push(if modules.is_empty() {
            Requirement::met(requirement, "no module of another hypervisor is loaded")
        } else {
            Requirement::unmet(
                requirement,
                format!("{} is loaded: {}", modules.join(", "), reasons::REASONS[3].remedy),
            )
        });
    }
    let offline = host.offline_cpus();
    if !offline.is_empty() {
        let text =
            format!("off line: {offline:?}; a start brings them on line, or says which one does not come");
        list.push(Requirement { requirement: "every CPU on line".to_owned(), met: None, text });
    }
}

fn memory(host: &Host, list: &mut Vec<Requirement>) {
    let needed = Size::DEFAULT.bytes();
    if let Some(available) = host.available_memory() {
        let text = format!("{} MiB available, {} needed in one piece", available >> 20, needed >> 20);
        list.push(if available >= 2 * needed {
            Requirement::met("memory", text)
        } else {
            Requirement::unmet("memory", format!("{text}; close programs, or give less with --memory"))
        });
    }
}

fn files(options: &CheckOptions, host: &Host, info: Option<&Info>, list: &mut Vec<Requirement>) {
    let kernel = options.kernel.clone().unwrap_or_else(|| host.default_kernel());
    let extension = options.extension.clone().unwrap_or_else(|| host.default_extension());
    let own = if cfg!(target_arch = "aarch64") { Machine::Aarch64 } else { Machine::X86_64 };
    let machine = info.map_or(own, start::machine);
    let checked = start::read(&kernel).and_then(|kernel| {
        let extension = start::read(&extension)?;
        start::check_files(&kernel, &extension, machine).map(drop)
    });
    list.push(match checked {
        Ok(()) => Requirement::met("files", format!("{}, {}", kernel.display(), extension.display())),
        Err(failure) => Requirement::unmet("files", failure.to_string()),
    });
}
