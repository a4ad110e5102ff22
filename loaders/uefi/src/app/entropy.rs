//! Random bits, from whatever the machine has.

use super::{arch, firmware};
use uefi::proto::rng::Rng;

/// Four random words: from the firmware's generator, else from the processor's; else `None`.
pub(crate) fn random() -> Option<[u64; 4]> {
    from_firmware().or_else(arch::random)
}

fn from_firmware() -> Option<[u64; 4]> {
    let mut bytes = [0; 32];
    firmware::open_any::<Rng>().ok()?.get_rng(None, &mut bytes).ok()?;
    let (words, _) = bytes.as_chunks::<8>();
    let mut out = [0; 4];
    out.iter_mut().zip(words).for_each(|(to, from)| *to = u64::from_le_bytes(*from));
    Some(out)
}
