//! `vmmctl trace`: the exits of each PP for some time, into a file for a viewer, and a summary.

mod chrome;
mod csv;
mod perfetto;
mod summary;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use plinth_extension_api::abi::{ExitClass, TraceRecord};

use crate::cli::{TraceFormat, TraceOptions};
use crate::device::Device;
use crate::host::Host;
use crate::hypervisor::Hypervisor;
use crate::symbols::Symbols;
use crate::{Failure, interrupted};

/// The records that a ring holds.
const RING: usize = 2048;
/// How long the reader sleeps between two looks at the rings: at first, at least, at most. Each look is exits of its own, so a quiet
/// machine is looked at less often; at most, since a ring that is full loses what comes then.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// An exit, with the time in nanoseconds since the trace began.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Exit {
    pp: u32,
    start: f64,
    duration: f64,
    class: &'static str,
    number: u64,
    detail: u16,
    instruction_pointer: u64,
}

/// All that a file shows.
struct Recording {
    exits: Vec<Exit>,
    /// The PPs, whether they have exited or not.
    pps: Vec<u32>,
    /// Nanoseconds that the trace was on.
    length: f64,
    /// Records that were overwritten before they were read.
    lost: u64,
}

impl Exit {
    /// What it is about, beside its class: a register, a port, an address, a leaf.
    fn subject(&self) -> String {
        format!("{:#x}", self.number)
    }
}

/// The name of a class.
fn class_name(number: u16) -> &'static str {
    ExitClass::from_raw(u64::from(number)).map_or("unknown", ExitClass::name)
}

/// The classes that a list of names means, a bit for each: names as the summary has them, `-` for a space; all where there is none.
fn classes(names: &[String]) -> Result<u64, Failure> {
    let bit = |class: &ExitClass| 1_u64 << *class as u64;
    if names.is_empty() {
        return Ok(ExitClass::ALL.iter().map(bit).sum());
    }
    names.iter().try_fold(0, |mask, name| {
        let is_it = |class: &&ExitClass| class.name().replace(' ', "-") == *name;
        let class = ExitClass::ALL.iter().find(is_it).ok_or_else(|| {
            let known = ExitClass::ALL.iter().map(|class| class.name().replace(' ', "-")).collect::<Vec<_>>();
            Failure::Usage(format!("there is no class `{name}`; there are: {}", known.join(", ")))
        })?;
        Ok(mask | bit(class))
    })
}

/// Traces, and writes the file and the summary.
pub(crate) fn trace(
    options: &TraceOptions,
    host: &Host,
    device: &mut dyn Device,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let classes = classes(&options.classes)?;
    let mut hypervisor = Hypervisor::new(device)?;
    hypervisor.status()?;
    // Before the trace: a file that cannot be made is said at once.
    let file = options.output.as_ref().map(|path| {
        let made = File::create(path).map_err(|error| Failure::Unwritable(path.clone(), error));
        made.map(BufWriter::new)
    });
    let mut file = file.transpose()?;
    let duration = Duration::from_secs_f64(options.duration.clamp(0.0, 86_400.0));
    let recording = record(&mut hypervisor, classes, duration)?;
    let symbols = Symbols::of(host);
    if let Some(file) = &mut file {
        match options.format {
            TraceFormat::Perfetto => perfetto::write(&recording, &symbols, file)?,
            TraceFormat::Chrome => chrome::write(&recording, &symbols, file)?,
            TraceFormat::Csv => csv::write(&recording, &symbols, file)?,
        }
        file.flush()?;
    }
    summary::write(&recording, &symbols, options.top, out)?;
    if let Some(path) = &options.output {
        writeln!(out, "{} exits written to {}", recording.exits.len(), path.display())?;
    }
    Ok(0)
}

/// Turns the trace on for some time, and back to what it was, whatever happens.
fn record(hypervisor: &mut Hypervisor<'_>, classes: u64, duration: Duration) -> Result<Recording, Failure> {
    let stop = interrupted::watch()?;
    let status = hypervisor.status()?;
    let rate = hypervisor.frequency(&status)?;
    let mut cursors = Vec::new();
    for pp in hypervisor.pps(&status)? {
        cursors.push((pp.pp, pp.trace_newest));
    }
    let began = hypervisor.status()?.counter;
    let before = hypervisor.trace(classes)?;
    let clock = Instant::now();
    let mut reader = Reader { cursors, began, rate, exits: Vec::new(), lost: 0 };
    let mut read = Ok(0);
    let mut pause = FIRST_PAUSE;
    while let Ok(most) = read
        && clock.elapsed() < duration
        && !stop.is_set()
    {
        pause = next_pause(pause, most);
        sleep(pause.min(duration.saturating_sub(clock.elapsed())));
        read = reader.read(hypervisor);
    }
    let ended = hypervisor.status();
    hypervisor.trace(before)?;
    read?;
    reader.read(hypervisor)?;
    let length = reader.nanoseconds(ended?.counter);
    let Reader { mut exits, cursors, lost, .. } = reader;
    exits.retain(|exit| exit.start >= 0.0);
    exits.sort_by(|one, other| one.start.total_cmp(&other.start));
    Ok(Recording { exits, pps: cursors.iter().map(|(pp, _)| *pp).collect(), length, lost })
}

/// The next pause, after one in which the busiest PP has recorded `most` exits.
fn next_pause(pause: Duration, most: usize) -> Duration {
    if most > RING / 4 {
        (pause / 2).max(SHORTEST_PAUSE)
    } else if most < RING / 16 {
        (pause * 2).min(LONGEST_PAUSE)
    } else {
        pause
    }
}

/// Where a reader is in each PP's ring.
struct Reader {
    cursors: Vec<(u32, u64)>,
    /// The counter when the trace began, and its ticks per second.
    began: u64,
    rate: f64,
    exits: Vec<Exit>,
    lost: u64,
}

impl Reader {
    fn nanoseconds(&self, counter: u64) -> f64 {
        (counter as f64 - self.began as f64) * 1e9 / self.rate
    }

    /// Reads what is there, of every PP. Returns how many exits it was of the busiest.
    fn read(&mut self, hypervisor: &mut Hypervisor<'_>) -> Result<usize, Failure> {
        let mut most = 0;
        for index in 0..self.cursors.len() {
            let before = self.exits.len();
            let (pp, mut cursor) = self.cursors[index];
            let mut end = u64::MAX;
            // Only what is there now: a PP may be as fast as this.
            while cursor < end {
                let piece = hypervisor.traced(pp, cursor)?;
                end = end.min(piece.newest);
                self.lost += piece.first.saturating_sub(cursor);
                let exits: Vec<_> = piece.records.iter().map(|record| self.exit(pp, record)).collect();
                self.exits.extend(exits);
                if piece.next == cursor {
                    break;
                }
                cursor = piece.next;
            }
            self.cursors[index].1 = cursor;
            most = most.max(self.exits.len() - before);
        }
        Ok(most)
    }

    fn exit(&self, pp: u32, record: &TraceRecord) -> Exit {
        Exit {
            pp,
            start: self.nanoseconds(record.counter),
            duration: f64::from(record.duration) * 1e9 / self.rate,
            class: class_name(record.class),
            number: record.number,
            detail: record.detail,
            instruction_pointer: record.instruction_pointer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recording for the formats' tests.
    pub(super) fn sample() -> Recording {
        let exit = |pp, start, duration, class: ExitClass, number, instruction_pointer| Exit {
            pp,
            start,
            duration,
            class: class.name(),
            number,
            detail: 4,
            instruction_pointer,
        };
        Recording {
            exits: vec![
                exit(0, 1000.0, 1500.0, ExitClass::IdRead, 7, 0xffff_ffff_8100_0010),
                exit(1, 2000.0, 500.0, ExitClass::RegisterWrite, 0x10, 0xffff_ffff_8100_0100),
                exit(0, 5000.0, 2500.0, ExitClass::IdRead, 7, 0xffff_ffff_8100_0010),
            ],
            pps: vec![0, 1, 2],
            length: 10_000.0,
            lost: 0,
        }
    }

    pub(super) fn symbols() -> Symbols {
        Symbols::parse("ffffffff81000000 T cpu_init\nffffffff81000100 t write_tsc\nffffffff81000200 T end\n")
    }

    #[test]
    fn a_busy_machine_is_looked_at_more_often() {
        assert_eq!(next_pause(FIRST_PAUSE, 0), Duration::from_millis(10));
        assert_eq!(next_pause(LONGEST_PAUSE, 0), LONGEST_PAUSE);
        assert_eq!(next_pause(FIRST_PAUSE, RING / 8), FIRST_PAUSE);
        assert_eq!(next_pause(FIRST_PAUSE, RING), FIRST_PAUSE / 2);
    }

    #[test]
    fn classes_are_named_as_the_summary_has_them() {
        let names = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(classes(&names("id-read,timer")).unwrap(), 1 << 1 | 1 << 19);
        assert_eq!(classes(&[]).unwrap().count_ones() as usize, ExitClass::ALL.len());
        let failure = classes(&names("cpuid")).unwrap_err();
        assert!(failure.to_string().contains("no class `cpuid`; there are: other, id-read,"), "{failure}");
        assert_eq!(failure.exit_code(), 1);
    }
}
