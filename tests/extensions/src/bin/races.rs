//! On one PP writes a general register in another PP's exit page again and again, while the kernel serves exits there: what
//! is checked must be what is used. It has no right to the machine's registers.

#![no_std]
#![no_main]

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plinth_extension_api::{Exit, Extension, Failure, Plinth, Resume, VmId, extension};
use plinth_test_extensions::race::{
    RACE_END, RACE_OVER, RACE_STRIKE, RACE_STRIKES, RACE_VICTIM, is_race, passes, race_pair,
};
use plinth_test_extensions::random::Random;
use plinth_test_extensions::{argument, is_test};

/// The register in the other PP's exit page; 0 until that one has asked for it.
static VICTIM: AtomicU64 = AtomicU64::new(0);
/// How often the register has been written.
static STRIKES: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicBool = AtomicBool::new(false);
/// The other PP may write still.
static STRIKING: AtomicBool = AtomicBool::new(false);

struct Races;

impl Extension for Races {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        plinth.vm_intercept_ids(VmId::ROOT)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if is_race(exit) {
            strike();
            return passes(exit);
        }
        if !is_test(exit) {
            return passes(exit);
        }
        let result = match argument(exit) {
            RACE_VICTIM => name_victim(exit),
            RACE_STRIKES => STRIKES.load(Ordering::SeqCst),
            RACE_END => {
                DONE.store(true, Ordering::SeqCst);
                while STRIKING.load(Ordering::SeqCst) {
                    spin_loop();
                }
                RACE_OVER
            }
            RACE_STRIKE => {
                strike();
                0
            }
            _ => u64::MAX,
        };
        exit.answer_hypercall(result)
    }
}

fn name_victim(exit: &Exit<'_>) -> u64 {
    let (register, ..) = race_pair();
    let page = exit.as_ptr();
    // SAFETY: only the address is taken.
    let place = unsafe { &raw mut (*page).registers[register] };
    VICTIM.store(place as u64, Ordering::SeqCst);
    0
}

/// Writes one number and the other until the victim has had enough. Each stays a few instructions to some hundred, never as
/// many, so that every step of an exit meets a change sooner or later.
fn strike() {
    let (_, one, other) = race_pair();
    let mut random = Random::new(0x0C2);
    STRIKING.store(true, Ordering::SeqCst);
    while !DONE.load(Ordering::Relaxed) {
        let victim = VICTIM.load(Ordering::Relaxed) as *mut u64;
        if victim.is_null() {
            continue;
        }
        for value in [other, one] {
            // SAFETY: it lies in an exit page, which is mapped for ever; that somebody else uses it is the point.
            unsafe { victim.write_volatile(value) };
            // No PAUSE, which an emulator takes for a reason to do something else.
            let longest = 1 << random.below(7);
            for step in 0..random.below(longest) {
                core::hint::black_box(step);
            }
        }
        STRIKES.fetch_add(1, Ordering::Relaxed);
    }
    STRIKING.store(false, Ordering::SeqCst);
}

extension!(Races, groups: [VM, VP, VS]);
