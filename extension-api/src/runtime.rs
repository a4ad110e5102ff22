//! What [`crate::extension!`] puts around an extension: from the kernel's jump to the trait's method, and back by
//! a resuming call. Not for use by hand.

use core::panic::PanicInfo;

use crate::abi::{Call, ExitPage, Failure, VERSION};
use crate::exit::{Exit, Fault};
use crate::extension::{Extension, Pp};
use crate::id::VsId;
use crate::plinth::Plinth;
use crate::{logger, resume, syscall};

/// An entry that the kernel jumps to.
pub type Entry = unsafe extern "C" fn() -> !;

/// The entries of the callbacks.
#[derive(Clone, Copy, Debug)]
pub struct Callbacks {
    /// Once on each PP.
    pub bootstrap: Entry,
    /// At every exit.
    pub vmexit: Entry,
    /// When the extension failed.
    pub fail: Entry,
}

/// `_start`: opens the ABI, registers the callbacks, lets the extension prepare.
pub fn start<E: Extension>(extension: &E, version: u64, callbacks: Callbacks) -> ! {
    logger::init();
    if version < VERSION {
        log::error!("the kernel's ABI is version {version}, older than {VERSION}, for which this was built");
        syscall::exit();
    }
    match Plinth::open().and_then(|plinth| prepare(extension, plinth, callbacks)) {
        Ok(()) => wait(),
        Err(failure) => give_up("start", failure),
    }
}

fn prepare<E: Extension>(extension: &E, plinth: Plinth, callbacks: Callbacks) -> Result<(), Failure> {
    register(Call::CallbackRegisterBootstrap, callbacks.bootstrap)?;
    register(Call::CallbackRegisterVmexit, callbacks.vmexit)?;
    if E::HANDLES_FAILURE {
        register(Call::CallbackRegisterFail, callbacks.fail)?;
    }
    extension.start(plinth)
}

fn register(call: Call, entry: Entry) -> Result<(), Failure> {
    // SAFETY: The entry is code that lives as long as the program.
    unsafe { syscall::with_handle(call, [entry as usize as u64, 0, 0, 0, 0]) }.map(drop)
}

/// Ends `_start`.
fn wait() -> ! {
    // SAFETY: The call takes no memory; nothing after it runs unless it fails.
    let _ = unsafe { syscall::raw(Call::ControlWait.number(), [0; 6]) };
    syscall::exit()
}

#[cold]
fn give_up(what: &str, failure: Failure) -> ! {
    log::error!("{what} failed: {failure}");
    syscall::exit()
}

/// The bootstrap callback.
pub fn bootstrap<E: Extension>(extension: &E, pp: u64) -> ! {
    match extension.bootstrap(Pp::new(pp)) {
        Ok(resume) => resume::without_exit(resume),
        Err(failure) => give_up("bootstrap", failure),
    }
}

/// The vmexit callback.
///
/// # Safety
/// `page` is this PP's exit page, and nothing else uses it.
#[inline(always)]
pub unsafe fn vmexit<E: Extension>(extension: &E, page: *mut ExitPage, vs: u64, class: u64) -> ! {
    // SAFETY: What the caller promises is what is asked here.
    let mut exit = unsafe { Exit::new(page, VsId::from_raw(vs), class) };
    let resume = extension.vmexit(&mut exit);
    resume::carry_out(resume, exit)
}

/// The fail callback.
///
/// # Safety
/// As [`vmexit`]: what used the page before will never run again, or only by [`crate::Resume::Again`].
pub unsafe fn fail<E: Extension>(extension: &E, page: *mut ExitPage, vector: u64, address: u64) -> ! {
    // SAFETY: What the caller promises is what is asked here.
    let exit = unsafe { Exit::new(page, VsId::from_raw(0), 0) };
    let mut exit = Exit::of_page(exit.into_page());
    let fault = (vector != u64::MAX).then_some(Fault { vector, address });
    let resume = extension.fail(&mut exit, fault);
    resume::carry_out(resume, exit)
}

/// The panic handler.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    logger::init();
    // Not `info` as it is: it has a line break in it, and a line of the log has none.
    match info.location() {
        Some(place) => log::error!("panicked at {place}: {}", info.message()),
        None => log::error!("panicked: {}", info.message()),
    }
    syscall::exit()
}
