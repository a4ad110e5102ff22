//! The loader's load options: what a boot entry or a shell's command line tells it to do.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Follow `plinth.toml`: the default.
    Launch,
    /// Promote the running system back to the bare machine.
    Stop {
        /// Start the next image then, instead of returning to the firmware.
        next: bool,
    },
    /// Tell whether Plinth runs.
    Status,
}

/// A word that is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCommand(pub String);

impl fmt::Display for UnknownCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no command; say `status`, `stop`, `stop next`, or nothing to follow plinth.toml",
            self.0
        )
    }
}

impl core::error::Error for UnknownCommand {}

impl Command {
    /// Reads raw load options (UEFI specification, "EFI Loaded Image Protocol").
    ///
    /// A shell passes its whole command line, the application's own path included, and
    /// some firmware passes binary data of its own: the path is skipped, and what is no text is no command.
    ///
    /// # Errors
    /// Text that is no command, lest a typing error in `stop` launch Plinth.
    pub fn parse(options: &[u8]) -> Result<Self, UnknownCommand> {
        let text = text(options).unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let first = words.iter().rposition(|word| is_application(word)).map_or(0, |path| path + 1);
        match &words[first..] {
            [] => Ok(Self::Launch),
            ["status"] => Ok(Self::Status),
            ["stop"] => Ok(Self::Stop { next: false }),
            ["stop", "next"] => Ok(Self::Stop { next: true }),
            other => Err(UnknownCommand(other.join(" "))),
        }
    }
}

fn is_application(word: &str) -> bool {
    word.trim_end_matches('"').to_ascii_lowercase().ends_with(".efi")
}

/// The options as text up to a terminator; `None` if they are something else.
fn text(options: &[u8]) -> Option<String> {
    let (units, rest) = options.as_chunks::<2>();
    let units: Vec<u16> =
        units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0).collect();
    let text = String::from_utf16(&units).ok()?;
    let printable = text.chars().all(|char| (' '..='~').contains(&char) || char.is_whitespace());
    (rest.is_empty() && printable).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Command, UnknownCommand> {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        Command::parse(&bytes)
    }

    #[test]
    fn commands_are_understood() {
        assert_eq!(parse(""), Ok(Command::Launch));
        assert_eq!(parse("status\0"), Ok(Command::Status));
        assert_eq!(parse("  stop \r\n"), Ok(Command::Stop { next: false }));
        assert_eq!(parse("stop next\0rubbish"), Ok(Command::Stop { next: true }));
    }

    #[test]
    fn the_path_of_the_application_is_skipped() {
        assert_eq!(parse("plinth-uefi.efi stop"), Ok(Command::Stop { next: false }));
        assert_eq!(parse(r#""FS0:\my tools\PLINTH.EFI" status"#), Ok(Command::Status));
        assert_eq!(parse(r"FS0:\plinth-uefi.efi"), Ok(Command::Launch));
    }

    #[test]
    fn typing_errors_are_refused() {
        let error = parse("stopp").unwrap_err();
        assert!(error.to_string().contains("`stopp` is no command"));
        assert!(parse("status next").is_err());
    }

    #[test]
    fn binary_options_are_no_command() {
        assert_eq!(Command::parse(&[0x13, 0x37, 0xff]), Ok(Command::Launch));
        assert_eq!(Command::parse(&[0x4e, 0xac, 0x08, 0x81, 0x11, 0x9f, 0x59, 0x4d]), Ok(Command::Launch));
    }

    proptest! {
        #[test]
        fn no_options_panic(options in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Command::parse(&options);
        }
    }
}
