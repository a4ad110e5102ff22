//! Interrupts of the root VM that arrive while the extension runs: how they preempt the extension, and how
//! the root VM still gets every one of them.
//!
//! Ring 3 runs with interrupts enabled. An interrupt of the root VM therefore preempts an extension that
//! loops, also on a machine with one processor. The kernel runs with interrupts disabled and handles none of
//! them. Before a guest runs, the kernel puts each interrupt back into the local APIC, and the root VM takes
//! it from there by its own RFLAGS.IF, interrupt shadow and task priority. A guest VM exits for it, which
//! ends the guest VM's turn.
//!
//! * Edge-triggered: the kernel writes EOI at once, so that later interrupts can arrive, and re-sends the
//!   vector to this processor as a self-IPI before the guest runs.
//! * Level-triggered: the kernel writes EOI only just before the guest runs. The I/O APIC then re-sends the
//!   interrupt while the line is asserted; after an early EOI it would re-send without end.
//! * ExtINT (the 8259's protocol): the kernel cannot give such an interrupt back. Ring 3 runs with interrupts
//!   disabled while LINT0 is unmasked for ExtINT.
//!
//! A vector that arrives again within `SHORTEST` ticks stays in service, so that a hostile root VM cannot
//! stop the extension from making progress.
//!
//! A second interrupt may never arrive: often the first was the root VM's one-shot APIC timer. The kernel
//! then arms the APIC timer for itself, if the timer is not running and its vector is masked or about to be
//! re-sent. The timer borrows the vector of an interrupt that will be re-sent anyway: if it fires too late,
//! it merges with that one in the APIC, and the guest sees no extra interrupt.

use plinth_hal::UserExit;

use crate::apic::{EXTINT, LocalApic, MASKED, Register};
use crate::time;
use crate::user::UserRegisters;

/// #DB and #MC, which would not be raised again: #DB of INT1 is a trap, and the cause of #MC is gone.
const DEBUG: u8 = 1;
const MACHINE_CHECK: u8 = 18;
/// The lowest vector that the APIC delivers (AMD APM vol. 2, 16.6.1).
const FIRST_VECTOR: u8 = 16;
/// The timer's divisor: 1.
const UNDIVIDED: u32 = 0b1011;
/// The APIC timer may be slower than the TSC by up to this factor. The count is the ticks of the TSC divided
/// by it, and the timer is armed again until the time is over.
const SLOWER: u64 = 128;
/// The smallest count of the timer, and the smallest distance of two interrupts of one vector that both
/// preempt the extension, in ticks of the TSC.
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

/// The root VM's values of the timer's registers, saved while the kernel uses the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timer {
    entry: u32,
    divisor: u32,
}

/// The interrupts of one processor that have stopped its extension.
#[derive(Debug, Default)]
pub struct Interrupts {
    /// Vectors to re-send to this processor before the guest runs.
    again: Vectors,
    /// Interrupts without EOI yet.
    in_service: u32,
    /// The TSC at the last interrupt.
    last: u64,
    /// The root VM's timer registers; `Some` while the kernel uses the timer.
    timer: Option<Timer>,
    /// An interrupt arrived that the APIC does not know, from an 8259 behind an I/O APIC. Ring 3 runs with
    /// interrupts disabled from then on.
    by_surprise: bool,
}

impl Interrupts {
    /// Whether the extension may run with interrupts enabled. `anew`: the root VM has changed the interrupt
    /// routing.
    pub fn may_come(&mut self, apic: LocalApic, anew: bool) -> bool {
        self.by_surprise &= !anew;
        let listens = |entry: u32| entry & MASKED == 0 && entry >> 8 & 7 == EXTINT;
        !self.by_surprise && apic.is_enabled() && !listens(apic.get(Register::LINT0))
    }

    /// Handles an interrupt, or an exception with the vector of one, that stopped the extension. Returns the
    /// reason for the kernel.
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
        // Either an exception, or an interrupt of an 8259 that the root VM has programmed with an exception's
        // vector. With interrupts disabled, only a true fault is raised again. Resuming after INT1 does no
        // harm.
        match vector {
            MACHINE_CHECK => return UserExit::Fault(context.fault()),
            DEBUG if context.is_traced() => return UserExit::Fault(context.fault()),
            DEBUG => {}
            _ => context.shut_out_interrupts(),
        }
        UserExit::Clock
    }

    /// Records the interrupt for the guest. Returns false where it is not in service in the APIC.
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

    /// Handles an interrupt that is not in service: the APIC's spurious interrupt, which is dropped, or an
    /// ExtINT that an I/O APIC has passed on. The guest gets the ExtINT as an ordinary interrupt, and sends
    /// its EOI to the 8259 alone. No second ExtINT can arrive, since ring 3 runs with interrupts disabled
    /// from here on.
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

    /// Whether ring 3 runs with interrupts disabled since an ExtINT has arrived through an I/O APIC.
    pub fn are_shut_out(&self) -> bool {
        self.by_surprise
    }

    /// Arms the APIC timer so that it preempts the extension after at most `ticks` of the TSC. Does nothing
    /// if no vector is to be re-sent, or if the root VM uses the timer.
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

    /// Gives all recorded interrupts, and the timer, back to the root VM.
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

/// The registers and commands of a local APIC that [`Interrupts`] uses.
pub(crate) trait Registers {
    /// Reads a register.
    fn get(&self, register: Register) -> u32;
    /// Writes a register.
    fn set(&self, register: Register, value: u32);
    /// Sends an interrupt to this processor itself.
    fn send_self(&self, vector: u8);
    /// Whether the timer is set, by count or by deadline.
    fn timer_runs(&self) -> bool;

    /// Whether the APIC has delivered the vector and waits for its EOI.
    fn is_in_service(&self, vector: u8) -> bool {
        self.has(Register::in_service(vector), vector)
    }

    /// Whether the I/O APIC re-sends the vector after EOI: the vector is level-triggered, and EOIs are
    /// broadcast.
    fn comes_again(&self, vector: u8) -> bool {
        const KEEP_END: u32 = 1 << 12;
        self.has(Register::trigger_mode(vector), vector) && self.get(Register::SPURIOUS) & KEEP_END == 0
    }

    /// Tests the vector's bit in `word`, one of the eight words of a bit map of vectors.
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
