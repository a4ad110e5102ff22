//! Guest VMs that attack the processor itself, each run at the test hypercall until it ends or its turn does: see
//! [`plinth_test_extensions::attacks`].

#![no_std]
#![no_main]

#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
use x86_64::Attacks;

/// On other machines there is none to run.
#[cfg(not(target_arch = "x86_64"))]
struct Attacks;

#[cfg(not(target_arch = "x86_64"))]
impl plinth_extension_api::Extension for Attacks {
    fn vmexit(&self, exit: &mut plinth_extension_api::Exit<'_>) -> plinth_extension_api::Resume {
        plinth_extension_api::passthrough::vmexit(exit)
    }
}

#[cfg(not(target_arch = "x86_64"))]
plinth_extension_api::extension!(Attacks);
#[cfg(target_arch = "x86_64")]
plinth_extension_api::extension!(Attacks = Attacks::new(), groups: [VM, VP, VS, INTRINSIC, MEMORY]);
