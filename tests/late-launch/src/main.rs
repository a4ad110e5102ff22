//! Does from user space what neither vmmctl nor a shell does: requests to Linux's module with everything wrong, by callers without
//! rights, and another kernel by kexec. Runs in the RAM disk of the late launch's board tests, beside vmmctl.

mod below;
mod device;
#[cfg(target_arch = "aarch64")]
mod guest;
mod kexec;
#[cfg(target_arch = "aarch64")]
mod kexec_arm;
mod rights;
mod wrong;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["below", cpu] => below::below(cpu),
        ["kexec", kernel, initrd, arguments] => kexec::load_kernel(kernel, initrd, arguments, false)
            .and_then(|()| kexec::enter_kernel())
            .map(|()| "nothing came of it".to_owned()),
        ["kdump", kernel, initrd, arguments] => kexec::load_kernel(kernel, initrd, arguments, true)
            .map(|()| "a kernel is ready for a crash".to_owned()),
        #[cfg(target_arch = "aarch64")]
        ["guest"] => guest::run(),
        #[cfg(target_arch = "aarch64")]
        ["hold-guest"] => guest::hold(),
        ["unprivileged"] => rights::unprivileged().map(|count| format!("{count} requests were refused")),
        ["wrong"] => wrong::all().map(|count| format!("{count} wrong requests were refused")),
        _ => Err("usage: late-launch below CPU|wrong|unprivileged|kexec|kdump".to_owned()),
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
