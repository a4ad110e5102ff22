//! Files that the emulator puts into memory and names in the device tree's `/chosen`, instead of the boot file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::volume::{Part, Volume};

/// Where they go: above what the loader takes in a GiB of memory from 1 GiB on, below what it gives to the hypervisor.
const PAYLOAD: u64 = 0x7000_0000;
const INITRD: u64 = 0x7800_0000;

/// Takes payload, RAM disk and command line out of `volume`; they are written to `folder`. Returns QEMU's arguments.
pub(super) fn take(volume: &mut Volume, folder: &Path) -> Result<Vec<String>> {
    let (payload, initrd) = (remove(volume, Part::Payload)?, remove(volume, Part::Initrd)?);
    let command_line = String::from_utf8(remove(volume, Part::CommandLine)?)?;
    let mut arguments = Vec::new();
    for (part, content, address) in [(Part::Payload, payload, PAYLOAD), (Part::Initrd, initrd, INITRD)] {
        let path = folder.join(part.name());
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        let file = path.display();
        let device = match part {
            Part::Payload => format!("kernel={file},bootargs={}", command_line.replace(',', ",,")),
            _ => format!("initrd={file}"),
        };
        arguments.extend(["-device".to_owned(), format!("guest-loader,addr={address:#x},{device}")]);
    }
    Ok(arguments)
}

fn remove(volume: &mut Volume, part: Part) -> Result<Vec<u8>> {
    let content = volume.content(part.name()).map(std::mem::take);
    volume.remove(part.name());
    content.with_context(|| format!("the boot file has no {} to take out", part.name()))
}
