//! The commands, each at random: most are sent to processors by the interrupt controller.

use plinth_test_extensions::random::Random;

use super::{Storm, pokes};
use crate::apic;

/// Delivery modes, bits 10:8 of a command (AMD64 APM vol. 2, 16.5).
const FIXED: u32 = 0;
const LOWEST: u32 = 1 << 8;
const RESERVED: u32 = 3 << 8;
const NMI: u32 = apic::NMI;
pub(super) const INIT: u32 = 5 << 8;
pub(super) const START: u32 = 6 << 8;
const EXTERNAL: u32 = 7 << 8;
/// Other fields.
const LOGICAL: u32 = 1 << 11;
pub(super) const ASSERT: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
const OTHERS: u32 = 3 << 18;

/// Carries out one command. Whether what can be seen of it at once is right.
pub(super) fn carry_out(storm: &Storm, random: &mut Random) -> bool {
    match random.below(13) {
        0 => pokes::memory(storm.reservation, random),
        1 => pokes::instruction(random),
        2 => pokes::register(random),
        3 => pokes::hypercall(random),
        4 => pokes::apic(storm, random),
        _ => {
            let (destination, command) = interrupt(storm, random);
            storm.apic.send_to(destination, command);
            true
        }
    }
}

/// A destination and a command for the interrupt controller.
fn interrupt(storm: &Storm, random: &mut Random) -> (u32, u32) {
    let processors = storm.processors;
    let mut below = |limit: u32| random.below(u64::from(limit)) as u32;
    // Now and then somebody who is not there.
    let absent = below(64) == 0;
    let anybody = if absent { processors + 1 } else { below(processors) };
    let other = if absent { processors + 1 } else { 1 + below(processors - 1) };
    let vector = 32 + below(224);
    let flags = below(1 << 16) & (LOGICAL | ASSERT | LEVEL);
    let shorthand = below(4) << 18;
    match below(8) {
        0 => (anybody, FIXED | vector | flags | shorthand),
        1 => (anybody, LOWEST | vector | flags),
        2 => (other, RESERVED | vector | flags & !LOGICAL),
        3 | 4 => (anybody, NMI | flags & !LOGICAL | shorthand),
        5 => (other, INIT | flags & !LOGICAL | if below(8) == 0 { OTHERS } else { 0 }),
        6 => (other, START | storm.stub.vector() | if below(8) == 0 { OTHERS } else { 0 }),
        _ => (other, EXTERNAL | flags & !LOGICAL),
    }
}
