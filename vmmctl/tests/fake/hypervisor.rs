//! A hypervisor that is not there: it answers the kernel's own hypercalls as the ABI says.

use plinth_extension_api::abi::{
    Error, Failure, HYPERCALL_LOG, HYPERCALL_PP_STATUS, HYPERCALL_STATUS, HYPERCALL_TRACE,
    HYPERCALL_TRACE_READ, LogRecord, MachineStatus, PpStatus, Status, TraceRecord,
};
use vmmctl::device::uapi::Call;
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Ticks of its counter per second.
pub(crate) const FREQUENCY: u64 = 1_000_000_000;
/// The counter when it was launched.
const LAUNCHED_AT: u64 = 5_000_000_000;

/// What it tells.
pub(crate) struct Hypervisor {
    pub(crate) status: MachineStatus,
    pub(crate) pps: Vec<PpStatus>,
    /// The log's records from the cursor in the status on.
    pub(crate) log: Vec<u8>,
    /// Each PP's records, which it gives once the trace is on.
    pub(crate) traces: Vec<Vec<TraceRecord>>,
    /// How often the trace was set, and to what.
    pub(crate) set: Vec<u64>,
}

/// A record of the log.
pub(crate) fn record(seconds: f64, pp: u16, level: u16, text: &str) -> Vec<u8> {
    let counter = LAUNCHED_AT.wrapping_add_signed((seconds * FREQUENCY as f64) as i64);
    let header = LogRecord { counter, pp, level, length: text.len() as u32 };
    let mut bytes = [header.as_bytes(), text.as_bytes()].concat();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

impl Hypervisor {
    /// One on two PPs, launched 60 seconds ago.
    pub(crate) fn new() -> Self {
        let mut release = [0; 16];
        release[..5].copy_from_slice(b"0.1.0");
        let log = [
            record(-0.001, 0xFFFF, 3, "kernel at 0x40000000, 32768 KiB reserved"),
            record(0.0, 0, 3, "pp 0: launched; the OS is the root VM now"),
            record(2.5, 1, 1, "an error"),
        ]
        .concat();
        let status = MachineStatus {
            size: size_of::<MachineStatus>() as u32,
            abi_version: 2,
            release,
            backend: 1,
            may_stop: 0,
            pps: 3,
            launched: 2,
            counter: LAUNCHED_AT + 60 * FREQUENCY,
            launched_at: LAUNCHED_AT,
            frequency: FREQUENCY,
            pool: 16 << 20,
            pool_free: 12 << 20,
            vms: 1,
            vps: 2,
            vss: 2,
            extension: 1,
            extension_size: 200 << 10,
            extension_hash: [0xAB; 32],
            log_oldest: 4096,
            log_newest: 4096 + log.len() as u64,
            ..MachineStatus::new_zeroed()
        };
        let pp = |pp: u32, standing, hardware_id, reads, calls| {
            let mut exits = [0; 32];
            (exits[1], exits[7]) = (reads, calls);
            PpStatus { pp, standing, hardware_id, exits, exit_classes: 22, ..PpStatus::new_zeroed() }
        };
        let pps = vec![pp(0, 3, 0, 100, 7), pp(1, 0, u32::MAX, 0, 0), pp(2, 3, 4, 50, 0)];
        Self { status, pps, log, traces: vec![Vec::new(); 3], set: Vec::new() }
    }

    /// Answers a call. Returns what it writes to the page.
    pub(crate) fn call(&mut self, request: &mut Call) -> Vec<u8> {
        let answer = self.answer(request.number, request.arguments);
        let (status, results, page) = match answer {
            Ok((results, page)) => (Status::SUCCESS.raw(), results, page),
            Err(failure) => (Status::from(failure).raw(), request.arguments, Vec::new()),
        };
        request.results = [status, results[0], results[1], results[2], results[3]];
        page
    }

    fn answer(
        &mut self,
        number: u64,
        [first, second, third, _]: [u64; 4],
    ) -> Result<([u64; 4], Vec<u8>), Failure> {
        let bad = |argument| Failure::argument(argument, Error::InvalidArgument);
        let known = self.pps.len();
        let pp = || usize::try_from(second).ok().filter(|pp| *pp < known).ok_or(bad(2));
        match number {
            HYPERCALL_STATUS => {
                // Time goes on.
                self.status.counter += 1_000_000;
                let page = self.status.as_bytes().to_vec();
                Ok(([page.len() as u64, 0, 0, 0], page))
            }
            HYPERCALL_PP_STATUS => {
                let page = self.pps[pp()?].as_bytes().to_vec();
                Ok(([page.len() as u64, 0, 0, 0], page))
            }
            HYPERCALL_LOG => {
                let (oldest, newest) = (self.status.log_oldest, self.status.log_newest);
                let from = second.max(oldest);
                let rest = self.log.get((from - oldest) as usize..).ok_or(bad(2))?;
                // One record at a time, so that cursors are followed.
                let length = rest
                    .get(12..16)
                    .map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap()) as usize);
                let size = if rest.is_empty() { 0 } else { 16 + length.next_multiple_of(8) };
                Ok(([size as u64, from, from + size as u64, newest], rest[..size].to_vec()))
            }
            HYPERCALL_TRACE => {
                let before = self.set.last().copied().unwrap_or(0);
                self.set.push(first);
                Ok(([before, 2048, 0, 0], Vec::new()))
            }
            HYPERCALL_TRACE_READ => {
                let records = &self.traces[pp()?];
                let rest = records.get(third as usize..).ok_or(bad(3))?;
                let page: Vec<_> =
                    rest.iter().take(128).flat_map(|record| record.as_bytes().to_vec()).collect();
                let count = rest.len().min(128) as u64;
                Ok(([count, third, third + count, records.len() as u64], page))
            }
            _ => Err(Error::UnknownCall.into()),
        }
    }
}
