//! What both PPs know of: the objects and pages that the caller has made and that nobody has destroyed.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::random::Random;

/// The id of no object, and the address of no page: the root VM and its first VP have the id 0.
pub(super) const ABSENT: u64 = 1 << 47;

/// An object, and the one that it belongs to.
struct Entry {
    id: AtomicU64,
    parent: AtomicU64,
}

/// Up to `N` objects of a kind.
pub(super) struct Shared<const N: usize>([Entry; N]);

impl<const N: usize> Shared<N> {
    pub(super) const fn new() -> Self {
        Self([const { Entry { id: AtomicU64::new(ABSENT), parent: AtomicU64::new(ABSENT) } }; N])
    }

    /// Any of them with its parent, or [`ABSENT`].
    pub(super) fn pick(&self, random: &mut Random) -> (u64, u64) {
        let entry = &self.0[random.below(N as u64) as usize];
        (entry.id.load(Ordering::SeqCst), entry.parent.load(Ordering::SeqCst))
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.iter().any(|entry| entry.id.load(Ordering::SeqCst) == ABSENT)
    }

    /// Remembers what has been made. Only the caller adds, so that there is room still where there was some.
    pub(super) fn add(&self, id: u64, parent: u64) {
        if let Some(free) = self.0.iter().find(|entry| entry.id.load(Ordering::SeqCst) == ABSENT) {
            free.parent.store(parent, Ordering::SeqCst);
            free.id.store(id, Ordering::SeqCst);
        }
    }

    /// Forgets an object of this parent's. Only one PP removes; what the caller has put into a free entry meanwhile stays.
    pub(super) fn remove(&self, (id, parent): (u64, u64)) {
        let is_it = |entry: &&Entry| {
            entry.id.load(Ordering::SeqCst) == id && entry.parent.load(Ordering::SeqCst) == parent
        };
        if let Some(entry) = self.0.iter().find(is_it) {
            let _ = entry.id.compare_exchange(id, ABSENT, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// All of them, each with its parent.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, u64)> {
        let both = |entry: &Entry| (entry.id.load(Ordering::SeqCst), entry.parent.load(Ordering::SeqCst));
        self.0.iter().map(both).filter(|(id, _)| *id != ABSENT)
    }
}

pub(super) static VMS: Shared<2> = Shared::new();
pub(super) static VPS: Shared<4> = Shared::new();
pub(super) static VSS: Shared<4> = Shared::new();
/// Their parents are VMs; the ids are those of the VM's own views.
pub(super) static VIEWS: Shared<4> = Shared::new();
pub(super) static PAGES: Shared<8> = Shared::new();
