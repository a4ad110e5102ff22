//! Records of the hypervisor's log: from the running kernel by cursors, or from the copy in Linux's memory, which outlives it.

use plinth_extension_api::abi::{
    LOG_CAPACITY, LOG_COPY_RING, LOG_MAGIC, LOG_NO_PP, LOG_TEXT, LogCopy, LogRecord,
};
use serde::Serialize;
use zerocopy::FromBytes;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// The counter.
    pub(crate) counter: u64,
    /// The PP that has written it, if one has.
    pub(crate) pp: Option<u16>,
    pub(crate) level: &'static str,
    pub(crate) text: String,
}

/// A level's name.
fn level(number: u16) -> &'static str {
    crate::hypervisor::word(&["off", "error", "warn", "info", "debug", "trace"], number.into())
}

/// The records that stand one behind the other. What is no whole record ends them.
pub(crate) fn lines(mut bytes: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    while let Ok((LogRecord { counter, pp, level, length }, rest)) = LogRecord::read_from_prefix(bytes) {
        let text = rest.get(..length as usize).filter(|_| u64::from(length) <= LOG_TEXT);
        let Some(text) = text else { break };
        let pp = Some(pp).filter(|pp| u64::from(*pp) != LOG_NO_PP);
        let text = printable(&String::from_utf8_lossy(text));
        lines.push(Line { counter, pp, level: self::level(level), text });
        bytes = rest.get((length as usize).next_multiple_of(8)..).unwrap_or_default();
    }
    lines
}

/// Text that a terminal shows as it is: an extension may have put anything into the log.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The records of a copy of the log in Linux's memory, as a reader finds it; `None` where there is none.
pub(crate) fn copied(memory: &[u8]) -> Option<Vec<Line>> {
    let (LogCopy { magic, capacity, oldest, newest }, _) = LogCopy::read_from_prefix(memory).ok()?;
    let ring = memory.get(LOG_COPY_RING as usize..)?.get(..capacity as usize)?;
    let is_right = magic == LOG_MAGIC
        && capacity == LOG_CAPACITY
        && newest.checked_sub(oldest)? <= capacity
        && oldest.is_multiple_of(8);
    let all = || (oldest..newest).map(|at| ring[(at % capacity) as usize]).collect::<Vec<_>>();
    is_right.then(|| lines(&all()))
}

#[cfg(test)]
pub(crate) mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;

    /// A record as the kernel writes it.
    pub(crate) fn record(counter: u64, pp: u16, level: u16, text: &str) -> Vec<u8> {
        let header = LogRecord { counter, pp, level, length: text.len() as u32 };
        let mut bytes = [header.as_bytes(), text.as_bytes()].concat();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// A copy whose records begin at a cursor.
    fn copy(records: &[u8], oldest: u64) -> Vec<u8> {
        let header = LogCopy {
            magic: LOG_MAGIC,
            capacity: LOG_CAPACITY,
            oldest,
            newest: oldest + records.len() as u64,
        };
        let mut memory = vec![0xEE; (LOG_COPY_RING + LOG_CAPACITY) as usize];
        memory[..size_of::<LogCopy>()].copy_from_slice(header.as_bytes());
        for (at, byte) in (oldest..).zip(records) {
            memory[(LOG_COPY_RING + at % LOG_CAPACITY) as usize] = *byte;
        }
        memory
    }

    #[test]
    fn a_copy_is_read_across_the_rings_end() {
        let records = [record(1, 0, 3, "first"), record(2, 0xFFFF, 1, "second, \x1b[31m")].concat();
        for oldest in [0, 4096, LOG_CAPACITY - 8, LOG_CAPACITY - 24, 7 * LOG_CAPACITY - 16] {
            let found = copied(&copy(&records, oldest)).unwrap();
            assert_eq!((found[0].counter, found[0].pp, found[0].level), (1, Some(0), "info"));
            assert_eq!((found[1].pp, found[1].level, &*found[1].text), (None, "error", "second, ?[31m"));
            assert_eq!(found.len(), 2);
        }
    }

    #[test]
    fn what_is_no_copy_is_none_and_a_broken_record_ends_the_rest() {
        assert_eq!(copied(&[]), None);
        assert_eq!(copied(&vec![0; 128 << 10]), None);
        let good = copy(&record(1, 0, 3, "x"), 0);
        assert_eq!(copied(&good[..8192]), None);
        for (at, byte) in [(0, b'X'), (8, 1), (16, 9)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(copied(&bad), None, "byte {at}");
        }
        let mut long = [record(1, 0, 3, "fine"), record(2, 0, 3, "bad")].concat();
        let second = record(1, 0, 3, "fine").len();
        long[second + 12..second + 16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(lines(&long).len(), 1);
    }
}
