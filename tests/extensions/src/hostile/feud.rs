//! One PP makes calls while another takes away, moves and overwrites what they are about: pages, objects, mappings, the
//! exit page.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plinth_extension_api::abi::{Call, ExitPage, Status, register};
use plinth_extension_api::{Exit, Extension, Failure, Plinth, Resume, VmId, log, syscall};

use super::capacity::Capacity;
use super::{Attack, Known, Tally};
use crate::race::{RACE_STRIKE, is_race, passes};
use crate::random::Random;
use crate::{argument, is_test};

/// Objects of each kind that both know of.
const ROOM: usize = 8;
/// Pages of guest-physical memory that are mapped and unmapped.
const GUEST_PAGES: u64 = 4;
const PAGE_SIZE: u64 = 4096;
/// Read, write, execute.
const ALL: u64 = 7;
/// How long one waits for the other, in looks at it.
const PATIENCE: u64 = 1 << 32;

/// What has been made and not been destroyed, 0 for nothing. No object has the id 0 but the root VM and its first VP and VS.
struct Shared([AtomicU64; ROOM]);

impl Shared {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ROOM])
    }

    fn pick(&self, random: &mut Random) -> u64 {
        self.0[random.below(ROOM as u64) as usize].load(Ordering::SeqCst)
    }

    /// Remembers what has been made. Returns false where there is no room.
    fn add(&self, id: u64) -> bool {
        let free =
            |place: &&AtomicU64| place.compare_exchange(0, id, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        self.0.iter().find(free).is_some()
    }

    fn remove(&self, id: u64) {
        for place in &self.0 {
            let _ = place.compare_exchange(id, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    fn has_room(&self) -> bool {
        self.0.iter().any(|place| place.load(Ordering::SeqCst) == 0)
    }

    fn all(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|place| place.load(Ordering::SeqCst)).filter(|id| *id != 0)
    }
}

static VMS: Shared = Shared::new();
static VPS: Shared = Shared::new();
static VSS: Shared = Shared::new();
static VIEWS: Shared = Shared::new();
static PAGES: Shared = Shared::new();

/// The caller's exit page.
static EXIT_PAGE: AtomicU64 = AtomicU64::new(0);
/// The other one is at it.
static STRIKING: AtomicBool = AtomicBool::new(false);
static DONE: AtomicBool = AtomicBool::new(false);
static STRIKES: AtomicU64 = AtomicU64::new(0);
static HITS: AtomicU64 = AtomicU64::new(0);

/// What came of it.
struct Outcome {
    /// Of the caller's rounds, those that the kernel refused.
    refused: u64,
    /// What was done against it, and how much of that succeeded.
    strikes: u64,
    hits: u64,
    /// See [`Tally::leaks`].
    leaks: u64,
}

/// The extension, whose caller makes so many calls.
#[derive(Debug)]
pub struct Feuding(pub u64);

impl Extension for Feuding {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        plinth.vm_intercept_ids(VmId::ROOT)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if is_race(exit) {
            strike(exit);
            return passes(exit);
        }
        if !is_test(exit) {
            return passes(exit);
        }
        if argument(exit) == RACE_STRIKE {
            strike(exit);
            return exit.answer_hypercall(0);
        }
        let outcome = call(exit, self.0);
        let Outcome { refused, strikes, hits, leaks } = outcome;
        log::info!(
            "feud: {} rounds, {refused} refused; {strikes} strikes, {hits} of them hit; {leaks} leaks",
            self.0
        );
        exit.answer_hypercall(u64::from(leaks != 0 || hits == 0))
    }
}

/// Makes so many calls, once the other PP is at it.
fn call(exit: &Exit<'_>, rounds: u64) -> Outcome {
    let page = exit.as_ptr();
    // SAFETY: this PP's own exit page, which nobody writes before it is named below.
    let honest = unsafe { page.read_volatile() };
    let mut attack = Attack { tally: Tally::default(), random: Random::new(0xFE0D), known: Known::new(exit) };
    let _ = Capacity::measure(&mut attack);
    let before = Capacity::measure(&mut attack);
    EXIT_PAGE.store(page as u64, Ordering::SeqCst);
    wait_for("the other PP to begin", || STRIKING.load(Ordering::SeqCst));
    let mut refused = 0;
    for _ in 0..rounds {
        refused += u64::from(!step(&mut attack));
    }
    DONE.store(true, Ordering::SeqCst);
    wait_for("the other PP to end", || !STRIKING.load(Ordering::SeqCst));
    clean_up(&mut attack);
    let after = Capacity::measure(&mut attack);
    // SAFETY: as above; the other PP has ended.
    unsafe { page.write_volatile(honest) };
    let leaks = before.missing_in(&after);
    if leaks != 0 {
        log::error!("feud: leaked: {before:?} before, {after:?} after");
    }
    Outcome { refused, strikes: STRIKES.load(Ordering::SeqCst), hits: HITS.load(Ordering::SeqCst), leaks }
}

fn wait_for(what: &str, happened: impl Fn() -> bool) {
    for _ in 0..PATIENCE {
        if happened() {
            return;
        }
        spin_loop();
    }
    log::error!("feud: waited in vain for {what}");
}

/// One call of the caller's. Returns whether it succeeded.
fn step(attack: &mut Attack) -> bool {
    let handle = syscall::handle();
    let mut pick = |shared: &Shared| shared.pick(&mut attack.random);
    let (vm, vp, vs, view, page) = (pick(&VMS), pick(&VPS), pick(&VSS), pick(&VIEWS), pick(&PAGES));
    let gpa = attack.random.below(GUEST_PAGES) * PAGE_SIZE;
    let any = attack.random.next();
    match attack.random.below(18) {
        0 => make(attack, Call::VmCreate, 0, &VMS),
        1 if vm != 0 => make(attack, Call::VpCreate, vm, &VPS),
        2 if vp != 0 => make(attack, Call::VsCreate, vp, &VSS),
        3 if vm != 0 => make(attack, Call::VmViewCreate, vm, &VIEWS),
        4 | 5 => make(attack, Call::MemAllocatePage, 0, &PAGES),
        6 | 7 if vm != 0 => succeeds(attack, Call::VmMap, [handle, vm, gpa, page, PAGE_SIZE, ALL]),
        8 if vm != 0 => succeeds(attack, Call::VmUnmap, [handle, vm, gpa, PAGE_SIZE, 0, 0]),
        9 if vm != 0 => succeeds(attack, Call::VmReadMemory, [handle, vm, gpa, page, 256, 0]),
        10 if vm != 0 => succeeds(attack, Call::VmWriteMemory, [handle, vm, gpa, page, 256, 0]),
        11 if vm != 0 => succeeds(attack, Call::VmProtect, [handle, vm, gpa, PAGE_SIZE, any & ALL, 0]),
        12 if vs != 0 => succeeds(attack, Call::VsReadMany, [handle, vs, page, 8, 0, 0]),
        13 if vs != 0 => succeeds(attack, Call::VsWriteMany, [handle, vs, page, 8, 0, 0]),
        14 if vs != 0 => {
            succeeds(attack, Call::VsWrite, [handle, vs, register::INSTRUCTION_POINTER, any, 0, 0])
        }
        15 if vs != 0 => succeeds(attack, Call::VsRead, [handle, vs, any % 16, 0, 0, 0]),
        16 if vs != 0 => succeeds(attack, Call::VsSetView, [handle, vs, view, 0, 0, 0]),
        _ if vm != 0 => succeeds(attack, Call::VmQuery, [handle, vm, gpa, 0, 0, 0]),
        _ => make(attack, Call::VmCreate, 0, &VMS),
    }
}

fn succeeds(attack: &mut Attack, call: Call, arguments: [u64; 6]) -> bool {
    attack.call(call.number(), arguments).status == Status::SUCCESS
}

fn make(attack: &mut Attack, call: Call, parent: u64, shared: &Shared) -> bool {
    if !shared.has_room() {
        return true;
    }
    let outcome = attack.call(call.number(), [syscall::handle(), parent, 0, 0, 0, 0]);
    if outcome.status != Status::SUCCESS {
        return false;
    }
    // Only the caller adds, so that there is room still.
    shared.add(outcome.outputs[0])
}

/// Gets in the way of the caller's calls, on another PP, until it has made them all.
fn strike(exit: &Exit<'_>) {
    let mut attack = Attack { tally: Tally::default(), random: Random::new(0x57), known: Known::new(exit) };
    STRIKING.store(true, Ordering::SeqCst);
    while !DONE.load(Ordering::SeqCst) {
        let hit = blow(&mut attack);
        STRIKES.fetch_add(1, Ordering::Relaxed);
        HITS.fetch_add(u64::from(hit), Ordering::Relaxed);
    }
    STRIKING.store(false, Ordering::SeqCst);
}

fn blow(attack: &mut Attack) -> bool {
    let handle = syscall::handle();
    let mut pick = |shared: &Shared| shared.pick(&mut attack.random);
    let (vm, vs) = (pick(&VMS), pick(&VSS));
    let gpa = attack.random.below(GUEST_PAGES) * PAGE_SIZE;
    let pp = attack.random.below(3);
    match attack.random.below(10) {
        0 => destroy(attack, Call::VsDestroy, &VSS),
        1 => destroy(attack, Call::VpDestroy, &VPS),
        2 => destroy(attack, Call::VmDestroy, &VMS),
        3 => destroy(attack, Call::MemFreePage, &PAGES),
        4 if vs != 0 => succeeds(attack, Call::VsMigrate, [handle, vs, pp, 0, 0, 0]),
        5 if vm != 0 => succeeds(attack, Call::VmUnmap, [handle, vm, gpa, PAGE_SIZE, 0, 0]),
        6 if vm != 0 => destroy_view(attack, vm),
        7 if vs != 0 => succeeds(attack, Call::VsFlush, [handle, vs, 0, 0, 0, 0]),
        _ => scribble(&mut attack.random),
    }
}

fn destroy(attack: &mut Attack, call: Call, shared: &Shared) -> bool {
    let id = shared.pick(&mut attack.random);
    let destroyed = id != 0 && succeeds(attack, call, [syscall::handle(), id, 0, 0, 0, 0]);
    if destroyed {
        shared.remove(id);
    }
    destroyed
}

fn destroy_view(attack: &mut Attack, vm: u64) -> bool {
    let view = VIEWS.pick(&mut attack.random);
    let destroyed =
        view != 0 && succeeds(attack, Call::VmViewDestroy, [syscall::handle(), vm, view, 0, 0, 0]);
    if destroyed {
        VIEWS.remove(view);
    }
    destroyed
}

/// Overwrites a word of the caller's exit page.
fn scribble(random: &mut Random) -> bool {
    let page = EXIT_PAGE.load(Ordering::SeqCst) as *mut u64;
    let word = random.below((size_of::<ExitPage>() / 8) as u64) as usize;
    // The caller may not have named it yet.
    if page.is_null() {
        return false;
    }
    // SAFETY: an exit page is mapped for ever; that somebody else uses it is the point.
    unsafe { page.add(word).write_volatile(random.next()) };
    true
}

/// Destroys what is left, in an order in which it can go.
fn clean_up(attack: &mut Attack) {
    let handle = syscall::handle();
    for vs in VSS.all() {
        let _ = succeeds(attack, Call::VsDestroy, [handle, vs, 0, 0, 0, 0]);
    }
    for vm in VMS.all() {
        for page in 0..GUEST_PAGES {
            let _ = succeeds(attack, Call::VmUnmap, [handle, vm, page * PAGE_SIZE, PAGE_SIZE, 0, 0]);
        }
        for view in VIEWS.all() {
            let _ = succeeds(attack, Call::VmViewDestroy, [handle, vm, view, 0, 0, 0]);
        }
    }
    for (call, shared) in [(Call::VpDestroy, &VPS), (Call::VmDestroy, &VMS), (Call::MemFreePage, &PAGES)] {
        for id in shared.all() {
            let _ = succeeds(attack, call, [handle, id, 0, 0, 0, 0]);
        }
    }
}
