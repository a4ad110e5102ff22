//! What the running hypervisor tells, as `status`, `dump` and `trace` show it.

mod fake;

use std::fs;

use clap::Parser as _;
use fake::Fake;
use fake::hypervisor::{Hypervisor, record};
use plinth_extension_api::abi::{ExitClass, LOG_CAPACITY, LOG_COPY_RING, LOG_MAGIC, LogCopy, TraceRecord};
use plinth_launch::{LaunchError, LaunchStatus};
use vmmctl::device::uapi::{Launch, Request as _, State};
use vmmctl::device::{Device, DeviceError};
use vmmctl::host::Host;
use vmmctl::{Cli, Failure};
use zerocopy::IntoBytes as _;

struct Machine {
    folder: tempfile::TempDir,
    module: Fake,
}

impl Machine {
    /// One on which a hypervisor runs that the module has launched.
    fn new() -> Self {
        let module = Fake::amd();
        module.0.borrow_mut().state = State::Running as u32;
        module.0.borrow_mut().hypervisor = Some(Hypervisor::new());
        Self { folder: tempfile::tempdir().unwrap(), module }
    }

    /// Runs a command line; its output and exit code.
    fn run(&self, line: &str) -> (String, Result<u8, Failure>) {
        let cli = Cli::try_parse_from(format!("vmmctl {line}").split_whitespace()).unwrap();
        let open = |_: &Host| Ok(Box::new(self.module.clone()) as Box<dyn Device>);
        let mut out = Vec::new();
        let result = vmmctl::run(&cli, &Host::at(self.folder.path()), &open, &mut out);
        (String::from_utf8(out).unwrap(), result)
    }

    fn with<R>(&self, work: impl FnOnce(&mut Hypervisor) -> R) -> R {
        work(self.module.0.borrow_mut().hypervisor.as_mut().expect("it runs"))
    }
}

const STATUS: &str = "\
State:     running
Module:    1.0
CPUs:      0 1
Memory:    0 MiB at 0x40000000
Plinth:    0.1.0, ABI 2, AMD SVM
Uptime:    00:01:00
May stop:  always
Pool:      4096 KiB used, 12288 KiB free
Objects:   1 VMs, 2 VPs, 2 VSs
Extension: running, 200 KiB, SHA-256 abababababababababababababababababababababababababababababababab
PP 0       launched, hardware id 0x0, 107 exits
                    100 id read
                      7 hypercall
PP 2       launched, hardware id 0x4, 50 exits
                     50 id read
";

#[test]
fn a_status_shows_all_there_is() {
    let machine = Machine::new();
    let (text, code) = machine.run("status");
    assert_eq!((&*text, code.unwrap()), (STATUS, 0));
}

#[test]
fn a_status_in_json_has_the_same() {
    let machine = Machine::new();
    let end = b"pp 0, Vmexit callback: it faulted";
    machine.with(|hypervisor| {
        hypervisor.status.extension = 2;
        hypervisor.status.extension_end[..end.len()].copy_from_slice(end);
        hypervisor.pps[2].is_lost = 1;
    });
    let (text, code) = machine.run("status --json");
    assert_eq!((code.unwrap(), text.lines().count()), (0, 1));
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let told = &found["hypervisor"];
    assert_eq!((&found["state"], &told["backend"]), (&"running".into(), &"AMD SVM".into()));
    assert_eq!(told["extension"]["state"], "faulted");
    assert_eq!(told["extension"]["end"], "pp 0, Vmexit callback: it faulted");
    assert_eq!(told["extension"]["sha256"], "ab".repeat(32));
    assert_eq!(told["pps"][1]["exits"], serde_json::json!({"id read": 50}));
    assert_eq!((&told["pps"][1]["hardware_id"], &told["pps"][1]["answers"]), (&4.into(), &false.into()));
    assert!((60.0..61.0).contains(&told["uptime_seconds"].as_f64().unwrap()));
}

#[test]
fn one_that_another_loader_launched_is_shown_too() {
    let machine = Machine::new();
    machine.module.0.borrow_mut().state = State::Idle as u32;
    let (text, code) = machine.run("status");
    assert!(
        text.starts_with("State:     running, launched by another loader\n") && text.contains("AMD SVM"),
        "{text}"
    );
    assert_eq!(code.unwrap(), 0);
    machine.module.0.borrow_mut().hypervisor = None;
    let (text, code) = machine.run("status");
    assert!(text.starts_with("State:     idle\n") && !text.contains("Plinth"), "{text}");
    assert_eq!(code.unwrap(), 8);
}

#[test]
fn under_lockdown_the_state_is_told_all_the_same() {
    let machine = Machine::new();
    machine.module.0.borrow_mut().not_now = 1;
    let (text, code) = machine.run("status");
    assert!(text.starts_with("State:     running\n") && !text.contains("Plinth:"), "{text}");
    assert_eq!(code.unwrap(), 0);
    machine.module.0.borrow_mut().state = State::Idle as u32;
    assert_eq!(machine.run("status").1.unwrap(), 8);
    assert_eq!(machine.run("dump").1.unwrap_err().exit_code(), 2);
}

const DUMP: &str = "\
[     -0.001000] pp -  info  kernel at 0x40000000, 32768 KiB reserved
[      0.000000] pp 0  info  pp 0: launched; the OS is the root VM now
[      2.500000] pp 1  error an error
";

#[test]
fn a_dump_is_the_whole_log_with_times() {
    let machine = Machine::new();
    let (text, code) = machine.run("dump");
    assert_eq!((&*text, code.unwrap()), (DUMP, 0));
    let (text, _) = machine.run("dump --json");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[2]["pp"], &lines[2]["level"], &lines[2]["text"]),
        (&1.into(), &"error".into(), &"an error".into())
    );
    assert_eq!((&lines[0]["pp"], lines[2]["seconds"].as_f64()), (&serde_json::Value::Null, Some(2.5)));
}

/// The memory that a hypervisor has copied its log to.
fn copied(records: &[u8]) -> Vec<u8> {
    let newest = records.len() as u64;
    let header = LogCopy { magic: LOG_MAGIC, capacity: LOG_CAPACITY, oldest: 0, newest };
    let mut memory = vec![0; (LOG_COPY_RING + LOG_CAPACITY) as usize];
    memory[..size_of::<LogCopy>()].copy_from_slice(header.as_bytes());
    memory[LOG_COPY_RING as usize..][..records.len()].copy_from_slice(records);
    memory
}

#[test]
fn a_dump_of_one_that_is_gone_comes_from_linuxs_memory() {
    let machine = Machine::new();
    machine.module.0.borrow_mut().hypervisor = None;
    assert_eq!(machine.run("dump").1.unwrap_err().exit_code(), 8);
    let records = [record(1.0, 0, 2, "a warning"), record(2.0, 1, 3, "pp 1: promoted")].concat();
    machine.module.0.borrow_mut().log = copied(&records);
    let (text, code) = machine.run("dump");
    assert_eq!(code.unwrap(), 0);
    assert_eq!(text, "[    6000000000] pp 0  warn  a warning\n[    7000000000] pp 1  info  pp 1: promoted\n");
}

#[test]
fn a_refused_launch_shows_the_last_lines_of_the_log() {
    let machine = Machine::new();
    let library = machine.folder.path().join("usr/lib/plinth");
    fs::create_dir_all(library.join("extensions")).unwrap();
    fs::write(library.join("kernel"), fake::elf(62)).unwrap();
    fs::write(library.join("extensions/default"), fake::elf(62)).unwrap();
    let records = (0..20).flat_map(|line| record(1.0, 0, 1, &format!("line {line}"))).collect::<Vec<_>>();
    {
        let mut module = machine.module.0.borrow_mut();
        (module.state, module.hypervisor, module.log) = (State::Idle as u32, None, copied(&records));
        let status = LaunchStatus::failed(LaunchError::ExtensionFaulted, 14).raw();
        let answer = Launch { status, ..Launch::new() };
        module.launch_fails = Some((DeviceError::Refused, answer));
    }
    let failure = machine.run("start").1.unwrap_err();
    let (text, code) = (failure.to_string(), failure.exit_code());
    assert!(
        code == 7 && text.contains("\n  error: line 12\n") && text.contains("\n  error: line 19\n"),
        "{text}"
    );
    assert!(!text.contains("line 11"), "{text}");
}

/// Records of a PP's trace, one every microsecond from the launch's 61st second on.
fn records(count: u64, class: ExitClass, number: u64) -> Vec<TraceRecord> {
    let record = |at: u64| TraceRecord {
        counter: 5_000_000_000 + 61_000_000_000 + at * 1000,
        number,
        instruction_pointer: 0xffff_ffff_8100_0010,
        duration: 400,
        detail: 0,
        class: class as u16,
    };
    (0..count).map(record).collect()
}

#[test]
fn a_trace_goes_into_each_format_and_is_off_afterwards() {
    for format in ["perfetto", "chrome", "csv"] {
        let machine = Machine::new();
        fs::create_dir_all(machine.folder.path().join("proc")).unwrap();
        fs::write(machine.folder.path().join("proc/kallsyms"), "ffffffff81000000 T cpu_init\n").unwrap();
        machine.with(|hypervisor| {
            hypervisor.traces[0] = records(300, ExitClass::IdRead, 7);
            hypervisor.traces[2] = records(10, ExitClass::RegisterRead, 0x1B);
        });
        let file = machine.folder.path().join("out");
        let line = format!(
            "trace --duration 0.05 --classes id-read,register-read -o {} --format {format}",
            file.display()
        );
        let (text, code) = machine.run(&line);
        assert_eq!(code.unwrap(), 0);
        assert!(text.starts_with("310 exits in ") && text.contains("register read 0x1b"), "{text}");
        assert!(
            text.contains("id read at cpu_init+0x10") && text.contains("310 exits written to "),
            "{text}"
        );
        assert_eq!(machine.with(|hypervisor| hypervisor.set.clone()), [1 << 1 | 1 << 2, 0], "on, then off");
        let bytes = fs::read(file).unwrap();
        match format {
            "perfetto" => {
                let name = b"register read";
                assert_eq!(bytes.windows(name.len()).filter(|bytes| bytes == name).count(), 10);
            }
            "chrome" => {
                let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                assert_eq!(value["traceEvents"].as_array().unwrap().len(), 310 + 3);
            }
            _ => assert_eq!(String::from_utf8(bytes).unwrap().lines().count(), 311),
        }
    }
}

#[test]
fn a_trace_that_cannot_be_begins_nothing() {
    let machine = Machine::new();
    let (_, result) = machine.run("trace --classes cpuid");
    assert_eq!(result.unwrap_err().exit_code(), 1);
    let (_, result) = machine.run("trace -o /nowhere/file");
    assert!(result.unwrap_err().to_string().starts_with("/nowhere/file: "));
    assert!(machine.with(|hypervisor| hypervisor.set.is_empty()));
    machine.module.0.borrow_mut().hypervisor = None;
    assert_eq!(machine.run("trace --duration 0").1.unwrap_err().exit_code(), 8);
}

#[test]
fn a_trace_that_was_on_before_is_on_afterwards() {
    let machine = Machine::new();
    machine.with(|hypervisor| hypervisor.set.push(0b10));
    machine.run("trace --duration 0 --classes nmi").1.unwrap();
    assert_eq!(machine.with(|hypervisor| hypervisor.set.clone()), [0b10, 1 << 9, 0b10]);
}
