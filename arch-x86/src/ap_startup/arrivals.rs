//! The processors that run under Plinth or may be started: what one looks for when it arrives, its number and a stack, by
//! its local APIC id; and whether it is here.
//!
//! That counts for NMIs. After INIT a processor takes one by the interrupt table of real mode, at address 0, which is the
//! root VM's: it would run the root VM's code outside of all virtualization. So none is sent to it.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use plinth_hal::Target;
use plinth_kernel::MAX_PPS;

/// What one processor needs. Read by the trampoline in assembly: the order counts.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Place {
    id: AtomicU32,
    pp: AtomicU32,
    stack_end: AtomicU64,
}

/// All of them.
pub(crate) struct Arrivals {
    places: [Place; MAX_PPS],
    here: [AtomicBool; MAX_PPS],
    count: AtomicUsize,
    boot_id: AtomicU32,
}

/// The machine's.
pub(crate) static ARRIVALS: Arrivals = Arrivals::new();

const _: () = assert!(size_of::<Place>() == 16);

impl Arrivals {
    const fn new() -> Self {
        Self {
            places: [const {
                Place { id: AtomicU32::new(u32::MAX), pp: AtomicU32::new(0), stack_end: AtomicU64::new(0) }
            }; MAX_PPS],
            here: [const { AtomicBool::new(false) }; MAX_PPS],
            count: AtomicUsize::new(0),
            boot_id: AtomicU32::new(u32::MAX),
        }
    }

    /// Says which processor launches the others.
    pub(crate) fn set_boot(&self, id: u32) {
        self.boot_id.store(id, Ordering::Relaxed);
    }

    /// Adds one that may be started.
    pub(crate) fn add(&self, id: u32, pp: u32, stack_end: u64) {
        let index = self.count.load(Ordering::Relaxed);
        let Some(place) = self.places.get(index) else { return };
        place.stack_end.store(stack_end, Ordering::Relaxed);
        place.pp.store(pp, Ordering::Relaxed);
        place.id.store(id, Ordering::Relaxed);
        self.count.store(index + 1, Ordering::SeqCst);
    }

    /// The first place, and how many there are: for the trampoline.
    pub(crate) fn places(&self) -> (*const Place, usize) {
        (self.places.as_ptr(), self.count.load(Ordering::SeqCst))
    }

    /// Says whether the processor that is the PP `pp` has left real mode behind.
    pub(crate) fn set_here(&self, pp: u64, here: bool) {
        let is_it = |place: &Place| u64::from(place.pp.load(Ordering::Relaxed)) == pp;
        self.mark(is_it, here);
    }

    /// The processor with this id is about to be started.
    pub(crate) fn leave(&self, id: u32) {
        self.mark(|place| place.id.load(Ordering::Relaxed) == id, false);
    }

    fn mark(&self, is_it: impl Fn(&Place) -> bool, here: bool) {
        let (_, count) = self.places();
        for (place, mark) in self.places.iter().zip(&self.here).take(count) {
            if is_it(place) {
                mark.store(here, Ordering::SeqCst);
            }
        }
    }

    /// The ids of those that are here.
    fn all_here(&self) -> impl Iterator<Item = u32> + '_ {
        let (_, count) = self.places();
        let others = self.places.iter().zip(&self.here).take(count);
        let others = others.filter(|(_, here)| here.load(Ordering::SeqCst));
        let boot = core::iter::once(self.boot_id.load(Ordering::Relaxed));
        boot.chain(others.map(|(place, _)| place.id.load(Ordering::Relaxed)))
    }

    /// Those that an NMI of the processor `own` reaches: whom it means, and of them who is here. `None` for logical ids of
    /// xAPIC mode: a processor that is not here has none.
    pub(crate) fn reached(
        &self,
        target: Target,
        own: u32,
        x2apic: bool,
    ) -> Option<impl Iterator<Item = u32> + '_> {
        if matches!(target, Target::Logical(_)) && !x2apic {
            return None;
        }
        Some(self.all_here().filter(move |id| match target {
            Target::Id(wanted) => *id == wanted,
            Target::Logical(set) => set >> 16 == id >> 4 && set >> (id & 15) & 1 != 0,
            Target::Others => *id != own,
            Target::All => true,
            Target::Nobody => *id == own,
        }))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn arrivals() -> Arrivals {
        let arrivals = Arrivals::new();
        arrivals.set_boot(0);
        arrivals.add(0x11, 1, 0x1000);
        arrivals.add(0x22, 2, 0x2000);
        arrivals
    }

    fn reached(arrivals: &Arrivals, target: Target) -> Vec<u32> {
        arrivals.reached(target, 0, true).unwrap().collect()
    }

    #[test]
    fn an_nmi_reaches_nobody_who_is_not_here() {
        let arrivals = arrivals();
        assert_eq!(reached(&arrivals, Target::Id(0x11)), []);
        assert_eq!(reached(&arrivals, Target::All), [0]);
        assert_eq!(reached(&arrivals, Target::Id(0x33)), [], "not even one that nobody has listed");
        arrivals.set_here(1, true);
        assert_eq!(reached(&arrivals, Target::Id(0x11)), [0x11]);
        assert_eq!(reached(&arrivals, Target::Others), [0x11]);
        assert_eq!(reached(&arrivals, Target::All), [0, 0x11]);
        assert_eq!(reached(&arrivals, Target::Nobody), [0], "the shorthand for itself");
        arrivals.leave(0x11);
        assert_eq!(reached(&arrivals, Target::Others), []);
    }

    #[test]
    fn logical_ids_are_those_of_the_mode() {
        let arrivals = arrivals();
        arrivals.set_here(1, true);
        arrivals.set_here(2, true);
        assert_eq!(reached(&arrivals, Target::Logical(0x0001_0002)), [0x11]);
        assert_eq!(reached(&arrivals, Target::Logical(0x0002_0002)), []);
        assert_eq!(reached(&arrivals, Target::Logical(0x0002_0004)), [0x22]);
        assert!(arrivals.reached(Target::Logical(2), 0, false).is_none());
    }
}
