//! The kernel's log: a ring in memory, always, and a console where there is one.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use plinth_launch::LaunchInfo;
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

/// Bytes in the ring.
const RING_SIZE: usize = 64 * 1024;

/// How often a writer tries for the console's lock before it takes it by force: its holder must have died.
const LOCK_TRIES: usize = 10_000_000;

/// A write-only console.
pub trait Console: Sync {
    /// Writes the bytes, without waiting for ever.
    fn write(&self, bytes: &[u8]);
}

/// The last [`RING_SIZE`] bytes of the log.
struct Ring {
    bytes: [AtomicU8; RING_SIZE],
    end: AtomicUsize,
}

/// The logger that the kernel registers with the `log` crate.
pub struct Logger {
    ring: Ring,
    console: Once<&'static dyn Console>,
    busy: AtomicBool,
}

/// The kernel's one logger.
pub static LOGGER: Logger = Logger::new();

impl Logger {
    const fn new() -> Self {
        Self {
            ring: Ring { bytes: [const { AtomicU8::new(0) }; RING_SIZE], end: AtomicUsize::new(0) },
            console: Once::new(),
            busy: AtomicBool::new(false),
        }
    }

    /// Starts logging at `level` (0 off … 5 trace) to the ring, and to `console` if there is one.
    pub fn start(&'static self, level: u64, console: Option<&'static dyn Console>) {
        if let Some(console) = console {
            self.console.call_once(|| console);
        }
        // A second launch finds the logger registered: it is the same one.
        let _ = log::set_logger(self);
        log::set_max_level(filter(level));
    }

    /// Starts logging as a launch asks for, by its first line.
    pub fn begin(&'static self, info: &LaunchInfo, console: Option<&'static dyn Console>) {
        self.start(info.log_level, console);
        let segment = info.kernel_segments[0].range.start;
        log::info!("kernel at {segment:#x}, {} KiB reserved", info.reservation.size / 1024);
    }

    /// Writes a finished line.
    fn write_line(&self, line: &[u8]) {
        let mut tries = 0;
        // BOUND: `LOCK_TRIES`.
        while self.busy.swap(true, Ordering::Acquire) && tries < LOCK_TRIES {
            core::hint::spin_loop();
            tries += 1;
        }
        self.ring.append(line);
        if let Some(console) = self.console.get() {
            console.write(line);
        }
        self.busy.store(false, Ordering::Release);
    }

    /// Copies the newest bytes of the log into `buffer` and says how many.
    pub fn read_newest(&self, buffer: &mut [u8]) -> usize {
        self.ring.read_newest(buffer)
    }
}

fn filter(level: u64) -> LevelFilter {
    match level {
        0 => LevelFilter::Off,
        1 => LevelFilter::Error,
        2 => LevelFilter::Warn,
        3 => LevelFilter::Info,
        4 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// The level that an extension names by its number (1 error … 5 trace).
pub(crate) fn level(number: u64) -> Option<Level> {
    filter(number).to_level().filter(|_| number <= 5)
}

impl Ring {
    fn byte(&self, at: usize) -> &AtomicU8 {
        &self.bytes[at % RING_SIZE]
    }

    fn append(&self, bytes: &[u8]) {
        let start = self.end.fetch_add(bytes.len(), Ordering::Relaxed);
        for (offset, byte) in bytes.iter().enumerate() {
            self.byte(start.wrapping_add(offset)).store(*byte, Ordering::Relaxed);
        }
    }

    fn read_newest(&self, buffer: &mut [u8]) -> usize {
        let end = self.end.load(Ordering::Relaxed);
        let length = buffer.len().min(end).min(RING_SIZE);
        for (offset, byte) in buffer.iter_mut().take(length).enumerate() {
            *byte = self.byte(end.wrapping_sub(length).wrapping_add(offset)).load(Ordering::Relaxed);
        }
        length
    }
}

/// One line under construction: what does not fit is cut.
struct Line {
    bytes: [u8; 400],
    length: usize,
}

/// How a line ends.
const LINE_END: &[u8; 2] = b"\r\n";

impl Line {
    /// The line with its end.
    fn finish(&mut self) -> &[u8] {
        let end = self.length.saturating_add(LINE_END.len());
        self.bytes.iter_mut().skip(self.length).zip(LINE_END).for_each(|(to, from)| *to = *from);
        self.bytes.get(..end).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Two bytes stay free for the line's end.
        let room = self.bytes.iter_mut().rev().skip(LINE_END.len()).rev().skip(self.length);
        self.length = self.length.saturating_add(room.zip(text.bytes()).map(|(to, from)| *to = from).count());
        Ok(())
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Line { bytes: [0; 400], length: 0 };
        // A `Line` takes everything.
        let _ = match record.level() {
            Level::Error => write!(line, "plinth: error: {}", record.args()),
            Level::Warn => write!(line, "plinth: warning: {}", record.args()),
            _ => write!(line, "plinth: {}", record.args()),
        };
        self.write_line(line.finish());
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;

    #[test]
    fn the_ring_keeps_the_newest_bytes() {
        let ring =
            Box::new(Ring { bytes: [const { AtomicU8::new(0) }; RING_SIZE], end: AtomicUsize::new(0) });
        for _ in 0..RING_SIZE {
            ring.append(b"abc");
        }
        ring.append(b"end");
        let mut newest = [0; 5];
        assert_eq!(ring.read_newest(&mut newest), 5);
        assert_eq!(&newest, b"bcend");
    }

    #[test]
    fn a_long_line_is_cut_not_lost() {
        let mut line = Line { bytes: [0; 400], length: 0 };
        for _ in 0..100 {
            write!(line, "0123456789").unwrap();
        }
        assert_eq!(line.length, 398);
    }
}
