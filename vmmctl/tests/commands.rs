//! Each command against a module that is not there: what it asks for, what it says, and its exit code.

mod fake;

use std::fs;
use std::path::PathBuf;

use clap::Parser as _;
use fake::{Fake, START, elf};
use plinth_device_tree::editor::Editor;
use plinth_launch::{LaunchError, LaunchStatus, Range};
use vmmctl::device::uapi::{Launch, Request as _, State, Stop};
use vmmctl::device::{Device, DeviceError};
use vmmctl::host::Host;
use vmmctl::{Cli, Failure};

/// A machine's file system with a kernel and an extension where the package puts them, and a module.
struct Machine {
    _folder: tempfile::TempDir,
    host: Host,
    root: PathBuf,
    module: Fake,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        fs::create_dir_all(root.join("usr/lib/plinth/extensions")).unwrap();
        fs::write(root.join("usr/lib/plinth/kernel"), elf(62)).unwrap();
        fs::write(root.join("usr/lib/plinth/extensions/default"), elf(62)).unwrap();
        fs::create_dir_all(root.join("proc")).unwrap();
        fs::write(root.join("proc/meminfo"), "MemAvailable: 1048576 kB\n").unwrap();
        Self { host: Host::at(&root), root, _folder: folder, module: Fake::amd() }
    }

    /// Runs a command line. Returns its output, and its exit code or failure.
    fn run(&self, line: &str) -> (String, Result<u8, Failure>) {
        let cli = Cli::try_parse_from(format!("vmmctl {line}").split_whitespace()).unwrap();
        let open = |_: &Host| Ok(Box::new(self.module.clone()) as Box<dyn Device>);
        let mut out = Vec::new();
        let result = vmmctl::run(&cli, &self.host, &open, &mut out);
        (String::from_utf8(out).unwrap(), result)
    }

    /// The failure's text and exit code.
    fn fails(&self, line: &str) -> (String, u8) {
        let failure = self.run(line).1.expect_err(line);
        (failure.to_string(), failure.exit_code())
    }
}

#[test]
fn a_start_fills_the_memory_and_says_what_runs() {
    let machine = Machine::new();
    let (text, code) =
        machine.run("start --memory 16M --log-level debug --stop extension --watchdog 500 --option vhe=off");
    assert_eq!(code.unwrap(), 0);
    assert!(text.contains("on 2 CPU(s), with 16 MiB at 0x40000000"), "{text}");
    let info = machine.module.launch_info();
    assert!(info.is_current());
    assert_eq!(info.reservation, Range { start: START, size: 16 << 20 });
    assert_eq!((info.pp_count, info.memory_end, info.log_level, info.console_kind), (2, 8 << 30, 4, 0));
    assert_eq!(info.log, Range { start: 0x9000_0000, size: 256 << 10 });
    assert_eq!(machine.module.bytes(info.command_line), b"may-stop=extension watchdog=500 vhe=off");
    assert_eq!(machine.module.bytes(info.extension), elf(62));
    assert_ne!(info.entropy, [0; 4]);
    let launched = machine.module.0.borrow().launched.unwrap();
    let code = info.kernel_segments[0].range;
    assert_eq!(launched.entry, code.start + 0x800);
    assert_eq!(launched.flags, 0);
}

/// A flattened device tree with a processor and a bank of memory.
fn tree() -> Vec<u8> {
    const ROOM: usize = 1024;
    // Version 17: no reservations, an empty root, no strings.
    let words = [0xD00D_FEED, 72, 56, 72, 40, 17, 16, 0, 0, 16, 0, 0, 0, 0, 1, 0, 2, 9_u32];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    bytes.resize(ROOM, 0);
    let mut editor = Editor::new(&mut bytes).unwrap();
    for (node, address, size) in [(&[][..], 2_u32, 2_u32), (&["cpus"], 1, 0)] {
        if let [name] = node {
            editor.ensure_node(name).unwrap();
        }
        editor.set_property(node, "#address-cells", &[&address.to_be_bytes()]).unwrap();
        editor.set_property(node, "#size-cells", &[&size.to_be_bytes()]).unwrap();
    }
    let cpu: &[(&str, &[u8])] = &[("device_type", b"cpu\0"), ("reg", &[0; 4])];
    editor.add_child(&["cpus"], "cpu@0", cpu).unwrap();
    let reg = [0x4000_0000_u64, 0x1000_0000].map(u64::to_be_bytes).concat();
    editor.add_child(&[], "memory@40000000", &[("device_type", b"memory\0"), ("reg", &reg)]).unwrap();
    let size = plinth_device_tree::total_size(bytes.first_chunk().unwrap()).unwrap();
    bytes.truncate(size);
    bytes
}

#[test]
fn an_arm_machine_gets_its_device_tree_and_tables() {
    let machine = Machine::new();
    machine.module.0.borrow_mut().machine = 3;
    for file in ["kernel", "extensions/default"] {
        fs::write(machine.root.join("usr/lib/plinth").join(file), elf(183)).unwrap();
    }
    let (said, code) = machine.fails("start");
    assert!(code == 4 && said.contains("/sys/firmware/fdt"), "{said}");
    fs::create_dir_all(machine.root.join("sys/firmware")).unwrap();
    let tree = tree();
    fs::write(machine.root.join("sys/firmware/fdt"), &tree).unwrap();
    machine.run("start").1.unwrap();
    let info = machine.module.launch_info();
    assert_eq!(info.origin, plinth_launch::ORIGIN_EL1);
    assert_eq!(machine.module.bytes(Range { start: info.fdt, size: tree.len() as u64 }), tree);
    assert_eq!(machine.module.bytes(info.command_line), b"may-stop=always");
    assert_eq!(machine.module.0.borrow().launched.unwrap().tables, info.tables);
    assert_ne!(info.tables, 0);
}

#[test]
fn the_owner_may_stop_unless_told_otherwise() {
    let machine = Machine::new();
    machine.run("start --nested --console 0x3f8").1.unwrap();
    let info = machine.module.launch_info();
    assert_eq!(machine.module.bytes(info.command_line), b"may-stop=always");
    assert_eq!((info.console_kind, info.console_base), (plinth_launch::CONSOLE_16550_PORT, 0x3f8));
    assert_eq!(machine.module.0.borrow().launched.unwrap().flags, 1);
}

#[test]
fn a_file_that_is_refused_reserves_nothing() {
    let machine = Machine::new();
    let kernel = machine.root.join("usr/lib/plinth/kernel");
    for (bytes, text) in [(elf(183), "machine"), (b"#!/bin/sh".to_vec(), "ELF"), (Vec::new(), "ELF")] {
        fs::write(&kernel, bytes).unwrap();
        let (said, code) = machine.fails("start");
        assert!(code == 5 && said.starts_with(kernel.to_str().unwrap()) && said.contains(text), "{said}");
    }
    fs::write(&kernel, elf(62)).unwrap();
    let (said, code) = machine.fails("start --extension /nowhere");
    assert!(code == 5 && said.starts_with("/nowhere: "), "{said}");
    let (said, code) = machine.fails("start --extension /dev/zero");
    assert!(code == 5 && said.starts_with("/dev/zero: "), "{said}");
    assert_eq!(machine.module.0.borrow().state, State::Idle as u32);
}

#[test]
fn memory_that_is_not_there_or_too_little_is_said() {
    let machine = Machine::new();
    machine.module.0.borrow_mut().reserve_fails = Some(DeviceError::NoMemory);
    let (said, code) = machine.fails("start --memory 64M");
    assert!(code == 6 && said.contains("64 MiB"), "{said}");
    machine.module.0.borrow_mut().reserve_fails = None;
    let extension = machine.root.join("large");
    fs::write(&extension, [elf(62), vec![0; 4 << 20]].concat()).unwrap();
    let (said, code) = machine.fails(&format!("start --memory 4M --extension {}", extension.display()));
    assert!(code == 6 && said.contains("--memory"), "{said}");
}

#[test]
fn a_refused_launch_names_cpu_and_reason() {
    let machine = Machine::new();
    let status = LaunchStatus::failed(LaunchError::DisabledByFirmware, 0).raw();
    let answer = Launch { status, cpu: 3, ..Launch::new() };
    machine.module.0.borrow_mut().launch_fails = Some((DeviceError::Refused, answer));
    let (said, code) = machine.fails("start");
    assert!(code == 7 && said.starts_with("CPU 3: virtualization is switched off by the firmware"), "{said}");
    assert!(said.contains("Nothing has changed"), "{said}");
    let answer = Launch { status, cpu: 3, cpus_left: 2, ..Launch::new() };
    machine.module.0.borrow_mut().launch_fails = Some((DeviceError::Refused, answer));
    machine.module.0.borrow_mut().state = 0;
    assert!(machine.fails("start").0.contains("2 CPU(s) were launched before"));
    let answer = Launch { not_now: 1 << 3, ..Launch::new() };
    machine.module.0.borrow_mut().launch_fails = Some((DeviceError::Unsuitable, answer));
    machine.module.0.borrow_mut().state = 0;
    let (said, code) = machine.fails("start");
    assert!(code == 4 && said.contains("modprobe -r kvm_amd"), "{said}");
}

#[test]
fn states_are_told_apart() {
    let machine = Machine::new();
    assert_eq!(machine.fails("stop").1, 8);
    machine.run("start").1.unwrap();
    assert_eq!(machine.fails("start").1, 9);
    let (text, code) = machine.run("status");
    assert!(code.unwrap() == 0 && text.contains("running") && text.contains("0 1"), "{text}");
    assert_eq!(machine.run("stop --force").1.unwrap(), 0);
    assert_eq!(machine.module.0.borrow().stopped, [0, 1]);
    assert_eq!(machine.run("status --json").1.unwrap(), 8);
    machine.module.0.borrow_mut().state = State::Reserved as u32;
    assert_eq!(machine.fails("start").1, 9);
}

#[test]
fn a_stop_that_fails_says_where() {
    let machine = Machine::new();
    let answer = Stop { cpu: 1, ..Stop::new() };
    machine.module.0.borrow_mut().stop_fails = Some((DeviceError::Busy, answer));
    let (said, code) = machine.fails("stop");
    assert!(code == 10 && said.contains("CPU 1 is off line"), "{said}");
    let answer = Stop { cpu: u32::MAX, cpus_left: 2, status: u64::MAX, ..Stop::new() };
    machine.module.0.borrow_mut().stop_fails = Some((DeviceError::Refused, answer));
    let (said, code) = machine.fails("stop");
    assert!(code == 10 && said.contains("2 CPU(s) are still in it"), "{said}");
}

#[test]
fn a_restart_takes_the_last_options_and_checks_files_first() {
    let machine = Machine::new();
    machine.run("start --memory 16M --log-level warn").1.unwrap();
    assert_eq!(machine.fails("restart --extension /nowhere").1, 5);
    assert_eq!(machine.module.0.borrow().state, State::Running as u32, "the running one goes on");
    machine.run("restart --log-level debug").1.unwrap();
    let info = machine.module.launch_info();
    assert_eq!((info.reservation.size, info.log_level), (16 << 20, 4));
}

#[test]
fn a_check_names_each_requirement() {
    let machine = Machine::new();
    let (text, code) = machine.run("check");
    assert_eq!(code.unwrap(), 0, "{text}");
    assert!(text.contains("yes  virtualization: ") && text.contains("can be tried"), "{text}");
    machine.module.0.borrow_mut().not_now = 1 << 2 | 1 << 40;
    let (text, code) = machine.run("check --json");
    assert_eq!(code.unwrap(), 4);
    assert!(text.contains("enable SVM (AMD-V) or VT-x") && text.contains("0x10000000000"), "{text}");
    // What is not a kind of machine's own is said on every one.
    let everybodys = [(0, "kernel not locked down"), (8, "no Plinth runs"), (9, "every CPU on line")];
    for (kind, (bit, requirement)) in (1..=3).flat_map(|kind| everybodys.map(|one| (kind, one))) {
        machine.module.0.borrow_mut().machine = kind;
        machine.module.0.borrow_mut().not_now = 1 << bit;
        let (text, code) = machine.run("check");
        let line = format!("NO   {requirement}: ");
        assert!(code.unwrap() == 4 && text.contains(&line), "machine {kind}: {text}");
    }
}

#[test]
fn a_check_without_the_module_says_what_it_can() {
    let machine = Machine::new();
    let cli = Cli::try_parse_from(["vmmctl", "check"]).unwrap();
    let mut out = Vec::new();
    let code = vmmctl::run(&cli, &machine.host, &|_| Err(Failure::NoModule), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(code == 4 && text.contains("NO   module and rights: there is no /dev/plinth"), "{text}");
}
