//! The root VM: the OS that was running when the hypervisor launched.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::abi::Failure;
use crate::extension::Pp;
use crate::id::VmId;
use crate::resume::Resume;

/// PPs that [`boot`] has made part of the root VM.
static LAUNCHED: AtomicU32 = AtomicU32::new(0);

/// Makes what is running on `pp` a VS of the root VM, on a VP of its own, and says how to go on: by running it.
///
/// # Errors
/// The kernel's; the launch cannot go on then.
pub fn boot(pp: Pp) -> Result<Resume, Failure> {
    let plinth = pp.plinth();
    let vp = plinth.vp_create(VmId::ROOT)?;
    let vs = plinth.vs_create(vp, pp.index())?;
    plinth.vs_init_as_root(vs)?;
    LAUNCHED.fetch_add(1, Ordering::Relaxed);
    Ok(Resume::RunVs(vs))
}

/// How many PPs [`boot`] has made part of the root VM.
pub fn launched() -> u32 {
    LAUNCHED.load(Ordering::Relaxed)
}
