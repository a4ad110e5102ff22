//! What runs as the root VM: an EFI application, a Linux kernel, or Debian's kernel by default.

mod cache;
mod cpio;
mod initramfs;

pub(crate) use cache::{Kernel, default_kernel, forget};
pub(crate) use initramfs::{Extra, make as initramfs};

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::board::{Board, Emulator, Loader};
use crate::cli::BootOptions;
use crate::volume;
use crate::workspace::Workspace;

/// The arguments for a Linux kernel that the user names, where the board has none: console on the serial port, end
/// instead of hanging.
const LINUX_ARGUMENTS: &str = "console=ttyS0,115200 panic=-1";

/// An image with all that it is started with.
pub(crate) struct Payload {
    /// Its name on the boot volume.
    pub(crate) name: &'static str,
    /// The EFI image.
    pub(crate) image: Vec<u8>,
    /// The initial RAM disk.
    pub(crate) initrd: Option<Vec<u8>>,
    /// The arguments.
    pub(crate) command_line: String,
}

/// What the options ask for; none where the firmware's next boot entry is to be started.
pub(crate) fn resolve(
    workspace: &Workspace,
    board: &Board,
    options: &BootOptions,
) -> Result<Option<Payload>> {
    let payload = match &options.payload {
        Some(path) => Some(named(workspace, board, path, options)?),
        None => default(workspace, board, options)?,
    };
    Ok(payload.map(|payload| with_arguments(payload, options.cmdline.as_deref())))
}

/// The board's device tree, where it needs one.
pub(crate) fn device_tree(workspace: &Workspace, board: &Board) -> Result<Option<Vec<u8>>> {
    board.device_tree.as_ref().map(|tree| read(&cache::device_tree(workspace, board, tree)?)).transpose()
}

fn default(workspace: &Workspace, board: &Board, options: &BootOptions) -> Result<Option<Payload>> {
    let Some(kernel) = default_kernel(workspace, board)? else { return Ok(None) };
    let image = read(&kernel.image())?;
    let initrd = initrd(workspace, board, options, Some(&kernel))?;
    let command_line = linux_arguments(board, options);
    Ok(Some(Payload { name: "vmlinuz", image, initrd: Some(initrd), command_line }))
}

fn named(workspace: &Workspace, board: &Board, path: &Path, options: &BootOptions) -> Result<Payload> {
    let image = read(path)?;
    if image.starts_with(b"\x7fELF")
        && let Some(flat) = volume::flat(board.loader, &image)
    {
        let image = flat.with_context(|| format!("{} is no kernel", path.display()))?;
        check_image(board.loader, path, &image)?;
        return Ok(Payload { name: "kernel", image, initrd: None, command_line: String::new() });
    }
    check_image(board.loader, path, &image)?;
    if is_linux(&image) {
        let initrd = Some(initrd(workspace, board, options, None)?);
        let command_line = linux_arguments(board, options);
        return Ok(Payload { name: "vmlinuz", image, initrd, command_line });
    }
    let initrd = options.initrd.as_deref().map(read).transpose()?;
    Ok(Payload { name: "payload.efi", image, initrd, command_line: String::new() })
}

/// What Linux is told on the board, and on what stands for it.
fn linux_arguments(board: &Board, options: &BootOptions) -> String {
    let usual = board.payload.as_ref().map_or(LINUX_ARGUMENTS, |default| default.cmdline.as_str());
    let emulator = board.emulator.as_ref().filter(|_| options.emulated).and_then(Emulator::cmdline);
    std::iter::once(usual).chain(emulator).collect::<Vec<_>>().join(" ")
}

fn initrd(
    workspace: &Workspace,
    board: &Board,
    options: &BootOptions,
    kernel: Option<&Kernel>,
) -> Result<Vec<u8>> {
    match &options.initrd {
        Some(path) => read(path),
        None => initramfs::make(workspace, board, kernel, &[]),
    }
}

fn with_arguments(mut payload: Payload, more: Option<&str>) -> Payload {
    if let Some(more) = more {
        payload.command_line = format!("{} {more}", payload.command_line).trim().to_owned();
    }
    payload
}

/// Whether the board's loader can start `image`.
fn check_image(loader: Loader, path: &Path, image: &[u8]) -> Result<()> {
    let path = path.display();
    match loader {
        Loader::Uefi if !is_efi(image) => bail!(
            "{path} is neither an EFI application nor a Linux kernel with an EFI stub; build it for a …-unknown-uefi target, \
             or give a bzImage with CONFIG_EFI_STUB"
        ),
        Loader::Multiboot2 if !is_bzimage(image) => {
            bail!(
                "{path} is no bzImage, and this board's loader starts nothing else; give a Linux kernel for x86"
            )
        }
        Loader::Arm64Image if !is_arm64_image(image) => {
            bail!(
                "{path} has no arm64 Image header, and this board's loader starts nothing else; give Linux' `Image`"
            )
        }
        _ => Ok(()),
    }
}

/// An EFI image begins as every PE image does: `MZ`, and at 0x3c the place of `PE\0\0`.
fn is_efi(image: &[u8]) -> bool {
    let place =
        image.get(0x3c..0x40).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    let signature = place.checked_add(4).and_then(|end| image.get(place..end));
    image.starts_with(b"MZ") && signature == Some(b"PE\0\0")
}

fn is_linux(image: &[u8]) -> bool {
    is_bzimage(image) || is_arm64_image(image)
}

/// A bzImage carries `HdrS` at 0x202 (Linux, Documentation/arch/x86/boot.rst).
fn is_bzimage(image: &[u8]) -> bool {
    image.get(0x202..0x206) == Some(b"HdrS")
}

/// An arm64 Image carries `ARM\x64` at 0x38 (Linux, Documentation/arch/arm64/booting.rst).
fn is_arm64_image(image: &[u8]) -> bool {
    image.get(0x38..0x3c) == Some(b"ARM\x64")
}

/// A file's content; the error names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}; check the path", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pe() -> Vec<u8> {
        let mut image = vec![0; 0x300];
        image[..2].copy_from_slice(b"MZ");
        image[0x3c] = 0x80;
        image[0x80..0x84].copy_from_slice(b"PE\0\0");
        image
    }

    fn check(loader: Loader, image: &[u8]) -> Result<()> {
        check_image(loader, Path::new("some/file"), image)
    }

    #[test]
    fn an_efi_application_is_told_from_linux() {
        let mut image = pe();
        assert!(check(Loader::Uefi, &image).is_ok() && !is_linux(&image));
        image[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(is_linux(&image) && check(Loader::Multiboot2, &image).is_ok());
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert!(check(Loader::Arm64Image, &image).is_ok());
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let mut far = pe();
        far[0x3c..0x40].copy_from_slice(&u32::MAX.to_le_bytes());
        for image in [&b""[..], b"MZ", b"\x7fELF", &far] {
            for loader in Loader::ALL {
                let error = check(loader, image).unwrap_err().to_string();
                assert!(error.starts_with("some/file "), "{error}");
            }
        }
    }
}
