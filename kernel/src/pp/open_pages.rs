//! The set of reservation pages that are writable for one instruction of the root VM.
//!
//! Invariant, private to this file: a page is in the set at most once, so that it is closed once.

/// The maximum number of pages that one instruction can open. For an instruction that writes to more, the set
/// keeps the newest.
const ROOM: usize = 8;

/// A set of pages, by their guest-physical addresses.
#[derive(Default)]
pub(crate) struct OpenPages([Option<u64>; ROOM]);

impl OpenPages {
    /// Whether there is no room for another page.
    pub(crate) fn is_full(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// Whether no page is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Adds a page. A set that is full stays as it is.
    pub(crate) fn add(&mut self, page: u64) {
        if !self.0.contains(&Some(page))
            && let Some(free) = self.0.iter_mut().find(|open| open.is_none())
        {
            *free = Some(page);
        }
    }

    /// The pages.
    pub(crate) fn into_pages(self) -> impl Iterator<Item = u64> {
        self.0.into_iter().flatten()
    }
}
