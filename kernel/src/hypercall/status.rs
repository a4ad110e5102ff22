//! What the kernel tells of itself and of each PP.

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{
    BACKEND_EL2, EXIT_CLASSES, EXTENSION_RUNNING, EXTENSION_STARTING, ExitClass, Failure, MAY_STOP_ALWAYS,
    MAY_STOP_EXTENSION, MAY_STOP_NEVER, MachineStatus, PP_COLD, PP_FAILED, PP_LAUNCHED, PP_OUTSIDE,
    PP_STARTING, PpStatus, VERSION,
};
use plinth_hal::{Arch, HostCpu, PAGE_SIZE};
use zerocopy::IntoBytes;

use super::Results;
use crate::extension::Extension;
use crate::ipi::mailbox::{Mailbox, PpState};
use crate::kernel::Kernel;
use crate::launch::choices::MayStop;
use crate::pp::Pp;
use crate::report::logger::LOGGER;
use crate::report::trace;

/// The release, filled up with zeroes.
const RELEASE: [u8; 16] = {
    let (text, mut release) = (env!("CARGO_PKG_VERSION").as_bytes(), [0; 16]);
    let mut at = 0;
    while at < text.len() && at < release.len() {
        release[at] = text[at];
        at += 1;
    }
    release
};

impl<A: Arch> Pp<'_, A> {
    /// [`HYPERCALL_STATUS`](plinth_extension_api::abi::HYPERCALL_STATUS).
    pub(super) fn tell_status(&mut self, page: u64) -> Result<Results, Failure> {
        let mut page = self.answer_page(page)?;
        page.append(self.status().as_bytes())?;
        Ok([page.used(), 0, 0, 0])
    }

    /// [`HYPERCALL_PP_STATUS`](plinth_extension_api::abi::HYPERCALL_PP_STATUS).
    pub(super) fn tell_pp_status(&mut self, page: u64, pp: u64) -> Result<Results, Failure> {
        let (index, mailbox) = self.named_pp(pp)?;
        let mut page = self.answer_page(page)?;
        page.append(self.pp_status(index, mailbox).as_bytes())?;
        Ok([page.used(), 0, 0, 0])
    }

    fn status(&self) -> MachineStatus {
        let kernel = self.kernel;
        let [vms, vps, vss] = kernel.object_counts().map(|count| count as u32);
        let (log_oldest, log_newest) = LOGGER.range();
        let (extension_size, extension_hash) = self.extension.file();
        MachineStatus {
            size: size_of::<MachineStatus>() as u32,
            abi_version: VERSION as u32,
            release: RELEASE,
            backend: const { backend(A::BACKEND) },
            may_stop: may_stop(self.machine.may_stop),
            pps: kernel.pp_numbers() as u32,
            launched: kernel.launched_pps() as u32,
            counter: self.cpu.counter(),
            launched_at: kernel.launched_at.load(Ordering::Relaxed),
            frequency: self.cpu.frequency().unwrap_or(0),
            pool: (kernel.pool_frames() as u64).saturating_mul(PAGE_SIZE),
            pool_free: (kernel.free_frames() as u64).saturating_mul(PAGE_SIZE),
            vms,
            vps,
            vss,
            extension: extension(self.extension),
            extension_size,
            extension_hash,
            extension_end: self.extension.end_text(),
            log_oldest,
            log_newest,
            traced: kernel.traces.classes(),
            trace_records: if kernel.traces.are_open() { trace::CAPACITY } else { 0 },
        }
    }

    fn pp_status(&self, index: usize, mailbox: &Mailbox) -> PpStatus {
        let mut exits = [0; 32];
        for (class, count) in ExitClass::ALL.iter().zip(&mut exits) {
            *count = mailbox.exits(*class);
        }
        let (trace_oldest, trace_newest) = self.kernel.traces.range(index);
        PpStatus {
            size: size_of::<PpStatus>() as u32,
            pp: index as u32,
            standing: number_of(mailbox.state()),
            hardware_id: mailbox.hardware_id.load(Ordering::Relaxed),
            is_lost: u32::from(mailbox.is_lost()),
            exit_classes: EXIT_CLASSES as u32,
            exits,
            trace_oldest,
            trace_newest,
        }
    }
}

impl<A: Arch> Kernel<A> {
    /// How many numbers of PPs there are: the highest that has or had a processor, and one.
    pub(crate) fn pp_numbers(&self) -> usize {
        let known = self.mailboxes.iter().map(|mailbox| mailbox.state() != PpState::Absent);
        let prepared = self.prepared.iter().map(|resources| resources.get().is_some());
        known.zip(prepared).rposition(|(known, prepared)| known || prepared).map_or(0, |last| last + 1)
    }
}

const fn backend(number: u64) -> u32 {
    assert!(number <= BACKEND_EL2);
    number as u32
}

const fn may_stop(who: MayStop) -> u32 {
    (match who {
        MayStop::Always => MAY_STOP_ALWAYS,
        MayStop::Extension => MAY_STOP_EXTENSION,
        MayStop::Never => MAY_STOP_NEVER,
    }) as u32
}

const fn number_of(state: PpState) -> u32 {
    (match state {
        PpState::Absent => PP_OUTSIDE,
        PpState::Offline => PP_COLD,
        PpState::Starting => PP_STARTING,
        PpState::Online => PP_LAUNCHED,
        PpState::Failed => PP_FAILED,
    }) as u32
}

fn extension(extension: &Extension) -> u32 {
    let state = match extension.end() {
        Some(end) => end.number(),
        None if extension.ready.load(Ordering::Relaxed) => EXTENSION_RUNNING,
        None => EXTENSION_STARTING,
    };
    state as u32
}
