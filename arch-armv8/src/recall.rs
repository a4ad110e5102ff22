//! The processors' own roots of stage 2, all of them: how one processor stops another's guest.

use plinth_hal::Spa;
use plinth_kernel::MAX_PPS;
use spin::{Mutex, Once};

use crate::formats::RootShape;
use crate::memory::IdentityMemory;
use crate::roots::{Miss, OwnRoot};
use crate::slots::{self, SLOTS};
use crate::tlb;

static ROOTS: [Once<Mutex<OwnRoot<IdentityMemory>>>; MAX_PPS] = [const { Once::new() }; MAX_PPS];

/// The root of the processor that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root {
    own: &'static Mutex<OwnRoot<IdentityMemory>>,
    at: Spa,
}

impl Root {
    /// That of processor `pp`, in its pages at `at`.
    pub(crate) fn new(pp: usize, memory: IdentityMemory, at: Spa, shape: RootShape) -> Self {
        let own = ROOTS[pp].call_once(|| Mutex::new(OwnRoot::new(memory, at, shape)));
        Self { own, at }
    }

    /// What VTTBR_EL2 points to.
    pub(crate) fn at(self) -> Spa {
        self.at
    }

    /// Makes it translate nothing, once the TLBs are told.
    pub(crate) fn empty(self) {
        self.own.lock().empty();
    }

    /// Copies what was needed before; see [`OwnRoot::fill`].
    pub(crate) fn fill(self, source: Spa) {
        self.own.lock().fill(source);
    }

    /// What a translation fault at `gpa` is to the guest whose root table is at `source`.
    pub(crate) fn miss(self, source: Spa, gpa: u64) -> Miss {
        self.own.lock().miss(source, gpa)
    }

    /// Has every other processor look what others want before it executes more of its guest, and all TLBs forget what
    /// they hold of nested tables, this root included.
    pub(crate) fn recall_others(self) {
        for own in ROOTS.iter().filter_map(Once::get) {
            if core::ptr::eq(own, self.own) { own.lock().empty() } else { own.lock().recall() }
        }
        tlb::flush_guests();
    }
}

/// Has a processor look what others want before it executes more of its guest.
pub(crate) fn recall(hardware_id: u32) {
    let pp = SLOTS.find(slots::affinity(hardware_id));
    if let Some(own) = pp.and_then(|pp| ROOTS.get(pp)).and_then(Once::get) {
        own.lock().recall();
        tlb::flush_guests();
    }
}
