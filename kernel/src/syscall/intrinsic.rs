//! Registers of the machine itself: denied unless listed.

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::{Arch, HostCpu, UserContext};

use super::{Answer, DONE};
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Reads a register that the backend lists as harmless.
    pub(super) fn intrinsic_read(&mut self) -> Answer {
        let register = self.user.argument(1);
        if !A::Cpu::may_read(register) {
            return Err(Failure::argument(1, Error::Denied));
        }
        let value =
            self.cpu.read_register(register).map_err(|_| Failure::argument(1, Error::HardwareFault))?;
        Ok([value, 0])
    }

    /// Writes a register that the backend lists as harmless.
    pub(super) fn intrinsic_write(&mut self) -> Answer {
        let (register, value) = (self.user.argument(1), self.user.argument(2));
        if !A::Cpu::may_write(register) {
            return Err(Failure::argument(1, Error::Denied));
        }
        self.cpu.write_register(register, value).map_err(|_| Failure::argument(2, Error::HardwareFault))?;
        DONE
    }

    /// Restarts the machine: what a root VM that shut down asks for.
    pub(super) fn intrinsic_reset(&mut self) -> Answer {
        log::info!("pp {}: the extension restarts the machine", self.index);
        self.cpu.reset_machine();
        Err(Error::Unsupported.into())
    }
}
