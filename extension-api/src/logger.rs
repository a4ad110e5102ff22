//! The `log` crate's back end: lines for the kernel's log.

use core::fmt::{self, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::abi::{Call, MAX_WRITE};
use crate::syscall;

struct Logger;

/// Makes the `log` crate's macros write to the kernel's log. The kernel drops what its log level excludes.
pub(crate) fn init() {
    // Only a second call can fail, and then the first one's logger is there.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Trace);
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = Line::new(record.level(), write_line);
        // A `Line` takes everything; only a faulty `Display` can fail, and its text ends there.
        let _ = line.write_fmt(*record.args());
        line.finish();
    }

    fn flush(&self) {}
}

/// A line under construction. What does not fit into one goes on in the next.
struct Line<W: FnMut(Level, &[u8])> {
    bytes: [u8; MAX_WRITE as usize],
    length: usize,
    level: Level,
    write: W,
}

impl<W: FnMut(Level, &[u8])> Line<W> {
    fn new(level: Level, write: W) -> Self {
        Self { bytes: [0; MAX_WRITE as usize], length: 0, level, write }
    }

    fn finish(&mut self) {
        (self.write)(self.level, &self.bytes[..self.length]);
        self.length = 0;
    }
}

impl<W: FnMut(Level, &[u8])> Write for Line<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        loop {
            let (now, later) = rest.split_at(rest.floor_char_boundary(self.bytes.len() - self.length));
            self.bytes[self.length..self.length + now.len()].copy_from_slice(now.as_bytes());
            self.length += now.len();
            if later.is_empty() {
                return Ok(());
            }
            self.finish();
            rest = later;
        }
    }
}

/// Hands a line to the kernel.
fn write_line(level: Level, line: &[u8]) {
    let arguments = [line.as_ptr() as u64, line.len() as u64, level as u64];
    // SAFETY: The kernel only reads the line. There is nobody to tell of a failure.
    let _ = unsafe { syscall::without_handle(Call::DebugWrite, arguments) };
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{string::String, vec::Vec};

    fn lines(text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = Line::new(Level::Info, |_, bytes: &[u8]| {
            lines.push(String::from_utf8(bytes.to_vec()).unwrap());
        });
        line.write_str(text).unwrap();
        line.finish();
        lines
    }

    #[test]
    fn short_text_is_one_line() {
        assert_eq!(lines("text"), ["text"]);
    }

    #[test]
    fn long_text_goes_on_in_the_next_line_at_a_character() {
        let text = "ä".repeat(200) + "b";
        let lines = lines(&text);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [256, 145]);
        assert_eq!(lines.concat(), text);
        assert_eq!(super::tests::lines(&"ab€".repeat(100)).concat(), "ab€".repeat(100));
    }
}
