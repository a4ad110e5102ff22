//! A VM on the simulated hardware: its intercept maps, in three frames of the pool.

use plinth_hal::{
    Authority, FrameSource, InterceptError, Intercepts, Opening, OutOfFrames, PAGE_SIZE, PhysicalMemory, Spa,
    VmHw,
};

use crate::Sim;
use crate::cpu::DENIED_REGISTERS;
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

/// The root VM's tag.
const ROOT_TAG: u16 = 1;
/// The last register that any extension may open to a guest VM; the machine's own lie before it.
pub const LAST_OPEN_REGISTER: u64 = 0x7F;
/// The port that any extension may open to a guest VM.
pub const OPEN_PORT: u16 = 0x80;
/// A port that is never open to a guest VM.
pub const CLOSED_PORT: u16 = 0xCF8;

/// Who may open a register to a guest VM.
const fn register_opening(register: u64) -> Opening {
    match register {
        OWNED_REGISTER => Opening::Closed,
        ..DENIED_REGISTERS => Opening::Intrinsic,
        DENIED_REGISTERS..=LAST_OPEN_REGISTER => Opening::Open,
        _ => Opening::Closed,
    }
}

/// Who may open a port to a guest VM.
const fn port_opening(port: u16) -> Opening {
    match port {
        OPEN_PORT => Opening::Open,
        CLOSED_PORT => Opening::Closed,
        _ => Opening::Intrinsic,
    }
}

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
        if tag != ROOT_TAG {
            for word in 0..FRAMES as u64 * PAGE_SIZE / 8 {
                memory.write_u64(Spa::new(at.raw() + word * 8), u64::MAX);
            }
        }
        Ok(Self { maps: Maps { memory, at }, space: Space { root: nested_root, tag } })
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.maps.at, FRAMES);
    }

    fn intercept_register(
        &mut self,
        register: u64,
        intercepts: Intercepts,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        if register >= MAPPED_REGISTERS {
            return Err(InterceptError::Unknown);
        }
        let opens = !intercepts.reads || !intercepts.writes;
        let may_open = match self.space.tag {
            ROOT_TAG => register != OWNED_REGISTER,
            _ => register_opening(register).allows(authority),
        };
        if opens && !may_open {
            return Err(InterceptError::Denied);
        }
        self.maps.set(register, intercepts.reads);
        self.maps.set(register + WRITES, intercepts.writes);
        Ok(())
    }

    fn intercept_port(
        &mut self,
        port: u16,
        intercept: bool,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        if !intercept && self.space.tag != ROOT_TAG && !port_opening(port).allows(authority) {
            return Err(InterceptError::Denied);
        }
        self.maps.set(PORTS + u64::from(port), intercept);
        Ok(())
    }
}
