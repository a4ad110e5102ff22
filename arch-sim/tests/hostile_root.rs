//! A root VM that attacks at random, on four processors: it touches the hypervisor's memory and memory that is not there,
//! interrupts, resets and starts its processors, calls the hypervisor from every level, and executes what is the hypervisor's.
//! Afterwards every processor starts, and nothing is lost. What each processor does repeats; how they meet does not.

mod common;

use common::{eventually, meet, program, promoted, wait_for};
use plinth_arch_sim::isa::{Op, SIZE};
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::machine::{CONTROL_PAGE, MEMORY_END, Machine, PHYSICAL_END, RESERVATION, Trace};
use plinth_arch_sim::standard::Standard;
use plinth_arch_sim::vs::{reset, reset_others, start, start_all};

/// Where the attacks lie, one for each processor.
const ATTACKS: u64 = 0x40_0000;
const DISTANCE: u64 = 0x2_0000;
/// Where processors go at the end.
const FINAL: u32 = 0x18_0000;
/// Instructions in an attack.
const LENGTH: usize = 3000;
const PROCESSORS: usize = 4;
/// An id that no processor has.
const NOBODY: u32 = 0x80_0000;
/// No value that a meeting has.
const NEVER: u64 = 99;

/// Random numbers that a seed repeats: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// An address of the hypervisor's, or one where nothing is.
    fn address(&mut self) -> u64 {
        match self.below(8) {
            0 => MEMORY_END + self.below(1 << 20),
            1 => PHYSICAL_END.wrapping_add(self.next()) | 1 << 63,
            2 => RESERVATION.end - 1 - self.below(7),
            // A few words, so that processors meet there.
            3 => RESERVATION.start + self.below(4) * 0x1000,
            _ => RESERVATION.start + self.below(RESERVATION.end - RESERVATION.start - 8),
        }
    }

    fn processor(&mut self) -> u32 {
        match self.below(8) {
            0 => NOBODY + self.below(100) as u32,
            _ => Machine::hardware_id(self.below(PROCESSORS as u64) as usize),
        }
    }

    /// An instruction for processor `own`.
    fn op(&mut self, own: usize) -> Op {
        let value = self.next();
        match self.below(18) {
            0..=2 => Op::Store { address: self.address(), value },
            3 | 4 => Op::Load { address: self.address() },
            5 => self.control(own),
            // A command to a device, or one that the controller does not have.
            6 if self.below(2) == 0 => Op::Store { address: CONTROL_PAGE, value: value >> 8 },
            6 => Op::Store { address: CONTROL_PAGE, value: value | 1 << 63 },
            7 => Op::Virtualize,
            8 => Op::Odd { code: value },
            9 => Op::RaiseNmi,
            10 => Op::Cache,
            11 => Op::RegisterRead { register: self.below(64) },
            12 => Op::RegisterWrite { register: self.below(64), value },
            13 => Op::PortWrite { port: value, value },
            14 => Op::Privilege { level: self.below(4) },
            15 => Op::Set { register: 0, value },
            16 => Op::IdRead,
            _ => Op::Hypercall,
        }
    }

    /// Resets and starts by the first processor, which ends it all; the others ask for ones that are not there.
    fn control(&mut self, own: usize) -> Op {
        let target = if own == 0 { self.processor() } else { NOBODY };
        let entry = ATTACKS + (1 + self.below(PROCESSORS as u64 - 1)) * DISTANCE;
        if target != Machine::hardware_id(0) && self.below(2) == 0 {
            return reset(target);
        }
        start(target, entry as u32)
    }

    /// An attack, which ends at the highest level.
    fn attack(&mut self, own: usize) -> Vec<Op> {
        (0..LENGTH).map(|_| self.op(own)).chain([Op::Privilege { level: 0 }]).collect()
    }
}

#[test]
fn every_processor_starts_after_an_attack_by_all() {
    for seed in 1..=6 {
        attack(seed);
    }
}

fn attack(seed: u64) {
    let mut lab = Lab::new(Standard::new().extension());
    let attacks: Vec<_> = (0..PROCESSORS).map(|own| Random(seed << 8 | own as u64).attack(own)).collect();
    for (own, attack) in (0..).zip(&attacks) {
        let end =
            if own == 0 { [reset_others(), start_all(FINAL)].to_vec() } else { wait_for(NEVER).to_vec() };
        let whole = program(&[attack, &end, &wait_for(2)]);
        assert!(whole.len() as u64 * SIZE < DISTANCE);
        lab.load(ATTACKS + own * DISTANCE, &whole);
    }
    let arrives = [Op::Set { register: 0, value: seed }, Op::Report { register: 0 }];
    lab.load(FINAL.into(), &program(&[&arrives, &wait_for(2)]));
    for own in 0..PROCESSORS {
        let go = Op::Jump { address: ATTACKS + own as u64 * DISTANCE };
        lab.launch(own, &[wait_for(1)[0], go]);
    }
    let before = (lab.kernel.free_frames(), lab.kernel.object_counts());
    meet(&lab, 1);
    let arrived = || lab.machine.trace().iter().filter(|entry| **entry == Trace::Value(seed)).count();
    eventually("all others, where they were sent at last", || arrived() == PROCESSORS - 1);
    assert_eq!((lab.kernel.free_frames(), lab.kernel.object_counts()), before, "seed {seed}");
    meet(&lab, 2);
    for own in 0..PROCESSORS {
        promoted(&lab.end(own));
    }
}
