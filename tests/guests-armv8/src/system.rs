//! System registers by their assembler names, and the counter.

/// Reads a system register by its assembler name. A register that is not there raises an exception.
#[macro_export]
macro_rules! read {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reading a register changes nothing; one that is not there is an exception, which `trap` handles.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags))
        };
        value
    }};
}

/// Writes a system register by its assembler name. Unsafe: what follows depends on the register.
#[macro_export]
macro_rules! write {
    ($name:expr, $value:expr) => {
        core::arch::asm!(
            concat!("msr ", $name, ", {}"),
            "isb",
            in(reg) $value,
            options(nostack, preserves_flags)
        )
    };
}

/// The virtual counter.
pub fn ticks() -> u64 {
    // SAFETY: a barrier, so that the counter is not read early.
    unsafe { core::arch::asm!("isb", options(nomem, nostack, preserves_flags)) };
    read!("cntvct_el0")
}

/// How many ticks a millisecond has.
pub fn ticks_per_millisecond() -> u64 {
    (read!("cntfrq_el0") / 1000).max(1)
}

/// Waits until `done`, at most so many milliseconds. Returns whether it was.
pub fn wait(milliseconds: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = ticks() + milliseconds * ticks_per_millisecond();
    while !done() {
        if ticks() > end {
            return done();
        }
        core::hint::spin_loop();
    }
    true
}

/// The most processors that are told apart.
pub const PROCESSORS: usize = 8;

/// The place of a processor among [`PROCESSORS`]: these boards count by the lowest level.
pub fn index(affinity: u64) -> usize {
    affinity as usize % PROCESSORS
}

/// This processor's affinity: MPIDR_EL1 without what is not an affinity.
pub fn affinity() -> u64 {
    read!("mpidr_el1") & 0xFF_00FF_FFFF
}
