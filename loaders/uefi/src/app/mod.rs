//! The application: from `plinth.toml` to the next image, one step after the other.

mod arch;
mod boot_entries;
mod entropy;
mod error;
mod firmware;
mod home;
mod initrd;
mod launch;
mod memory;
mod payload;
mod prepare;
mod processors;
mod running;

use error::Error;
use home::Home;
use plinth_loader_uefi::command::Command;
use plinth_loader_uefi::config::{Config, FILE_NAME};
use processors::Processors;
use uefi::Status;

/// Prints a line on the firmware's console.
macro_rules! say {
    ($($text:tt)*) => { uefi::println!("plinth: {}", format_args!($($text)*)) };
}
use say;

#[uefi::entry]
fn main() -> Status {
    match run() {
        Ok(()) => Status::SUCCESS,
        Err(error) => {
            say!("{error}");
            error.status()
        }
    }
}

fn run() -> Result<(), Error> {
    let home = Home::find()?;
    match home.command()? {
        Command::Status => {
            running::report();
            Ok(())
        }
        Command::Launch => follow_config(&home),
        Command::Stop { next } => {
            let stopped = launch::stop(&Processors::find()?);
            if next { report_and_start(&home, stopped) } else { stopped }
        }
    }
}

/// `stop next`: whatever became of stopping, the machine boots on.
fn report_and_start(home: &Home, stopped: Result<(), Error>) -> Result<(), Error> {
    if let Err(error) = stopped {
        say!("not stopped: {error}");
    }
    payload::start(home, &read_config(home))
}

/// Does all that `plinth.toml` says: nothing that fails on the way keeps the machine from booting.
fn follow_config(home: &Home) -> Result<(), Error> {
    let config = read_config(home);
    if config.launch.0
        && let Err(error) = launch_from(home, &config)
    {
        say!("not launched: {error}");
        say!("going on without Plinth");
    }
    payload::start(home, &config)
}

fn launch_from(home: &Home, config: &Config) -> Result<(), Error> {
    if let Some(plinth) = arch::detect() {
        return Err(Error::AlreadyRunning { processors: plinth.processors });
    }
    let processors = Processors::find()?;
    let prepared = prepare::prepare(home, config, processors.count())?;
    let memory = launch::launch(prepared, &processors)?;
    arch::launched();
    if config.stop && back_again(&processors) {
        memory.free();
    } else {
        memory.keep();
    }
    Ok(())
}

/// The test of the way back: whether every processor came back from a launch that succeeded.
fn back_again(processors: &Processors) -> bool {
    launch::stop(processors).inspect_err(|error| say!("not stopped: {error}")).is_ok()
}

/// The configuration, or what a faulty one still says about the image to start.
fn read_config(home: &Home) -> Config {
    match home.read_text(FILE_NAME) {
        Ok(text) => Config::parse(&text).unwrap_or_else(|error| {
            say!("not launched: {error}");
            say!("going on without Plinth");
            Config::salvage(&text)
        }),
        Err(error) => {
            say!("not launched: {error}");
            say!("going on without Plinth");
            Config::salvage("")
        }
    }
}
