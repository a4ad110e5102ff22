//! All CPUs' own stage-2 roots: how one CPU forces another CPU's guest to exit, and how a TLB shootdown reaches every CPU.

use plinth_hal::Spa;
use plinth_kernel::{Lock, LockGuard, MAX_PPS};
// BOUND: each processor makes its own before it runs; `get` does not wait.
use spin::Once;

use crate::memory::IdentityMemory;
use crate::paging::cpu_root::{Miss, PerCpuRoot};
use crate::paging::formats::RootShape;
use crate::psci::power_state::{self, POWER_STATES};
use crate::stage2::tlb;

static ROOTS: [Once<Lock<PerCpuRoot<IdentityMemory>>>; MAX_PPS] = [const { Once::new() }; MAX_PPS];

/// A CPU's handle of its own stage-2 root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root {
    own: &'static Lock<PerCpuRoot<IdentityMemory>>,
    at: Spa,
}

impl Root {
    /// The root of PP `pp`, in its pages at `at`.
    pub(crate) fn new(pp: usize, memory: IdentityMemory, at: Spa, shape: RootShape) -> Self {
        // PANIC: the kernel prepares no processor with a number of `MAX_PPS` or above.
        let own = ROOTS[pp].call_once(|| Lock::new(PerCpuRoot::new(memory, at, shape)));
        Self { own, at }
    }

    /// The root table's address, for VTTBR_EL2.
    pub(crate) fn at(self) -> Spa {
        self.at
    }

    /// Makes it translate nothing, once the TLBs are told.
    pub(crate) fn empty(self) {
        self.lock().empty();
    }

    /// Copies what was needed before; see [`PerCpuRoot::fill`].
    pub(crate) fn fill(self, source: Spa) {
        self.lock().fill(source);
    }

    /// What a translation fault at `gpa` is to the guest whose root table is at `source`.
    pub(crate) fn miss(self, source: Spa, gpa: u64) -> Miss {
        self.lock().miss(source, gpa)
    }

    /// Takes the lock. A CPU cannot run a guest without its root: if another CPU has panicked with the lock held, this one
    /// panics too.
    fn lock(self) -> LockGuard<'static, PerCpuRoot<IdentityMemory>> {
        match self.own.lock() {
            Ok(root) => root,
            // PANIC: another processor has panicked before, which no guest and no extension can cause.
            Err(lost) => panic!("its root of stage 2 is out of reach: {lost:?}"),
        }
    }

    /// Forces every other CPU's guest to exit before it executes another instruction, empties this CPU's root, and
    /// invalidates all stage-2 entries in all TLBs. Returns false if a root's lock is lost, because a CPU has panicked with
    /// the lock held.
    pub(crate) fn recall_others(self) -> bool {
        let mut all = true;
        for own in ROOTS.iter().filter_map(Once::get) {
            match own.lock() {
                Ok(mut root) if core::ptr::eq(own, self.own) => root.empty(),
                Ok(mut root) => root.recall(),
                Err(_) => all = false,
            }
        }
        tlb::flush_guests();
        all
    }
}

/// Forces the guest of the CPU `hardware_id` to exit before it executes another instruction.
pub(crate) fn recall(hardware_id: u32) {
    let pp = POWER_STATES.find(power_state::affinity(hardware_id));
    let own = pp.and_then(|pp| ROOTS.get(pp)).and_then(Once::get);
    if let Some(Ok(mut root)) = own.map(Lock::lock) {
        root.recall();
        tlb::flush_guests();
    }
}
