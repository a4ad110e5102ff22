//! The program: reads the command line, opens the device, and ends with the exit code of what came of it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use vmmctl::Cli;
use vmmctl::host::Host;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell where the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(vmmctl::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match vmmctl::run(&cli, &Host::own(), &vmmctl::device::open, &mut std::io::stdout()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // As above.
            let _ = std::io::stdout().flush();
            eprintln!("vmmctl: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
