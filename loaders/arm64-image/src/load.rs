//! Everything to its place: kernel and extension into the reservation, the payload where it wants to run, the device
//! tree beside it.

use core::fmt;

use plinth_arm64_image::archive::{self, Archive, Kind, Settings};
use plinth_arm64_image::entropy;
use plinth_arm64_image::plan::Plan;
use plinth_arm64_image::tree::{self, Edits};
use plinth_device_tree::{Broken, ModuleKind, Tree};
use plinth_launch::image::{ImageError, Machine};
use plinth_launch::prepare::{FileError, Files};
use plinth_launch::{CONSOLE_NONE, LaunchInfo, Range};

use crate::{entry, mmu};

const MIB: u64 = 1 << 20;
/// What the device tree's copy may take: the protocol's limit.
const TREE_ROOM: u64 = 2 * MIB;

/// Why nothing can be launched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LoadError {
    /// X0 was no device tree.
    NoDeviceTree,
    /// It is a broken one.
    BrokenTree(Broken),
    /// The file has no archive, or was cut.
    NoArchive,
    /// Neither the archive nor the device tree has a part.
    Missing(&'static str),
    /// An ELF file is refused.
    File(FileError),
    /// The reservation cannot be filled.
    Reservation(ImageError),
    /// The payload has no arm64 Image header.
    Payload,
    /// No memory bank holds the file.
    NoMemory,
    /// There is no room.
    NoRoom(&'static str),
    /// The device tree cannot be changed.
    Tree(tree::EditError),
    /// The command line is not UTF-8.
    CommandLine,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDeviceTree => f.write_str(
                "X0 is no device tree; start this file as a Linux Image with the board's device tree, or put that into the \
                 file",
            ),
            Self::BrokenTree(broken) => broken.fmt(f),
            Self::NoArchive => f.write_str("the file ends before its archive does; copy all of it"),
            Self::Missing(part) => write!(
                f,
                "the file has no {part}, and /chosen names none in memory; put the file together again with one"
            ),
            Self::File(error) => write!(f, "the {}'s ELF file is refused: {error}", error.file()),
            Self::Reservation(error) => write!(f, "kernel and extension cannot be loaded: {error}"),
            Self::Payload => f.write_str("the payload is no arm64 Linux Image; name one (uncompressed)"),
            Self::NoMemory => f.write_str(
                "no /memory in the device tree holds this file; load it into the machine's memory",
            ),
            Self::NoRoom(what) => write!(f, "there is no free memory for {what}; give the machine more"),
            Self::Tree(error) => {
                write!(f, "the device tree cannot be changed ({error:?}); check it with dtc")
            }
            Self::CommandLine => f.write_str("the payload's command line is not UTF-8; correct it"),
        }
    }
}

/// What is ready to be launched.
pub(crate) struct Loaded {
    pub(crate) entry: u64,
    pub(crate) info: u64,
    pub(crate) fdt: u64,
    pub(crate) payload: u64,
}

/// Loads everything.
pub(crate) fn load(original: Tree<'_>, base: u64, console: (u64, u64)) -> Result<Loaded, LoadError> {
    let archive = find_archive()?;
    let parts = Parts { archive, tree: original };
    let payload = parts.need(Kind::Payload, "payload")?;
    let Settings { mebibytes, log_level, .. } = archive.settings();
    let file = Range { start: base, size: archive_end() - base };
    let mut plan = plan(original, file)?;
    let header = payload_header(payload)?;
    let target =
        plan.low(file.start + file.size, header.size, 2 * MIB).ok_or(LoadError::NoRoom("the payload"))?;
    let tree = plan.low(target.start, TREE_ROOM, 2 * MIB).ok_or(LoadError::NoRoom("the device tree"))?;
    let size = mebibytes.saturating_mul(MIB).next_multiple_of(2 * MIB);
    let reservation = plan.high(size, 2 * MIB).ok_or(LoadError::NoRoom("the hypervisor"))?;
    let start = target.start + header.offset;
    put(Range { start, size: header.size }, payload)?;
    put_tree(tree, reservation, &parts)?;
    let (kernel, extension) =
        (parts.need(Kind::Kernel, "kernel")?, parts.need(Kind::Extension, "extension")?);
    // One word is this loader's alone.
    let [first, second, third, own] = entropy::words(original.seeds(), counter);
    let files = Files::check(kernel, extension, Machine::Aarch64).map_err(LoadError::File)?;
    let placement = files
        .place(reservation, own)
        .map_err(|_| LoadError::NoRoom("kernel and extension in the reservation"))?;
    // SAFETY: the reservation is ours alone.
    placement.load_into(unsafe { memory(reservation) }).map_err(LoadError::Reservation)?;
    let info = LaunchInfo {
        fdt: tree.start,
        memory_end: original.memory_end(),
        pp_count: 1,
        console_kind: console.0,
        console_base: console.1,
        log_level,
        entropy: [first, second, third, 0],
        // Part of the file, which nobody overwrites before the kernel has read it.
        command_line: archive.part(Kind::Options).map_or(Range::default(), range_of),
        ..placement.info()
    };
    let at = placement.info_at();
    // SAFETY: the layout has set the place aside, inside the reservation; it is aligned to a page.
    unsafe { (at as *mut LaunchInfo).write(info) };
    for range in [file, target, tree, placement.loaded()] {
        // SAFETY: all are memory.
        unsafe { mmu::clean(range) };
    }
    Ok(Loaded { entry: placement.entry(), info: at, fdt: tree.start, payload: start })
}

/// Where the parts come from: this file, or what is not in it from memory that `/chosen` names.
struct Parts<'a> {
    archive: Archive<'a>,
    tree: Tree<'a>,
}

impl Parts<'_> {
    fn need(&self, kind: Kind, name: &'static str) -> Result<&[u8], LoadError> {
        self.find(kind).ok_or(LoadError::Missing(name))
    }

    fn find(&self, kind: Kind) -> Option<&[u8]> {
        self.archive.part(kind).or_else(|| self.module(kind))
    }

    /// A file that lies in the machine's memory as a whole.
    fn module(&self, kind: Kind) -> Option<&[u8]> {
        let Range { start, size } = self.tree.module(named(kind)?)?.range;
        let inside = |bank: Range| {
            start >= bank.start && start - bank.start < bank.size && size <= bank.size - (start - bank.start)
        };
        if !self.tree.banks().any(inside) {
            return None;
        }
        // SAFETY: memory by the device tree, mapped, and nobody writes to it: the plan keeps clear of it.
        Some(unsafe { core::slice::from_raw_parts(start as *const u8, size as usize) })
    }

    /// The payload's: the file's, else that of the payload in memory; `None` leaves the firmware's.
    fn command_line(&self) -> Result<Option<&str>, LoadError> {
        match self.archive.part(Kind::CommandLine) {
            Some(line) => core::str::from_utf8(line).map(Some).map_err(|_| LoadError::CommandLine),
            None => Ok(self.tree.module(ModuleKind::Payload).and_then(|payload| payload.arguments)),
        }
    }
}

/// What `/chosen` calls a part.
const fn named(kind: Kind) -> Option<ModuleKind> {
    match kind {
        Kind::Kernel => Some(ModuleKind::Kernel),
        Kind::Extension => Some(ModuleKind::Extension),
        Kind::Payload => Some(ModuleKind::Payload),
        Kind::Initrd => Some(ModuleKind::Initrd),
        Kind::CommandLine | Kind::Settings | Kind::Options | Kind::DeviceTree => None,
    }
}

fn range_of(bytes: &[u8]) -> Range {
    Range { start: bytes.as_ptr() as u64, size: bytes.len() as u64 }
}

/// The counter: another value at each call.
fn counter() -> u64 {
    let value: u64;
    // SAFETY: reads a counter.
    unsafe {
        core::arch::asm!("mrs {}, cntpct_el0", out(reg) value, options(nomem, nostack, preserves_flags))
    };
    value
}

fn archive_end() -> u64 {
    // SAFETY: the archive's header follows the loader, or some other memory does.
    let header = unsafe { core::slice::from_raw_parts(entry::archive_start() as *const u8, 24) };
    entry::archive_start() + archive::total_size(header).unwrap_or(0)
}

/// The console that the file itself names, if it is complete.
pub(crate) fn own_console() -> (u64, u64) {
    find_archive().map_or((CONSOLE_NONE, 0), |archive| archive.settings().console)
}

/// The device tree in the file, which goes before the firmware's.
pub(crate) fn own_tree() -> Option<&'static [u8]> {
    find_archive().ok()?.part(Kind::DeviceTree)
}

fn find_archive() -> Result<Archive<'static>, LoadError> {
    let start = entry::archive_start();
    let size = archive_end() - start;
    // SAFETY: whoever loaded the file loaded all of it, as its header says.
    let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, size as usize) };
    Archive::new(bytes).ok_or(LoadError::NoArchive)
}

/// The bank of memory that the file lies in.
pub(crate) fn bank(tree: Tree<'_>, base: u64) -> Result<Range, LoadError> {
    let holds = |bank: &Range| base >= bank.start && base - bank.start < bank.size;
    tree.banks().find(holds).ok_or(LoadError::NoMemory)
}

/// That bank without what is taken.
fn plan(tree: Tree<'_>, file: Range) -> Result<Plan, LoadError> {
    let mut plan = Plan::new(bank(tree, file.start)?);
    let blob = tree.bytes();
    let own = [file, range_of(blob)];
    let modules = ModuleKind::ALL.into_iter().filter_map(|kind| Some(tree.module(kind)?.range));
    for range in own.into_iter().chain(modules).chain(tree.reserved()) {
        plan.take(range).map_err(|_| LoadError::NoRoom("the device tree's reservations"))?;
    }
    Ok(plan)
}

/// Where an arm64 Image wants to lie from a multiple of 2 MiB on, and how much it takes.
struct PayloadHeader {
    offset: u64,
    size: u64,
}

fn payload_header(payload: &[u8]) -> Result<PayloadHeader, LoadError> {
    let word = |at: usize| {
        payload.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u64::from_le_bytes(*word))
    };
    let magic = payload.get(56..60) == Some(b"ARM\x64");
    match (word(8), word(16), magic) {
        (Some(offset), Some(size), true)
            if offset < 2 * MIB && size >= payload.len() as u64 && size < 1 << 30 =>
        {
            Ok(PayloadHeader { offset, size: size + offset })
        }
        _ => Err(LoadError::Payload),
    }
}

/// Memory that the plan gave.
///
/// # Safety
/// Nobody else uses the range.
unsafe fn memory(range: Range) -> &'static mut [u8] {
    // SAFETY: the caller vouches for it; it is memory by the device tree.
    unsafe { core::slice::from_raw_parts_mut(range.start as *mut u8, range.size as usize) }
}

fn put(range: Range, bytes: &[u8]) -> Result<(), LoadError> {
    // SAFETY: the plan keeps ranges apart.
    let room = unsafe { memory(range) };
    room.get_mut(..bytes.len()).ok_or(LoadError::Payload)?.copy_from_slice(bytes);
    Ok(())
}

fn put_tree(range: Range, reservation: Range, parts: &Parts<'_>) -> Result<(), LoadError> {
    let initrd = parts.find(Kind::Initrd).map_or(Range::default(), range_of);
    let command_line = parts.command_line()?;
    // SAFETY: the plan keeps ranges apart.
    let room = unsafe { memory(range) };
    let blob = parts.tree.bytes();
    room[..blob.len()].copy_from_slice(blob);
    tree::edit(room, parts.tree, &Edits { reservation, initrd, command_line }).map_err(LoadError::Tree)
}
