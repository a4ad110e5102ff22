//! The kernel's log: a ring of records in memory, a copy in memory of the OS if the launch contract names
//! some, and a console if there is one.

mod ring;

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use plinth_extension_api::abi::{LOG_CAPACITY, LOG_COPY_RING, LOG_NO_PP, LOG_TEXT, LogRecord};
use plinth_hal::PAGE_SIZE;
use plinth_launch::{LaunchInfo, Range};
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

use crate::report::text::Text;
use ring::Ring;

pub(crate) use ring::{RECORD, Unreadable};

/// The number of attempts of a writer before it breaks the lock, whose holder must have failed.
const LOCK_TRIES: usize = 10_000_000;

/// A write-only console.
pub trait Console: Sync {
    /// Writes the bytes. Must not wait without a bound.
    fn write(&self, bytes: &[u8]);
}

/// The source of the counter and the PP number of each record.
pub trait Origin: Sync {
    /// The counter of the machine, as [`plinth_hal::HostCpu::counter`].
    fn counter(&self) -> u64;

    /// The number of the calling PP; `None` on a processor that is not a PP yet.
    fn pp(&self) -> Option<usize>;
}

/// Memory of the OS that receives a copy of the log. The kernel never reads it.
pub trait Mirror: Sync {
    /// Writes a word, after all words written before.
    fn set(&self, word: usize, value: u64);
}

/// The outputs and inputs of the log. Each may be missing.
#[derive(Clone, Copy, Default)]
pub struct Connections {
    /// The console.
    pub console: Option<&'static dyn Console>,
    /// The source of counter and PP number.
    pub origin: Option<&'static dyn Origin>,
    /// Memory for a copy.
    pub mirror: Option<&'static dyn Mirror>,
}

/// The logger that the kernel registers with the `log` crate.
pub struct Logger {
    ring: Ring,
    connections: Once<Connections>,
    busy: AtomicBool,
}

/// The kernel's logger.
pub static LOGGER: Logger = Logger::new();

impl Logger {
    const fn new() -> Self {
        Self { ring: Ring::new(), connections: Once::new(), busy: AtomicBool::new(false) }
    }

    /// Starts logging at `level` (0 off … 5 trace). Only the connections of the first call count.
    pub fn start(&'static self, level: u64, connections: Connections) {
        let mirror = self.connections.call_once(|| connections).mirror;
        if let Some(mirror) = mirror {
            self.alone(|| self.ring.fill(mirror));
        }
        // A second launch finds this logger registered already.
        let _ = log::set_logger(self);
        log::set_max_level(filter(level));
    }

    /// The start of the OS's memory for the copy, if the contract names a valid range.
    pub fn copy_place(info: &LaunchInfo) -> Option<u64> {
        let (log, end) = (info.log, info.log.start.checked_add(info.log.size)?);
        let is_apart = |other: Range| {
            let other_end = other.start.saturating_add(other.size);
            other.size == 0 || end <= other.start || other_end <= log.start
        };
        let is_right = log.size >= LOG_COPY_RING + LOG_CAPACITY
            && log.start.is_multiple_of(PAGE_SIZE)
            && log.start >= PAGE_SIZE
            && end <= info.memory_end
            && is_apart(info.reservation)
            && is_apart(info.low_page);
        is_right.then_some(log.start)
    }

    /// Starts logging with the settings of a launch, and writes the first line.
    pub fn begin(&'static self, info: &LaunchInfo, connections: Connections) {
        self.start(info.log_level, connections);
        let segment = info.kernel_segments[0].range.start;
        log::info!("kernel at {segment:#x}, {} KiB reserved", info.reservation.size / 1024);
    }

    /// Calls `work` while no other processor writes.
    fn alone(&self, work: impl FnOnce()) {
        let mut tries = 0;
        // BOUND: `LOCK_TRIES`.
        while self.busy.swap(true, Ordering::Acquire) && tries < LOCK_TRIES {
            core::hint::spin_loop();
            tries += 1;
        }
        work();
        self.busy.store(false, Ordering::Release);
    }

    /// The cursors of the oldest record and of the next record.
    pub(crate) fn range(&self) -> (u64, u64) {
        self.ring.range()
    }

    /// The cursor at which a reader continues: `cursor` itself, or the oldest record if that is newer.
    pub(crate) fn start_at(&self, cursor: u64) -> Result<u64, Unreadable> {
        self.ring.start(cursor)
    }

    /// Copies the record at `cursor`, header and text. Returns its length in bytes.
    pub(crate) fn read(&self, cursor: u64, record: &mut [u8; RECORD]) -> Result<usize, Unreadable> {
        self.ring.read(cursor, record)
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

/// What the console shows before a line.
const fn prefix(level: Level) -> &'static [u8] {
    match level {
        Level::Error => b"plinth: error: ",
        Level::Warn => b"plinth: warning: ",
        Level::Info | Level::Debug | Level::Trace => b"plinth: ",
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
        let mut text = Text::<{ LOG_TEXT as usize }>::new();
        // A `Text` takes everything.
        let _ = write!(text, "{}", record.args());
        let connections = self.connections.get().copied().unwrap_or_default();
        let (level, text) = (record.level(), text.as_bytes());
        let (pp, length) = (connections.origin.and_then(|origin| origin.pp()), text.len() as u32);
        let pp = pp.map_or(LOG_NO_PP as u16, |pp| pp as u16);
        self.alone(|| {
            let counter = connections.origin.map_or(0, |origin| origin.counter());
            let header = LogRecord { counter, pp, level: level as u16, length };
            self.ring.append(header, text, connections.mirror);
            if let Some(console) = connections.console {
                [prefix(level), text, b"\r\n"].iter().for_each(|part| console.write(part));
            }
        });
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_memory_of_the_oss_or_there_is_none() {
        let place = |start, size| {
            Logger::copy_place(&LaunchInfo {
                log: Range { start, size },
                reservation: Range { start: 0x20_0000, size: 0x20_0000 },
                low_page: Range { start: 0x8000, size: 0x1000 },
                memory_end: 0x100_0000,
                ..LaunchInfo::default()
            })
        };
        let size = LOG_COPY_RING + LOG_CAPACITY;
        assert_eq!((place(0x10_0000, size), place(0x40_0000, size)), (Some(0x10_0000), Some(0x40_0000)));
        assert_eq!((place(0, 0), place(0x10_0000, size - 1), place(0x10_0008, size)), (None, None, None));
        for start in [0, 0x1000, 0x8000, 0x20_0000, 0x30_0000, 0x1F_0000, 0x100_0000, !0xFFF] {
            assert_eq!(place(start, size), None, "{start:#x}");
        }
    }

    #[test]
    fn a_levels_number_is_the_extensions() {
        for wanted in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            assert_eq!(level(wanted as u64), Some(wanted));
        }
        assert_eq!((level(0), level(6)), (None, None));
    }
}
