//! The same on arm64, where Debian's kernel has no kexec_file_load: this program lays the parts out itself, and a few instructions of
//! its own start the kernel (Linux, Documentation/arm64/booting.rst, "Call the kernel image").

use std::fs;
use std::io::Error;

use plinth_device_tree::editor::{EditError, Editor};

/// KEXEC_ARCH_AARCH64 of include/uapi/linux/kexec.h.
const MACHINE: u64 = 183 << 16;
const PAGE: u64 = 4096;

/// Where the parts go: in the middle of the first 512 MiB of memory, which begins at 1 GiB on the board.
const KERNEL: u64 = 0x5000_0000;
const INITRD: u64 = 0x5800_0000;
const TREE: u64 = 0x5E00_0000;
const START: u64 = 0x5F00_0000;
/// What the device tree's changes take at most.
const ROOM: usize = 16 << 10;

/// `ldr x0, tree; ldr x4, kernel; mov x1, xzr; mov x2, xzr; mov x3, xzr; br x4`, then the two addresses.
const PROGRAM: [u32; 6] = [0x5800_00C0, 0x5800_00E4, 0xAA1F_03E1, 0xAA1F_03E2, 0xAA1F_03E3, 0xD61F_0080];

/// struct kexec_segment: what is copied, and where to. Lengths in bytes; the rest of the memory is cleared.
#[repr(C)]
struct Segment {
    from: *const u8,
    length: usize,
    to: u64,
    size: u64,
}

impl Segment {
    fn new(bytes: &[u8], to: u64, size: u64) -> Self {
        let size = size.max(bytes.len() as u64).next_multiple_of(PAGE);
        Self { from: bytes.as_ptr(), length: bytes.len(), to, size }
    }
}

/// Loads another kernel.
pub(crate) fn load_kernel(kernel: &str, initrd: &str, arguments: &str) -> Result<(), String> {
    let read = |path: &str| fs::read(path).map_err(|error| format!("{path}: {error}"));
    let (kernel, initrd, tree) = (read(kernel)?, read(initrd)?, read("/sys/firmware/fdt")?);
    let tree = tree_for(tree, initrd.len() as u64, arguments)
        .map_err(|error| format!("the device tree: {error:?}"))?;
    // `text_offset` and `image_size` of the header.
    let field =
        |at: usize| kernel.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let (Some(offset), Some(size)) = (field(8), field(16)) else {
        return Err("the kernel is no Image".to_owned());
    };
    let place = KERNEL + offset;
    let program = PROGRAM.map(u32::to_le_bytes).concat();
    let program = [program, TREE.to_le_bytes().to_vec(), place.to_le_bytes().to_vec()].concat();
    let segments = [
        Segment::new(&kernel, place, size),
        Segment::new(&initrd, INITRD, 0),
        Segment::new(&tree, TREE, 0),
        Segment::new(&program, START, 0),
    ];
    // SAFETY: The call reads the segments and what they point to, as long as they say.
    let result =
        unsafe { libc::syscall(libc::SYS_kexec_load, START, segments.len(), segments.as_ptr(), MACHINE) };
    if result == 0 { Ok(()) } else { Err(format!("kexec_load: {}", Error::last_os_error())) }
}

/// This machine's device tree with the next kernel's command line and RAM disk.
fn tree_for(mut tree: Vec<u8>, initrd: u64, arguments: &str) -> Result<Vec<u8>, EditError> {
    const CHOSEN: &[&str] = &["chosen"];
    tree.resize(tree.len() + ROOM, 0);
    let mut editor = Editor::new(&mut tree)?;
    editor.ensure_node("chosen")?;
    editor.set_property(CHOSEN, "bootargs", &[arguments.as_bytes(), &[0]])?;
    editor.set_property(CHOSEN, "linux,initrd-start", &[&INITRD.to_be_bytes()])?;
    editor.set_property(CHOSEN, "linux,initrd-end", &[&(INITRD + initrd).to_be_bytes()])?;
    Ok(tree)
}
