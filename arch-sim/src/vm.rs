//! A VM on the simulated hardware: its intercept maps, in three frames of the pool.

use plinth_hal::{BadRegister, FrameSource, Intercepts, OutOfFrames, PAGE_SIZE, PhysicalMemory, Spa, VmHw};

use crate::Sim;
use crate::machine::{Memory, OWNED_REGISTER};
use crate::mmu::Space;

/// Frames of the maps: one for registers, two for ports.
const FRAMES: usize = 3;
/// How many system registers the map covers.
pub const MAPPED_REGISTERS: u64 = 0x4000;
/// Bit number in the maps at which writes of registers begin.
const WRITES: u64 = MAPPED_REGISTERS;
/// Bit number at which ports begin.
const PORTS: u64 = PAGE_SIZE * 8;

/// The intercept maps of a VM, as the processor finds them.
#[derive(Clone, Copy)]
pub struct Maps {
    memory: Memory,
    at: Spa,
}

impl Maps {
    /// Whether an access to a system register exits. Those outside the map always do.
    pub fn intercepts_register(&self, register: u64, write: bool) -> bool {
        let bit = register + if write { WRITES } else { 0 };
        register >= MAPPED_REGISTERS || register == OWNED_REGISTER || self.bit(bit)
    }

    /// Whether an access to a port exits.
    pub fn intercepts_port(&self, port: u16) -> bool {
        self.bit(PORTS + u64::from(port))
    }

    fn word(&self, bit: u64) -> Spa {
        Spa::new(self.at.raw() + bit / 64 * 8)
    }

    fn bit(&self, bit: u64) -> bool {
        self.memory.read_u64(self.word(bit)) >> (bit % 64) & 1 != 0
    }

    fn set(&self, bit: u64, on: bool) {
        let mask = 1 << (bit % 64);
        let word = self.memory.read_u64(self.word(bit));
        self.memory.write_u64(self.word(bit), if on { word | mask } else { word & !mask });
    }
}

/// A VM on hardware.
pub struct SimVm {
    pub(crate) maps: Maps,
    pub(crate) space: Space,
}

impl VmHw for SimVm {
    type Arch = Sim;

    fn create(
        memory: Memory,
        frames: &mut impl FrameSource,
        nested_root: Spa,
        tag: u16,
    ) -> Result<Self, OutOfFrames> {
        let at = frames.allocate(FRAMES)?;
        Ok(Self { maps: Maps { memory, at }, space: Space { root: nested_root, tag } })
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.maps.at, FRAMES);
    }

    fn intercept_register(&mut self, register: u64, intercepts: Intercepts) -> Result<(), BadRegister> {
        if register >= MAPPED_REGISTERS {
            return Err(BadRegister);
        }
        self.maps.set(register, intercepts.reads);
        self.maps.set(register + WRITES, intercepts.writes);
        Ok(())
    }

    fn intercept_port(&mut self, port: u16, intercept: bool) -> Result<(), BadRegister> {
        self.maps.set(PORTS + u64::from(port), intercept);
        Ok(())
    }
}
