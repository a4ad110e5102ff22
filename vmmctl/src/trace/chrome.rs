//! The trace as JSON of the Trace Event Format, which chrome://tracing, Perfetto and Speedscope open.

use std::io::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Exit, Recording};
use crate::Failure;
use crate::symbols::Symbols;

/// A PP's thread in the file. None is 0: a viewer may take that for the idle thread, and hide it.
const fn thread(pp: u32) -> u32 {
    pp.saturating_add(1)
}

/// A complete event: times in microseconds.
#[derive(Serialize)]
struct Event<'e> {
    name: &'e str,
    cat: &'static str,
    ph: &'static str,
    ts: f64,
    dur: f64,
    pid: u32,
    tid: u32,
    args: Value,
}

pub(super) fn write(recording: &Recording, symbols: &Symbols, out: &mut dyn Write) -> Result<(), Failure> {
    out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n")?;
    let process = json!({"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "Plinth"}});
    write!(out, "{process}")?;
    for pp in &recording.pps {
        let name = json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": thread(*pp), "args": {"name": format!("pp {pp}")}});
        write!(out, ",\n{name}")?;
    }
    for exit in &recording.exits {
        out.write_all(b",\n")?;
        serde_json::to_writer(&mut *out, &event(exit, symbols)).map_err(std::io::Error::from)?;
    }
    Ok(out.write_all(b"\n]}\n")?)
}

fn event<'e>(exit: &Exit, symbols: &Symbols) -> Event<'e> {
    let args = json!({
        "number": exit.subject(),
        "detail": exit.detail,
        "at": symbols.name(exit.instruction_pointer),
    });
    let (ts, dur) = (exit.start / 1e3, exit.duration / 1e3);
    Event { name: exit.class, cat: "exit", ph: "X", ts, dur, pid: 1, tid: thread(exit.pp), args }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, symbols};
    use super::*;

    #[test]
    fn it_is_json_with_every_exit_on_its_pps_line_and_none_on_thread_0() {
        let mut out = Vec::new();
        write(&sample(), &symbols(), &mut out).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        let events = value["traceEvents"].as_array().unwrap();
        let named: Vec<_> = events.iter().filter(|event| event["ph"] == "M").collect();
        assert_eq!((named.len(), &named[3]["args"]["name"]), (4, &json!("pp 2")));
        let exits: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(exits.len(), 3);
        let first = json!({
            "name": "id read", "cat": "exit", "ph": "X", "ts": 1.0, "dur": 1.5, "pid": 1, "tid": 1,
            "args": {"number": "0x7", "detail": 4, "at": "cpu_init+0x10"},
        });
        assert_eq!(*exits[0], first);
        assert_eq!((&exits[1]["tid"], &exits[1]["args"]["at"]), (&json!(2), &json!("write_tsc")));
    }
}
