//! The ring of log records: each a header and its text, as the ABI lays them out, one behind the other.
//!
//! A cursor counts the bytes of all records since the launch; the byte that it counts is at the cursor modulo the ring's size.
//! One processor at a time appends. Those that read take no lock: they copy, and look afterwards whether what they have copied
//! was still there.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use plinth_extension_api::abi::{LOG_CAPACITY, LOG_COPY_RING, LOG_MAGIC, LOG_TEXT, LogCopy, LogRecord};

use super::Mirror;

/// Words in the ring.
const WORDS: usize = LOG_CAPACITY as usize / 8;
/// Bytes of a record's header.
const HEADER: u64 = size_of::<LogRecord>() as u64;
/// The most bytes of a record.
pub(crate) const RECORD: usize = size_of::<LogRecord>() + LOG_TEXT as usize;
/// How often a reader that is overtaken by writers begins again.
const ATTEMPTS: usize = 4;

/// Where a field of the copy's first bytes is, in words.
const MAGIC: usize = offset_of!(LogCopy, magic) / 8;
const CAPACITY: usize = offset_of!(LogCopy, capacity) / 8;
const OLDEST: usize = offset_of!(LogCopy, oldest) / 8;
const NEWEST: usize = offset_of!(LogCopy, newest) / 8;

/// Why there is nothing to read at a cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unreadable {
    /// No record begins there: it is behind the end, or inside one.
    NoRecord,
    /// It has been overwritten.
    Overwritten,
}

/// The newest records of the log.
pub(super) struct Ring {
    words: [AtomicU64; WORDS],
    /// The cursor of the oldest record that is whole.
    oldest: AtomicU64,
    /// The cursor of the next record.
    newest: AtomicU64,
}

/// Bytes that a record with so long a text takes.
const fn record_size(length: u64) -> u64 {
    HEADER.saturating_add(length.saturating_add(7) & !7)
}

impl Ring {
    pub(super) const fn new() -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; WORDS],
            oldest: AtomicU64::new(0),
            newest: AtomicU64::new(0),
        }
    }

    /// The cursors of the oldest record and of the next one.
    pub(super) fn range(&self) -> (u64, u64) {
        (self.oldest.load(Ordering::Acquire), self.newest.load(Ordering::Acquire))
    }

    fn word(&self, cursor: u64) -> &AtomicU64 {
        &self.words[(cursor / 8) as usize % WORDS]
    }

    /// Bytes of the record at a cursor, as far as its header can be believed.
    fn size_at(&self, cursor: u64) -> Option<u64> {
        let length = self.word(cursor.wrapping_add(8)).load(Ordering::Relaxed) >> 32;
        (length <= LOG_TEXT).then(|| record_size(length))
    }

    /// Puts a record at the end, and into the mirror. `text` is at most [`LOG_TEXT`] bytes.
    pub(super) fn append(&self, header: LogRecord, text: &[u8], mirror: Option<&dyn Mirror>) {
        let (mut oldest, newest) = self.range();
        let end = newest.saturating_add(record_size(text.len() as u64));
        // BOUND: each round is one record of the ring's, which ends where the new one begins.
        while end.saturating_sub(oldest) > LOG_CAPACITY && oldest < newest {
            // A header that cannot be believed: nothing before the new record can be found.
            oldest = self.size_at(oldest).map_or(newest, |size| oldest.saturating_add(size)).min(newest);
        }
        self.oldest.store(oldest, Ordering::Relaxed);
        set(mirror, OLDEST, oldest);
        // Whoever sees a word of the new record sees that the old one is gone.
        fence(Ordering::Release);
        let second = u64::from(header.pp) | u64::from(header.level) << 16 | u64::from(header.length) << 32;
        let rest =
            text.chunks(8).map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        for (cursor, value) in (newest..end).step_by(8).zip([header.counter, second].into_iter().chain(rest))
        {
            self.word(cursor).store(value, Ordering::Relaxed);
            set(mirror, ring_word(cursor), value);
        }
        self.newest.store(end, Ordering::Release);
        set(mirror, NEWEST, end);
    }

    /// Fills a mirror that has nothing yet.
    pub(super) fn fill(&self, mirror: &dyn Mirror) {
        let (oldest, newest) = self.range();
        for cursor in (oldest..newest).step_by(8) {
            mirror.set(ring_word(cursor), self.word(cursor).load(Ordering::Relaxed));
        }
        mirror.set(CAPACITY, LOG_CAPACITY);
        mirror.set(OLDEST, oldest);
        mirror.set(NEWEST, newest);
        mirror.set(MAGIC, u64::from_le_bytes(LOG_MAGIC));
    }

    /// The cursor from which a reader goes on that wants to go on at `cursor`: that one, or the oldest record's.
    ///
    /// # Errors
    /// [`Unreadable`]; [`Unreadable::Overwritten`] only where writers are faster all the time.
    pub(super) fn start(&self, cursor: u64) -> Result<u64, Unreadable> {
        for _ in 0..ATTEMPTS {
            let (oldest, newest) = self.range();
            if cursor > newest || !cursor.is_multiple_of(8) {
                return Err(Unreadable::NoRecord);
            }
            let found = self.first_from(oldest, newest, cursor);
            fence(Ordering::Acquire);
            if self.oldest.load(Ordering::Relaxed) == oldest {
                let found = found.ok_or(Unreadable::NoRecord)?;
                return if found > cursor && cursor >= oldest {
                    Err(Unreadable::NoRecord)
                } else {
                    Ok(found)
                };
            }
        }
        Err(Unreadable::Overwritten)
    }

    /// The first record at or behind `cursor`, if headers lead there.
    fn first_from(&self, oldest: u64, newest: u64, cursor: u64) -> Option<u64> {
        let mut at = oldest;
        // BOUND: each round is one record of the ring's.
        while at < cursor {
            at = at.saturating_add(self.size_at(at)?);
        }
        (at <= newest).then_some(at)
    }

    /// Copies the record at `cursor`, header and text, and says how many bytes it has.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub(super) fn read(&self, cursor: u64, record: &mut [u8; RECORD]) -> Result<usize, Unreadable> {
        let (oldest, newest) = self.range();
        if cursor < oldest {
            return Err(Unreadable::Overwritten);
        }
        let size = self.size_at(cursor);
        for (offset, chunk) in (0..size.unwrap_or(0)).step_by(8).zip(record.chunks_mut(8)) {
            let word = self.word(cursor.wrapping_add(offset)).load(Ordering::Relaxed).to_le_bytes();
            chunk.iter_mut().zip(word).for_each(|(to, from)| *to = from);
        }
        fence(Ordering::Acquire);
        if self.oldest.load(Ordering::Relaxed) > cursor {
            return Err(Unreadable::Overwritten);
        }
        let whole = size.filter(|size| cursor.checked_add(*size).is_some_and(|end| end <= newest));
        whole.map(|size| size as usize).ok_or(Unreadable::NoRecord)
    }
}

/// The place of a word of the ring in the copy, in words.
const fn ring_word(cursor: u64) -> usize {
    (LOG_COPY_RING / 8) as usize + (cursor / 8) as usize % WORDS
}

fn set(mirror: Option<&dyn Mirror>, word: usize, value: u64) {
    if let Some(mirror) = mirror {
        mirror.set(word, value);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn ring() -> Box<Ring> {
        Box::new(Ring::new())
    }

    fn append(ring: &Ring, number: u64, text: &str, mirror: Option<&dyn Mirror>) {
        let header = LogRecord { counter: number, pp: 3, level: 2, length: text.len() as u32 };
        ring.append(header, text.as_bytes(), mirror);
    }

    fn texts(ring: &Ring, cursor: u64) -> Vec<(u64, String)> {
        let mut at = ring.start(cursor).unwrap();
        let mut texts = Vec::new();
        while at < ring.range().1 {
            let mut record = [0; RECORD];
            let size = ring.read(at, &mut record).unwrap();
            let counter = u64::from_le_bytes(record[..8].try_into().unwrap());
            let length = u32::from_le_bytes(record[12..16].try_into().unwrap()) as usize;
            assert_eq!((record[8], record[10]), (3, 2));
            texts.push((counter, String::from_utf8(record[16..16 + length].to_vec()).unwrap()));
            at += size as u64;
        }
        texts
    }

    #[test]
    fn records_come_back_in_order_from_any_records_cursor() {
        let ring = ring();
        for (number, text) in ["", "one", "exactly8", "a little longer"].into_iter().enumerate() {
            append(&ring, number as u64, text, None);
        }
        let all = texts(&ring, 0);
        assert_eq!(all[3], (3, "a little longer".to_string()));
        assert_eq!((all.len(), texts(&ring, 16).len(), texts(&ring, ring.range().1).len()), (4, 3, 0));
    }

    #[test]
    fn what_no_longer_fits_goes_by_whole_records() {
        let ring = ring();
        for number in 0..10_000 {
            append(
                &ring,
                number,
                &format!("record {number} {}", "x".repeat(number as usize % 400 / 2)),
                None,
            );
            let (oldest, newest) = ring.range();
            assert!(newest - oldest <= LOG_CAPACITY);
        }
        let kept = texts(&ring, 0);
        assert_eq!(kept.last().unwrap().0, 9_999);
        assert!(kept.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "none is missing");
        assert!(kept.len() > 300);
    }

    #[test]
    fn a_cursor_in_the_past_is_the_oldest_and_one_in_the_future_or_inside_a_record_is_none() {
        let ring = ring();
        for number in 0..5_000 {
            append(&ring, number, "sixteen bytes ok", None);
        }
        let (oldest, newest) = ring.range();
        assert!(oldest > 0);
        assert_eq!(ring.start(0), Ok(oldest));
        assert_eq!(ring.start(oldest - 8), Ok(oldest));
        assert_eq!(ring.start(newest), Ok(newest));
        for cursor in [newest + 8, u64::MAX, !7, oldest + 8, oldest + 1, oldest + 16] {
            assert_eq!(ring.start(cursor), Err(Unreadable::NoRecord), "{cursor:#x}");
        }
        assert_eq!(ring.read(oldest - 8, &mut [0; RECORD]), Err(Unreadable::Overwritten));
        assert_eq!(ring.read(newest, &mut [0; RECORD]), Err(Unreadable::NoRecord));
    }

    #[test]
    fn headers_that_cannot_be_believed_end_the_walk() {
        let ring = ring();
        for number in 0..10 {
            append(&ring, number, "text", None);
        }
        ring.words[1].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(ring.start(24), Err(Unreadable::NoRecord));
        assert_eq!(ring.read(0, &mut [0; RECORD]), Err(Unreadable::NoRecord));
        for number in 0..10_000 {
            append(&ring, number, "more text", None);
        }
        assert_eq!(texts(&ring, 0).last().unwrap().0, 9_999, "it heals");
    }

    /// A copy in the OS's memory, at which somebody looks after each word that is set.
    struct Copy(Vec<AtomicU64>);

    impl Copy {
        fn new() -> Self {
            Self((0..(LOG_COPY_RING / 8) as usize + WORDS).map(|_| AtomicU64::new(0)).collect())
        }

        fn get(&self, word: usize) -> u64 {
            self.0[word].load(Ordering::Relaxed)
        }

        /// The counters of all records, as the ABI says where they are; none before the magic is there.
        fn counters(&self) -> Vec<u64> {
            let (mut at, newest) = (self.get(OLDEST), self.get(NEWEST));
            let mut counters = Vec::new();
            while self.get(MAGIC).to_le_bytes() == LOG_MAGIC && at < newest {
                let second = self.get(ring_word(at + 8));
                assert_eq!(second as u32, 3 | 2 << 16, "a record's PP and level");
                counters.push(self.get(ring_word(at)));
                at += record_size(second >> 32);
            }
            assert!(counters.is_empty() || at == newest, "the last record ends at the end");
            counters
        }
    }

    impl Mirror for Copy {
        fn set(&self, word: usize, value: u64) {
            self.0[word].store(value, Ordering::Relaxed);
            let counters = self.counters();
            assert!(counters.windows(2).all(|pair| pair[1] == pair[0] + 1), "{counters:?}");
        }
    }

    #[test]
    fn a_mirror_has_whole_records_at_any_moment_and_in_the_end_what_the_ring_has() {
        let (ring, copy) = (ring(), Copy::new());
        for number in 0..5 {
            append(&ring, number, "before there is a mirror", None);
        }
        ring.fill(&copy);
        assert_eq!(copy.counters(), [0, 1, 2, 3, 4]);
        for number in 5..800 {
            append(&ring, number, &"m".repeat(80 + number as usize % 80), Some(&copy));
        }
        let kept: Vec<_> = texts(&ring, 0).into_iter().map(|(counter, _)| counter).collect();
        assert!(kept[0] > 5 && copy.counters() == kept);
        let words = (ring.range().0..ring.range().1).step_by(8);
        assert!(words.into_iter().all(|at| copy.get(ring_word(at)) == ring.word(at).load(Ordering::Relaxed)));
        assert_eq!(copy.get(CAPACITY), LOG_CAPACITY);
    }

    #[test]
    fn a_reader_beside_a_writer_gets_whole_records_only() {
        let ring: &'static Ring = Box::leak(ring());
        let writer = std::thread::spawn(move || {
            for number in 0..200_000_u64 {
                append(ring, number, &"n".repeat((number % 200) as usize), None);
            }
        });
        let (mut cursor, mut last, mut read) = (0, None, 0);
        while !writer.is_finished() || cursor != ring.range().1 {
            let Ok(start) = ring.start(cursor) else { continue };
            let mut record = [0; RECORD];
            cursor = start;
            if let Ok(size) = ring.read(start, &mut record) {
                let number = u64::from_le_bytes(record[..8].try_into().unwrap());
                let length = u32::from_le_bytes(record[12..16].try_into().unwrap());
                assert_eq!(u64::from(length), number % 200);
                assert!(record[16..16 + length as usize].iter().all(|byte| *byte == b'n'));
                assert!(last.is_none_or(|last| number > last));
                (last, cursor, read) = (Some(number), start + size as u64, read + 1);
            }
        }
        assert_eq!(last, Some(199_999));
        assert!(read > 100);
        writer.join().unwrap();
    }
}
