//! Tries Linux's module from user space: launches and stops, as any loader does, and makes requests with everything wrong,
//! which no loader would. Runs in the initramfs of the late launch's board tests.

mod device;
mod start;

use std::process::ExitCode;

use device::{CALL, Device, INFO, Request};
use start::Options;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["start", options @ ..] => start(options),
        ["stop"] => start::stop(0).map(|()| "stopped".to_owned()),
        ["stop", "--force"] => start::stop(1).map(|()| "stopped".to_owned()),
        ["info"] => info(),
        ["count", cpu] => count(cpu),
        _ => Err("usage: late-launch start|stop|info|count CPU|wrong".to_owned()),
    };
    match result {
        Ok(text) => {
            println!("late-launch: {text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            println!("late-launch: {text}");
            ExitCode::FAILURE
        }
    }
}

fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let wrong = || format!("{text} is no number");
    parsed.map_err(|_| wrong()).and_then(|value| T::try_from(value).map_err(|_| wrong()))
}

fn start(words: &[&str]) -> Result<String, String> {
    let mut options = Options::default();
    for pair in words.chunks(2) {
        match *pair {
            ["--kernel", path] => options.kernel = path.to_owned(),
            ["--extension", path] => options.extension = path.to_owned(),
            ["--memory", mib] => options.memory = number(mib)?,
            ["--log", level] => options.log_level = number(level)?,
            ["--console", port] => options.console = Some(number(port)?),
            ["--options", line] => options.command_line = line.to_owned(),
            _ => return Err(format!("what is {pair:?}?")),
        }
    }
    start::start(&options).map(|count| format!("launched on {count} CPUs"))
}

/// One line with what a test compares.
fn info() -> Result<String, String> {
    let device = Device::open().map_err(|error| format!("/dev/plinth: {error}"))?;
    let mut info = Request::new(INFO);
    device.ask(&mut info).map_err(|error| format!("INFO: {error}"))?;
    let state = ["idle", "reserved", "running", "broken"][info.half(8) as usize];
    Ok(format!(
        "state={state} machine={} not_now={:#x} stopped_by={} present={} online={} launched={} memory={:#x}+{:#x} end={:#x}",
        info.half(12),
        info.word(16),
        info.half(28),
        info.half(32),
        info.half(36),
        info.half(40),
        info.word(432),
        info.word(440),
        info.word(464),
    ))
}

/// A CPU's exits.
fn count(cpu: &str) -> Result<String, String> {
    let device = Device::open().map_err(|error| format!("/dev/plinth: {error}"))?;
    let mut call = Request::new(CALL).with(8, 0x504c << 48 | 0x1_0003).with_half(104, number(cpu)?);
    device.ask(&mut call).map_err(|error| format!("CALL: {error}"))?;
    Ok(format!("{} exits", call.word(48)))
}
