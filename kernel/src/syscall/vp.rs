//! VP calls.

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::Arch;

use super::{Answer, DONE, about};
use crate::object::objects::Vp;
use crate::object::table::Id;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Makes a VP of a VM.
    pub(super) fn vp_create(&mut self) -> Answer {
        Ok([self.create_vp(self.id(1))?.raw(), 0])
    }

    pub(crate) fn create_vp(&self, vm: Id) -> Result<Id, Failure> {
        self.kernel.vms.with(vm, |vm| vm.vps = vm.vps.saturating_add(1)).map_err(about(1))?;
        match self.kernel.vps.insert(Vp { vm, vss: 0 }) {
            Ok(id) => Ok(id),
            Err(_) => {
                let _ = self.kernel.vms.with(vm, |vm| vm.vps = vm.vps.saturating_sub(1));
                Err(Error::OutOfObjects.into())
            }
        }
    }

    /// Removes a VP that has no VS.
    pub(super) fn vp_destroy(&mut self) -> Answer {
        let unused = |vp: &Vp| if vp.vss == 0 { Ok(()) } else { Err(Error::Busy) };
        let vp = self.kernel.vps.remove(self.id(1), unused).map_err(about(1))?;
        let _ = self.kernel.vms.with(vp.vm, |vm| vm.vps = vm.vps.saturating_sub(1));
        DONE
    }
}
