//! What the kernel knows, written to the log for people.

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{Error, ExitClass, Failure};
use plinth_hal::{Arch, PAGE_SIZE, UserContext};

use super::{Answer, DONE, about};
use crate::limits::MAX_PPS;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Writes what a VM has.
    pub(super) fn debug_dump_vm(&mut self) -> Answer {
        let (id, index) = (self.id(0), self.index);
        let dump = self.kernel.vms.with(id, |vm| {
            log::info!(
                "pp {index}: vm {:#x}: {} vps, {} views, {} mapped pages, {} declared answers, tag {}",
                id.raw(),
                vm.vps,
                vm.views.count(),
                vm.mapped_pages,
                vm.policy.len(),
                vm.tag
            );
        });
        dump.map_err(about(0))?;
        DONE
    }

    /// Writes what a VP is.
    pub(super) fn debug_dump_vp(&mut self) -> Answer {
        let (id, index) = (self.id(0), self.index);
        let dump = self.kernel.vps.with(id, |vp| {
            log::info!("pp {index}: vp {:#x}: of vm {:#x}, {} vss", id.raw(), vp.vm.raw(), vp.vss);
        });
        dump.map_err(about(0))?;
        DONE
    }

    /// Writes a PP's exit counts.
    pub(super) fn debug_dump_exits(&mut self) -> Answer {
        let pp = self.user.argument(0);
        if pp >= MAX_PPS as u64 {
            return Err(Failure::argument(0, Error::InvalidArgument));
        }
        for class in ExitClass::ALL {
            let count = self.kernel.exit_count(pp as usize, *class);
            if count != 0 {
                log::info!("pp {}: exits of pp {pp}: {count} {}", self.index, class.name());
            }
        }
        DONE
    }

    /// Writes what the kernel knows of the extension.
    pub(super) fn debug_dump_extension(&mut self) -> Answer {
        let extension = self.extension;
        let at = |callback: &core::sync::atomic::AtomicU64| callback.load(Ordering::SeqCst);
        log::info!(
            "pp {}: extension: bootstrap {:#x}, vmexit {:#x}, fail {:#x}, ABI version {}, {}",
            self.index,
            at(&extension.bootstrap),
            at(&extension.vmexit),
            at(&extension.fail),
            at(&extension.version),
            if at(&extension.handle) == 0 { "no handle" } else { "a handle" }
        );
        DONE
    }

    /// Writes how much of the pool is used.
    pub(super) fn debug_dump_pool(&mut self) -> Answer {
        let (free, count) = (self.kernel.free_frames(), self.kernel.pool_frames());
        log::info!("pp {}: pool: {free} of {count} pages of {PAGE_SIZE} bytes are free", self.index);
        DONE
    }
}
