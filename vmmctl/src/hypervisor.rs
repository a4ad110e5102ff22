//! What the running hypervisor's kernel tells: each of its own hypercalls, with its answer taken apart.

use std::time::{Duration, Instant};

use plinth_extension_api::abi::{
    self, HYPERCALL_LOG, HYPERCALL_PP_STATUS, HYPERCALL_REFUSED, HYPERCALL_STATUS, HYPERCALL_TRACE,
    HYPERCALL_TRACE_READ, MachineStatus, PpStatus, Status, TraceRecord,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::Failure;
use crate::device::uapi::{self, Call, Request as _};
use crate::device::{Device, DeviceError};

/// Bytes of the page that an answer comes in.
const PAGE: usize = 4096;
/// How long the counter is looked at where the machine does not say how fast it counts.
const MEASURED: Duration = Duration::from_millis(50);

/// A way to the running hypervisor.
pub(crate) struct Hypervisor<'d> {
    device: &'d mut dyn Device,
    cpu: u32,
}

/// Records of the log or of a trace.
pub(crate) struct Piece<T> {
    pub(crate) records: T,
    /// The first one's cursor: a later one than was asked for where that is gone.
    pub(crate) first: u64,
    /// The cursor to go on with.
    pub(crate) next: u64,
    /// The end's cursor.
    pub(crate) newest: u64,
}

impl<'d> Hypervisor<'d> {
    /// The one that runs, asked on the first CPU that is on line.
    pub(crate) fn new(device: &'d mut dyn Device) -> Result<Self, Failure> {
        let info = device.info().map_err(|error| error.failure("say what there is"))?;
        let cpu = uapi::cpus(&info.online).next().unwrap_or(0);
        Ok(Self { device, cpu })
    }

    /// Makes a hypercall. Returns its four further results.
    fn call(
        &mut self,
        number: u64,
        arguments: [u64; 4],
        page: Option<&mut [u8]>,
    ) -> Result<[u64; 4], Failure> {
        let buffer_argument = u32::from(page.is_some());
        let mut request = Call { number, arguments, cpu: self.cpu, buffer_argument, ..Call::new() };
        let called = self.device.call(&mut request, page.unwrap_or_default());
        called.map_err(|error| error.failure("ask the hypervisor"))?;
        let [status, results @ ..] = request.results;
        if status == HYPERCALL_REFUSED {
            return Err(Failure::OtherKernel);
        }
        Status::from_raw(status).result().map_err(Failure::Hypercall)?;
        Ok(results)
    }

    /// A structure that may have grown or have been smaller in the kernel's version: what it does not tell is 0.
    fn structure<T: FromBytes + IntoBytes>(&mut self, number: u64, second: u64) -> Result<T, Failure> {
        let mut page = [0; PAGE];
        let [size, ..] = self.call(number, [0, second, 0, 0], Some(&mut page))?;
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        let told = bytes.len().min(size as usize);
        bytes[..told].copy_from_slice(&page[..told]);
        Ok(value)
    }

    /// The hypervisor as a whole.
    pub(crate) fn status(&mut self) -> Result<MachineStatus, Failure> {
        self.structure(HYPERCALL_STATUS, 0)
    }

    /// One PP.
    pub(crate) fn pp(&mut self, pp: u32) -> Result<PpStatus, Failure> {
        self.structure(HYPERCALL_PP_STATUS, u64::from(pp))
    }

    /// The status of every PP that is not outside the hypervisor.
    pub(crate) fn pps(&mut self, status: &MachineStatus) -> Result<Vec<PpStatus>, Failure> {
        let all = (0..status.pps).map(|pp| self.pp(pp)).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().filter(|pp| u64::from(pp.standing) != abi::PP_OUTSIDE).collect())
    }

    /// The log from a cursor on, as much as fits.
    pub(crate) fn log(&mut self, cursor: u64) -> Result<Piece<Vec<u8>>, Failure> {
        let mut page = vec![0; PAGE];
        let [size, first, next, newest] = self.call(HYPERCALL_LOG, [0, cursor, 0, 0], Some(&mut page))?;
        page.truncate(size as usize);
        Ok(Piece { records: page, first, next, newest })
    }

    /// Says which classes are traced. Returns those before.
    pub(crate) fn trace(&mut self, classes: u64) -> Result<u64, Failure> {
        self.call(HYPERCALL_TRACE, [classes, 0, 0, 0], None).map(|[before, ..]| before)
    }

    /// A PP's trace from a cursor on, as much as fits.
    pub(crate) fn traced(&mut self, pp: u32, cursor: u64) -> Result<Piece<Vec<TraceRecord>>, Failure> {
        let mut page = [0; PAGE];
        let arguments = [0, u64::from(pp), cursor, 0];
        let [count, first, next, newest] = self.call(HYPERCALL_TRACE_READ, arguments, Some(&mut page))?;
        let records = page.chunks_exact(size_of::<TraceRecord>()).take(count as usize);
        let records = records.filter_map(|bytes| TraceRecord::read_from_bytes(bytes).ok()).collect();
        Ok(Piece { records, first, next, newest })
    }

    /// Ticks of the counter per second: what the machine says, else what a look at a clock gives.
    pub(crate) fn frequency(&mut self, status: &MachineStatus) -> Result<f64, Failure> {
        if status.frequency != 0 {
            return Ok(status.frequency as f64);
        }
        let (before, clock) = (self.status()?.counter, Instant::now());
        std::thread::sleep(MEASURED);
        let ticks = self.status()?.counter.saturating_sub(before).max(1);
        Ok(ticks as f64 / clock.elapsed().as_secs_f64())
    }
}

/// Whether an error says that no hypervisor runs that could be asked.
pub(crate) const fn is_nobody(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::NotRunning | Failure::OtherKernel | Failure::Device(_, DeviceError::NotRunning)
    )
}

/// Bytes up to the first zero, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// The word for a number of the ABI; `unknown` for one that this version does not know.
pub(crate) fn word(words: &[&'static str], number: u32) -> &'static str {
    words.get(number as usize).copied().unwrap_or("unknown")
}
