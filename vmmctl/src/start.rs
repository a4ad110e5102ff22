//! `vmmctl start`: files, places, memory, launch.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use plinth_launch::image::Machine;
use plinth_launch::prepare::{File, FileError, Files, Placement};
use plinth_launch::{CONSOLE_16550_PORT, CONSOLE_NONE, LaunchInfo, LaunchStatus};

use crate::cli::{LogLevel, StartOptions, StopPolicy};
use crate::device::uapi::{self, Info, Launch, Request as _, Reserve, State};
use crate::device::{Device, DeviceError};
use crate::extra::Extra;
use crate::host::Host;
use crate::{Failure, Size, last_start, log, reasons, stop};

/// Bytes of the log that outlives the hypervisor.
const LOG_SIZE: u64 = 256 << 10;
/// The longest command line that the kernel looks at, in bytes.
const COMMAND_LINE_MAX: usize = plinth_launch::COMMAND_LINE_MAX as usize;

/// Launches Plinth.
pub(crate) fn start(
    options: &StartOptions,
    host: &Host,
    device: &mut dyn Device,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let request = Start::read(options, host)?;
    let info = device.info().map_err(|error| error.failure("say what there is"))?;
    request.check_files(&info)?;
    require_idle(&info)?;
    let placed = request.load(&info, host, device)?;
    launch(options, &placed, device)?;
    let info = device.info().map_err(|error| error.failure("say what there is"))?;
    writeln!(
        out,
        "Plinth runs below this Linux, on {} CPU(s), with {} MiB at {:#x}; `vmmctl stop` gives the machine back",
        info.cpus_launched,
        info.reservation.size >> 20,
        info.reservation.start
    )?;
    if let Err(error) = last_start::remember(options, host) {
        writeln!(out, "the options could not be kept for `vmmctl restart`: {error}")?;
    }
    Ok(0)
}

/// Stops Plinth if it runs, and launches it as the last time but for `options`.
pub(crate) fn restart(
    options: &StartOptions,
    host: &Host,
    device: &mut dyn Device,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let options = options.clone().or(last_start::recall(host).unwrap_or_default());
    // A file that is refused must not cost the hypervisor that runs.
    let info = device.info().map_err(|error| error.failure("say what there is"))?;
    Start::read(&options, host)?.check_files(&info)?;
    if matches!(info.state(), Some(State::Running | State::Broken)) {
        stop::stop(false, device, out)?;
    }
    start(&options, host, device, out)
}

fn require_idle(info: &Info) -> Result<(), Failure> {
    match info.state() {
        Some(State::Idle) => {}
        Some(State::Reserved) => return Err(Failure::Busy),
        Some(State::Running | State::Broken) => return Err(Failure::Running),
        None => return Err(Failure::OtherVersion),
    }
    Ok(())
}

/// What is to be started: the files' contents, and what they are called.
struct Start<'o> {
    options: &'o StartOptions,
    kernel: (PathBuf, Vec<u8>),
    extension: (PathBuf, Vec<u8>),
}

impl<'o> Start<'o> {
    fn read(options: &'o StartOptions, host: &Host) -> Result<Self, Failure> {
        let kernel = options.kernel.clone().unwrap_or_else(|| host.default_kernel());
        let extension = options.extension.clone().unwrap_or_else(|| host.default_extension());
        Ok(Self { options, kernel: read(&kernel)?, extension: read(&extension)? })
    }

    /// Checks both files for the machine that the module names, else for the one that this program was built for.
    fn check_files(&self, info: &Info) -> Result<Files<'_>, Failure> {
        check_files(&self.kernel, &self.extension, machine(info))
    }

    /// Reserves memory and fills it.
    fn load(&self, info: &Info, host: &Host, device: &mut dyn Device) -> Result<Loaded, Failure> {
        let files = self.check_files(info)?;
        let extra = Extra::read(machine(info), command_line(self.options)?, host)?;
        let reserved = reserve(self.options.memory.unwrap_or(Size::DEFAULT), device)?;
        let seeds = random();
        let placement = files
            .place_with(reserved.reservation, seeds[0], extra.size(info.memory_end))
            .map_err(Failure::TooSmall)?;
        let mut launch_info = LaunchInfo {
            memory_end: info.memory_end,
            acpi_rsdp: host.acpi_rsdp(),
            pp_count: u64::from(info.cpus_present),
            console_kind: self.options.console.map_or(CONSOLE_NONE, |_| CONSOLE_16550_PORT),
            console_base: self.options.console.map_or(0, u64::from),
            log_level: self.options.log_level.unwrap_or(LogLevel::Info) as u64,
            entropy: [seeds[1], seeds[2], seeds[3], seeds[4]],
            log: reserved.log,
            ..placement.info()
        };
        fill(&placement, &mut launch_info, &extra, device)?;
        Ok(Loaded { entry: placement.entry(), info: placement.info_at(), tables: launch_info.tables })
    }
}

/// What the launch needs of the filled memory.
struct Loaded {
    entry: u64,
    info: u64,
    tables: u64,
}

pub(crate) fn read(path: &Path) -> Result<(PathBuf, Vec<u8>), Failure> {
    /// No kernel and no extension comes near it.
    const LIMIT: u64 = 256 << 20;
    let no_file = || std::io::Error::other("no regular file of at most 256 MiB");
    let bytes = fs::metadata(path).and_then(|file| {
        // Reading a device might never end.
        if file.is_file() && file.len() <= LIMIT { fs::read(path) } else { Err(no_file()) }
    });
    match bytes {
        Ok(bytes) => Ok((path.to_owned(), bytes)),
        Err(error) => Err(Failure::Unreadable(path.to_owned(), error)),
    }
}

/// Checks the two files.
pub(crate) fn check_files<'a>(
    kernel: &'a (PathBuf, Vec<u8>),
    extension: &'a (PathBuf, Vec<u8>),
    machine: Machine,
) -> Result<Files<'a>, Failure> {
    Files::check(&kernel.1, &extension.1, machine).map_err(|error: FileError| {
        let (path, _) = match error.file() {
            File::Kernel => kernel,
            File::Extension => extension,
        };
        Failure::File(path.clone(), error)
    })
}

/// The kind of machine whose files are wanted.
pub(crate) const fn machine(info: &Info) -> Machine {
    match info.machine {
        uapi::MACHINE_ARM64 => Machine::Aarch64,
        uapi::MACHINE_AMD | uapi::MACHINE_INTEL => Machine::X86_64,
        _ if cfg!(target_arch = "aarch64") => Machine::Aarch64,
        _ => Machine::X86_64,
    }
}

fn reserve(memory: Size, device: &mut dyn Device) -> Result<Reserve, Failure> {
    let mut request = Reserve { size: memory.bytes(), log_size: LOG_SIZE, ..Reserve::new() };
    match device.reserve(&mut request) {
        Ok(()) => Ok(request),
        Err(DeviceError::NoMemory) => Err(Failure::NoMemory(memory.bytes())),
        Err(DeviceError::Busy) => Err(Failure::Busy),
        Err(error) => Err(error.failure("reserve memory")),
    }
}

/// The kernel's command line.
fn command_line(options: &StartOptions) -> Result<String, Failure> {
    let stop = options.stop.unwrap_or(StopPolicy::Always).word();
    let watchdog = options.watchdog.map(|milliseconds| format!("watchdog={milliseconds}"));
    let words = [Some(format!("may-stop={stop}")), watchdog].into_iter().flatten();
    let line = words.chain(options.options.iter().cloned()).collect::<Vec<_>>().join(" ");
    if line.len() > COMMAND_LINE_MAX {
        let text =
            format!("the kernel's options are {} bytes long; {COMMAND_LINE_MAX} are allowed", line.len());
        return Err(Failure::Usage(text));
    }
    Ok(line)
}

/// One word for the kernel's place, which the kernel does not get, and four for the kernel. Zeroes where Linux has none.
fn random() -> [u64; 5] {
    let mut bytes = [0_u8; 40];
    // A short read leaves zeroes, which the contract takes for "no random bits".
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|at| words.get(at).copied().map_or(0, u64::from_le_bytes))
}

fn fill(
    placement: &Placement<'_>,
    info: &mut LaunchInfo,
    extra: &Extra,
    device: &mut dyn Device,
) -> Result<(), Failure> {
    let mut filled = Err(Failure::Reservation("the module let nobody write it".to_owned()));
    device
        .fill(info.reservation.size, &mut |memory| filled = write(placement, info, extra, memory))
        .map_err(|error| error.failure("map the reserved memory"))?;
    filled
}

/// Writes everything into the reservation's `memory`.
fn write(
    placement: &Placement<'_>,
    info: &mut LaunchInfo,
    extra: &Extra,
    memory: &mut [u8],
) -> Result<(), Failure> {
    let start = info.reservation.start;
    let offset = |at: u64| (at - start) as usize;
    let too_short = || Failure::Reservation("the module's memory is shorter than it says".to_owned());
    placement.load_into(memory).map_err(|error| Failure::Reservation(error.to_string()))?;
    let at = placement.layout().extra.start;
    let room = memory.get_mut(offset(at)..).ok_or_else(too_short)?;
    extra.write(room, at, info).ok_or_else(too_short)?;
    let bytes = bytes_of(info);
    let room = memory.get_mut(offset(placement.info_at())..).and_then(|room| room.get_mut(..bytes.len()));
    room.ok_or_else(too_short)?.copy_from_slice(&bytes);
    Ok(())
}

/// The structure's bytes.
fn bytes_of(info: &LaunchInfo) -> Vec<u8> {
    let start = std::ptr::from_ref(info).cast::<u8>();
    // SAFETY: `LaunchInfo` is `repr(C)`, of integers alone, and without padding, as the size asserted beside it says.
    unsafe { std::slice::from_raw_parts(start, size_of::<LaunchInfo>()) }.to_vec()
}

/// What the kernel's log says last, as far as it has got to write it into Linux's memory.
fn last_lines(device: &mut dyn Device) -> Vec<String> {
    /// How many lines tell enough.
    const LINES: usize = 8;
    let lines = device.log().ok().and_then(|memory| log::copied(&memory)).unwrap_or_default();
    let last = lines.len().saturating_sub(LINES);
    lines.into_iter().skip(last).map(|line| format!("{}: {}", line.level, line.text)).collect()
}

fn launch(options: &StartOptions, loaded: &Loaded, device: &mut dyn Device) -> Result<(), Failure> {
    let flags = if options.nested { uapi::LAUNCH_NESTED } else { 0 };
    let mut request =
        Launch { entry: loaded.entry, info: loaded.info, tables: loaded.tables, flags, ..Launch::new() };
    match device.launch(&mut request) {
        Ok(()) => Ok(()),
        Err(DeviceError::Unsuitable) => {
            Err(Failure::Unsuitable(reasons::remedies(request.not_now, uapi::cpu(request.cpu))))
        }
        Err(DeviceError::Refused) => Err(Failure::Refused {
            cpu: uapi::cpu(request.cpu),
            status: LaunchStatus::from_raw(request.status),
            left: request.cpus_left,
            log: last_lines(device),
        }),
        Err(DeviceError::Busy) => Err(Failure::Busy),
        Err(error) => Err(error.failure("launch")),
    }
}
