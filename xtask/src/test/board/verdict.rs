//! Judges a finished boot against what its test asks for.

use std::process::ExitStatus;

use anyhow::{Result, bail};

use crate::emulator::{Ended, Watched, exit_device_status};
use crate::test::table::{End, Test};

/// A request to shut down, in QEMU's trace, and its reason that the guest asked (`ShutdownCause`, qapi/run-state.json).
const GUEST_SHUTDOWN: &str = "reason=6";
/// Any such request. A reset, where `-no-reboot` ends the emulator instead, makes none.
const SHUTDOWN: &str = "qemu_system_shutdown_request";

/// What QEMU logs of a triple fault on the bare machine, the hypervisor's own included; a guest's is an exit
/// (`target/i386/tcg/excp_helper.c`).
const TRIPLE_FAULT: &str = "Triple fault";

/// Fails with the first thing that is not as the test asks. `trace` is the emulator's record of its shutdown; of one
/// that keeps none, every end is taken for the right one, once all texts have come.
pub(super) fn judge(test: &Test, watched: &Watched, trace: Option<&String>) -> Result<()> {
    match &watched.ended {
        Ended::Forbidden(line) => bail!("a line that must not be there: {line}"),
        Ended::Timeout => bail!("not done after {} seconds; {}", test.timeout, awaited(test, watched)),
        Ended::Exit(_) | Ended::Seen if watched.missing.is_some() => {
            bail!(
                "it ended too early ({}); {}",
                how(watched, trace.map_or("", |trace| trace)),
                awaited(test, watched)
            )
        }
        Ended::Exit(status) => match trace {
            Some(trace) if !ended_so(test.end, *status, trace) => {
                bail!("it ended by {}, not by {:?}", how(watched, trace), test.end)
            }
            _ => Ok(()),
        },
        Ended::Seen => Ok(()),
    }
}

fn awaited(test: &Test, watched: &Watched) -> String {
    match &watched.missing {
        Some(text) => format!("still awaited: {text:?}"),
        None => format!("every text came; still awaited: {:?}", test.end),
    }
}

fn ended_so(end: End, status: ExitStatus, trace: &str) -> bool {
    match end {
        End::Seen => true,
        End::PowerOff => status.success() && trace.contains(GUEST_SHUTDOWN),
        End::Reset => was_reset(status, trace),
        End::Status(value) => status.code() == Some(exit_device_status(value)),
    }
}

fn was_reset(status: ExitStatus, trace: &str) -> bool {
    status.success() && !trace.contains(SHUTDOWN)
}

/// How the emulator ended, in words.
fn how(watched: &Watched, trace: &str) -> String {
    match &watched.ended {
        Ended::Exit(status) if status.success() && trace.contains(GUEST_SHUTDOWN) => "power-off".to_owned(),
        Ended::Exit(status) if was_reset(*status, trace) => reset(trace).to_owned(),
        Ended::Exit(status) => format!("{status}"),
        other => format!("{other:?}"),
    }
}

fn reset(trace: &str) -> &'static str {
    if trace.contains(TRIPLE_FAULT) {
        "a triple fault of the OS on the bare machine, or of the hypervisor"
    } else {
        "a reset, which a triple fault of a guest is too"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::test::table::LINUX;

    const OFF: &str = "qemu_system_shutdown_request reason=6\n";
    const RESET: &str = "CPU Reset (CPU 0)\n";

    fn exit(code: i32, missing: Option<&str>) -> Watched {
        let ended = Ended::Exit(ExitStatus::from_raw(code << 8));
        Watched { ended, missing: missing.map(str::to_owned), lines: Vec::new() }
    }

    #[test]
    fn a_reset_is_no_power_off() {
        assert!(judge(&LINUX, &exit(0, None), Some(&OFF.to_owned())).is_ok());
        let error = judge(&LINUX, &exit(0, None), Some(&RESET.to_owned())).unwrap_err().to_string();
        assert_eq!(error, "it ended by a reset, which a triple fault of a guest is too, not by PowerOff");
        let fault = "Triple fault\n".to_owned();
        let error = judge(&LINUX, &exit(0, Some("ok")), Some(&fault)).unwrap_err().to_string();
        assert!(error.contains("a triple fault of the OS on the bare machine"), "{error}");
        let test = Test { end: End::Reset, ..LINUX };
        assert!(judge(&test, &exit(0, None), Some(&RESET.to_owned())).is_ok());
        assert!(judge(&test, &exit(0, None), Some(&OFF.to_owned())).is_err());
    }

    #[test]
    fn a_missing_text_is_named() {
        let error = judge(&LINUX, &exit(0, Some("ok")), Some(&OFF.to_owned())).unwrap_err().to_string();
        assert_eq!(error, "it ended too early (power-off); still awaited: \"ok\"");
    }

    #[test]
    fn the_exit_device_doubles_and_adds_one() {
        let test = Test { end: End::Status(3), ..LINUX };
        assert!(judge(&test, &exit(7, None), Some(&OFF.to_owned())).is_ok());
        assert!(judge(&test, &exit(3, None), Some(&OFF.to_owned())).is_err());
    }

    #[test]
    fn a_timeout_says_what_was_awaited() {
        let watched = Watched { ended: Ended::Timeout, missing: None, lines: Vec::new() };
        let error = judge(&LINUX, &watched, None).unwrap_err().to_string();
        assert!(error.ends_with("every text came; still awaited: PowerOff"), "{error}");
    }
}
