//! GICv3's redistributors (Arm IHI 0069, 12.10 and 12.11): one for each CPU, with a frame of registers for its SGIs and
//! PPIs. PPI 26 of that frame is the hypervisor timer's interrupt.
//!
//! The root VM reads these frames directly. Its writes are trapped, and the kernel carries each write out with the bits of
//! PPI 26 left as they are. An OS writes there when it brings a CPU up, and rarely afterwards.

use plinth_hal::Spa;
use plinth_kernel::{Lock, LockGuard, TrappedPages};
use plinth_launch::Range;
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

use crate::guarded;
use crate::machine::device_tree::{GicKind, PrivateRegisters};
use crate::machine::private_interrupts::without_own;
use crate::mpidr::own_affinity;

/// The size of a frame.
const FRAME: u64 = 0x1_0000;

/// The frames for which the root VM's writes are trapped.
static FRAMES: Once<TrappedPages> = Once::new();

/// Serialises read-modify-write sequences on a redistributor's registers, which several CPUs may change.
static CHANGES: Lock<()> = Lock::new(());

/// Takes the lock for a read-modify-write sequence. A CPU that panicked with the lock held does not keep others out.
pub(crate) fn hold() -> Option<LockGuard<'static, ()>> {
    CHANGES.lock().ok()
}

/// Finds them all.
///
/// # Safety
/// `private` is what the device tree says of the registers of private interrupts, mapped.
pub(crate) unsafe fn find(kind: GicKind, private: &PrivateRegisters) -> TrappedPages {
    let mut found = TrappedPages::NONE;
    if kind == GicKind::V3 {
        // SAFETY: forwarded to the caller.
        for (_, frame) in private.iter().flat_map(|range| unsafe { Redistributors::new(*range) }) {
            if !found.add(Spa::new(frame), FRAME) {
                log::warn!(
                    "the redistributor at {frame:#x} and those behind are one too many: the OS can shut the hypervisor's timer out \
                     of their processors"
                );
                break;
            }
        }
    }
    *FRAMES.call_once(|| found)
}

/// The frame of this processor's.
///
/// # Safety
/// As [`find`].
pub(crate) unsafe fn own_frame(private: &PrivateRegisters) -> Option<u64> {
    let own = own_affinity();
    let own = (own >> 32 & 0xFF) << 24 | own & 0xFF_FFFF;
    // SAFETY: forwarded to the caller.
    let mut all = private.iter().flat_map(|range| unsafe { Redistributors::new(*range) });
    all.find(|(affinity, _)| *affinity == own).map(|(_, frame)| frame)
}

/// Whether the kernel carries out the root VM's writes to this page.
pub(crate) fn holds(at: Spa) -> bool {
    FRAMES.get().is_some_and(|frames| frames.contains(at))
}

/// Carries out a write of the root VM, without the timer's bits. Returns false if no device answers at that address.
///
/// # Safety
/// [`holds`] that page, `at` is a multiple of `size`, and the kernel's tables are loaded.
pub(crate) unsafe fn write(at: Spa, size: u64, value: u64) -> bool {
    let (frame, offset) = (at.raw() & !(FRAME - 1), at.raw() & (FRAME - 1));
    let _held = hold();
    // SAFETY: the kernel's tables map all redistributors of the device tree, as devices.
    unsafe {
        let word = |register| guarded::read_device(frame.wrapping_add(register));
        without_own(offset, size, value, word)
            .is_some_and(|value| guarded::write_device(at.raw(), size, value))
    }
}

/// Iterates over the redistributors of a range: the CPU's affinity, and the address of its SGI and PPI frame.
struct Redistributors {
    next: u64,
    end: u64,
}

impl Redistributors {
    /// # Safety
    /// The range holds redistributors, or is empty, and is mapped.
    unsafe fn new(range: Range) -> Self {
        Self { next: range.start, end: range.start.saturating_add(range.size) }
    }
}

impl Iterator for Redistributors {
    type Item = (u64, u64);

    /// By GICR_TYPER (Arm IHI 0069, 12.11).
    fn next(&mut self) -> Option<(u64, u64)> {
        const TYPE: u64 = 8;
        const LAST: u64 = 1 << 4;
        const VIRTUAL: u64 = 1 << 1;
        let at = self.next;
        if at.checked_add(2 * FRAME)? > self.end {
            return None;
        }
        // SAFETY: inside the range, says the line above, which `new` was told is there; reading the type changes nothing.
        let kind = unsafe { ((at + TYPE) as *const u64).read_volatile() };
        let frames = if kind & VIRTUAL != 0 { 4 } else { 2 };
        self.next = if kind & LAST != 0 { self.end } else { at.saturating_add(frames * FRAME) };
        Some((kind >> 32, at + FRAME))
    }
}
