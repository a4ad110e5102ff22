//! Whether this CPU can be given back to its caller.

use plinth_hal::{GuestMemory, Obstacle, TakeBack};

use super::El2Cpu;
use crate::exit_registers::ExitRegisters;
use crate::power::{firmware, secondary};
use crate::root_state::Caller;
use crate::vs::El2Vs;

impl El2Cpu {
    /// An OS at EL1 that has launched Plinth below itself gets its EL2 stub back with the MMU off, so that no page table has
    /// to be checked. Firmware that ran at EL2 runs at EL1 now, so its state must be one that can continue at EL2.
    pub(super) fn take_back(
        &self,
        vs: &El2Vs,
        guest: &impl GuestMemory,
        registers: ExitRegisters,
    ) -> TakeBack {
        let obstacle = match &self.way_back {
            _ if !vs.is_root() => Some(Obstacle::NotRoot),
            None => Some(Obstacle::StartedBelow),
            Some(Caller::El1(_)) => None,
            Some(Caller::El2(caller)) => caller.obstacle(vs, guest, registers),
        };
        match obstacle {
            Some(obstacle) => TakeBack::Never(obstacle),
            None if self.error.waits() => TakeBack::Later,
            None => TakeBack::Now,
        }
    }

    /// Whether the firmware has started this CPU under Plinth, and can start it again after the CPU turns off. An OS at EL1
    /// needs its stub back on each of its CPUs, also on one that it has turned off.
    pub(super) fn is_firmwares(&self) -> bool {
        self.way_back.is_none() && firmware::is_present() && !secondary::holds_any()
    }
}
