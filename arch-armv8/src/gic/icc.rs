//! The root VM's trapped accesses to the GICv3 CPU interface (the ICC system registers), carried out at EL2.
//!
//! These registers are trapped only while the root VM's IRQs come to EL2. EL2 always reaches the physical CPU interface, and
//! EL1 reaches the same one while interrupts are its own (Arm IHI 0069, 12.1 and 12.2). So the access made here has the
//! effect that the root VM's own access would have had.

use core::arch::asm;

use crate::machine::private_interrupts::PPI;
use crate::sysreg::{read_system, write_system};

/// ICH_HCR_EL2.TC: the registers that both groups share are trapped. TALL0 and TALL1: those of one group.
const TC: u64 = 1 << 10;
const TALL0: u64 = 1 << 11;
const TALL1: u64 = 1 << 12;

/// The traps for a guest VM, which has no CPU interface.
pub(crate) const ALL: u64 = TC | TALL0 | TALL1;
/// The traps for the root VM while its IRQs come to EL2. Group 0 arrives as FIQ and stays untrapped.
pub(crate) const ROOT: u64 = TC | TALL1;

/// The encoding of a register with Op0 3, Op1 0.
const fn register(crn: u64, crm: u64, op2: u64) -> u64 {
    3 << 14 | crn << 7 | crm << 3 | op2
}

const PMR: u64 = register(4, 6, 0);
const AP1R0: u64 = register(12, 9, 0);
const AP1R1: u64 = register(12, 9, 1);
const AP1R2: u64 = register(12, 9, 2);
const AP1R3: u64 = register(12, 9, 3);
const DIR: u64 = register(12, 11, 1);
const RPR: u64 = register(12, 11, 3);
const SGI1R: u64 = register(12, 11, 5);
const ASGI1R: u64 = register(12, 11, 6);
const SGI0R: u64 = register(12, 11, 7);
const IAR1: u64 = register(12, 12, 0);
const EOIR1: u64 = register(12, 12, 1);
const HPPIR1: u64 = register(12, 12, 2);
const BPR1: u64 = register(12, 12, 3);
const CTLR: u64 = register(12, 12, 4);
const IGRPEN1: u64 = register(12, 12, 7);

/// Whether the traps see every access of the root VM to its interrupts: it uses the system registers (ICC_SRE_EL1.SRE), and
/// the CPU has no non-maskable interrupts (ID_AA64PFR1_EL1.NMI), whose registers are not among the trapped ones.
pub(crate) fn shows_all() -> bool {
    read_system!("S3_0_C12_C12_5") & 1 != 0 && read_system!("id_aa64pfr1_el1") >> 36 & 0xF == 0
}

/// Reads a trapped register. `None` if the register cannot be read.
pub(crate) fn read(number: u64) -> Option<u64> {
    Some(match number {
        PMR => read_system!("S3_0_C4_C6_0"),
        AP1R0 => read_system!("S3_0_C12_C9_0"),
        AP1R1 if has_active(number) => read_system!("S3_0_C12_C9_1"),
        AP1R2 if has_active(number) => read_system!("S3_0_C12_C9_2"),
        AP1R3 if has_active(number) => read_system!("S3_0_C12_C9_3"),
        RPR => read_system!("S3_0_C12_C11_3"),
        IAR1 => acknowledge(),
        HPPIR1 => read_system!("S3_0_C12_C12_2"),
        BPR1 => read_system!("S3_0_C12_C12_3"),
        CTLR => read_system!("S3_0_C12_C12_4"),
        IGRPEN1 => read_system!("S3_0_C12_C12_7"),
        _ => return None,
    })
}

/// Writes a trapped register. Returns false if the register cannot be written.
///
/// # Safety
/// The value is one that the root VM, which owns the interface, writes.
pub(crate) unsafe fn write(number: u64, value: u64) -> bool {
    // SAFETY: EL2 takes no interrupts, so nothing of this touches the hypervisor; each register is there, those that depend
    // on the number of priorities by that.
    unsafe {
        match number {
            PMR => write_system!("S3_0_C4_C6_0", value),
            AP1R0 => write_system!("S3_0_C12_C9_0", value),
            AP1R1 if has_active(number) => write_system!("S3_0_C12_C9_1", value),
            AP1R2 if has_active(number) => write_system!("S3_0_C12_C9_2", value),
            AP1R3 if has_active(number) => write_system!("S3_0_C12_C9_3", value),
            DIR => write_system!("S3_0_C12_C11_1", value),
            SGI1R => write_system!("S3_0_C12_C11_5", value),
            ASGI1R => write_system!("S3_0_C12_C11_6", value),
            SGI0R => write_system!("S3_0_C12_C11_7", value),
            EOIR1 => write_system!("S3_0_C12_C12_1", value),
            BPR1 => write_system!("S3_0_C12_C12_3", value),
            CTLR => write_system!("S3_0_C12_C12_4", value),
            IGRPEN1 => write_system!("S3_0_C12_C12_7", value),
            _ => return false,
        }
    }
    true
}

/// Reads ICC_IAR1_EL1, which acknowledges the pending interrupt. The read has a side effect, so the compiler must not move
/// it, and the barrier completes it before later accesses (Arm IHI 0069, 4.1.1).
fn acknowledge() -> u64 {
    let number: u64;
    // SAFETY: the interrupt is the root VM's, which asks for it; a barrier.
    unsafe {
        asm!("mrs {}, S3_0_C12_C12_0", "dsb sy", "isb", out(reg) number, options(nostack, preserves_flags));
    }
    number
}

/// Whether what was read is the hypervisor's own interrupt ([`hyp_timer`](crate::gic::hyp_timer)), which came just before. If it is
/// acknowledged by that, it is ended.
pub(crate) fn takes_clock(number: u64, value: u64) -> bool {
    const SPLIT_END: u64 = 1 << 1;
    let ours = matches!(number, IAR1 | HPPIR1) && value == u64::from(PPI);
    if ours && number == IAR1 {
        let split = read_system!("S3_0_C12_C12_4") & SPLIT_END != 0;
        // SAFETY: the interrupt is EL2's; what the root VM has acknowledged before is as it was.
        unsafe {
            write_system!("S3_0_C12_C12_1", value);
            if split {
                write_system!("S3_0_C12_C11_1", value);
            }
        }
    }
    ours
}

/// Whether an implementation has an active priorities register of group 1 beside the first: from 6 bits of priority on the
/// second, from 7 on all (Arm IHI 0069, ICC_AP1R<n>_EL1).
fn has_active(number: u64) -> bool {
    let bits = (read_system!("S3_0_C12_C12_4") >> 8 & 7) + 1;
    bits >= if number == AP1R1 { 6 } else { 7 }
}
