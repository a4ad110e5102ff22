//! Paths as `plinth.toml` writes them, turned into what firmware takes: absolute on the volume, with `\`.

use alloc::string::String;
use alloc::vec::Vec;

const SEPARATORS: [char; 2] = ['/', '\\'];

/// The folder of a file: `\EFI\plinth` for `\EFI\plinth\plinth.efi`; empty for the volume's root.
pub fn folder(file: &str) -> &str {
    file.rfind(SEPARATORS).map_or("", |end| &file[..end])
}

/// The absolute path of `path`, read relative to `folder`. `..` does not leave the volume.
pub fn resolve(folder: &str, path: &str) -> String {
    let base = if path.starts_with(SEPARATORS) { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split(SEPARATORS).chain(path.split(SEPARATORS)) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.iter().flat_map(|part| ["\\", part]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        assert_eq!(folder(r"\EFI\BOOT\BOOTX64.EFI"), r"\EFI\BOOT");
        assert_eq!(folder("plinth.efi"), "");
    }

    #[test]
    fn paths() {
        assert_eq!(resolve(r"\EFI\plinth", "kernel.elf"), r"\EFI\plinth\kernel.elf");
        assert_eq!(resolve(r"\EFI\plinth", "sub/kernel.elf"), r"\EFI\plinth\sub\kernel.elf");
        assert_eq!(resolve(r"\EFI\plinth", "/linux"), r"\linux");
        assert_eq!(resolve(r"EFI\plinth\", r"..\.\debian//grub.efi"), r"\EFI\debian\grub.efi");
        assert_eq!(resolve("", "../../linux"), r"\linux");
    }
}
