//! Interrupts of the root VM's that come while the extension runs.
//!
//! Ring 3 runs with interrupts on, so that one that loops is stopped where no other processor does it. The kernel serves
//! none of them: before a guest runs each is back in the local APIC, and the guest takes it from there as if it had waited
//! there all the time, by its own flag, shadow and task priority. A guest VM ends its turn for it. The kernel itself lets none in.
//!
//! * One that was triggered by an edge is ended at once, so that the next ones come, and sent to this processor again.
//! * One that was triggered by a level is ended as late as that: its controller sends it again as long as the level lasts,
//!   and would do so for ever before.
//! * One by the old controller's protocol, ExtINT, cannot be given back. None is let in while the APIC listens to that.
//!
//! One that comes again at once stays in service too: a hostile root VM must not keep the extension from getting on.
//!
//! There may be no second interrupt: the root VM's timer is often set for one. Once that has come, or where it is masked, the
//! APIC's timer counts for the kernel, unless it is running. Its vector is that of an interrupt that is to be sent again, so
//! that one that comes too late to stop the extension is none too many for the guest.

use plinth_hal::UserExit;

use crate::apic::{EXTINT, LocalApic, MASKED, Register};
use crate::time;
use crate::user::UserRegisters;

/// Exceptions that ring 3 goes on behind, or whose cause is gone: debug and machine check.
const DEBUG: u8 = 1;
const MACHINE_CHECK: u8 = 18;
/// The lowest vector that the APIC delivers (AMD APM vol. 2, 16.6.1).
const FIRST_VECTOR: u8 = 16;
/// The timer's divisor: 1.
const UNDIVIDED: u32 = 0b1011;
/// How far the timer's rate may be below the TSC's: it is set for so small a part of the time, again and again.
const SLOWER: u64 = 128;
/// The shortest time that it is set for, and between two interrupts of which both stop the extension, in ticks.
const SHORTEST: u64 = 1 << 16;

/// A set of vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Vectors([u64; 4]);

impl Vectors {
    fn insert(&mut self, vector: u8) {
        self.0[usize::from(vector) / 64] |= 1 << (vector % 64);
    }

    fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector) / 64] >> (vector % 64) & 1 != 0
    }

    fn highest(&self) -> Option<u8> {
        let mut words = [192_u8, 128, 64, 0].into_iter().zip(self.0.iter().rev());
        let (first, word) = words.find(|(_, word)| **word != 0)?;
        Some(first | word.checked_ilog2()? as u8)
    }

    fn take_highest(&mut self) -> Option<u8> {
        let vector = self.highest()?;
        self.0[usize::from(vector) / 64] &= !(1 << (vector % 64));
        Some(vector)
    }
}

/// What the timer's registers held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timer {
    entry: u32,
    divisor: u32,
}

/// The interrupts of one processor that have stopped its extension.
#[derive(Debug, Default)]
pub struct Interrupts {
    /// To be sent again.
    again: Vectors,
    /// How many are still in service.
    in_service: u32,
    /// When the last one came.
    last: u64,
    /// What the root VM had in the timer, which counts for the kernel.
    timer: Option<Timer>,
    /// One has come by the old controller's protocol, on a way that does not show here.
    by_surprise: bool,
}

impl Interrupts {
    /// Whether interrupts may come while the extension runs. `anew`: the root VM has changed how they do.
    pub fn may_come(&mut self, apic: LocalApic, anew: bool) -> bool {
        self.by_surprise &= !anew;
        let listens = |entry: u32| entry & MASKED == 0 && entry >> 8 & 7 == EXTINT;
        !self.by_surprise && apic.is_enabled() && !listens(apic.get(Register::LINT0))
    }

    /// One has stopped the extension, or what looks like one. Returns what it was to the kernel.
    #[cold]
    #[inline(never)]
    pub fn taken(&mut self, apic: LocalApic, context: &mut UserRegisters) -> UserExit {
        let vector = context.vector();
        if self.keep(&apic, vector, time::counter()) {
            return UserExit::Clock;
        }
        if !context.may_be_exception() {
            self.surprise(&apic, vector, context);
            return UserExit::Clock;
        }
        // An exception, or the old controller has been given its vector to make it look like one. With interrupts off a fault
        // comes again. To go on behind INT1 does no harm.
        match vector {
            MACHINE_CHECK => return UserExit::Fault(context.fault()),
            DEBUG if context.is_traced() => return UserExit::Fault(context.fault()),
            DEBUG => {}
            _ => context.shut_out_interrupts(),
        }
        UserExit::Clock
    }

    /// Keeps one for the guest. Returns false where the APIC has not delivered it.
    fn keep(&mut self, apic: &impl Registers, vector: u8, now: u64) -> bool {
        if !apic.is_in_service(vector) {
            return false;
        }
        let hurries = now.wrapping_sub(core::mem::replace(&mut self.last, now)) < SHORTEST;
        if apic.comes_again(vector) || hurries && self.again.contains(vector) {
            self.in_service = self.in_service.saturating_add(1);
        } else {
            apic.end_of_interrupt();
            self.again.insert(vector);
        }
        true
    }

    /// The APIC's spurious interrupt, which is nobody's; or an I/O APIC has passed one of the old controller's on. It goes to
    /// the guest as an ordinary one, whose end only the old controller hears of, and is the last of its kind.
    fn surprise(&mut self, apic: &LocalApic, vector: u8, context: &mut UserRegisters) {
        if vector == apic.spurious_vector() {
            return;
        }
        self.by_surprise = true;
        context.shut_out_interrupts();
        if vector >= FIRST_VECTOR {
            self.again.insert(vector);
        }
    }

    /// Whether no more may come after one that came by surprise.
    pub fn are_shut_out(&self) -> bool {
        self.by_surprise
    }

    /// Has the next one come within so many ticks of the TSC, if one has come already and the timer is free.
    pub fn continue_within(&mut self, apic: LocalApic, ticks: u64) {
        self.set_timer(&apic, ticks);
    }

    fn set_timer(&mut self, apic: &impl Registers, ticks: u64) {
        let Some(vector) = self.again.highest() else { return };
        if self.timer.is_none() {
            let entry = apic.get(Register::TIMER);
            let comes = entry & MASKED == 0 && !self.again.contains(entry as u8);
            if comes || apic.timer_runs() {
                return;
            }
            self.timer = Some(Timer { entry, divisor: apic.get(Register::TIMER_DIVISOR) });
        }
        let count = (ticks / SLOWER).clamp(SHORTEST, u32::MAX.into());
        apic.set(Register::TIMER, vector.into());
        apic.set(Register::TIMER_DIVISOR, UNDIVIDED);
        apic.set(Register::TIMER_COUNT, count as u32);
    }

    /// Gives all of them, and the timer, back to the root VM.
    pub fn give_back(&mut self, apic: LocalApic) {
        self.return_to(&apic);
    }

    fn return_to(&mut self, apic: &impl Registers) {
        if let Some(Timer { entry, divisor }) = self.timer.take() {
            apic.set(Register::TIMER_COUNT, 0);
            apic.set(Register::TIMER_DIVISOR, divisor);
            apic.set(Register::TIMER, entry);
        }
        (0..core::mem::take(&mut self.in_service)).for_each(|_| apic.end_of_interrupt());
        while let Some(vector) = self.again.take_highest() {
            apic.send_self(vector);
        }
    }
}

/// What of a local APIC is needed here.
pub(crate) trait Registers {
    /// Reads a register.
    fn get(&self, register: Register) -> u32;
    /// Writes one.
    fn set(&self, register: Register, value: u32);
    /// Sends an interrupt to this processor itself.
    fn send_self(&self, vector: u8);
    /// Whether the timer is set, by count or by deadline.
    fn timer_runs(&self) -> bool;

    /// Whether an interrupt has been accepted and not ended.
    fn is_in_service(&self, vector: u8) -> bool {
        self.has(Register::in_service(vector), vector)
    }

    /// Whether its controller sends it again when it is ended: the mode says level, and the controllers are told of the end.
    fn comes_again(&self, vector: u8) -> bool {
        const KEEP_END: u32 = 1 << 12;
        self.has(Register::trigger_mode(vector), vector) && self.get(Register::SPURIOUS) & KEEP_END == 0
    }

    /// The bit of a vector in the word that has it.
    fn has(&self, word: Register, vector: u8) -> bool {
        self.get(word) >> (vector % 32) & 1 != 0
    }

    /// Ends the interrupt of the highest priority in service.
    fn end_of_interrupt(&self) {
        self.set(Register::END_OF_INTERRUPT, 0);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::cell::RefCell;

    use super::*;

    /// A local APIC as a table of registers, with what was sent and how often an end was told.
    struct Fake {
        registers: RefCell<std::vec::Vec<u32>>,
        sent: RefCell<std::vec::Vec<u8>>,
        ends: RefCell<u32>,
        runs: bool,
    }

    impl Fake {
        fn new(runs: bool) -> Self {
            let registers = RefCell::new(std::vec![0; 0x40]);
            Self { registers, sent: RefCell::default(), ends: RefCell::default(), runs }
        }

        fn accept(&self, vector: u8, level: bool) {
            let place = usize::from(vector / 32);
            self.registers.borrow_mut()[0x10 + place] |= 1 << (vector % 32);
            self.registers.borrow_mut()[0x18 + place] |= u32::from(level) << (vector % 32);
        }
    }

    impl Registers for Fake {
        fn get(&self, register: Register) -> u32 {
            self.registers.borrow()[register.offset() as usize / 0x10]
        }

        fn set(&self, register: Register, value: u32) {
            if register == Register::END_OF_INTERRUPT {
                *self.ends.borrow_mut() += 1;
            }
            self.registers.borrow_mut()[register.offset() as usize / 0x10] = value;
        }

        fn send_self(&self, vector: u8) {
            self.sent.borrow_mut().push(vector);
        }

        fn timer_runs(&self) -> bool {
            self.runs
        }
    }

    #[test]
    fn a_set_gives_the_highest_first_and_each_once() {
        let mut set = Vectors::default();
        for vector in [0x31, 255, 0x30, 16, 64, 0x31] {
            set.insert(vector);
        }
        let taken: std::vec::Vec<u8> = core::iter::from_fn(|| set.take_highest()).collect();
        assert_eq!(taken, [255, 64, 0x31, 0x30, 16]);
        assert_eq!(set, Vectors::default());
    }

    #[test]
    fn one_by_an_edge_is_ended_at_once_and_sent_again() {
        let (fake, mut interrupts) = (Fake::new(false), Interrupts::default());
        for vector in [0x41, 0xEC] {
            fake.accept(vector, false);
            assert!(interrupts.keep(&fake, vector, 0));
        }
        assert_eq!((*fake.ends.borrow(), fake.sent.borrow().len()), (2, 0));
        interrupts.return_to(&fake);
        assert_eq!((*fake.ends.borrow(), &**fake.sent.borrow()), (2, &[0xEC, 0x41][..]));
        interrupts.return_to(&fake);
        assert_eq!(fake.sent.borrow().len(), 2, "once");
    }

    #[test]
    fn one_by_a_level_is_ended_late_and_not_sent() {
        let (fake, mut interrupts) = (Fake::new(false), Interrupts::default());
        fake.accept(0x29, true);
        assert!(interrupts.keep(&fake, 0x29, 0));
        assert_eq!(*fake.ends.borrow(), 0);
        interrupts.return_to(&fake);
        assert_eq!((*fake.ends.borrow(), fake.sent.borrow().len()), (1, 0));
    }

    #[test]
    fn one_whose_end_the_guest_tells_its_controller_itself_is_sent_again() {
        let (fake, mut interrupts) = (Fake::new(false), Interrupts::default());
        fake.accept(0x29, true);
        fake.set(Register::SPURIOUS, 1 << 12);
        assert!(interrupts.keep(&fake, 0x29, 0));
        interrupts.return_to(&fake);
        assert_eq!(&**fake.sent.borrow(), [0x29]);
    }

    #[test]
    fn one_that_comes_again_at_once_stays_in_service() {
        let (fake, mut interrupts) = (Fake::new(false), Interrupts::default());
        fake.accept(0x41, false);
        for (now, ends) in [(0, 1), (SHORTEST, 2), (SHORTEST + 1, 2)] {
            assert!(interrupts.keep(&fake, 0x41, now));
            assert_eq!(*fake.ends.borrow(), ends, "at {now}");
        }
        interrupts.return_to(&fake);
        assert_eq!((*fake.ends.borrow(), &**fake.sent.borrow()), (3, &[0x41][..]));
    }

    #[test]
    fn what_is_not_in_service_is_not_the_apics() {
        let (fake, mut interrupts) = (Fake::new(false), Interrupts::default());
        fake.accept(0x31, false);
        assert!(!interrupts.keep(&fake, 0x30, 0));
        assert_eq!(*fake.ends.borrow(), 0);
    }

    #[test]
    fn a_timer_at_rest_counts_for_the_kernel_and_comes_back_as_it_was() {
        let (fake, mut interrupts) = (Fake::new(false), Interrupts::default());
        fake.set(Register::TIMER, MASKED | 0xEC);
        fake.set(Register::TIMER_DIVISOR, 3);
        interrupts.set_timer(&fake, 1 << 30);
        assert_eq!(fake.get(Register::TIMER), MASKED | 0xEC, "no interrupt has come");
        fake.accept(0x41, false);
        assert!(interrupts.keep(&fake, 0x41, 0));
        for (ticks, count) in [(1 << 30, 1 << 23), (u64::MAX, u32::MAX), (5, 1 << 16)] {
            interrupts.set_timer(&fake, ticks);
            assert_eq!((fake.get(Register::TIMER), fake.get(Register::TIMER_DIVISOR)), (0x41, UNDIVIDED));
            assert_eq!(fake.get(Register::TIMER_COUNT), count);
        }
        interrupts.return_to(&fake);
        assert_eq!((fake.get(Register::TIMER), fake.get(Register::TIMER_DIVISOR)), (MASKED | 0xEC, 3));
        assert_eq!(fake.get(Register::TIMER_COUNT), 0);
    }

    #[test]
    fn a_timer_that_may_come_yet_is_left_alone() {
        let (fake, mut interrupts) = (Fake::new(false), Interrupts::default());
        fake.set(Register::TIMER, 0xEC);
        for (vector, entry) in [(0x41, 0xEC), (0xEC, 0xEC)] {
            fake.accept(vector, false);
            assert!(interrupts.keep(&fake, vector, 0));
            assert_eq!(fake.get(Register::TIMER), entry);
            interrupts.set_timer(&fake, 1 << 30);
            assert_eq!(interrupts.timer.is_some(), vector == 0xEC);
        }
    }

    #[test]
    fn a_timer_that_runs_is_left_alone() {
        let (fake, mut interrupts) = (Fake::new(true), Interrupts::default());
        fake.set(Register::TIMER, MASKED);
        fake.accept(0x41, false);
        assert!(interrupts.keep(&fake, 0x41, 0));
        interrupts.set_timer(&fake, 1 << 30);
        assert_eq!(fake.get(Register::TIMER), MASKED);
    }
}
