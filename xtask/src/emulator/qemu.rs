//! QEMU's command line.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use xshell::Shell;

use super::{Console, Machine, backports, launcher};
use crate::board::{Firmware, Qemu};
use crate::volume::Medium;

/// The command that runs the machine.
pub(super) fn command(machine: &Machine<'_>, qemu: &Qemu, console: &Console<'_>) -> Result<Command> {
    let mut command = program(qemu)?;
    let size = (machine.cpus.to_string(), format!("{}M", machine.memory));
    command.args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]);
    command.args(["-machine", board(machine, qemu), "-accel", "tcg"]);
    command.args(qemu.cpu.iter().flat_map(|cpu| ["-cpu", cpu]));
    command.args(["-smp", &size.0, "-m", &size.1]);
    command.args(machine.memory_file.iter().flat_map(|file| memory(file, &size.1)));
    if let Some(firmware) = &qemu.firmware {
        command.args(flash(firmware));
    }
    command.args(medium(&machine.medium, qemu)).args(vec![["-serial", "null"]; qemu.serial].concat());
    command.args(console_arguments(console));
    command.args(["-trace", "qemu_system_shutdown_request", "-d", "cpu_reset", "-D"]).arg(machine.trace());
    command.args(&qemu.arguments).args(&machine.arguments);
    Ok(command)
}

/// The installed program, or a newer one that was unpacked for the board.
fn program(qemu: &Qemu) -> Result<Command> {
    let Some(folder) = backports::folder(&Shell::new()?, qemu)? else { return Ok(launcher(&qemu.program)) };
    let mut command = launcher(backports::program_in(&folder, qemu));
    command.arg("-L").arg(backports::data_in(&folder));
    Ok(command)
}

/// Keeps the machine's memory in a file.
fn memory(file: &Path, size: &str) -> [String; 4] {
    let object = format!("memory-backend-file,id=memory,share=on,size={size},mem-path={}", escaped(file));
    ["-object", &object, "-machine", "memory-backend=memory"].map(str::to_owned)
}

/// What QEMU calls the board.
fn board<'a>(machine: &Machine<'_>, qemu: &'a Qemu) -> &'a str {
    match &qemu.bare_machine {
        Some(bare) if machine.bare => bare,
        _ => &qemu.machine,
    }
}

/// The firmware, in its two flash chips or as the one file that the machine starts with.
fn flash(firmware: &Firmware) -> Vec<String> {
    let Some(variables) = &firmware.variables else {
        return vec!["-bios".to_owned(), firmware.code.display().to_string()];
    };
    let chip = |unit, mode, path: &Path| {
        format!("if=pflash,format=raw,unit={unit},{mode}=on,file={}", escaped(path))
    };
    let (code, variables) = (chip(0, "readonly", &firmware.code), chip(1, "snapshot", variables));
    vec!["-drive".to_owned(), code, "-drive".to_owned(), variables]
}

/// What the machine boots from. Nothing of what the guest writes is kept.
fn medium(medium: &Medium, qemu: &Qemu) -> Vec<String> {
    match medium {
        Medium::Disk(path) => {
            let volume = format!("if=none,id=volume,format=raw,snapshot=on,file={}", escaped(path));
            let device = format!("driver={},drive=volume,bootindex=0", qemu.disk);
            ["-drive", &volume, "-device", &device].map(str::to_owned).to_vec()
        }
        Medium::Cd(path) => vec!["-cdrom".to_owned(), path.display().to_string()],
        Medium::Kernel { image, initrd, device_tree, command_line } => {
            let mut arguments = vec!["-kernel".to_owned(), image.display().to_string()];
            if let Some(device_tree) = device_tree {
                arguments.extend(["-dtb".to_owned(), device_tree.display().to_string()]);
            }
            if let Some(initrd) = initrd {
                arguments.extend(["-initrd".to_owned(), initrd.display().to_string()]);
            }
            if let Some(command_line) = command_line {
                arguments.extend(["-append".to_owned(), command_line.clone()]);
            }
            arguments
        }
    }
}

fn console_arguments(console: &Console<'_>) -> Vec<String> {
    let (device, monitor) = match console {
        Console::Terminal(log) => ("stdio,id=console,mux=on,signal=off".to_owned() + &log_file(*log), true),
        Console::Output => ("file,id=console,path=/dev/stdout".to_owned(), false),
        Console::Socket(socket, log) => (
            format!("socket,id=console,path={},server=on,wait=off", escaped(socket)) + &log_file(Some(log)),
            false,
        ),
    };
    let mut arguments =
        vec!["-chardev".to_owned(), device, "-serial".to_owned(), "chardev:console".to_owned()];
    if monitor {
        arguments.extend(["-mon".to_owned(), "chardev=console,mode=readline".to_owned()]);
    }
    arguments
}

fn log_file(path: Option<&Path>) -> String {
    path.map(|path| format!(",logfile={}", escaped(path))).unwrap_or_default()
}

/// QEMU takes a comma in a path when it is doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{Format, Volume};

    fn arguments(console: &Console<'_>) -> String {
        let boards = crate::workspace::manifest_folder().join("../boards");
        let board = crate::board::find(&boards, crate::cli::DEFAULT_BOARD).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::new(&board, &Volume::new(Format::Fat), folder.path()).unwrap();
        format!("{:?}", machine.command(console).unwrap())
    }

    #[test]
    fn the_command_has_the_manifests_facts() {
        let text = arguments(&Console::Output);
        for part in
            ["\"EPYC\"", "\"q35\"", "\"-smp\" \"2\"", "\"1024M\"", "OVMF_CODE_4M.fd", "isa-debug-exit"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn only_a_terminal_has_the_monitor() {
        assert!(arguments(&Console::Terminal(None)).contains("mode=readline"));
        assert!(!arguments(&Console::Output).contains("mode=readline"));
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_it() {
        assert!(arguments(&Console::Terminal(Some(Path::new("/a,b")))).contains("logfile=/a,,b"));
    }
}
