//! What a loader of an OS at EL1 does: the files of the archive behind this image into the reservation, the launch information, and
//! tables for EL2.

use plinth_arm64_image::archive::{Archive, Kind, Settings, total_size};
use plinth_arm64_image::plan::Plan;
use plinth_launch::el1::Extra;
use plinth_launch::image::Machine as ImageMachine;
use plinth_launch::prepare::{Files, Placement};
use plinth_launch::{LaunchInfo, Range};
use plinth_test_guests_armv8::{Machine, mmu, say, system};

const MIB: u64 = 1 << 20;
/// Into what a byte of the extension's file is changed, so that it is refused.
const BROKEN: u8 = 0xFF;

/// What was put into the reservation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    pub(crate) entry: u64,
    pub(crate) info: u64,
    /// Where the kernel's first page is.
    pub(crate) sample: u64,
    extension: Range,
}

/// The archive behind this image.
pub(crate) fn archive() -> Option<Archive<'static>> {
    let Range { start, size } = mmu::image();
    let at = start + size;
    // SAFETY: whoever loaded the image loaded what follows it.
    let header = unsafe { core::slice::from_raw_parts(at as *const u8, 24) };
    let size = total_size(header)?;
    // SAFETY: the archive tells its own size.
    Archive::new(unsafe { core::slice::from_raw_parts(at as *const u8, size as usize) })
}

/// Memory that nobody else uses: the reservation, and behind it what of the loader's outlives the launch.
pub(crate) fn reserve(machine: &Machine, archive: &Archive<'_>) -> Option<Range> {
    let image = mmu::image();
    let bank = machine.banks().find(|bank| image.start - bank.start < bank.size)?;
    let mut plan = Plan::new(bank);
    plan.take(Range { start: image.start, size: image.size + 64 * MIB }).ok()?;
    let tree = machine.tree();
    plan.take(Range { start: tree.as_ptr() as u64, size: tree.len() as u64 }).ok()?;
    for range in machine.reserved() {
        plan.take(range).ok()?;
    }
    let Settings { mebibytes, .. } = archive.settings();
    plan.high(mebibytes * MIB, 2 * MIB)
}

/// The reservation's bytes.
///
/// # Safety
/// Nobody else uses them.
unsafe fn bytes(range: Range) -> &'static mut [u8] {
    // SAFETY: memory, says the caller.
    unsafe { core::slice::from_raw_parts_mut(range.start as *mut u8, range.size as usize) }
}

/// Puts everything into its place, as for a first launch.
pub(crate) fn load(
    machine: &Machine,
    archive: &Archive<'_>,
    reservation: Range,
    count: u64,
) -> Option<Loaded> {
    let [kernel, extension] = [Kind::Kernel, Kind::Extension].map(|kind| archive.part(kind));
    let files = Files::check(kernel?, extension?, ImageMachine::Aarch64);
    let files = files.inspect_err(|error| say!("takeover: {error}")).ok()?;
    let command_line = archive.part(Kind::Options).unwrap_or_default();
    let extra = Extra { tree: machine.tree(), command_line };
    let placement = files.place_with(reservation, system::ticks(), extra.size(machine.memory_end())).ok()?;
    // SAFETY: planned for this alone.
    let room = unsafe { bytes(reservation) };
    room.fill(0xA5);
    placement.load_into(room).ok()?;
    let mut info = launch_info(machine, archive, &placement, count);
    let at = placement.layout().extra.start;
    extra.write(&mut room[(at - reservation.start) as usize..], at, &mut info)?;
    // SAFETY: the layout has set the place aside; it is aligned to a page.
    unsafe { (placement.info_at() as *mut LaunchInfo).write(info) };
    mmu::clean_range(reservation);
    Some(Loaded {
        entry: placement.entry(),
        info: placement.info_at(),
        sample: info.kernel_segments[0].range.start,
        extension: info.extension,
    })
}

fn launch_info(
    machine: &Machine,
    archive: &Archive<'_>,
    placement: &Placement<'_>,
    count: u64,
) -> LaunchInfo {
    let (console_kind, console_base) = machine.console();
    LaunchInfo {
        memory_end: machine.memory_end(),
        pp_count: count,
        console_kind,
        console_base,
        log_level: archive.settings().log_level,
        ..placement.info()
    }
}

/// Makes the extension's file one that the kernel refuses, though the loader did not.
pub(crate) fn break_extension(loaded: &Loaded) {
    // SAFETY: part of the reservation, and no launch is under way.
    unsafe { bytes(loaded.extension)[..8].fill(BROKEN) };
    mmu::clean_range(loaded.extension);
}

/// A word of the reservation, as this processor finds it.
pub(crate) fn word(at: u64) -> u64 {
    // SAFETY: memory of this machine's.
    unsafe { (at as *const u64).read_volatile() }
}
