//! The debug registers while the kernel single-steps a VS, and their restoration: see [`debug_registers`].

use plinth_hal::{Exit, ExitClass};

use super::El2Cpu;
use crate::debug_registers::{Locks, Shadow};
use crate::el1_context::MDSCR_EL1;
use crate::el2::debug_registers;
use crate::exit_registers::{ExitPage, operand, set_result};
use crate::vs::El2Vs;

impl El2Cpu {
    /// Keeps the debug locks open while a VS is single-stepped, and as the root VM has them otherwise.
    pub(super) fn look_after_locks(&mut self, stepping: bool) {
        match (stepping, self.locks) {
            (true, None) => self.locks = Some(Locks::open()),
            (false, Some(locks)) => {
                locks.set();
                self.locks = None;
            }
            _ => {}
        }
    }

    /// Carries out the root VM's access to a debug register, which is trapped only because the kernel single-steps the root
    /// VM. The access is the stepped instruction. `None` for any other exit.
    pub(super) fn serve_debug(&mut self, vs: &mut El2Vs, exit: &Exit, exit_page: ExitPage) -> Option<Exit> {
        let (locks, mdscr) = (self.locks?, vs.stepped_mdscr().filter(|_| vs.is_root())?);
        let mut shadow = Shadow { locks, mdscr };
        if exit.class == ExitClass::RegisterRead {
            let value = shadow.read(exit.number, debug_registers::read)?;
            set_result(exit_page.writer(), exit.detail, value);
        } else {
            let value = operand(exit_page.registers_once(), exit.detail);
            if !shadow.write(exit.number, value, debug_registers::write) {
                return None;
            }
            self.locks = Some(shadow.locks);
            let _ = vs.set_system(MDSCR_EL1, shadow.mdscr);
        }
        vs.skip();
        Some(Exit::of(ExitClass::Reserved))
    }
}
