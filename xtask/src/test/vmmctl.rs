//! Takes apart what vmmctl writes for programs: the guest's test `late-vmmctl` shows each file on the console, in hexadecimal.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::board::Bench;
use super::table::Test;
use crate::emulator::Watched;

/// The files by their names.
type Files = BTreeMap<String, Vec<u8>>;

/// Checks each file of the guest's.
pub(super) fn check(_bench: &Bench<'_>, test: &Test, watched: &Watched) -> Result<()> {
    let files = files(&watched.lines)?;
    let extension = watched.lines.iter().find_map(|line| line.strip_prefix("EXTENSION "));
    let extension = extension.context("the guest has not said which extension it has started")?;
    let cpus = test.cpus as usize;
    met(&json(&files, "check.json")?).context("check.json")?;
    let first = json(&files, "status.json")?;
    status(&first, cpus, "running", Some(extension)).context("status.json")?;
    let later = json(&files, "later.json")?;
    status(&later, cpus, "running", Some(extension)).context("later.json")?;
    grown(&first, &later)?;
    let crashed = json(&files, "crashed.json")?;
    status(&crashed, cpus, "faulted", None).context("crashed.json")?;
    let end = &crashed["hypervisor"]["extension"]["end"];
    ensure!(end.as_str().is_some_and(|end| end.contains("fault")), "the crashed extension ended by {end}");
    log(&text(&files, "dump.json")?, cpus).context("dump.json")?;
    chrome(&json(&files, "chrome")?, cpus).context("chrome")?;
    csv(&text(&files, "csv")?, cpus).context("csv")?;
    perfetto(file(&files, "perfetto")?, cpus).context("perfetto")
}

fn files(lines: &[String]) -> Result<Files> {
    let shown = lines.iter().filter_map(|line| line.strip_prefix("FILE ")?.split_once(' '));
    shown.map(|(name, digits)| Ok((name.to_owned(), bytes(digits).context(name.to_owned())?))).collect()
}

fn bytes(digits: &str) -> Result<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    ensure!(rest.is_empty(), "an odd number of hexadecimal digits");
    pairs.iter().map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}

fn file<'f>(files: &'f Files, name: &str) -> Result<&'f [u8]> {
    files.get(name).map(Vec::as_slice).with_context(|| format!("the guest has not shown {name}"))
}

fn text(files: &Files, name: &str) -> Result<String> {
    Ok(String::from_utf8(file(files, name)?.to_vec())?)
}

fn json(files: &Files, name: &str) -> Result<Value> {
    serde_json::from_slice(file(files, name)?).with_context(|| format!("{name} is no JSON"))
}

/// A number that must be there.
fn number(value: &Value, name: &str) -> Result<f64> {
    value[name].as_f64().with_context(|| format!("no number {name}: {value}"))
}

/// Every requirement is met, or cannot be told.
fn met(check: &Value) -> Result<()> {
    let list = check.as_array().context("no list")?;
    let named = list.iter().filter(|one| one["requirement"].is_string() && one["text"].is_string()).count();
    ensure!(named == list.len() && named > 5, "{named} requirements: {check}");
    ensure!(list.iter().all(|one| one["met"] != Value::Bool(false)), "one is not met: {check}");
    Ok(())
}

fn pps(status: &Value) -> Result<&Vec<Value>> {
    status["hypervisor"]["pps"].as_array().context("no PPs")
}

fn exits(pp: &Value) -> Result<u64> {
    let classes = pp["exits"].as_object().context("a PP without exits")?;
    Ok(classes.values().filter_map(Value::as_u64).sum())
}

/// A status while Plinth runs on all CPUs: each field is there and can be true.
fn status(status: &Value, cpus: usize, extension: &str, hash: Option<&str>) -> Result<()> {
    let own = env!("CARGO_PKG_VERSION");
    let hypervisor = &status["hypervisor"];
    let all: Vec<Value> = (0..cpus).map(Value::from).collect();
    let expected = [
        (&status["state"], Value::from("running")),
        (&status["module"], Value::from(own)),
        (&status["cpus"], Value::from(all)),
        (&hypervisor["release"], Value::from(own)),
        (&hypervisor["may_stop"], Value::from("always")),
        (&hypervisor["vms"], Value::from(1)),
        (&hypervisor["vps"], Value::from(cpus)),
        (&hypervisor["extension"]["state"], Value::from(extension)),
    ];
    for (found, expected) in expected {
        ensure!(*found == expected, "{found} instead of {expected}: {status}");
    }
    let backend = hypervisor["backend"].as_str().context("no backend")?;
    ensure!(["AMD SVM", "Intel VMX", "ARMv8 EL2"].contains(&backend), "the backend is {backend}");
    let found = hypervisor["extension"]["sha256"].as_str().context("no hash")?;
    ensure!(found.len() == 64 && hash.is_none_or(|hash| hash == found), "the extension's hash is {found}");
    let (used, free) = (number(hypervisor, "memory_used")?, number(hypervisor, "memory_free")?);
    let size = number(status, "reservation_size")?;
    ensure!(used > 0.0 && free > 0.0 && used + free < size, "{used} used, {free} free of {size} bytes");
    ensure!((0.0..3600.0).contains(&number(hypervisor, "uptime_seconds")?), "the uptime: {status}");
    let pps = pps(status)?;
    let ids: BTreeSet<u64> = pps.iter().filter_map(|pp| pp["hardware_id"].as_u64()).collect();
    ensure!(pps.len() == cpus && ids.len() == cpus, "not every CPU is a PP of its own: {status}");
    for pp in pps {
        let runs = pp["state"] == "launched" && pp["answers"] == Value::Bool(true) && exits(pp)? > 0;
        ensure!(runs, "a PP that does not run: {pp}");
    }
    Ok(())
}

/// What grows while a hypervisor runs.
fn grown(first: &Value, later: &Value) -> Result<()> {
    let uptime = |status: &Value| number(&status["hypervisor"], "uptime_seconds");
    ensure!(uptime(later)? > uptime(first)?, "time stands still");
    for (before, after) in pps(first)?.iter().zip(pps(later)?) {
        ensure!(exits(after)? >= exits(before)?, "exits have become fewer: {before}, {after}");
    }
    let sum = |status: &Value| pps(status)?.iter().map(exits).sum::<Result<u64>>();
    ensure!(sum(later)? > sum(first)?, "no exit was counted");
    Ok(())
}

/// A JSON object in each line, and the launch of every CPU among them.
fn log(text: &str, cpus: usize) -> Result<()> {
    let mut launched = BTreeSet::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        let words = ["error", "warn", "info", "debug", "trace"];
        let is_level = record["level"].as_str().is_some_and(|level| words.contains(&level));
        let is_pp = record["pp"].is_null() || record["pp"].as_u64().is_some_and(|pp| pp < cpus as u64);
        ensure!(is_level && is_pp && record["counter"].is_u64(), "no record: {record}");
        number(&record, "seconds")?;
        let text = record["text"].as_str().context("a record without text")?;
        launched.extend(record["pp"].as_u64().filter(|_| text.contains("launched")));
    }
    ensure!(launched.len() == cpus, "the log tells of launches on {launched:?} alone");
    Ok(())
}

/// The Trace Event Format: a line for each PP, and exits on it.
fn chrome(trace: &Value, cpus: usize) -> Result<()> {
    let events = trace["traceEvents"].as_array().context("no events")?;
    let count = |kind: &str| events.iter().filter(|event| event["ph"] == kind).count();
    ensure!(count("M") == cpus + 1 && count("X") > 0, "{} names, {} exits", count("M"), count("X"));
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let times = number(event, "ts")? >= 0.0 && number(event, "dur")? >= 0.0;
        let place = event["tid"].as_u64().is_some_and(|pp| pp < cpus as u64);
        ensure!(times && place && event["name"] == "hypercall", "no exit: {event}");
    }
    Ok(())
}

/// As many fields in each line as in the first, and exits in the order of time.
fn csv(text: &str, cpus: usize) -> Result<()> {
    let mut lines = text.lines();
    let names = lines.next().context("no line")?.split(',').count();
    let mut before = 0;
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        ensure!(fields.len() == names && fields[3] == "hypercall", "no exit: {line}");
        let (start, pp) = (fields[0].parse::<u64>()?, fields[2].parse::<usize>()?);
        ensure!(start >= before && pp < cpus, "out of order, or of no PP: {line}");
        before = start;
    }
    ensure!(text.lines().count() > 1, "no exit");
    Ok(())
}

/// Perfetto's protocol buffers: a track for all and one for each PP, and as many ends of slices as beginnings.
fn perfetto(bytes: &[u8], cpus: usize) -> Result<()> {
    /// The numbers of fields in Perfetto's `trace.proto`, `trace_packet.proto` and `track_event.proto`.
    const PACKET: u64 = 1;
    const TRACK_EVENT: u64 = 11;
    const TRACK_DESCRIPTOR: u64 = 60;
    const TYPE: u64 = 9;
    let (mut tracks, mut begun, mut ended) = (0, 0, 0);
    for (field, packet) in message(bytes)? {
        ensure!(field == PACKET, "field {field} is no packet");
        for (field, value) in message(packet.bytes()?)? {
            match field {
                TRACK_DESCRIPTOR => tracks += 1,
                TRACK_EVENT => {
                    let kind = message(value.bytes()?)?.into_iter().find(|(field, _)| *field == TYPE);
                    match kind {
                        Some((_, Field::Number(1))) => begun += 1,
                        Some((_, Field::Number(2))) => ended += 1,
                        _ => bail!("an event that neither begins nor ends a slice"),
                    }
                }
                _ => {}
            }
        }
    }
    ensure!(
        tracks == cpus + 1 && begun > 0 && begun == ended,
        "{tracks} tracks, {begun} slices begin, {ended} end"
    );
    Ok(())
}

/// A field's value.
enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl<'b> Field<'b> {
    fn bytes(&self) -> Result<&'b [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(number) => bail!("{number} instead of a message"),
        }
    }
}

/// A message's fields, by the encoding of protocol buffers (protobuf.dev, Encoding).
fn message(mut bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => Field::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = varint(&mut bytes)?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            5 => Field::Bytes(take(&mut bytes, 4)?),
            other => bail!("no field is of type {other}"),
        };
        fields.push((key >> 3, value));
    }
    Ok(fields)
}

fn take<'b>(bytes: &mut &'b [u8], length: u64) -> Result<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length)?).context("the message is cut off")?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("a number of more than 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_is_cut_off_or_unbalanced_is_refused() {
        let track: &[u8] = &[0x0a, 0x03, 0xe2, 0x03, 0x00];
        let begin: &[u8] = &[0x0a, 0x04, 0x5a, 0x02, 0x48, 0x01];
        let end: &[u8] = &[0x0a, 0x04, 0x5a, 0x02, 0x48, 0x02];
        let whole = [track, track, begin, end].concat();
        assert!(perfetto(&whole, 1).is_ok());
        assert!(perfetto(&whole[..whole.len() - 1], 1).is_err());
        assert!(perfetto(&[track, track, begin].concat(), 1).is_err());
        assert!(perfetto(&whole, 2).is_err() && perfetto(b"", 1).is_err());
    }

    #[test]
    fn only_whole_bytes_are_a_file() {
        let lines = |text: &str| vec!["FILEs".to_owned(), format!("FILE one {text}")];
        assert_eq!(files(&lines("6869")).unwrap()["one"], b"hi");
        assert!(files(&lines("686")).is_err() && files(&lines("6g")).is_err());
    }
}
