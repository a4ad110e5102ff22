//! The trace: a ring on each PP with the newest exits of the root VM.
//!
//! Tracing costs an exit nothing while it is off. While it is on, the flag `watches_runs`, which also marks
//! the first run, makes the PP look at each exit, and the PP posts a `TRACE` request to itself. That request
//! completes and publishes the record before the next run. The trace contains no exits of other VMs, since
//! the root VM must not see what they do.
//!
//! The kernel allocates a ring when tracing is first switched on, and keeps it: readers take no lock.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use plinth_extension_api::abi::{Error, Failure, TraceRecord};
use plinth_hal::{FrameSource, PAGE_SIZE, PhysicalMemory, Spa};

use crate::limits::MAX_PPS;
use crate::sync::Lock;

/// The size of a ring in pages.
const PAGES: usize = 16;
/// The number of records in a ring.
pub(crate) const CAPACITY: u64 = PAGES as u64 * PAGE_SIZE / size_of::<TraceRecord>() as u64;

/// A record as 64-bit words.
pub(crate) type Words = [u64; size_of::<TraceRecord>() / 8];

/// The ring of one PP.
struct Ring {
    /// The address of the ring; 0 before it is allocated.
    start: AtomicU64,
    /// The number of records written so far.
    newest: AtomicU64,
}

/// The rings of all PPs.
pub(crate) struct Traces {
    /// The traced classes, a bit for each.
    classes: AtomicU64,
    rings: [Ring; MAX_PPS],
    /// Held while rings are allocated.
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

    /// The traced classes, a bit for each.
    #[inline]
    pub(crate) fn classes(&self) -> u64 {
        self.classes.load(Ordering::Relaxed)
    }

    /// Sets the traced classes. Returns the previous set.
    pub(crate) fn set_classes(&self, classes: u64) -> u64 {
        self.classes.swap(classes, Ordering::SeqCst)
    }

    /// Whether any PP has a ring.
    pub(crate) fn are_open(&self) -> bool {
        self.rings.iter().any(|ring| ring.start.load(Ordering::Relaxed) != 0)
    }

    /// The numbers of the oldest record and of the next record of a PP. The record before the oldest may be
    /// half overwritten.
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

    /// Publishes a record. Only the PP itself calls it.
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
