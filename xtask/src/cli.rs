//! The command line: every command, its options and the help a user reads.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Where a command goes when no board is named.
pub(crate) const DEFAULT_BOARD: &str = "qemu-q35-amd";

/// Plinth's developer tool: set up, build, run, debug, test and measure.
///
/// On a new machine `cargo xtask run` is all it takes: it installs what is missing (or prints the command that
/// does), builds kernel, loader and extension, and boots Debian's Linux as the root VM, with a shell on this terminal.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Install what is missing: Rust targets, emulator, firmware, the default guest
    ///
    /// As root on Debian it installs; otherwise it prints the exact command to run. The other commands call it when
    /// they need something, so that running it by hand is only a way to do it early.
    Setup(SetupOptions),
    /// List the boards: triple, loader, emulator, what is tested
    ///
    /// A board is a folder under boards/ with a board.toml; adding the folder adds the board.
    Boards,
    /// Make the crate of a new extension, ready to build and run
    ///
    /// docs/first-extension.md goes on from there.
    NewExtension(NewExtensionOptions),
    /// Build the images of a board: kernel, loader, extensions
    Build(BuildOptions),
    /// Make what a person installs: a Debian package, the SDK as a tarball, the bill of materials
    ///
    /// The Debian package holds vmmctl, the Linux module for DKMS, the kernel and the extensions. The SDK holds what an
    /// extension is built from without a checkout. The same commit gives the same bytes.
    Package(PackageOptions),
    /// Make a board's boot volume: a folder, and a FAT image of it
    ///
    /// For a real PC (`--board pc-uefi`) copy the folder's content to a FAT-formatted USB stick, or write the
    /// image to one. Without --payload the loader goes on with the firmware's next boot entry.
    Image(ImageOptions),
    /// Boot a board in its emulator, with an interactive console
    ///
    /// Default: Debian's kernel under Plinth, two CPUs, a shell. Ctrl-A x ends the emulator, Ctrl-A c switches to its
    /// monitor. With --expect or --timeout the console is only shown, and the exit status tells how it went.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunOptions),
    /// Boot a board in its emulator under gdb, symbols loaded
    ///
    /// Waits for the kernel to log its load address, then loads the symbols of kernel and extension there and stops.
    /// Set breakpoints and `continue`. The guest's console goes to a file and to a socket, both named on the screen.
    Debug(DebugOptions),
    /// Run the tests: host part, then every board with an emulator
    ///
    /// Host part: rustfmt, clippy for the host and for every image's target, the house lint, `cargo test`; without --fast Miri too, where it is installed.
    /// Board part: each test boots the board's emulator; one line each, and the end of the console where one fails.
    Test(TestOptions),
    /// Check the house rules that rustc and clippy do not know
    Lint,
    /// Check that each place where a kernel image can panic says why it cannot happen
    ///
    /// Builds the images and reads from them which checks the compiler has left in. `cargo xtask test` does the same.
    Panics,
    /// Write the ABI's specification, C header and snapshot from their one source
    ///
    /// The source is extension-api/src/abi. A change of anything that was there before must be accepted.
    Abi(AbiOptions),
    /// Run the host tests that Miri can run, to find undefined behaviour
    ///
    /// Takes a nightly compiler with Miri, and says how to install it. `cargo xtask test` does the same where it is installed.
    Miri,
    /// Count instructions per exit, in the emulator
    ///
    /// The emulator counts instructions, not time, so that two runs on any two machines give the same figures.
    Bench(BenchOptions),
}

const RUN_EXAMPLES: &str = "Examples:
  cargo xtask run                                          a shell in Linux, under Plinth
  cargo xtask run --bare                                   the same without Plinth
  cargo xtask run --cpus 4 --expect 'login:' --timeout 60  for scripts
  cargo xtask run --payload shell.efi                      any EFI application
  cargo xtask run --extension target/x86_64-unknown-none/release/mine
  cargo xtask run -- -d int -D interrupts.log              emulator arguments";

#[derive(Args)]
pub(crate) struct SetupOptions {
    /// Only what this board needs [default: every board]
    #[arg(long)]
    pub(crate) board: Option<String>,
    /// Fetch the default guest again, even where the cache has it
    #[arg(long)]
    pub(crate) refresh: bool,
}

#[derive(Args)]
pub(crate) struct NewExtensionOptions {
    /// Its name: small letters, digits and '-'
    pub(crate) name: String,
    /// The folder in which its folder is made [default: extensions/ of this checkout]
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct BuildOptions {
    /// The board, a folder under boards/
    #[arg(long, default_value = DEFAULT_BOARD)]
    pub(crate) board: String,
}

#[derive(Args)]
pub(crate) struct PackageOptions {
    /// Only the Debian package for this kind of machine [default: one for each]
    #[arg(long, value_enum)]
    pub(crate) machine: Option<crate::package::Machine>,
    /// Build everything a second time, from a clone of the last commit in another folder, and compare
    #[arg(long)]
    pub(crate) verify: bool,
}

/// What to boot: the options that `image`, `run` and `debug` share.
#[derive(Args, Clone, Default)]
pub(crate) struct BootOptions {
    /// An EFI application or a Linux kernel (bzImage) to start [default: the board's, Debian's Linux]
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: Option<PathBuf>,
    /// The payload's initial RAM disk [default for Linux: busybox with a shell]
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// More arguments for the payload, appended to the default ones
    #[arg(long, value_name = "STRING", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,
    /// The extension to load, a static ELF for the board's triple [default: extensions/default]
    #[arg(long, value_name = "ELF")]
    pub(crate) extension: Option<PathBuf>,
    /// Start the payload without Plinth, by the same loader, for comparison
    #[arg(long)]
    pub(crate) bare: bool,
    /// A device tree for the board, where the loader is arm64-image, instead of the one that the firmware passes
    #[arg(long, value_name = "FILE")]
    pub(crate) device_tree: Option<PathBuf>,
    /// A line of plinth.toml that wins over the one made here, as in `log = "debug"`
    #[arg(long = "set", value_name = "KEY = VALUE")]
    pub(crate) settings: Vec<String>,
    /// It is for the board's emulator, not for the board.
    #[arg(skip)]
    pub(crate) emulated: bool,
}

#[derive(Args)]
pub(crate) struct ImageOptions {
    /// The board, a folder under boards/
    #[arg(long, default_value = DEFAULT_BOARD)]
    pub(crate) board: String,
    #[command(flatten)]
    pub(crate) boot: BootOptions,
    /// Where to put it [default: target/plinth/image/BOARD]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
}

/// The emulated machine: the options that `run` and `debug` share.
#[derive(Args, Default)]
pub(crate) struct MachineOptions {
    /// How many CPUs [default: the board's]
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<u32>,
    /// How much memory, in MiB [default: the board's]
    #[arg(long, value_name = "MiB")]
    pub(crate) memory: Option<u32>,
    /// More emulator arguments, after `--`
    #[arg(last = true, value_name = "EMULATOR ARGS")]
    pub(crate) arguments: Vec<String>,
}

#[derive(Args)]
pub(crate) struct RunOptions {
    /// The board, a folder under boards/
    #[arg(long, default_value = DEFAULT_BOARD)]
    pub(crate) board: String,
    #[command(flatten)]
    pub(crate) boot: BootOptions,
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
    /// End with success once TEXT is on the console, with failure when the guest ends without it
    #[arg(long, value_name = "TEXT")]
    pub(crate) expect: Option<String>,
    /// End the emulator after this many seconds, with failure
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Write the console to FILE too
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DebugOptions {
    /// The board, a folder under boards/
    #[arg(long, default_value = DEFAULT_BOARD)]
    pub(crate) board: String,
    #[command(flatten)]
    pub(crate) boot: BootOptions,
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
}

#[derive(Args)]
pub(crate) struct TestOptions {
    /// Only this board's part
    #[arg(long, conflicts_with = "fast")]
    pub(crate) board: Option<String>,
    /// Only the host part: no emulator
    #[arg(long)]
    pub(crate) fast: bool,
    /// The long forms of attacks too: a million rounds on the host, 100,000 on each board
    #[arg(long)]
    pub(crate) full: bool,
    /// Only the board tests whose name contains TEXT, or one of several
    #[arg(long, value_name = "TEXT[,TEXT…]", conflicts_with = "fast")]
    pub(crate) only: Option<String>,
    /// How many board tests run at the same time [default: one for each CPU of this machine, 4 at the most]
    #[arg(long, value_name = "N", conflicts_with = "fast")]
    pub(crate) jobs: Option<usize>,
    /// List the board tests and what each proves, run nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// Print which case runs on which backend, and why some do not; run nothing
    #[arg(long)]
    pub(crate) matrix: bool,
}

#[derive(Args)]
pub(crate) struct AbiOptions {
    /// Accept that something of the ABI is not what it was: for versions that were never released
    #[arg(long)]
    pub(crate) accept: bool,
}

#[derive(Args)]
pub(crate) struct BenchOptions {
    /// The board, a folder under boards/
    #[arg(long, default_value = DEFAULT_BOARD)]
    pub(crate) board: String,
    /// One JSON object a line: board, name, instructions
    #[arg(long)]
    pub(crate) json: bool,
    /// A line of plinth.toml that wins over the one made here, as in `separate-tables = on`
    #[arg(long = "set", value_name = "KEY = VALUE")]
    pub(crate) settings: Vec<String>,
}
