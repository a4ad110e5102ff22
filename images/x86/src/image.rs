//! What every image for x86-64 is made of: log, choice of the backend.

use core::panic::PanicInfo;

use plinth_arch_amd::Svm;
use plinth_arch_intel::Vmx;
use plinth_arch_x86::apic::LocalApic;
use plinth_arch_x86::console::Uart16550;
use plinth_arch_x86::launch::Call;
use plinth_arch_x86::root_state::EntryFrame;
use plinth_arch_x86::time;
use plinth_image::start_log;
use plinth_kernel::logger::{Console, Origin};
use plinth_kernel::{Kernel, last_words};
use plinth_launch::{CONSOLE_16550_PORT, LaunchError, LaunchInfo, LaunchStatus, ORIGIN_PRIVILEGED};

use super::entry::start_here;

static SVM: Kernel<Svm> = Kernel::new();
static VMX: Kernel<Vmx> = Kernel::new();
static CONSOLE: Uart16550 = Uart16550::new();

/// Checks the contract and launches with the backend that fits. Returns only what was refused.
pub(crate) extern "sysv64" fn enter(info: *const LaunchInfo, pp: u64, frame: &EntryFrame) -> u64 {
    // SAFETY: the loader passes a structure that outlives the launch.
    let info = unsafe { &*info };
    if !info.is_current() || info.origin != ORIGIN_PRIVILEGED {
        return LaunchStatus::failed(LaunchError::BadContract, 0).raw();
    }
    if pp == 0 {
        // SAFETY: the loader says that the log's memory is the OS's to lose. It is identity mapped, as all memory is by the kernel's
        // own tables later.
        unsafe { start_log(info, console(info), &Here) };
    }
    let call = Call { info, pp, frame, arrival: start_here };
    // SAFETY: the contract has been checked; the mode is what the loader vouches for, and the entry point has
    // switched interrupts off and left the frame.
    let status = unsafe {
        if plinth_arch_amd::is_our_vendor() {
            plinth_arch_amd::launch(&SVM, &call)
        } else if plinth_arch_intel::is_our_vendor() {
            plinth_arch_intel::launch(&VMX, &call)
        } else {
            LaunchStatus::failed(LaunchError::NoVirtualization, 0)
        }
    };
    status.raw()
}

/// The console, if the loader says that there is one.
fn console(info: &LaunchInfo) -> Option<&'static dyn Console> {
    let has_uart = info.console_kind == CONSOLE_16550_PORT;
    if has_uart {
        // SAFETY: the loader says that the firmware's console UART is there.
        unsafe { CONSOLE.set_base(info.console_base as u16) };
    }
    has_uart.then_some(&CONSOLE as &dyn Console)
}

/// The processor that runs this.
struct Here;

impl Origin for Here {
    fn counter(&self) -> u64 {
        time::counter()
    }

    fn pp(&self) -> Option<usize> {
        let own = LocalApic::current().id();
        SVM.pp_of(own).or_else(|| VMX.pp_of(own))
    }
}

/// A bug in the kernel: says so. The processor stops; the others go on, and do not wait for it.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let own = LocalApic::current().id();
    last_words(info, SVM.lose_pp(own).or_else(|| VMX.lose_pp(own)));
    loop {
        // BOUND: none. Nobody waits for a processor on which the kernel has failed: see `lose_pp`.
        // SAFETY: stops this processor; nothing else is left to do on it.
        unsafe { core::arch::asm!("cli", "hlt") };
    }
}
