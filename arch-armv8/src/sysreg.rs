//! Access to system registers by their assembler names, for those that `aarch64-cpu` does not have. A leaf: it imports nothing.

/// Reads a system register by its assembler name.
macro_rules! read_system {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reading a register that the surrounding code knows to be there changes nothing.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register by its assembler name. Unsafe: what follows depends on the register.
macro_rules! write_system {
    ($name:expr, $value:expr) => {
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value, options(nostack, preserves_flags))
    };
}

pub(crate) use {read_system, write_system};
