//! Choices on the kernel's command line: who may stop the hypervisor, and the two time limits.

use crate::launch::options;

/// The kernel's option: who may stop the hypervisor.
const MAY_STOP: &str = "may-stop=";

/// Who may stop the hypervisor once all processors are launched. Before that the loader may, after a failed
/// launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MayStop {
    /// The root VM's kernel, by its hypercall, whatever the extension says.
    Always,
    /// The extension, and the root VM's kernel where it is gone.
    Extension,
    /// Nobody.
    Never,
}

/// The choice on the command line; the last one counts.
pub(crate) fn may_stop(command_line: &[u8]) -> MayStop {
    options::values(command_line, MAY_STOP).fold(MayStop::Extension, |before, value| match value {
        "always" => MayStop::Always,
        "extension" => MayStop::Extension,
        "never" => MayStop::Never,
        _ => before,
    })
}

/// The kernel's option: the time that a turn may take, in milliseconds; 0 for no bound.
const WATCHDOG: &str = "watchdog=";
/// [`WATCHDOG`] where nothing is said.
const DEFAULT_TURN_MS: u64 = 10_000;
/// The limit on the command line, in milliseconds; the last number counts.
pub(crate) fn turn_milliseconds(command_line: &[u8]) -> u64 {
    options::values(command_line, WATCHDOG)
        .filter_map(|value| value.parse().ok())
        .last()
        .unwrap_or(DEFAULT_TURN_MS)
}

/// The kernel's option: how long a PP may take to answer another one, in milliseconds.
const PP_TIMEOUT: &str = "pp-timeout=";
/// [`PP_TIMEOUT`] where nothing is said: longer than any firmware keeps a processor to itself.
const DEFAULT_ANSWER_MS: u64 = 5000;

/// The limit on the command line, in milliseconds. The last number counts; 0 is ignored, since no PP could
/// react in time.
pub(crate) fn answer_milliseconds(command_line: &[u8]) -> u64 {
    let numbers = options::values(command_line, PP_TIMEOUT).filter_map(|value| value.parse().ok());
    numbers.filter(|number| *number != 0).last().unwrap_or(DEFAULT_ANSWER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_may_stop_counts() {
        assert_eq!(may_stop(b""), MayStop::Extension);
        assert_eq!(may_stop(b"may-stop=always may-stop=never"), MayStop::Never);
        assert_eq!(may_stop(b"may-stop=always may-stop=perhaps"), MayStop::Always);
    }

    #[test]
    fn the_last_number_of_milliseconds_counts() {
        assert_eq!(turn_milliseconds(b""), DEFAULT_TURN_MS);
        assert_eq!(turn_milliseconds(b"vhe=on watchdog=20 watchdog=0\n"), 0);
        assert_eq!(turn_milliseconds(b"watchdog=20 watchdog=soon xwatchdog=5"), 20);
        assert_eq!(turn_milliseconds(b"\xff watchdog=20"), DEFAULT_TURN_MS);
    }

    #[test]
    fn the_last_number_counts_and_none_is_no_time() {
        assert_eq!(answer_milliseconds(b""), DEFAULT_ANSWER_MS);
        assert_eq!(answer_milliseconds(b"pp-timeout=20 pp-timeout=7"), 7);
        assert_eq!(answer_milliseconds(b"pp-timeout=20 pp-timeout=0 pp-timeout=long"), 20);
    }
}
