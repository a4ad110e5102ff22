//! Bochs' configuration file and command line.
//!
//! The package's Bochs has its debugger built in: it stops at a prompt, and a file of commands makes it go on. Its own
//! exit status says little, so a run is judged by what the guest says on the serial port.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Console, Machine, launcher};
use crate::board::Bochs;
use crate::volume::Medium;

/// Where the package keeps its own files.
const SHARE: &str = "/usr/share/bochs";
/// The file descriptor on which Bochs finds the harness's pipe: it opens the serial port's file by name.
const CONSOLE: &str = "/dev/fd/3";

/// The file with more MSRs than Bochs has.
const MSRS: &str = "msrs.def";
/// IA32_SMRR_PHYSBASE and IA32_SMRR_PHYSMASK, which keep what is written to them: number, type (0 for any value), and the high
/// and low halves of the value at reset, of the bits that fault and of those that stay.
const REGISTERS: &str = "1f2 0 00000000 00000000 00000000 00000000 00000000 00000000\n\
                         1f3 0 00000000 00000000 00000000 00000000 00000000 00000000\n";

/// The command that runs the machine.
pub(super) fn command(machine: &Machine<'_>, bochs: &Bochs, console: &Console<'_>) -> Result<Command> {
    let (configuration, commands) = (machine.folder.join("bochsrc"), machine.folder.join("commands"));
    let serial = match console {
        Console::Terminal(_) => "mode=term, dev=/dev/tty".to_owned(),
        Console::Output => format!("mode=file, dev={CONSOLE}"),
        Console::Socket(..) => bail!(
            "Bochs has no console that gdb's user can type into, and gdb cannot see the guest below its hypervisor; \
             debug on a QEMU board, or run Bochs' own debugger with `cargo xtask run`"
        ),
    };
    fs::write(&configuration, text(machine, bochs, &serial))
        .with_context(|| format!("cannot write {}", configuration.display()))?;
    fs::write(machine.folder.join(MSRS), REGISTERS).context("cannot write Bochs' list of MSRs")?;
    fs::write(&commands, "c\nq\n").with_context(|| format!("cannot write {}", commands.display()))?;
    let mut command = launcher("sh");
    // Bochs' own words go to the harness's file of messages, the console alone to its pipe.
    command.args(["-c", "exec 3>&1; exec bochs -q -f \"$0\" -rc \"$1\" </dev/null >&2"]);
    command.arg(configuration).arg(commands).args(&machine.arguments);
    command.env("BXSHARE", SHARE);
    Ok(command)
}

/// The configuration. See docs/emulators.md for why it is so.
fn text(machine: &Machine<'_>, bochs: &Bochs, serial: &str) -> String {
    let model = machine.model.unwrap_or(&bochs.model);
    let (cpus, memory) = (machine.cpus, machine.memory);
    let firmware = bochs.firmware.display();
    let log = machine.trace();
    let (boot, drive) = match &machine.medium {
        Medium::Cd(path) => ("cdrom", format!("type=cdrom, path={}, status=inserted", path.display())),
        Medium::Disk(path) | Medium::Kernel { image: path, .. } => {
            ("disk", format!("type=disk, path={}, mode=flat, cylinders=0", path.display()))
        }
    };
    format!(
        "plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, iodebug=1\n\
         config_interface: textconfig\n\
         display_library: rfb, options=\"timeout=0\"\n\
         memory: guest={memory}, host={memory}\n\
         romimage: file={firmware}{options}\n\
         vgaromimage: file=/usr/share/vgabios/vgabios.bin\n\
         cpu: model={model}, count={cpus}, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1, msrs={msrs}\n\
         clock: sync=none, time0=1700000000\n\
         boot: {boot}\n\
         ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
         ata0-master: {drive}\n\
         com1: enabled=1, {serial}\n\
         port_e9_hack: enabled=1\n\
         log: {log}\n\
         panic: action=fatal\nerror: action=report\ninfo: action=report\ndebug: action=ignore\n",
        options = if bochs.firmware.starts_with(SHARE) { ", options=fastboot" } else { "" },
        log = log.display(),
        msrs = machine.folder.join(MSRS).display(),
    )
}

/// What Bochs' log says of VM entries that failed, and of its own end.
pub(super) fn complaints(log: &str) -> Vec<String> {
    let telling = |line: &&str| {
        ["VMENTER FAIL", "VMFAIL", "PANIC", "triple fault"].iter().any(|word| line.contains(word))
    };
    log.lines().filter(telling).take(20).map(str::to_owned).collect()
}
