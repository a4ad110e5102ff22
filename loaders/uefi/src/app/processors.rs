//! Running something on one processor after the other.

use super::arch;
use super::error::Error;
use super::firmware;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use plinth_launch::{Entry, LaunchInfo};
use uefi::Status;
use uefi::boot::ScopedProtocol;
use uefi::proto::pi::mp::MpServices;

/// How long a processor may take before the firmware gives it up. Emulated processors are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// The kernel's entry.
    Launch { entry: Entry, info: *const LaunchInfo, pp: u64 },
    /// The way back.
    Stop,
}

impl Work {
    fn run(self) -> u64 {
        match self {
            // SAFETY: `entry` is the entry of a kernel image as the launch contract describes it, and `info` what
            // that contract wants; both stay in reserved memory. Each processor is entered once, one at a time.
            Self::Launch { entry, info, pp } => unsafe { arch::enter(entry, info, pp) },
            Self::Stop => arch::stop_this_processor(),
        }
    }
}

struct Job {
    work: Work,
    result: AtomicU64,
}

/// The enabled processors, the boot processor first: `pp` is the index.
pub(crate) struct Processors {
    /// Absent on firmware without the PI specification's protocol, and where processors start under Plinth later: then only
    /// the boot processor is used.
    services: Option<ScopedProtocol<MpServices>>,
    /// The firmware's numbers of the application processors.
    application: Vec<usize>,
}

impl Processors {
    pub(crate) fn find() -> Result<Self, Error> {
        let services = if arch::LAUNCHES_ALL { firmware::open_any::<MpServices>().ok() } else { None };
        let Some(services) = services else {
            return Ok(Self { services: None, application: Vec::new() });
        };
        let failed = |pp| move |error: uefi::Error| Error::Processor { pp, status: error.status() };
        let total = services.get_number_of_processors().map_err(failed(0))?.total;
        let mut application = Vec::new();
        for number in 0..total {
            let processor = services.get_processor_info(number).map_err(failed(number))?;
            if processor.is_enabled() && !processor.is_bsp() {
                application.push(number);
            }
        }
        Ok(Self { services: Some(services), application })
    }

    pub(crate) fn count(&self) -> usize {
        1 + self.application.len()
    }

    /// Runs `work` on one processor and waits for its result.
    pub(crate) fn run(&self, pp: usize, work: Work) -> Result<u64, Error> {
        if pp == 0 {
            return Ok(work.run());
        }
        let number = pp.checked_sub(1).and_then(|index| self.application.get(index));
        let (Some(services), Some(&number)) = (&self.services, number) else {
            return Err(Error::Processor { pp, status: Status::NOT_FOUND });
        };
        // Leaked: a processor that the firmware gave up may still come back and write its result.
        let job: &'static Job = Box::leak(Box::new(Job { work, result: AtomicU64::new(u64::MAX) }));
        let argument = core::ptr::from_ref(job).cast_mut().cast();
        services
            .startup_this_ap(number, perform, argument, None, Some(PATIENCE))
            .map_err(|error| Error::Processor { pp, status: error.status() })?;
        Ok(job.result.load(Ordering::Acquire))
    }
}

/// Runs on an application processor, so must not call the firmware.
extern "efiapi" fn perform(argument: *mut c_void) {
    // SAFETY: `Processors::run` passes a leaked `Job`, which is valid for ever and, but for its atomic, never written.
    let job = unsafe { &*argument.cast::<Job>() };
    job.result.store(job.work.run(), Ordering::Release);
}
