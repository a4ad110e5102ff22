//! The kernel's command line, as far as this backend has options.
//!
//! | Option | Meaning |
//! | --- | --- |
//! | `vhe=on` | run the extension in the EL2&0 regime where the processor has it |
//! | `vhe=off` | run it on a stage 2 of its own |
//!
//! The generic kernel has options of its own on the same line. Without either of these, EL2&0 is used where the processor has it and is known not to speculate past permissions.

use plinth_kernel::options;
use plinth_launch::{COMMAND_LINE_MAX, Range};

/// The command line; nothing where there is more than anybody writes.
///
/// # Safety
/// The range is mapped memory that stays, or empty.
pub(crate) unsafe fn command_line(line: Range) -> &'static [u8] {
    if line.start == 0 || line.size > COMMAND_LINE_MAX {
        return &[];
    }
    // SAFETY: the caller vouches for it.
    unsafe { core::slice::from_raw_parts(line.start as *const u8, line.size as usize) }
}

/// What the command line says about the EL2&0 regime.
pub(crate) fn shared_regime(line: &[u8]) -> Option<bool> {
    options::switch(line, "vhe=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_where_it_is() {
        // SAFETY: the ranges are empty or too long, and not followed.
        unsafe {
            assert_eq!(command_line(Range { start: 0, size: 7 }), b"");
            assert_eq!(command_line(Range { start: 4096, size: 0 }), b"");
            assert_eq!(command_line(Range { start: 4096, size: COMMAND_LINE_MAX + 1 }), b"");
        }
        let line = "vhe=on";
        let range = Range { start: line.as_ptr() as u64, size: line.len() as u64 };
        // SAFETY: the string is there.
        assert_eq!(shared_regime(unsafe { command_line(range) }), Some(true));
    }
}
