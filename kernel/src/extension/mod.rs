//! The extension as the kernel sees it: its callbacks, its handle, its place in the address space, and how it
//! ended.

pub(crate) mod end;
pub(crate) mod load;

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plinth_extension_api::abi::{GROUP_INTRINSIC, GROUPS_ALWAYS};
use plinth_hal::{Authority, PAGE_SIZE, Spa, UserFault, UserVa};

use crate::extension::end::End;
use crate::report::text::Text;
use crate::sync::Lock;

/// Distances of the extension's regions from the base of its part of the address space. All of it fits into 512 GiB,
/// what the smallest tables of user mode reach (AArch64 stage 2 on processors with 40 bits of physical address).
const STACKS: u64 = 256 << 30;
const FAIL_STACKS: u64 = 320 << 30;
const EXIT_PAGES: u64 = 384 << 30;
const PAGES: u64 = 448 << 30;
/// Room for one PP's stack and the guard below it.
const STACK_STRIDE: u64 = 1 << 20;
/// Pages in the stack of the callbacks, and in that of the fail callback.
pub(crate) const STACK_PAGES: u64 = 8;

/// The extension's addresses on one PP.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    /// Top of the stack on which callbacks start.
    pub(crate) stack: UserVa,
    /// Top of the stack on which the fail callback starts.
    pub(crate) fail_stack: UserVa,
    /// The exit page.
    pub(crate) exit_page: UserVa,
}

/// Bytes for how the extension has ended.
const END_TEXT: usize = 128;

/// The callback that the extension runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Callback {
    Start,
    Bootstrap,
    Vmexit,
    Fail,
}

/// The state of the extension that all PPs share.
pub(crate) struct Extension {
    pub(crate) entry: AtomicU64,
    pub(crate) bootstrap: AtomicU64,
    pub(crate) vmexit: AtomicU64,
    pub(crate) fail: AtomicU64,
    /// The open handle; 0 for none.
    pub(crate) handle: AtomicU64,
    /// Random bits for the next handle.
    pub(crate) handle_seed: AtomicU64,
    /// The version of the ABI that the handle was opened for; the newest while none is open.
    pub(crate) version: AtomicU64,
    /// The opcode groups that the extension may call, a bit for each.
    groups: AtomicU64,
    /// `_start` has returned successfully.
    pub(crate) ready: AtomicBool,
    /// The extension has failed for good: the kernel passes the root VM's exits through itself.
    pub(crate) crashed: AtomicBool,
    /// The number of times that a page was taken from the extension. A PP's older translations are stale (see
    /// `ipi::epoch`).
    pub(crate) epoch: crate::sync::AtomicU64,
    base: AtomicU64,
    /// The size of the ELF file in bytes, and its SHA-256.
    file: Lock<(u64, [u8; 32])>,
    /// How the extension ended, as text.
    end_text: Lock<Text<END_TEXT>>,
    /// How the extension ended: an [`End`] plus one; 0 while it lives.
    end: AtomicU64,
}

impl Extension {
    pub(crate) const fn new() -> Self {
        Self {
            entry: AtomicU64::new(0),
            bootstrap: AtomicU64::new(0),
            vmexit: AtomicU64::new(0),
            fail: AtomicU64::new(0),
            handle: AtomicU64::new(0),
            handle_seed: AtomicU64::new(0),
            version: AtomicU64::new(plinth_extension_api::abi::VERSION),
            groups: AtomicU64::new(GROUPS_ALWAYS),
            ready: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
            epoch: crate::sync::AtomicU64::new(0),
            base: AtomicU64::new(0),
            file: Lock::new((0, [0; 32])),
            end_text: Lock::new(Text::new()),
            end: AtomicU64::new(0),
        }
    }

    /// Resets everything for a new launch.
    pub(crate) fn clear(&self) {
        for value in [&self.entry, &self.bootstrap, &self.vmexit, &self.fail, &self.handle] {
            value.store(0, Ordering::SeqCst);
        }
        self.version.store(plinth_extension_api::abi::VERSION, Ordering::SeqCst);
        self.ready.store(false, Ordering::SeqCst);
        self.crashed.store(false, Ordering::SeqCst);
        self.end.store(0, Ordering::SeqCst);
    }

    /// The size of the ELF file in bytes, and its SHA-256.
    pub(crate) fn file(&self) -> (u64, [u8; 32]) {
        self.file.lock().map_or((0, [0; 32]), |file| *file)
    }

    /// How the extension ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        End::ALL.iter().copied().find(|end| *end as u64 + 1 == self.end.load(Ordering::Acquire))
    }

    /// How the extension ended, as text padded with zeroes.
    pub(crate) fn end_text(&self) -> [u8; END_TEXT] {
        let is_gone = self.end.load(Ordering::Acquire) != 0;
        let text = self.end_text.lock().ok().filter(|_| is_gone);
        text.map_or([0; END_TEXT], |text| text.filled_up())
    }

    /// Records that the extension has ended on a PP.
    pub(crate) fn set_end(&self, end: End, pp: usize, callback: Callback, fault: Option<UserFault>) {
        let mut text = Text::new();
        // A `Text` takes everything.
        let _ = match fault {
            Some(UserFault { vector, error, address, instruction_pointer }) => write!(
                text,
                "pp {pp}, {callback:?} callback: {end}, vector {vector} error {error:#x} address {address:#x} at \
                 {instruction_pointer:#x}"
            ),
            None => write!(text, "pp {pp}, {callback:?} callback: {end}"),
        };
        if let Ok(mut there) = self.end_text.lock() {
            *there = text;
        }
        self.end.store(end as u64 + 1, Ordering::Release);
    }

    /// Whether the manifest permits calls of a group.
    pub(crate) fn may_call(&self, group: u16) -> bool {
        self.groups.load(Ordering::Relaxed) & 1_u64.checked_shl(u32::from(group)).unwrap_or(0) != 0
    }

    /// What the extension may open to its VMs.
    pub(crate) fn authority(&self) -> Authority {
        let declared = self.groups.load(Ordering::Relaxed) & GROUP_INTRINSIC != 0;
        if declared { Authority::Machine } else { Authority::Vms }
    }

    fn base(&self) -> u64 {
        self.base.load(Ordering::Relaxed)
    }

    /// The address of a PP's part of a region, with `stride` bytes for each PP.
    fn place(&self, region: u64, pp: usize, stride: u64) -> UserVa {
        UserVa::new(self.base()).wrapping_add(region).wrapping_add((pp as u64).wrapping_mul(stride))
    }

    /// The extension's addresses on a PP.
    pub(crate) fn places(&self, pp: usize) -> Places {
        Places { stack: self.stack(pp), fail_stack: self.fail_stack(pp), exit_page: self.exit_page(pp) }
    }

    /// Top of the stack on which callbacks start on a PP.
    pub(crate) fn stack(&self, pp: usize) -> UserVa {
        self.place(STACKS + STACK_STRIDE, pp, STACK_STRIDE)
    }

    /// Top of the stack on which the fail callback starts on a PP.
    pub(crate) fn fail_stack(&self, pp: usize) -> UserVa {
        self.place(FAIL_STACKS + STACK_STRIDE, pp, STACK_STRIDE)
    }

    /// The extension's address of the exit page of a PP.
    pub(crate) fn exit_page(&self, pp: usize) -> UserVa {
        self.place(EXIT_PAGES, pp, PAGE_SIZE)
    }

    /// The extension's address of a page that it allocated. Each frame has an address of its own, so that a
    /// freed page's address is not reused soon.
    pub(crate) fn page_address(&self, pool: Spa, frame: Spa) -> UserVa {
        UserVa::new(self.base()).wrapping_add(PAGES).wrapping_add(frame.raw().wrapping_sub(pool.raw()))
    }

    /// Whether `address` can be a callback: inside the image.
    pub(crate) fn may_be_code(&self, address: u64) -> bool {
        address.checked_sub(self.base()).is_some_and(|offset| offset < STACKS)
    }
}
