//! Code made at run time: instructions by the bits of their encoding, which no assembler has to know. Each processor has
//! a page for its own.

use core::arch::asm;
use core::cell::UnsafeCell;

use crate::{system, trap};

/// How many instructions one run has at most.
pub const MOST: usize = 1023;
/// RET.
const RETURN: u32 = 0xD65F_03C0;

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u32; MOST + 1]>);

// SAFETY: each processor uses its own page alone.
unsafe impl Sync for Page {}

static PAGES: [Page; system::PROCESSORS] =
    [const { Page(UnsafeCell::new([0; MOST + 1])) }; system::PROCESSORS];

/// MSR, MRS or a system instruction: `rest` is L, Op0, Op1, CRn, CRm and Op2 as the instruction has them from bit 5 on, `register`
/// the general register (Arm ARM, C4.1.87).
pub const fn system_instruction(rest: u32, register: u32) -> u32 {
    0xD500_0000 | (rest & 0x1_FFFF) << 5 | register & 0x1F
}

/// ISB.
pub const ISB: u32 = 0xD503_3FDF;

/// A system register by its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// 2 or 3.
    pub op0: u32,
    /// Which exception levels may use it.
    pub op1: u32,
    /// A group.
    pub crn: u32,
    /// A row of it.
    pub crm: u32,
    /// The place in its row.
    pub op2: u32,
}

impl Register {
    /// MRS to a general register.
    pub const fn mrs(self, general: u32) -> u32 {
        system_instruction(1 << 16 | self.fields(), general)
    }

    /// MSR from one.
    pub const fn msr(self, general: u32) -> u32 {
        system_instruction(self.fields(), general)
    }

    const fn fields(self) -> u32 {
        self.op0 << 14 | self.op1 << 11 | self.crn << 7 | self.crm << 3 | self.op2
    }
}

/// MRS X3 of a register by Op0, Op1, CRn, CRm and Op2.
pub const fn mrs(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    Register { op0, op1, crn, crm, op2 }.mrs(3)
}

/// A system instruction (SYS) by its fields, with X3.
pub const fn system(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    Register { op0, op1, crn, crm, op2 }.msr(3)
}

/// HVC with an immediate.
pub const fn hvc(immediate: u16) -> u32 {
    0xD400_0002 | (immediate as u32) << 5
}

/// SMC with an immediate.
pub const fn smc(immediate: u16) -> u32 {
    0xD400_0003 | (immediate as u32) << 5
}

/// Runs instructions with these values in X0 to X3, skipping those that fault. Returns how many did, and how many of
/// them because they are not there.
///
/// # Safety
/// What the instructions do is wanted; they keep X18 and what the procedure call standard has a callee keep, use no stack,
/// and do not branch.
pub unsafe fn run(instructions: impl Iterator<Item = u32>, values: [u64; 4]) -> [u64; 2] {
    let page = PAGES[system::index(system::affinity())].0.get();
    // SAFETY: the page is this processor's own, and what it runs there has returned.
    let words = unsafe { &mut *page };
    let mut count = 0;
    for (place, instruction) in words.iter_mut().zip(instructions.take(MOST)) {
        *place = instruction;
        count += 1;
    }
    words[count] = RETURN;
    publish(page as u64, count as u64 * 4 + 4);
    let [x0, x1, x2, x3] = values;
    trap::count(|| {
        // SAFETY: the page holds the instructions, for which the caller vouches, and RET.
        unsafe {
            asm!("blr {page}", page = in(reg) page, inout("x0") x0 => _, inout("x1") x1 => _, inout("x2") x2 => _,
                inout("x3") x3 => _, clobber_abi("C"));
        }
    })
}

/// Reads an ID register by CRm and Op2 (Op0 3, Op1 0, CRn 0).
pub fn read_id((crm, op2): (u32, u32)) -> u64 {
    let mut value = 0_u64;
    let code = [Register { op0: 3, op1: 0, crn: 0, crm, op2 }.mrs(1), 0xF900_0041];
    // SAFETY: a read, and STR X1, [X2] to the variable above.
    unsafe { run(code.into_iter(), [0, 0, &raw mut value as u64, 0]) };
    // SAFETY: the variable, which the code above may have written.
    unsafe { (&raw const value).read_volatile() }
}

/// Shows the instruction side what was written.
fn publish(start: u64, size: u64) {
    // SAFETY: cleans and invalidates this image's own code.
    unsafe {
        for at in (start..start + size).step_by(16) {
            asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags));
        }
        asm!("dsb ish", options(nostack, preserves_flags));
        for at in (start..start + size).step_by(16) {
            asm!("ic ivau, {}", in(reg) at, options(nostack, preserves_flags));
        }
        asm!("dsb ish", "isb", options(nostack, preserves_flags));
    }
}
