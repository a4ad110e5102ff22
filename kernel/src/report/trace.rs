//! The trace: each PP keeps its newest exits of the root VM's, while that is on.
//!
//! An exit pays nothing for it while it is off. While it is on, a PP looks at each exit by the flag that tells its first run, and
//! leaves a request with itself, so that it finds out when a VS is about to run again: then the record is whole, and published.
//! Exits of other VMs are not in it: what they do is not the root VM's to know.
//!
//! A ring is made when the trace is first turned on, and stays: those that read it take no lock.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use plinth_extension_api::abi::{Error, Failure, TraceRecord};
use plinth_hal::{FrameSource, PAGE_SIZE, PhysicalMemory, Spa};

use crate::limits::MAX_PPS;
use crate::sync::Lock;

/// Pages of each PP's ring.
const PAGES: usize = 16;
/// Records that a ring has room for.
pub(crate) const CAPACITY: u64 = PAGES as u64 * PAGE_SIZE / size_of::<TraceRecord>() as u64;

/// A record as it is in memory.
pub(crate) type Words = [u64; size_of::<TraceRecord>() / 8];

/// One PP's ring.
struct Ring {
    /// Its first frame; 0 for none.
    start: AtomicU64,
    /// How many records there have been.
    newest: AtomicU64,
}

/// All PPs' rings.
pub(crate) struct Traces {
    /// The classes that are traced, a bit for each.
    classes: AtomicU64,
    rings: [Ring; MAX_PPS],
    /// Held while rings are made.
    opening: Lock<()>,
}

impl Traces {
    pub(crate) const fn new() -> Self {
        Self {
            classes: AtomicU64::new(0),
            rings: [const { Ring { start: AtomicU64::new(0), newest: AtomicU64::new(0) } }; MAX_PPS],
            opening: Lock::new(()),
        }
    }

    /// The classes that are traced, a bit for each.
    #[inline]
    pub(crate) fn classes(&self) -> u64 {
        self.classes.load(Ordering::Relaxed)
    }

    /// Sets them. Returns those before.
    pub(crate) fn set_classes(&self, classes: u64) -> u64 {
        self.classes.swap(classes, Ordering::SeqCst)
    }

    /// Whether any PP has a ring.
    pub(crate) fn are_open(&self) -> bool {
        self.rings.iter().any(|ring| ring.start.load(Ordering::Relaxed) != 0)
    }

    /// The numbers of the oldest record that a PP has and of the next one. The one before the oldest may be half overwritten.
    pub(crate) fn range(&self, pp: usize) -> (u64, u64) {
        let newest = self.rings.get(pp).map_or(0, |ring| ring.newest.load(Ordering::Acquire));
        (newest.saturating_sub(CAPACITY - 1), newest)
    }

    fn place(&self, pp: usize, number: u64) -> Option<Spa> {
        let start = self.rings.get(pp).map_or(0, |ring| ring.start.load(Ordering::Acquire));
        let offset = number % CAPACITY * size_of::<TraceRecord>() as u64;
        (start != 0).then(|| Spa::new(start).wrapping_add(offset))
    }

    /// A PP's record by its number; `None` where it is overwritten or not there.
    pub(crate) fn read(&self, memory: impl PhysicalMemory, pp: usize, number: u64) -> Option<Words> {
        let place = self.place(pp, number)?;
        let record = core::array::from_fn(|word| memory.read_u64(place.word(word as u64)));
        fence(Ordering::Acquire);
        let (oldest, newest) = self.range(pp);
        (oldest..newest).contains(&number).then_some(record)
    }

    /// Publishes a record. The PP itself alone may call it.
    pub(crate) fn write(&self, memory: impl PhysicalMemory, pp: usize, record: Words) {
        let (Some(ring), (_, newest)) = (self.rings.get(pp), self.range(pp)) else { return };
        let Some(place) = self.place(pp, newest) else { return };
        fence(Ordering::Release);
        for (word, value) in (0..).zip(record) {
            memory.write_u64(place.word(word), value);
        }
        ring.newest.store(newest.wrapping_add(1), Ordering::Release);
    }

    /// Forgets all records: see `promotion.rs`.
    pub(crate) fn clear(&self, memory: impl PhysicalMemory) {
        let starts =
            self.rings.iter().map(|ring| ring.start.load(Ordering::Relaxed)).filter(|start| *start != 0);
        for page in starts.flat_map(|start| (0..PAGES as u64).map(move |page| Spa::new(start).nth_page(page)))
        {
            memory.zero_page(page);
        }
    }

    /// Makes a ring for each of the first `numbers` PPs that has none.
    ///
    /// # Errors
    /// The pool has too few frames: then none is made.
    pub(crate) fn open(&self, frames: &mut impl FrameSource, numbers: usize) -> Result<(), Failure> {
        let _one = self.opening.lock()?;
        let needed = |ring: &&Ring| ring.start.load(Ordering::Relaxed) == 0;
        let mut made = [Spa::new(0); MAX_PPS];
        for (place, ring) in made.iter_mut().zip(&self.rings).take(numbers) {
            if needed(&ring) {
                match frames.allocate(PAGES) {
                    Ok(start) => *place = start,
                    Err(_) => {
                        made.iter()
                            .filter(|start| start.raw() != 0)
                            .for_each(|start| frames.free(*start, PAGES));
                        return Err(Error::OutOfMemory.into());
                    }
                }
            }
        }
        for (start, ring) in made.iter().zip(&self.rings).filter(|(start, _)| start.raw() != 0) {
            ring.start.store(start.raw(), Ordering::Release);
        }
        Ok(())
    }
}
