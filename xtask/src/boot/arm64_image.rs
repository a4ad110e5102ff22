//! The volume of `loaders/arm64-image`: one file that carries everything. Without Plinth, the emulator starts the
//! payload as it would start any Linux kernel.

use anyhow::Result;

use super::Contents;
use super::settings::Settings;
use crate::payload::read;
use crate::volume::{Format, Part, Volume};

/// What the kernel's own command line may say.
const OPTIONS: [&str; 4] = ["vhe", "watchdog", "pp-timeout", "may-stop"];

pub(super) fn volume(mut contents: Contents<'_>) -> Result<Volume> {
    let payload = contents.required_payload()?;
    let settings =
        Settings::read_strictly(&contents.options.settings, contents.board.loader.name(), &OPTIONS)?;
    let mut volume = Volume::new(match contents.board.extlinux {
        _ if contents.options.bare => Format::Linux,
        true => Format::Extlinux,
        false => Format::Bundle,
    });
    let mut add = |part: Part, content| volume.add(part.name(), content);
    add(Part::Payload, payload.image)?;
    if let Some(initrd) = payload.initrd {
        add(Part::Initrd, initrd)?;
    }
    if let Some(device_tree) = contents.device_tree.take() {
        add(Part::DeviceTree, device_tree)?;
    }
    add(Part::CommandLine, payload.command_line.into_bytes())?;
    if !contents.options.bare {
        add(Part::Loader, read(&contents.images.loader)?)?;
        add(Part::Kernel, read(&contents.images.kernel)?)?;
        add(Part::Extension, contents.extension()?)?;
        add(Part::Options, settings.others.join(" ").into_bytes())?;
        if let Some(own_tree) = &contents.options.device_tree {
            add(Part::OwnTree, read(own_tree)?)?;
        }
        let words = [u64::from(settings.memory), u64::from(settings.log)];
        add(Part::Settings, words.iter().flat_map(|word| word.to_le_bytes()).collect())?;
    }
    Ok(volume)
}
