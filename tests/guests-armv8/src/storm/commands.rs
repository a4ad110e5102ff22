//! The commands of the storm, each processor's at random.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_extensions::random::Random;
use plinth_test_guests_armv8::calls::{
    self, AFFINITY_INFO, CPU_OFF, CPU_ON, CPU_SUSPEND, NOT_SUPPORTED, SYSTEM_OFF,
};
use plinth_test_guests_armv8::gic::To;
use plinth_test_guests_armv8::{gic, read, reserved, scratch, secondary, write};

use super::processors::Lab;

/// SYSTEM_RESET, and SYSTEM_RESET2 but for its width.
const SYSTEM_RESET: u64 = 0x8400_0009;
const SYSTEM_RESET_2: u64 = 0x8400_0012;
/// SMCCC: 64-bit arguments.
const WIDE: u64 = 1 << 30;

/// Each processor's random numbers, so far.
static STATES: [AtomicU64; secondary::OTHERS + 1] = [const { AtomicU64::new(0) }; secondary::OTHERS + 1];
static TOTAL: AtomicU64 = AtomicU64::new(0);
/// Answers that are none of those that there may be, and the kind of the last.
static MISTAKES: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(u64::MAX);

/// Where each processor's random numbers begin.
pub(crate) fn begin(seed: u64) {
    for (number, state) in (0..).zip(&STATES) {
        state.store(Random::new(seed + number).next(), Ordering::Release);
    }
}

/// How many answers were wrong.
pub(crate) fn mistakes() -> u64 {
    MISTAKES.load(Ordering::SeqCst)
}

/// The kind of the last of them; -1 for none.
pub(crate) fn last_mistake() -> i64 {
    LAST.load(Ordering::SeqCst).cast_signed()
}

/// How many commands all processors have carried out.
pub(crate) fn total() -> u64 {
    TOTAL.load(Ordering::SeqCst)
}

/// Carries out so many commands on this processor, which is that of `number`.
pub(crate) fn run(lab: &Lab, number: usize, count: u64) {
    let state = &STATES[number];
    for _ in 0..count {
        let mut random = Random::new(state.load(Ordering::Acquire));
        state.store(random.next(), Ordering::Relaxed);
        gic::open(true);
        gic::open(false);
        TOTAL.fetch_add(1, Ordering::Relaxed);
        let kind = random.below(16);
        if !command(lab, number, kind, &mut random) {
            MISTAKES.fetch_add(1, Ordering::SeqCst);
            LAST.store(kind, Ordering::SeqCst);
        }
    }
}

/// Carries out one command, with interrupts held back. Whether it has an answer that it may have.
fn command(lab: &Lab, number: usize, kind: u64, random: &mut Random) -> bool {
    match kind {
        0..=3 => interrupt(lab, random),
        4 => is_answer(lab.call([AFFINITY_INFO, affinity(lab, random), random.below(4), 0])),
        5 | 6 => is_answer(start(lab, random)),
        // The first processor is the one that is left.
        7 if number != 0 && random.below(16) == 0 => lab.off(),
        7 => suspend(lab, random),
        8 => standard(lab, random),
        9 => unknown(random),
        10 => hypercall(random),
        11 | 12 => poke(lab, random),
        13 => passing(lab, random),
        14 => el2(random),
        _ => registers(random),
    }
}

/// Whether it is one of PSCI's answers.
fn is_answer(answer: u64) -> bool {
    (-9..=2).contains(&answer.cast_signed())
}

/// Somebody: most often one that is there, then one that is not, and noise.
fn affinity(lab: &Lab, random: &mut Random) -> u64 {
    let index = random.below(8) as usize;
    let known = lab.others().map(|other| other.affinity).chain([lab.first]).nth(index);
    known.unwrap_or_else(|| if index < 6 { 0xFF_00FE_FDFC } else { random.next() })
}

fn interrupt(lab: &Lab, random: &mut Random) -> bool {
    let to = match random.below(4) {
        0 => To::Others,
        1 => To::Itself,
        _ => To::One(affinity(lab, random)),
    };
    gic::send(lab.machine.gic, to, random.below(16) as u32);
    true
}

/// Starts a processor where its code is, or one that is not there anywhere.
fn start(lab: &Lab, random: &mut Random) -> u64 {
    let target = affinity(lab, random);
    let known = lab.others().find(|other| other.affinity == target);
    let (entry, context) =
        known.map_or_else(|| (random.next(), random.next()), |other| (other.entry, other.context));
    lab.call([CPU_ON, target, entry, context])
}

/// Any state: it ends with the timer's interrupt, which waits.
fn suspend(lab: &Lab, random: &mut Random) -> bool {
    gic::set_timer(1);
    is_answer(lab.call([CPU_SUSPEND, random.next(), random.next(), random.next()]))
}

/// PSCI's other functions, and numbers near them; not those that end the machine or a processor.
fn standard(lab: &Lab, random: &mut Random) -> bool {
    let number = 0x8400_0000 | random.below(0x60) | if random.below(2) == 0 { WIDE } else { 0 };
    let ends = [CPU_OFF, SYSTEM_OFF, SYSTEM_RESET, SYSTEM_RESET_2];
    let starts = [CPU_ON, CPU_SUSPEND];
    if ends.contains(&(number & !WIDE)) || starts.contains(&(number | WIDE)) {
        return true;
    }
    lab.call([number, affinity(lab, random), random.next(), random.next()]);
    true
}

/// What nobody offers, by either instruction.
fn unknown(random: &mut Random) -> bool {
    let arguments = [calls::random_number(random), random.next(), random.next(), random.next()];
    let call = if random.below(2) == 0 { calls::hvc } else { calls::smc };
    call(arguments)[0] == NOT_SUPPORTED
}

/// HVC with an immediate: no call.
fn hypercall(random: &mut Random) -> bool {
    let immediate = 1 + random.below(0xFFFF) as u16;
    let number = calls::random_number(random);
    // SAFETY: it is undefined; that is what is to be found out.
    let found = unsafe { scratch::run(core::iter::once(scratch::hvc(immediate)), [number, 0, 0, 0]) };
    found == [1; 2]
}

/// Writes to the hypervisor's memory.
fn poke(lab: &Lab, random: &mut Random) -> bool {
    let kind = random.below(reserved::kinds() as u64) as usize;
    let pages = lab.reservation.size / 4096;
    // Few pages, so that processors meet there.
    let page = random.below(pages.min(16)) * (pages / 16).max(1);
    reserved::write(kind, lab.reservation.start + page * 4096 + random.below(63) * 64).is_none()
}

/// Reads it: another processor may be writing there.
fn passing(lab: &Lab, random: &mut Random) -> bool {
    reserved::is_passing(lab.reservation.start + random.below(lab.reservation.size / 8) * 8)
}

/// An instruction of EL2's or EL3's: Op1 is 4 at least.
fn el2(random: &mut Random) -> bool {
    let instruction = scratch::system_instruction(random.next() as u32 | 1 << 13, 1);
    // SAFETY: it is undefined; that is what is to be found out.
    let found = unsafe { scratch::run(core::iter::once(instruction), [random.next(), random.next(), 0, 0]) };
    found == [1; 2]
}

/// Registers that EL2 may have to look after: written with noise, and put back.
fn registers(random: &mut Random) -> bool {
    macro_rules! noise {
        ($($name:literal $mask:expr;)*) => {{
            $(
                let (old, new) = (read!($name), random.next() & $mask);
                // SAFETY: nothing depends on the register until it is put back: interrupts are held back.
                unsafe {
                    write!($name, new);
                    calls::hvc([0, 0, 0, 0]);
                    write!($name, old);
                }
            )*
        }};
    }
    noise! {
        "tpidr_el1" u64::MAX;
        "contextidr_el1" 0xFFFF_FFFF;
        "ttbr1_el1" u64::MAX;
        "afsr0_el1" 0xFFFF_FFFF;
        "cpacr_el1" 3 << 20;
        "cntkctl_el1" 0x3FF;
        "par_el1" u64::MAX;
        "vbar_el1" !0x7FF;
        "sp_el0" u64::MAX;
    };
    true
}
