//! Attacks the hypervisor by all that a root VM has, at random: inter-processor interrupts of every kind to every processor,
//! starts and stops of processors, its memory, its instructions and its registers. Then every processor must still start,
//! and this one be well.
//!
//! Not sent is that with which a machine would rightly destroy itself: an INIT to this processor, a start at garbage, a system
//! management interrupt, which takes a processor to whatever lies where the firmware has not put its handler.

mod commands;
mod pokes;
mod stub;

use plinth_test_extensions::random::Random;

use crate::apic::Apic;
use crate::{Report, check, cpu, say, trap};

pub use stub::Stub;

/// Where the random numbers begin.
const SEED: u64 = 0x504C;

/// What is attacked, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// This processor's interrupt controller.
    pub apic: Apic,
    /// Where the other processors start.
    pub stub: Stub,
    /// How many processors there are, by their ids from 0 on; this one's is 0.
    pub processors: u32,
    /// The hypervisor's memory: first byte and length.
    pub reservation: (u64, u64),
    /// How many commands.
    pub commands: u32,
}

impl Storm {
    /// Attacks. Interrupts are on, and all of them are taken over.
    pub fn run(&self, report: &mut Report) {
        let commands = self.commands;
        say!("ipi-storm: seed {SEED:#x}, {commands} commands, {} processors", self.processors);
        // The firmware has no handlers for what will come: from here on no processor runs it.
        for processor in 1..self.processors {
            check!(report, "processor-starts", self.stub.starts(self.apic, processor));
        }
        let mut random = Random::new(SEED);
        let wrong = cpu::without_interrupts(|| {
            (0..commands).filter(|_| !commands::carry_out(self, &mut random)).count()
        });
        say!("ipi-storm: {commands} commands sent, {} NMIs taken here", trap::nmis());
        check!(report, "answers", wrong, 0);
        for processor in 1..self.processors {
            check!(report, "processor-starts-again", self.stub.starts(self.apic, processor));
        }
        let (start, size) = self.reservation;
        let mut words = (start..start + size).step_by(512);
        check!(report, "reservation-is-zero", words.all(|at| pokes::read(at) == Some(0)));
    }
}
