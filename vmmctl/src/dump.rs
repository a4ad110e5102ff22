//! `vmmctl dump`: the hypervisor's log.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use serde::Serialize;

use crate::device::Device;
use crate::hypervisor::{Hypervisor, is_nobody};
use crate::log::{self, Line};
use crate::{Failure, interrupted};

/// How often one that follows looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A record with its time.
#[derive(Serialize)]
struct Timed<'l> {
    /// Seconds since the launch, where the kernel that could tell it runs.
    seconds: Option<f64>,
    #[serde(flatten)]
    line: &'l Line,
}

/// How records become lines.
struct Printer<'o> {
    out: &'o mut dyn Write,
    json: bool,
    /// The counter at the launch and its ticks per second.
    clock: Option<(u64, f64)>,
}

impl Printer<'_> {
    fn print(&mut self, lines: &[Line]) -> Result<(), Failure> {
        for line in lines {
            let seconds = self.clock.map(|(start, rate)| (line.counter as f64 - start as f64) / rate);
            if self.json {
                serde_json::to_writer(&mut *self.out, &Timed { seconds, line })
                    .map_err(std::io::Error::from)?;
                writeln!(self.out)?;
            } else {
                let time =
                    seconds.map_or_else(|| line.counter.to_string(), |seconds| format!("{seconds:.6}"));
                let pp = line.pp.map_or_else(|| "-".to_owned(), |pp| pp.to_string());
                writeln!(self.out, "[{time:>14}] pp {pp:<2} {:<5} {}", line.level, line.text)?;
            }
        }
        Ok(self.out.flush()?)
    }
}

/// Shows the log: the running kernel's, else what has stayed of the last one.
pub(crate) fn dump(
    follow: bool,
    json: bool,
    device: &mut dyn Device,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let mut printer = Printer { out, json, clock: None };
    match running(follow, device, &mut printer) {
        Err(failure) if is_nobody(&failure) => left(device, &mut printer),
        other => other,
    }
}

fn running(follow: bool, device: &mut dyn Device, printer: &mut Printer<'_>) -> Result<u8, Failure> {
    let mut hypervisor = Hypervisor::new(device)?;
    let status = hypervisor.status()?;
    printer.clock = Some((status.launched_at, hypervisor.frequency(&status)?));
    let stop = interrupted::watch()?;
    let mut cursor = status.log_oldest;
    loop {
        let piece = hypervisor.log(cursor)?;
        if piece.first > cursor {
            eprintln!(
                "vmmctl: {} bytes of the log were overwritten before they were read",
                piece.first - cursor
            );
        }
        printer.print(&log::lines(&piece.records))?;
        let is_end = piece.next >= piece.newest || piece.next == cursor;
        cursor = piece.next;
        if is_end && (!follow || stop.is_set()) {
            return Ok(0);
        }
        if is_end {
            sleep(PAUSE);
        }
    }
}

/// What the memory has that the last hypervisor copied its log to.
fn left(device: &mut dyn Device, printer: &mut Printer<'_>) -> Result<u8, Failure> {
    let memory = device.log().map_err(|error| error.failure("show the log's memory"))?;
    let lines = log::copied(&memory).ok_or(Failure::NotRunning)?;
    printer.print(&lines)?;
    Ok(0)
}
