//! System calls by number, and the handle that most of them take.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::abi::{Call, Failure};
pub use crate::arch::Outcome;

/// The open handle; 0 before [`crate::Plinth::open`]. Written before any callback can run, so a relaxed load
/// always sees it.
static HANDLE: AtomicU64 = AtomicU64::new(0);

/// The open handle.
#[inline(always)]
pub fn handle() -> u64 {
    HANDLE.load(Ordering::Relaxed)
}

pub(crate) fn set_handle(handle: u64) {
    HANDLE.store(handle, Ordering::SeqCst);
}

/// Makes the call with `number`, which may be of any value, with any arguments.
///
/// # Safety
/// The call must not free a page that Rust still uses ([`Call::MemFreePage`]). A call that resumes
/// something does not come back: nothing that the caller still holds is dropped.
#[inline]
pub unsafe fn raw(number: u64, arguments: [u64; 6]) -> Outcome {
    // SAFETY: What the caller promises is what is asked here.
    unsafe { crate::arch::call(number, arguments) }
}

/// Makes a call, with the handle as REG0 and `arguments` from REG1 on.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// As [`raw`].
pub(crate) unsafe fn with_handle(call: Call, arguments: [u64; 5]) -> Result<[u64; 2], Failure> {
    let [reg1, reg2, reg3, reg4, reg5] = arguments;
    // SAFETY: What the caller promises is what is asked here.
    let outcome = unsafe { raw(call.number(), [handle(), reg1, reg2, reg3, reg4, reg5]) };
    outcome.status.result().map(|()| outcome.outputs)
}

/// Makes a call that takes no handle.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// As [`raw`].
pub(crate) unsafe fn without_handle(call: Call, arguments: [u64; 3]) -> Result<[u64; 2], Failure> {
    let [reg0, reg1, reg2] = arguments;
    // SAFETY: What the caller promises is what is asked here.
    let outcome = unsafe { raw(call.number(), [reg0, reg1, reg2, 0, 0, 0]) };
    outcome.status.result().map(|()| outcome.outputs)
}

/// Gives up: the kernel takes this for a failure of the extension ([`Call::ControlExit`]).
#[cold]
pub fn exit() -> ! {
    loop {
        // SAFETY: The call takes no memory; nothing after it runs.
        let _ = unsafe { raw(Call::ControlExit.number(), [0; 6]) };
    }
}
