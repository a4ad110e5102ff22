//! Whether a CPU is under a Plinth: a hypercall of that CPU is answered, by the extension or for it.

use crate::device::{CALL, Device, Request};

/// The hypercall for the exits of the CPU that makes it: `PLINTH_HYPERCALL_COUNT`.
const COUNT: u64 = 0x504c << 48 | 0x1_0003;

/// Asks on one of Linux's CPUs.
pub(crate) fn below(cpu: &str) -> Result<String, String> {
    let device = Device::open().map_err(|error| format!("/dev/plinth: {error}"))?;
    let cpu = cpu.parse().map_err(|error| format!("{cpu}: {error}"))?;
    let mut call = Request::new(CALL).with(8, COUNT).with_half(104, cpu);
    device.ask(&mut call).map_err(|error| format!("CALL: {error}"))?;
    Ok(format!("{} exits", call.word(48)))
}
