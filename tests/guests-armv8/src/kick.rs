//! Has an extension kick the second processor and declare answers for it, while that one runs without any exit of its own,
//! sleeps, or does nothing but exits that are answered from declarations.

#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_extensions::{KICK_OTHERS, KICKS_SEEN, TEST_HYPERCALL};
use plinth_test_guests_armv8::calls::{self, CPU_ON};
use plinth_test_guests_armv8::gic::To;
use plinth_test_guests_armv8::machine::Gic;
use plinth_test_guests_armv8::{Machine, Report, check, entry, gic, read, say, secondary, system};

/// In the machine's own milliseconds.
const PATIENCE: u64 = 20_000;
/// How many kicks of each kind, and how many declarations.
const MANY: u64 = 100;
/// The number of the interrupt that wakes the second processor.
const WAKE: u32 = 6;

/// What the second processor does.
const READS: u64 = 1;
const SLEEPS: u64 = 2;
const SPINS: u64 = 3;

static WANTED: AtomicU64 = AtomicU64::new(READS);
static DOES: AtomicU64 = AtomicU64::new(0);
/// The ID register as the second processor saw it, and how often it has read it.
static VALUE: AtomicU64 = AtomicU64::new(0);
static READ: AtomicU64 = AtomicU64::new(0);
/// The controller: what kind, and its two addresses.
static GIC: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("kick", &machine);
    match machine.another().filter(|_| machine.reservation().is_some()) {
        Some(other) => kick(&mut report, &machine, other),
        None => report.skip("kick", "there is no Plinth, or no second processor"),
    }
    report.done(&machine)
}

fn kick(report: &mut Report, machine: &Machine, other: u64) {
    gic::enable(machine.gic);
    check!(report, "second-processor", start(machine, other) && does(READS));
    declarations(report);
    if machine.gic == Gic::None {
        report.skip("kick-asleep", "this test knows no interrupt controller here");
    } else {
        check!(report, "sleeps", does(SLEEPS));
        let woken = kicks(|| gic::send(machine.gic, To::One(other), WAKE));
        check!(report, "kick-asleep", woken);
        WANTED.store(SPINS, Ordering::SeqCst);
        gic::send(machine.gic, To::One(other), WAKE);
    }
    check!(report, "spins", does(SPINS));
    check!(report, "kick-running", kicks(|| ()));
    let seen = ask(KICKS_SEEN);
    system::wait(100, || false);
    check!(report, "kick-is-seen-once", ask(KICKS_SEEN), seen);
}

fn ask(what: u64) -> u64 {
    calls::hvc([TEST_HYPERCALL, what, 0, 0])[0]
}

/// Has the second processor do something else, and waits for it.
fn does(what: u64) -> bool {
    WANTED.store(what, Ordering::SeqCst);
    system::wait(PATIENCE, || DOES.load(Ordering::SeqCst) == what)
}

/// Kicks many times; each is one exit, once `wake` has been called.
fn kicks(wake: impl Fn()) -> bool {
    (0..MANY).all(|_| {
        let seen = ask(KICKS_SEEN);
        let others = ask(KICK_OTHERS);
        wake();
        others == 1 && system::wait(PATIENCE, || ask(KICKS_SEEN) == seen + 1)
    })
}

/// Once a call that declares an answer has returned, no processor finds the one before.
fn declarations(report: &mut Report) {
    let stale = (2..2 + MANY).find(|value| {
        let declared = ask(*value) == 0;
        let before = READ.load(Ordering::SeqCst);
        // The first reading may have begun before the call returned.
        let read = system::wait(PATIENCE, || READ.load(Ordering::SeqCst) >= before + 2);
        !declared || !read || VALUE.load(Ordering::SeqCst) != *value
    });
    check!(report, "declared-answer", stale, None);
}

fn start(machine: &Machine, other: u64) -> bool {
    let words = match machine.gic {
        Gic::None => [0; 3],
        Gic::V2(distributor, interface) => [2, distributor, interface],
        Gic::V3(distributor, redistributors) => [3, distributor, redistributors],
    };
    for (place, word) in GIC.iter().zip(words) {
        place.store(word, Ordering::SeqCst);
    }
    let (entry, context) = secondary::prepare(second, 0);
    calls::result(calls::firmware(machine.conduit, [CPU_ON, other, entry, context])) == 0
}

/// The second processor.
fn second(_: u64) -> ! {
    let [kind, first, second] = [0, 1, 2].map(|index: usize| GIC[index].load(Ordering::SeqCst));
    match kind {
        2 => gic::enable(Gic::V2(first, second)),
        3 => gic::enable(Gic::V3(first, second)),
        _ => {}
    }
    loop {
        let wanted = WANTED.load(Ordering::SeqCst);
        DOES.store(wanted, Ordering::SeqCst);
        match wanted {
            READS => {
                VALUE.store(read!("id_aa64isar0_el1"), Ordering::SeqCst);
                READ.fetch_add(1, Ordering::SeqCst);
            }
            SLEEPS => {
                // SAFETY: sleeps until an interrupt, which is taken right afterwards.
                unsafe { asm!("wfi", options(nostack)) };
                gic::open(true);
                gic::open(false);
            }
            // SAFETY: one instruction, for ever, with interrupts masked: nothing leaves it but what EL2 does.
            _ => unsafe { asm!("2: b 2b", options(noreturn)) },
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST kick panicked FAILED: {info}");
    entry::stop()
}
