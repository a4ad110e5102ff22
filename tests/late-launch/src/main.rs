//! Tries Linux's module from user space with what vmmctl never asks for: requests with everything wrong, and by callers without
//! rights. Runs in the RAM disk of the late launch's board tests, beside vmmctl.

mod device;
mod rights;
mod start;
mod wrong;

use std::process::ExitCode;

use device::{CALL, Device, INFO, Request};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["info"] => info(),
        ["count", cpu] => count(cpu),
        ["kexec", kernel, initrd, arguments] => start::load_kernel(kernel, initrd, arguments, false)
            .and_then(|()| start::enter_kernel())
            .map(|()| "nothing came of it".to_owned()),
        ["kdump", kernel, initrd, arguments] => start::load_kernel(kernel, initrd, arguments, true)
            .map(|()| "a kernel is ready for a crash".to_owned()),
        ["unprivileged"] => rights::unprivileged().map(|count| format!("{count} requests were refused")),
        ["wrong"] => wrong::all().map(|count| format!("{count} wrong requests were refused")),
        _ => Err("usage: late-launch info|count CPU|wrong|unprivileged|kexec|kdump".to_owned()),
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
    let mut call = Request::new(CALL)
        .with(8, 0x504c << 48 | 0x1_0003)
        .with_half(104, cpu.parse().map_err(|error| format!("{cpu}: {error}"))?);
    device.ask(&mut call).map_err(|error| format!("CALL: {error}"))?;
    Ok(format!("{} exits", call.word(48)))
}
