//! The kernel's command line, as far as this backend has options.
//!
//! | Option | Meaning |
//! | --- | --- |
//! | `vhe=on` | run the extension in the EL2&0 regime where the processor has it |
//! | `vhe=off` | run it on a stage 2 of its own |
//!
//! Without either, EL2&0 is used where the processor has it and is known not to speculate past permissions.

use plinth_launch::Range;

/// Longest command line that is looked at, in bytes.
const LONGEST: u64 = 4096;

/// What the command line says about the EL2&0 regime.
///
/// # Safety
/// The range is mapped memory, or empty.
pub(crate) unsafe fn shared_regime(line: Range) -> Option<bool> {
    if line.start == 0 || line.size == 0 || line.size > LONGEST {
        return None;
    }
    // SAFETY: the caller vouches for it.
    let bytes = unsafe { core::slice::from_raw_parts(line.start as *const u8, line.size as usize) };
    choice(core::str::from_utf8(bytes).ok()?)
}

/// The last `vhe=` counts.
fn choice(line: &str) -> Option<bool> {
    let values = line.split_ascii_whitespace().filter_map(|word| word.strip_prefix("vhe="));
    values.fold(None, |before, value| match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => before,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_choice_counts() {
        assert_eq!(choice(""), None);
        assert_eq!(choice("log=5 vhe=on"), Some(true));
        assert_eq!(choice("vhe=on vhe=off\n"), Some(false));
        assert_eq!(choice("vhe=off vhe=perhaps xvhe=on"), Some(false));
    }

    #[test]
    fn no_command_line_chooses_nothing() {
        // SAFETY: the ranges are empty or too long, and not followed.
        unsafe {
            assert_eq!(shared_regime(Range { start: 0, size: 7 }), None);
            assert_eq!(shared_regime(Range { start: 4096, size: 0 }), None);
            assert_eq!(shared_regime(Range { start: 4096, size: LONGEST + 1 }), None);
        }
        let line = "vhe=on";
        let range = Range { start: line.as_ptr() as u64, size: line.len() as u64 };
        // SAFETY: the string is there.
        assert_eq!(unsafe { shared_regime(range) }, Some(true));
    }
}
