//! Writes a cpio archive in the "new ASCII" format, the one an initramfs has.
//!
//! The format is a header of 8-digit hexadecimal numbers, the name and the content for each file, all padded to
//! four bytes (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMBOLIC_LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    files: u32,
}

impl Archive {
    /// Adds a folder. Its parent must be there already.
    pub(crate) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, &[], (0, 0));
    }

    /// Adds a file that everybody may execute.
    pub(crate) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, content, (0, 0));
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, name: &str, target: &str) {
        self.entry(name, SYMBOLIC_LINK, target.as_bytes(), (0, 0));
    }

    /// Adds a character device by its major and minor number.
    pub(crate) fn device(&mut self, name: &str, number: (u32, u32)) {
        self.entry(name, CHARACTER_DEVICE, &[], number);
    }

    /// The complete archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.files += 1;
        // inode, mode, owner, group, links, time, size, device, device of a special file, name's size, no checksum
        let size = content.len() as u32;
        let name_size = name.len() as u32 + 1;
        let fields = [self.files, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_header_name_and_content_each_padded() {
        let mut archive = Archive::default();
        archive.program("init", b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..22], b"07070100000001000081ed");
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(&bytes[94..102], b"00000005");
        assert_eq!(&bytes[110..116], b"init\0\0");
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.len() % 4 == 0 && bytes.windows(10).any(|name| name == b"TRAILER!!!"));
    }

    #[test]
    fn a_device_has_its_numbers() {
        let mut archive = Archive::default();
        archive.device("dev/console", (5, 1));
        assert_eq!(&archive.finish()[78..94], b"0000000500000001");
    }
}
