//! The registers that the guests begin with.

use plinth_extension_api::abi::register::{
    FLAGS, INSTRUCTION_POINTER, X86_CR0, X86_CR3, X86_CR4, X86_CS, X86_DS, X86_EFER, X86_GDTR, X86_IDTR,
    X86_SS, X86_TR,
};
use plinth_extension_api::{Failure, Plinth, VsId};

/// A guest.
pub(crate) struct Guest {
    entry: u64,
    flags: u64,
    stack: u64,
    /// Code and data: selector and attributes.
    segments: [[u64; 2]; 2],
    /// Address and limit.
    idt: [u64; 2],
    /// CR3, CR4, EFER and CR0.
    control: [u64; 4],
}

/// A kernel in 64-bit mode.
const LONG: Guest = Guest {
    entry: 0,
    flags: 2,
    stack: 0xF00,
    segments: [[8, 0xA9B], [0x10, 0xC93]],
    idt: [0x100, 0x1F],
    control: [0x1000, 0x20, 0x500, 0x8000_0031],
};

/// See [`plinth_test_extensions::attacks`].
pub(crate) const CACHES_OFF: Guest = Guest { entry: 0x580, ..LONG };
/// See there.
pub(crate) const DEBUG_LOOP: Guest = Guest { entry: 0x500, ..LONG };
/// See there.
pub(crate) const DEBUG_ONCE: Guest = Guest { entry: 0x540, idt: [0x140, 0x1F], ..LONG };
/// See there. A kernel in 32-bit mode, with tables of PAE.
pub(crate) const PAE: Guest = Guest {
    entry: 0x700,
    segments: [[0x38, 0xC9B], [0x10, 0xC93]],
    control: [0x1020, 0x20, 0, 0x8000_0031],
    ..LONG
};
/// See there. A program in 32-bit mode without paging: CR0.AM, RFLAGS.AC, and ports by RFLAGS.IOPL.
pub(crate) const ALIGNMENT_LOOP: Guest = Guest {
    entry: 0x740,
    flags: 2 | 1 << 18 | 3 << 12,
    stack: 0xF01,
    segments: [[0x2B, 0xCFB], [0x33, 0xCF3]],
    idt: [0x170, 0x8F],
    control: [0, 0, 0, 1 << 18 | 0x31],
};

impl Guest {
    /// Gives them to a new VS.
    pub(crate) fn enter(&self, plinth: Plinth, vs: VsId) -> Result<(), Failure> {
        const RSP: u64 = 4;
        const ALL: u64 = 0xFFFF_FFFF;
        let [[code, code_attributes], [data, data_attributes]] = self.segments;
        let segments = [
            (X86_CS, [code, 0, ALL, code_attributes]),
            (X86_SS, [data, 0, ALL, data_attributes]),
            (X86_DS, [data, 0, ALL, data_attributes]),
            (X86_TR, [0x18, 0x200, 0x67, 0x8B]),
        ];
        for (segment, parts) in segments {
            for (number, value) in (segment..).zip(parts) {
                plinth.vs_write(vs, number, value)?;
            }
        }
        let tables =
            [(X86_GDTR, 0), (X86_GDTR + 1, 0x3F), (X86_IDTR, self.idt[0]), (X86_IDTR + 1, self.idt[1])];
        let control = [X86_CR3, X86_CR4, X86_EFER, X86_CR0].into_iter().zip(self.control);
        let rest = [(FLAGS, self.flags), (INSTRUCTION_POINTER, self.entry), (RSP, self.stack)];
        for (register, value) in tables.into_iter().chain(control).chain(rest) {
            plinth.vs_write(vs, register, value)?;
        }
        Ok(())
    }
}
