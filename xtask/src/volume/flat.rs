//! Kernels that their linker left as ELF files, as loaders want them: flat, the header of their boot protocol at the start.

use anyhow::{Result, anyhow};
use plinth_arm64_image::pack;
use plinth_launch::image::{Image, ImageError, Machine};

use crate::board::Loader;

/// The form in which `loader` starts a kernel; none where it takes no kernel of an ELF file.
pub(crate) fn flat(loader: Loader, kernel: &[u8]) -> Option<Result<Vec<u8>>> {
    let image = match loader {
        Loader::Uefi => return None,
        Loader::Multiboot2 => bzimage(kernel),
        Loader::Arm64Image => pack::pack(kernel, &[]),
    };
    Some(image.map_err(|error| anyhow!("it is not as expected: {error}")))
}

/// All of the file's memory, as it is.
fn bzimage(kernel: &[u8]) -> Result<Vec<u8>, ImageError> {
    let image = Image::parse(kernel, Machine::X86_64)?;
    let mut file = vec![0; image.span().size as usize];
    // Linked for one address, which is as if it were already there.
    image.load_into(&mut file, 0)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kernel_is_refused_and_uefi_takes_none() {
        assert!(flat(Loader::Uefi, b"\x7fELF").is_none());
        for loader in [Loader::Multiboot2, Loader::Arm64Image] {
            let error = flat(loader, b"\x7fELF").unwrap().unwrap_err().to_string();
            assert!(error.starts_with("it is not as expected: "), "{error}");
        }
    }
}
