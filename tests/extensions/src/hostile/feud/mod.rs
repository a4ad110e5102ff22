//! One PP makes calls while another takes away, moves and overwrites what they are about: pages, objects, mappings, the
//! exit page.

mod caller;
mod shared;
mod shares;
mod striker;

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plinth_extension_api::abi::Call;
use plinth_extension_api::{Exit, Extension, Failure, Plinth, Resume, VmId, log, syscall};

use self::shared::{PAGES, VIEWS, VMS, VPS, VSS};
use self::striker::SCRIBBLES;
use super::capacity::{Capacity, Noted};
use super::{Attack, Known, PAGE_SIZE, Tally};
use crate::race::{FEUD_LEAKS, FEUD_NEGLECTS, FEUD_PREPARE, RACE_STRIKE, is_race, passes};
use crate::random::Random;
use crate::{argument, is_test};

/// Pages of guest-physical memory that are mapped and unmapped.
const GUEST_PAGES: u64 = 4;
/// Read, write, execute.
const ALL: u64 = 7;
/// How long one waits for the other, in looks at it.
const PATIENCE: u64 = 1 << 32;
/// How many times as many rounds there may be until calls of each kind have been carried out: on a busy host the two PPs seldom
/// run at the same time.
const PATIENT_ROUNDS: u64 = 20;
/// How often it is counted what there is to have, until all is there that was there before: what the other PP has given back
/// last is free once that one has left the extension.
const COUNTS: u32 = 100;

/// The caller's exit page.
static EXIT_PAGE: AtomicU64 = AtomicU64::new(0);
/// What there was to have before.
static BEFORE: Noted = Noted::nothing();
/// The striker is attacking the caller.
static STRIKING: AtomicBool = AtomicBool::new(false);
static DONE: AtomicBool = AtomicBool::new(false);

/// The extension, whose caller goes so many rounds.
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
        let result = match argument(exit) {
            RACE_STRIKE => {
                strike(exit);
                0
            }
            FEUD_PREPARE => {
                prepare(exit);
                0
            }
            _ => call(exit, self.0),
        };
        exit.answer_hypercall(result)
    }
}

fn new_attack(exit: &Exit<'_>, seed: u64) -> Attack {
    Attack { tally: Tally::default(), random: Random::new(seed), known: Known::new(exit) }
}

/// Counts what there is to have, while no other PP is in the extension.
fn prepare(exit: &Exit<'_>) {
    let mut attack = new_attack(exit, 0);
    // Once for tables that the kernel makes on first use and keeps.
    let _ = Capacity::measure(&mut attack);
    BEFORE.note(Capacity::measure(&mut attack));
}

/// Goes so many rounds, once the other PP is at it. Returns what is wrong afterwards.
fn call(exit: &Exit<'_>, rounds: u64) -> u64 {
    let page = exit.as_ptr();
    // SAFETY: this PP's own exit page, which nobody writes before it is named below.
    let honest = unsafe { page.read_volatile() };
    let mut attack = new_attack(exit, 0xFE0D);
    EXIT_PAGE.store(page as u64, Ordering::SeqCst);
    wait_for("the other PP to begin", || STRIKING.load(Ordering::SeqCst));
    let mut more = 0;
    for _ in 0..rounds {
        caller::step(&mut attack);
    }
    while !all_are_met() && more < rounds * PATIENT_ROUNDS {
        caller::step(&mut attack);
        more += 1;
    }
    DONE.store(true, Ordering::SeqCst);
    wait_for("the other PP to end", || !STRIKING.load(Ordering::SeqCst));
    clean_up(&mut attack);
    let leaks = count_leaks(&mut attack);
    // SAFETY: as above; the other PP has ended.
    unsafe { page.write_volatile(honest) };
    report(rounds, more, leaks)
}

/// Whether calls of each kind have been carried out.
fn all_are_met() -> bool {
    caller::CALLS.are_all_met() && striker::CALLS.are_all_met()
}

/// How much less there is to have than before, of all kinds together.
fn count_leaks(attack: &mut Attack) -> u64 {
    let before = BEFORE.get();
    let mut after = Capacity::measure(attack);
    for _ in 1..COUNTS {
        if before.missing_in(&after) == 0 {
            break;
        }
        after = Capacity::measure(attack);
    }
    let leaks = before.missing_in(&after);
    if leaks != 0 || !before.is_whole() {
        log::error!("feud: leaked: {before:?} before, {after:?} after");
    }
    leaks + u64::from(!before.is_whole())
}

fn report(rounds: u64, more: u64, leaks: u64) -> u64 {
    let ((calls, refused), (strikes, missed)) = (caller::CALLS.total(), striker::CALLS.total());
    let scribbles = SCRIBBLES.load(Ordering::SeqCst);
    log::info!("feud: {rounds} rounds, {more} more, {calls} calls, {refused} refused:{}", caller::CALLS);
    log::info!("feud: {strikes} strikes, {missed} missed:{}", striker::CALLS);
    log::info!("feud: {scribbles} words of the exit page overwritten; {leaks} leaks");
    let met = all_are_met() && scribbles != 0;
    (if leaks == 0 { 0 } else { FEUD_LEAKS }) | if met { 0 } else { FEUD_NEGLECTS }
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

/// Gets in the way of the caller's calls, on another PP, until it has made them all.
fn strike(exit: &Exit<'_>) {
    let mut attack = new_attack(exit, 0x57);
    let page = || EXIT_PAGE.load(Ordering::SeqCst) as *mut u64;
    wait_for("the caller's exit page", || !page().is_null());
    STRIKING.store(true, Ordering::SeqCst);
    while !DONE.load(Ordering::SeqCst) {
        striker::blow(&mut attack, page());
    }
    STRIKING.store(false, Ordering::SeqCst);
}

fn succeeds(attack: &mut Attack, call: Call, arguments: [u64; 6]) -> bool {
    attack.call(call.number(), arguments).status.result().is_ok()
}

/// Destroys what is left, in an order in which it can go.
fn clean_up(attack: &mut Attack) {
    let handle = syscall::handle();
    let mut remove = |call, first, second| {
        let _ = succeeds(attack, call, [handle, first, second, PAGE_SIZE, 0, 0]);
    };
    VSS.all().for_each(|(vs, _)| remove(Call::VsDestroy, vs, 0));
    VIEWS.all().for_each(|(view, vm)| remove(Call::VmViewDestroy, vm, view));
    for (vm, _) in VMS.all() {
        (0..GUEST_PAGES).for_each(|page| remove(Call::VmUnmap, vm, page * PAGE_SIZE));
    }
    VPS.all().for_each(|(vp, _)| remove(Call::VpDestroy, vp, 0));
    VMS.all().for_each(|(vm, _)| remove(Call::VmDestroy, vm, 0));
    PAGES.all().for_each(|(page, _)| remove(Call::MemFreePage, page, 0));
}
