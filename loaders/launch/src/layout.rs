//! Where everything goes inside the reservation: kernel image, extension, launch information, pool.
//!
//! The kernel's place is random where there is entropy. What it can be moved by is kept small, as
//! the memory in front of it is lost to the pool.

use crate::Range;
use crate::image::PAGE_SIZE;
use core::fmt;

/// The reservation and what must fit into it. Sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The memory given to the hypervisor, 2 MiB aligned.
    pub reservation: Range,
    /// The kernel image's span.
    pub kernel_size: u64,
    /// What the kernel image's place must be a multiple of: a power of two from 4 KiB to 2 MiB.
    pub kernel_alignment: u64,
    /// The extension file's size.
    pub extension_size: u64,
    /// The launch information's size.
    pub info_size: u64,
    /// What else the loader passes to the kernel, such as a command line or a device tree.
    pub extra_size: u64,
    /// Random bits; the same bits give the same layout.
    pub entropy: u64,
}

/// The parts of the reservation, each from a page's start on, in ascending order, disjoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The kernel image, as long as its span.
    pub kernel: Range,
    /// The extension's file.
    pub extension: Range,
    /// The launch information.
    pub info: Range,
    /// What else the loader passes; empty where there is nothing.
    pub extra: Range,
    /// All that remains, up to the end of the reservation.
    pub pool: Range,
}

/// The reservation cannot hold what must go into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// The bytes needed before there is any pool at all.
    pub needed: u64,
    /// The bytes there are.
    pub reserved: u64,
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kernel and extension need {} KiB, but only {} KiB are reserved for the hypervisor; raise `memory`",
            self.needed.div_ceil(1024),
            self.reserved / 1024
        )
    }
}

impl core::error::Error for TooSmall {}

/// The largest part of the reservation that randomizing may cost: one sixteenth, at most 2 MiB.
const SLACK_SHARE: u64 = 16;
const SLACK_MAX: u64 = 2 << 20;

/// Plans the reservation.
///
/// # Errors
/// [`TooSmall`] if no page would be left for the pool.
pub fn plan(request: &Request) -> Result<Layout, TooSmall> {
    let Range { start, size } = request.reservation;
    let needed = needed(request).filter(|&needed| needed < size);
    let needed =
        needed.ok_or(TooSmall { needed: self::needed(request).unwrap_or(u64::MAX), reserved: size })?;
    let kernel = Range { start: start + slide(request, size - needed), size: request.kernel_size };
    let extension = Range { start: after(kernel), size: request.extension_size };
    let info = Range { start: after(extension), size: request.info_size };
    let extra = Range { start: after(info), size: request.extra_size };
    let pool = Range { start: after(extra), size: start + size - after(extra) };
    Ok(Layout { kernel, extension, info, extra, pool })
}

/// The whole pages of all parts but the pool.
fn needed(request: &Request) -> Option<u64> {
    let sizes = [request.kernel_size, request.extension_size, request.info_size, request.extra_size];
    sizes.into_iter().try_fold(0_u64, |sum, size| sum.checked_add(size.checked_next_multiple_of(PAGE_SIZE)?))
}

/// How far into the reservation the kernel goes, with `spare` bytes to spare.
fn slide(request: &Request, spare: u64) -> u64 {
    let slack = (request.reservation.size / SLACK_SHARE).min(SLACK_MAX).min(spare - PAGE_SIZE.min(spare));
    let places = slack / request.kernel_alignment + 1;
    request.entropy % places * request.kernel_alignment
}

/// The first page behind a part.
fn after(part: Range) -> u64 {
    (part.start + part.size).next_multiple_of(PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;
    use proptest::prelude::*;

    const START: u64 = 0x7000_0000;

    fn request(size: u64, entropy: u64) -> Request {
        Request {
            reservation: Range { start: START, size },
            kernel_size: 0x30000,
            kernel_alignment: PAGE_SIZE,
            extension_size: 12345,
            info_size: 500,
            extra_size: 0,
            entropy,
        }
    }

    #[test]
    fn parts_follow_each_other() {
        let layout = plan(&request(8 << 20, 0)).unwrap();
        assert_eq!(layout.kernel, Range { start: START, size: 0x30000 });
        assert_eq!(layout.extension, Range { start: START + 0x30000, size: 12345 });
        assert_eq!(layout.info, Range { start: START + 0x34000, size: 500 });
        assert_eq!(layout.pool, Range { start: START + 0x35000, size: (8 << 20) - 0x35000 });
    }

    #[test]
    fn what_else_the_loader_passes_lies_between_information_and_pool() {
        let layout = plan(&Request { extra_size: 0x1001, ..request(8 << 20, 0) }).unwrap();
        assert_eq!(layout.extra, Range { start: START + 0x35000, size: 0x1001 });
        assert_eq!(layout.pool.start, START + 0x37000);
    }

    #[test]
    fn entropy_moves_the_kernel_by_its_alignment() {
        let moved = plan(&Request { kernel_alignment: 0x10000, ..request(8 << 20, 5) }).unwrap();
        assert_eq!(moved.kernel.start, START + 0x50000);
        let places = (0..1000).map(|entropy| plan(&request(32 << 20, entropy)).unwrap().kernel.start);
        assert_eq!(places.max(), Some(START + (2 << 20)));
    }

    #[test]
    fn too_small_says_how_much_is_needed() {
        let error = plan(&request(0x35000, 0)).unwrap_err();
        assert_eq!(error, TooSmall { needed: 0x35000, reserved: 0x35000 });
        assert!(error.to_string().contains("need 212 KiB"));
        assert!(plan(&request(0x36000, 77)).is_ok());
        assert!(plan(&Request { extension_size: u64::MAX, ..request(8 << 20, 0) }).is_err());
    }

    proptest! {
        #[test]
        fn parts_never_overlap(
            pages in 1_u64..10000, kernel in 1_u64..1 << 24, extension in 1_u64..1 << 24, extra in 1_u64..1 << 20,
            entropy: u64, align in 12..22_u32,
        ) {
            let request = Request {
                kernel_size: kernel, extension_size: extension, kernel_alignment: 1 << align,
                extra_size: extra, ..request(pages * PAGE_SIZE, entropy)
            };
            if let Ok(Layout { kernel, extension, info, extra, pool }) = plan(&request) {
                prop_assert!(kernel.start >= START && kernel.start.is_multiple_of(1 << align));
                let parts = [kernel, extension, info, extra, pool];
                prop_assert!(parts.windows(2).all(|pair| pair[0].start + pair[0].size <= pair[1].start));
                prop_assert!(parts.iter().all(|part| part.start.is_multiple_of(PAGE_SIZE) && part.size > 0));
                prop_assert_eq!(pool.start + pool.size, START + pages * PAGE_SIZE);
            }
        }
    }
}
