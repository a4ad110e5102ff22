//! How much of everything the kernel has to give: a leak shows as less.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::abi::{Call, ROOT_VM, Status};
use plinth_extension_api::syscall;

use super::{Attack, exhaust};

/// More than there are objects of any kind.
const ROOM: usize = 256;

/// What can be had until the kernel has no more: pages, VMs, VPs, VSs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity([u64; 4]);

impl Capacity {
    /// Takes everything, kind by kind, and gives it back.
    pub(super) fn measure(attack: &mut Attack) -> Self {
        let vms = all(attack, Call::VmCreate, Call::VmDestroy, 0);
        let vps = all(attack, Call::VpCreate, Call::VpDestroy, ROOT_VM);
        let vss = match make(attack, Call::VpCreate, ROOT_VM) {
            Some(vp) => {
                let vss = all(attack, Call::VsCreate, Call::VsDestroy, vp);
                destroy(attack, Call::VpDestroy, vp);
                vss
            }
            None => 0,
        };
        Self([exhaust::count_pages(attack), vms, vps, vss])
    }

    /// How much less there is in `after`, of all kinds together.
    pub(super) fn missing_in(&self, after: &Self) -> u64 {
        self.0.iter().zip(after.0).map(|(before, after)| before.saturating_sub(after)).sum()
    }

    /// Whether there is something of each kind to have.
    pub(super) fn is_whole(&self) -> bool {
        !self.0.contains(&0)
    }
}

/// What there was once, for all PPs.
pub(super) struct Noted([AtomicU64; 4]);

impl Noted {
    pub(super) const fn nothing() -> Self {
        Self([const { AtomicU64::new(0) }; 4])
    }

    pub(super) fn note(&self, Capacity(counts): Capacity) {
        self.0.iter().zip(counts).for_each(|(place, count)| place.store(count, Ordering::SeqCst));
    }

    pub(super) fn get(&self) -> Capacity {
        Capacity([0, 1, 2, 3].map(|kind: usize| self.0[kind].load(Ordering::SeqCst)))
    }
}

/// How many of a kind there are to have.
fn all(attack: &mut Attack, create: Call, remove: Call, parent: u64) -> u64 {
    let mut ids = [0; ROOM];
    let mut count = 0;
    while count < ROOM
        && let Some(id) = make(attack, create, parent)
    {
        ids[count] = id;
        count += 1;
    }
    ids[..count].iter().for_each(|id| destroy(attack, remove, *id));
    count as u64
}

fn make(attack: &mut Attack, create: Call, parent: u64) -> Option<u64> {
    let outcome = attack.call(create.number(), [syscall::handle(), parent, 0, 0, 0, 0]);
    (outcome.status == Status::SUCCESS).then_some(outcome.outputs[0])
}

fn destroy(attack: &mut Attack, remove: Call, id: u64) {
    let _ = attack.call(remove.number(), [syscall::handle(), id, 0, 0, 0, 0]);
}
