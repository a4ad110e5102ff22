//! The volume of `loaders/multiboot2`: a CD on which GRUB finds the loader and hands it everything else as modules.

use std::fmt::Write;

use anyhow::Result;

use super::settings::Settings;
use super::{Contents, INITRD, KERNEL};
use crate::payload::{Payload, read};
use crate::volume::{Format, GRUB_CONFIG, Volume};

const LOADER: &str = "plinth-multiboot2";
const EXTENSION: &str = "extension";

pub(super) fn volume(mut contents: Contents<'_>) -> Result<Volume> {
    let payload = contents.required_payload()?;
    let settings = Settings::read(&contents.options.settings)?;
    let mut volume = Volume::new(Format::Iso);
    let entry = if contents.options.bare { bare(&payload) } else { under_plinth(&payload, &settings) };
    volume.add(GRUB_CONFIG, configuration(&entry).into_bytes())?;
    volume.add(LOADER, read(&contents.images.loader)?)?;
    volume.add(KERNEL, read(&contents.images.kernel)?)?;
    volume.add(EXTENSION, contents.extension()?)?;
    volume.add(payload.name, payload.image)?;
    if let Some(initrd) = payload.initrd {
        volume.add(INITRD, initrd)?;
    }
    Ok(volume)
}

/// GRUB on the first serial port, with one entry that it starts at once.
fn configuration(entry: &str) -> String {
    format!(
        "# Written by `cargo xtask`.\nset timeout=0\nserial --unit=0 --speed=115200\nterminal_output serial\n\
         menuentry \"Plinth\" {{\n{entry}}}\n"
    )
}

/// The first word behind a module's file is its role; what follows the payload's is its command line.
fn under_plinth(payload: &Payload, settings: &Settings) -> String {
    let mut options = format!("memory={} log={}", settings.memory, settings.log);
    for other in &settings.others {
        let _ = write!(options, " {other}");
    }
    let mut entry = format!(
        "    multiboot2 /boot/{LOADER} {}\n    module2 /boot/{KERNEL} kernel\n    module2 /boot/{EXTENSION} extension\n    \
         module2 /boot/{} payload {}\n",
        quoted(&options),
        payload.name,
        quoted(&payload.command_line)
    );
    if payload.initrd.is_some() {
        let _ = writeln!(entry, "    module2 /boot/{INITRD} initrd");
    }
    entry
}

/// The same kernel, started by GRUB itself.
fn bare(payload: &Payload) -> String {
    let mut entry = format!("    linux /boot/{} {}\n", payload.name, quoted(&payload.command_line));
    if payload.initrd.is_some() {
        let _ = writeln!(entry, "    initrd /boot/{INITRD}");
    }
    entry
}

/// Words as GRUB's script language takes them; those with characters of its own are quoted.
fn quoted(words: &str) -> String {
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./=,:+@%".contains(c));
    let quote =
        |word: &str| if plain(word) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) };
    words.split_whitespace().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_grub_would_read_are_quoted() {
        assert_eq!(quoted("console=ttyS0,115200 a=$b  c='d'"), "console=ttyS0,115200 'a=$b' 'c='\\''d'\\'''");
    }
}
