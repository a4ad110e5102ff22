//! The trait in which a VMM is a handful of methods, and the macro that makes a program of it.

use crate::abi::Failure;
use crate::exit::{Exit, Fault};
use crate::plinth::Plinth;
use crate::resume::Resume;
use crate::root;

/// A VMM.
///
/// All methods may run on several PPs at once, each on a stack of its own of 32 KiB; state that they share
/// is in atomics. What a method logs with the `log` crate comes out in the kernel's log.
pub trait Extension: Sync + 'static {
    /// Whether the kernel calls [`Extension::fail`]. Without it the kernel's own pass-through takes over
    /// at once when the extension faults or gives up.
    const HANDLES_FAILURE: bool = true;

    /// Called once, before anything else. An error ends the launch: the machine stays bare.
    ///
    /// # Errors
    /// Any: it is logged.
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        let _ = plinth;
        Ok(())
    }

    /// Called once on each PP: makes the OS that is running there the root VM ([`root::boot`]), and runs it. An
    /// error ends the launch.
    ///
    /// # Errors
    /// Any: it is logged.
    fn bootstrap(&self, pp: Pp) -> Result<Resume, Failure> {
        root::boot(pp)
    }

    /// Called at every exit that the kernel does not serve by itself.
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume;

    /// Called when the extension faulted in [`Extension::vmexit`] or gave up there; `exit` is the one that it
    /// was about. The callback starts on a stack of its own. The default gives up for good: the kernel's own
    /// pass-through keeps the root VM running.
    fn fail(&self, exit: &mut Exit<'_>, fault: Option<Fault>) -> Resume {
        let _ = (exit, fault);
        Resume::GiveUp
    }
}

/// A physical processor that is about to be virtualized.
#[derive(Clone, Copy, Debug)]
pub struct Pp {
    index: u64,
}

impl Pp {
    pub(crate) const fn new(index: u64) -> Self {
        Self { index }
    }

    /// Its number, from 0 on.
    pub const fn index(self) -> u64 {
        self.index
    }

    /// The kernel.
    pub const fn plinth(self) -> Plinth {
        Plinth::opened()
    }
}

/// Makes a program of an extension: `extension!(Type = value);`, or `extension!(Type);` for a unit struct.
///
/// It defines the static that holds the value, `_start`, the callbacks and the panic handler, which logs
/// where the panic was and gives up; and the manifest, which allows every group of the kernel's calls, or only the
/// [`Groups`](crate::abi::Groups) of a list: `extension!(Type, groups: [VP, VS, INTRINSIC]);`. These three are what
/// [`root::boot`] and [`crate::passthrough`] need.
#[macro_export]
macro_rules! extension {
    ($type:ident $(, groups: [$($group:ident),*])?) => {
        $crate::extension!($type = $type $(, groups: [$($group),*])?);
    };
    ($type:ty = $value:expr) => {
        $crate::extension!($type = $value; $crate::Groups::all());
    };
    ($type:ty = $value:expr, groups: [$($group:ident),*]) => {
        $crate::extension!($type = $value; $crate::Groups::empty()$(.union($crate::Groups::$group))*);
    };
    ($type:ty = $value:expr; $groups:expr) => {
        static EXTENSION: $type = $value;

        #[used]
        #[unsafe(link_section = ".note.plinth")]
        static MANIFEST: $crate::abi::Manifest = $crate::abi::Manifest::new($groups);

        $crate::__entry!(#[unsafe(no_mangle)] _start => __plinth_start);
        $crate::__entry!(__plinth_bootstrap_entry => __plinth_bootstrap);
        $crate::__entry!(__plinth_vmexit_entry => __plinth_vmexit);
        $crate::__entry!(__plinth_fail_entry => __plinth_fail);

        extern "C" fn __plinth_start(version: u64) -> ! {
            let callbacks = $crate::runtime::Callbacks {
                bootstrap: __plinth_bootstrap_entry,
                vmexit: __plinth_vmexit_entry,
                fail: __plinth_fail_entry,
            };
            $crate::runtime::start(&EXTENSION, version, callbacks)
        }

        extern "C" fn __plinth_bootstrap(pp: u64, _exit_page: u64) -> ! {
            $crate::runtime::bootstrap(&EXTENSION, pp)
        }

        unsafe extern "C" fn __plinth_vmexit(page: *mut $crate::abi::ExitPage, vs: u64, class: u64) -> ! {
            // SAFETY: The kernel alone enters here, with this PP's exit page.
            unsafe { $crate::runtime::vmexit(&EXTENSION, page, vs, class) }
        }

        unsafe extern "C" fn __plinth_fail(page: *mut $crate::abi::ExitPage, vector: u64, address: u64) -> ! {
            // SAFETY: The kernel alone enters here, with this PP's exit page.
            unsafe { $crate::runtime::fail(&EXTENSION, page, vector, address) }
        }

        #[panic_handler]
        fn __plinth_panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::runtime::panic(info)
        }
    };
}
