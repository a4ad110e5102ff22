//! Launch and stop, as a loader does it.

use std::fs;

use plinth_launch::el1;
use plinth_launch::image::Machine;
use plinth_launch::prepare::Files;
use plinth_launch::{LaunchInfo, LaunchStatus, Range};

use crate::device::{Device, INFO, LAUNCH, RESERVE, Request, STOP};

/// What is launched.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) kernel: String,
    pub(crate) extension: String,
    /// MiB of the reservation.
    pub(crate) memory: u64,
    pub(crate) log_level: u64,
    /// The port of a 16550, or on arm64 the address of a PL011, for the hypervisor's own log.
    pub(crate) console: Option<u64>,
    pub(crate) command_line: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kernel: "/usr/lib/plinth/plinth".to_owned(),
            extension: "/usr/lib/plinth/default".to_owned(),
            memory: 32,
            log_level: 0,
            console: None,
            command_line: "may-stop=always".to_owned(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
const MACHINE: Machine = Machine::X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: Machine = Machine::Aarch64;

/// What a console is, if there is one.
#[cfg(target_arch = "x86_64")]
const CONSOLE: u64 = plinth_launch::CONSOLE_16550_PORT;
#[cfg(target_arch = "aarch64")]
const CONSOLE: u64 = plinth_launch::CONSOLE_PL011;

/// The device tree that Linux was started with, for a kernel that wants one.
const TREE: &str = "/sys/firmware/fdt";

/// What lies behind the launch information: the kernel's command line, and on arm64 what a launch by an OS at EL1 takes besides.
struct Extra {
    tree: Vec<u8>,
    command_line: Vec<u8>,
}

impl Extra {
    fn new(command_line: &str) -> Result<Self, String> {
        let is_wanted = MACHINE == Machine::Aarch64;
        let read = || fs::read(TREE).map_err(|error| format!("{TREE}: {error}"));
        let tree = if is_wanted { read()? } else { Vec::new() };
        Ok(Self { tree, command_line: command_line.as_bytes().to_vec() })
    }

    fn size(&self, memory_end: u64) -> u64 {
        match MACHINE {
            Machine::Aarch64 => self.el1().size(memory_end),
            Machine::X86_64 => self.command_line.len() as u64,
        }
    }

    fn el1(&self) -> el1::Extra<'_> {
        el1::Extra { tree: &self.tree, command_line: &self.command_line }
    }

    /// Writes it into `room`, which is at `at`.
    fn write(&self, room: &mut [u8], at: u64, info: &mut LaunchInfo) -> Result<(), String> {
        if MACHINE == Machine::Aarch64 {
            return self.el1().write(room, at, info).ok_or_else(|| "there is no room".to_owned());
        }
        room[..self.command_line.len()].copy_from_slice(&self.command_line);
        info.command_line = Range { start: at, size: self.command_line.len() as u64 };
        Ok(())
    }
}

/// Launches on all CPUs. Returns how many there are.
pub(crate) fn start(options: &Options) -> Result<u32, String> {
    let read = |path: &str| fs::read(path).map_err(|error| format!("{path}: {error}"));
    let (kernel, extension) = (read(&options.kernel)?, read(&options.extension)?);
    let files =
        Files::check(&kernel, &extension, MACHINE).map_err(|error| format!("{}: {error}", error.file()))?;
    let device = Device::open().map_err(|error| format!("/dev/plinth: {error}"))?;
    let mut info = Request::new(INFO);
    device.ask(&mut info).map_err(|error| format!("INFO: {error}"))?;
    let size = options.memory << 20;
    let mut reserve = Request::new(RESERVE).with(8, size);
    device.ask(&mut reserve).map_err(|error| format!("RESERVE: {error}"))?;
    let reservation = Range { start: reserve.word(32), size };
    let extra = Extra::new(&options.command_line)?;
    let memory_end = info.word(464);
    let placement =
        files.place_with(reservation, 0, extra.size(memory_end)).map_err(|error| error.to_string())?;
    let mut launch_info = LaunchInfo {
        memory_end,
        pp_count: u64::from(info.half(32)),
        console_kind: options.console.map_or(plinth_launch::CONSOLE_NONE, |_| CONSOLE),
        console_base: options.console.unwrap_or_default(),
        log_level: options.log_level,
        ..placement.info()
    };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let loaded = device.map(0, size as usize, access, |memory| {
        placement.load_into(memory).map_err(|error| error.to_string())?;
        let at = placement.layout().extra.start;
        extra.write(&mut memory[(at - reservation.start) as usize..], at, &mut launch_info)?;
        let at = (placement.info_at() - reservation.start) as usize;
        let structure = &mut memory[at..at + size_of::<LaunchInfo>()];
        // SAFETY: The place is a page's beginning, and as long as the structure.
        unsafe { structure.as_mut_ptr().cast::<LaunchInfo>().write(launch_info) };
        Ok::<_, String>(())
    });
    loaded.map_err(|error| format!("mmap: {error}"))??;
    let mut launch = Request::new(LAUNCH)
        .with(8, placement.entry())
        .with(16, placement.info_at())
        .with(24, launch_info.tables);
    device.ask(&mut launch).map_err(|error| refusal(&launch, &error))?;
    Ok(launch.half(60))
}

fn refusal(launch: &Request, error: &std::io::Error) -> String {
    let status = LaunchStatus::from_raw(launch.word(40));
    let text = status.error().map_or("", |error| error.text());
    format!(
        "LAUNCH: {error}; cpu {} status {:?} detail {:#x} not_now {:#x} launched {} left {}: {text}",
        launch.half(56) as i32,
        status.error(),
        status.detail(),
        launch.word(48),
        launch.half(60),
        launch.half(64),
    )
}

/// Stops.
pub(crate) fn stop(flags: u32) -> Result<(), String> {
    let device = Device::open().map_err(|error| format!("/dev/plinth: {error}"))?;
    let mut stop = Request::new(STOP).with_half(8, flags);
    device.ask(&mut stop).map_err(|error| {
        let (cpu, left) = (stop.half(24) as i32, stop.half(28));
        format!("STOP: {error}; cpu {cpu} status {:#x} left {left}", stop.word(16))
    })
}
