//! The power state of each CPU as PSCI knows it: on, off, or on the way.
//!
//! PSCI's answers depend on the state, and two CPUs may start the same third one at the same time. So each CPU has one
//! state, which changes by compare-and-exchange. The root VM cannot start a CPU twice, and a CPU_ON that loses the race gets
//! ON_PENDING or ALREADY_ON.

use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use plinth_kernel::MAX_PPS;

use crate::psci::calls;

/// The bits of MPIDR_EL1 that say which processor it is: Aff3 and Aff2 to Aff0.
pub(crate) const AFFINITY: u64 = 0xFF_00FF_FFFF;

/// Never started under Plinth: the firmware has to start the CPU.
const COLD: u8 = 0;
/// Stopped by the root VM (CPU_OFF); the CPU is parked in the kernel.
const OFF: u8 = 1;
/// CPU_ON was called; the CPU has not arrived yet.
const STARTING: u8 = 2;
/// The CPU runs a VS of the root VM, or is about to.
const ON: u8 = 3;

/// One processor.
struct Slot {
    affinity: AtomicU64,
    state: AtomicU8,
    entry: AtomicU64,
    context: AtomicU64,
}

/// All of them, by PP number.
pub(crate) struct PowerStates {
    slots: [Slot; MAX_PPS],
    count: AtomicUsize,
}

/// How to start a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// By the firmware.
    Cold(usize),
    /// It waits under Plinth.
    Warm,
}

/// The machine's.
pub(crate) static POWER_STATES: PowerStates = PowerStates::new();

impl PowerStates {
    const fn new() -> Self {
        Self {
            slots: [const {
                Slot {
                    affinity: AtomicU64::new(0),
                    state: AtomicU8::new(COLD),
                    entry: AtomicU64::new(0),
                    context: AtomicU64::new(0),
                }
            }; MAX_PPS],
            count: AtomicUsize::new(0),
        }
    }

    /// Records the affinities of all CPUs. The boot CPU, `own`, becomes PP 0.
    pub(crate) fn fill(&self, own: u64, all: impl Iterator<Item = u64>) {
        let own = own & AFFINITY;
        let others = all.map(|affinity| affinity & AFFINITY).filter(|affinity| *affinity != own);
        let mut count = 0_usize;
        for (slot, affinity) in self.slots.iter().zip(core::iter::once(own).chain(others)) {
            slot.affinity.store(affinity, Ordering::Relaxed);
            slot.state.store(COLD, Ordering::Relaxed);
            count = count.saturating_add(1);
        }
        self.slots[0].state.store(ON, Ordering::Relaxed);
        self.count.store(count, Ordering::SeqCst);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// The affinity of a processor.
    pub(crate) fn affinity(&self, pp: usize) -> u64 {
        self.slots.get(pp).map_or(0, |slot| slot.affinity.load(Ordering::Relaxed))
    }

    /// The number of the processor with this affinity.
    pub(crate) fn find(&self, affinity: u64) -> Option<usize> {
        self.known(affinity).map(|(pp, _)| pp)
    }

    fn known(&self, affinity: u64) -> Option<(usize, &Slot)> {
        let mut known = (0..self.count()).zip(&self.slots);
        known.find(|(_, slot)| slot.affinity.load(Ordering::Relaxed) == affinity)
    }

    fn slot(&self, pp: usize) -> &Slot {
        // PANIC: the number is one that `find` or `begin` has given, or that of the boot processor.
        &self.slots[pp]
    }

    /// Begins to start a processor.
    ///
    /// # Errors
    /// What PSCI answers.
    pub(crate) fn begin(&self, target: u64, entry: u64, context: u64) -> Result<Start, i64> {
        let (index, slot) = self.known(target).ok_or(calls::INVALID_PARAMETERS)?;
        let claim = |state| if matches!(state, COLD | OFF) { Some(STARTING) } else { None };
        let before = slot.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, claim);
        match before {
            Ok(state) => {
                slot.entry.store(entry, Ordering::SeqCst);
                slot.context.store(context, Ordering::SeqCst);
                Ok(if state == COLD { Start::Cold(index) } else { Start::Warm })
            }
            Err(STARTING) => Err(calls::ON_PENDING),
            Err(_) => Err(calls::ALREADY_ON),
        }
    }

    /// The firmware refused to start the CPU, or the launch on it failed: it is off.
    pub(crate) fn give_up(&self, pp: usize) {
        self.slot(pp).state.store(COLD, Ordering::SeqCst);
    }

    /// Marks a CPU that has arrived as on. Returns CPU_ON's entry point and context ID.
    pub(crate) fn arrive(&self, pp: usize) -> (u64, u64) {
        let slot = self.slot(pp);
        let start = (slot.entry.load(Ordering::SeqCst), slot.context.load(Ordering::SeqCst));
        slot.state.store(ON, Ordering::SeqCst);
        start
    }

    /// Marks a CPU that the root VM has stopped as off.
    pub(crate) fn stop(&self, pp: usize) {
        self.slot(pp).state.store(OFF, Ordering::SeqCst);
    }

    /// Whether any CPU but the boot CPU is on, or on the way.
    pub(crate) fn others_run(&self) -> bool {
        let mut others = self.slots.iter().take(self.count()).skip(1);
        others.any(|slot| matches!(slot.state.load(Ordering::SeqCst), STARTING | ON))
    }

    /// The affinities of all but the boot processor.
    pub(crate) fn others(&self) -> impl Iterator<Item = u64> {
        let others = self.slots.iter().take(self.count()).skip(1);
        others.map(|slot| slot.affinity.load(Ordering::Relaxed))
    }

    /// PSCI's AFFINITY_INFO: 0 on, 1 off, 2 on the way.
    pub(crate) fn info(&self, target: u64) -> i64 {
        match self.known(target).map(|(_, slot)| slot.state.load(Ordering::SeqCst)) {
            None => calls::INVALID_PARAMETERS,
            Some(ON) => 0,
            Some(STARTING) => 2,
            Some(_) => 1,
        }
    }
}

/// An affinity in the 32 bits that the kernel keeps for a hardware id.
pub(crate) const fn hardware_id(affinity: u64) -> u32 {
    (affinity & 0xFF_FFFF | (affinity >> 32 & 0xFF) << 24) as u32
}

/// The affinity that a hardware id stands for.
pub(crate) const fn affinity(hardware_id: u32) -> u64 {
    (hardware_id & 0xFF_FFFF) as u64 | (hardware_id as u64 >> 24) << 32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_processor_is_started_once() {
        let slots = PowerStates::new();
        slots.fill(0x8000_0001, [0, 1, 0x100].into_iter());
        assert_eq!((slots.count(), slots.affinity(0), slots.affinity(1)), (3, 1, 0));
        assert_eq!(slots.begin(0x100, 0x4000, 5), Ok(Start::Cold(2)));
        assert_eq!((slots.begin(0x100, 0, 0), slots.info(0x100)), (Err(calls::ON_PENDING), 2));
        assert_eq!(slots.arrive(2), (0x4000, 5));
        assert_eq!((slots.begin(0x100, 0, 0), slots.info(0x100)), (Err(calls::ALREADY_ON), 0));
        assert_eq!(
            (slots.begin(9, 0, 0), slots.info(9)),
            (Err(calls::INVALID_PARAMETERS), calls::INVALID_PARAMETERS)
        );
        slots.stop(2);
        assert_eq!((slots.info(0x100), slots.begin(0x100, 1, 2)), (1, Ok(Start::Warm)));
        assert_eq!(slots.begin(1, 0, 0), Err(calls::ALREADY_ON), "the one that runs");
    }

    #[test]
    fn one_that_was_stopped_runs_no_more() {
        let slots = PowerStates::new();
        slots.fill(7, [0, 7].into_iter());
        assert!(!slots.others_run(), "the one that runs is the boot processor");
        assert_eq!(slots.others().collect::<Vec<_>>(), [0]);
        slots.begin(0, 0, 0).unwrap();
        assert!(slots.others_run(), "on its way");
        slots.arrive(1);
        assert!(slots.others_run());
        slots.stop(1);
        assert!(!slots.others_run());
    }

    #[test]
    fn a_refused_start_can_be_tried_again() {
        let slots = PowerStates::new();
        slots.fill(0, [0, 1].into_iter());
        assert_eq!(slots.begin(1, 0, 0), Ok(Start::Cold(1)));
        slots.give_up(1);
        assert_eq!(slots.begin(1, 0, 0), Ok(Start::Cold(1)));
    }

    #[test]
    fn ids_keep_every_level() {
        assert_eq!(hardware_id(0x12_0034_5678), 0x1234_5678);
        assert_eq!(affinity(0x1234_5678), 0x12_0034_5678);
    }
}
