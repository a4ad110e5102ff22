//! Loading the extension: its ELF file into own frames, at a random address if it is relocatable (ASLR).

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{GROUPS_ALWAYS, GROUPS_WITHOUT_MANIFEST, MANIFEST_KIND, MANIFEST_OWNER};
use plinth_hal::page_table::Permissions;
use plinth_hal::{Arch, PAGE_SIZE, PhysicalMemory, Spa};
use plinth_launch::image::Image;
use sha2::{Digest, Sha256};

use crate::extension::{Extension, STACKS};
use crate::launch::platform::{Platform, PrepareError};
use crate::memory::frames::{FrameOwner, KernelFrames};
use crate::memory::host_space::HostSpace;

/// The number of random bits of the load address, in steps of 2 MiB.
const RANDOM_BITS: u32 = 16;

/// Copies the extension's image into own frames and maps each segment with its own permissions.
pub(crate) fn load<A: Arch>(
    extension: &Extension,
    platform: &Platform<A>,
    space: &mut HostSpace<A>,
    frames: &mut KernelFrames<'_, A::Memory>,
) -> Result<(), PrepareError> {
    let image = Image::parse(platform.extension, platform.elf_machine)?;
    let bias = choose_bias(extension, platform, &image)?;
    for segment in image.segments() {
        let permissions = match (segment.write, segment.execute) {
            (true, _) => Permissions::READ | Permissions::WRITE,
            (false, true) => Permissions::READ | Permissions::EXECUTE,
            (false, false) => Permissions::READ,
        };
        let pages = segment.pages();
        for page in (pages.start..pages.start + pages.size).step_by(PAGE_SIZE as usize) {
            let frame = take_frame(frames)?;
            let mut content = [0; PAGE_SIZE as usize];
            let _ = image.fill_page(page, &mut content, bias);
            platform.memory.write_bytes(frame, &content);
            space.map_user(platform.memory, frames, page.wrapping_add(bias), frame, 1, permissions)?;
        }
    }
    let mut hash = Sha256::new();
    hash.update(platform.extension);
    *extension.file.lock()? = (platform.extension.len() as u64, hash.finalize().into());
    let manifest = image.number_in_note(MANIFEST_OWNER, MANIFEST_KIND as u32)?;
    let groups = manifest.unwrap_or(GROUPS_WITHOUT_MANIFEST) | GROUPS_ALWAYS;
    extension.groups.store(groups, Ordering::SeqCst);
    log::info!("extension at {:#x}, groups {groups:#x}", image.span().start.wrapping_add(bias));
    extension.entry.store(image.entry().wrapping_add(bias), Ordering::SeqCst);
    Ok(())
}

/// The load bias: random for a relocatable image, else 0, if the linked address is in the extension's part.
fn choose_bias<A: Arch>(
    extension: &Extension,
    platform: &Platform<A>,
    image: &Image<'_>,
) -> Result<u64, PrepareError> {
    let base = platform.user_base.raw();
    extension.base.store(base, Ordering::SeqCst);
    if image.is_relocatable() {
        return Ok(random_bias(base, platform, image));
    }
    let span = image.span();
    if span
        .start
        .checked_sub(base)
        .zip(STACKS.checked_sub(span.size))
        .is_some_and(|(offset, room)| offset <= room)
    {
        return Ok(0);
    }
    log::error!(
        "the extension is linked at {:#x}, outside {base:#x} to {:#x}: link it there, or as static-PIE",
        span.start,
        base.saturating_add(STACKS)
    );
    Err(PrepareError::ExtensionAddress)
}

/// The random load bias of a relocatable image, in steps of 2 MiB.
fn random_bias<A: Arch>(base: u64, platform: &Platform<A>, image: &Image<'_>) -> u64 {
    let step = platform.info.entropy[0] & ((1 << RANDOM_BITS) - 1);
    base.wrapping_add(step << 21).wrapping_sub(image.span().start & !((2 << 20) - 1))
}

pub(crate) fn take_frame<M: PhysicalMemory>(frames: &mut KernelFrames<'_, M>) -> Result<Spa, PrepareError> {
    let frame = frames.pool.lock()?.take(1, FrameOwner::ExtensionImage)?;
    frames.memory.zero_page(frame);
    Ok(frame)
}
