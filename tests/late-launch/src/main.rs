//! Does from user space what neither vmmctl nor a shell does: requests to Linux's module with everything wrong, by callers without
//! rights, and another kernel by kexec. Runs in the RAM disk of the late launch's board tests, beside vmmctl.

mod device;
mod kexec;
mod rights;
mod wrong;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["kexec", kernel, initrd, arguments] => kexec::load_kernel(kernel, initrd, arguments, false)
            .and_then(|()| kexec::enter_kernel())
            .map(|()| "nothing came of it".to_owned()),
        ["kdump", kernel, initrd, arguments] => kexec::load_kernel(kernel, initrd, arguments, true)
            .map(|()| "a kernel is ready for a crash".to_owned()),
        ["unprivileged"] => rights::unprivileged().map(|count| format!("{count} requests were refused")),
        ["wrong"] => wrong::all().map(|count| format!("{count} wrong requests were refused")),
        _ => Err("usage: late-launch wrong|unprivileged|kexec|kdump".to_owned()),
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
