//! Writes to the interrupt controller's page in every form that compilers make.
//!
//! Interrupts are off from the first write to the last read: the firmware's handlers save and restore the priority as
//! CR8, whose four bits are the upper half of the register that is tested here.

use core::arch::asm;

use plinth_test_guests::apic::{Apic, TASK_PRIORITY};
use plinth_test_guests::{Report, check, cpu};

/// The zero flag.
const ZERO: u8 = 1 << 6;

/// Starts from `before` in the task priority register, runs the instruction on it, and checks what is there then. In
/// the text, `{at}` is the register's address and `{value}` a register that holds the value.
macro_rules! form {
    ($report:expr, $apic:expr, $name:literal, $text:literal, $before:expr, $value:expr => $after:expr) => {{
        let found = cpu::without_interrupts(|| {
            $apic.write(TASK_PRIORITY, $before);
            let value: u64 = $value;
            let at = $apic.address(TASK_PRIORITY);
            // SAFETY: The priority register takes any priority; it is set back after each test.
            unsafe { asm!($text, at = in(reg) at, value = inout(reg) value => _, options(nostack)) }
            let found = $apic.read(TASK_PRIORITY);
            $apic.write(TASK_PRIORITY, 0);
            found
        });
        check!($report, concat!("apic-", $name), found, $after);
    }};
}

pub(super) fn run(report: &mut Report) {
    let Some(apic) = Apic::find() else {
        return report.skip("apic", "the interrupt controller has no page");
    };
    stores(report, apic);
    modifications(report, apic);
    exchange(report, apic);
    flags(report, apic);
    let found = apic.read(TASK_PRIORITY);
    check!(report, "apic-restored", found, 0);
}

fn stores(report: &mut Report, apic: Apic) {
    form!(report, apic, "mov-register", "mov [{at}], {value:e}", 0, 0x10 => 0x10);
    form!(report, apic, "mov-immediate", "mov dword ptr [{at}], 0x11 /* {value} */", 0, 0 => 0x11);
    form!(report, apic, "mov-displaced", "mov [{at} - 0x80 + 0x80], {value:e}", 0, 0x12 => 0x12);
    form!(report, apic, "mov-indexed", "mov [{at} + {value} * 4 - 0x40], {value:e}", 0, 0x10 => 0x10);
    let at = apic.address(TASK_PRIORITY);
    let found = cpu::without_interrupts(|| {
        // SAFETY: As in `form`. The extended registers need a REX prefix.
        unsafe { asm!("mov [r9], r10d", in("r9") at, in("r10") 0x13u64, options(nostack)) }
        apic.read(TASK_PRIORITY)
    });
    check!(report, "apic-mov-extended", found, 0x13);
}

fn modifications(report: &mut Report, apic: Apic) {
    form!(report, apic, "and-register", "and [{at}], {value:e}", 0x13, 0x12 => 0x12);
    form!(report, apic, "and-immediate", "and dword ptr [{at}], 0x11 /* {value} */", 0x13, 0 => 0x11);
    form!(report, apic, "or-register", "or [{at}], {value:e}", 0x10, 0x03 => 0x13);
    form!(report, apic, "or-immediate", "or dword ptr [{at}], 0x01 /* {value} */", 0x10, 0 => 0x11);
    form!(report, apic, "xor-register", "xor [{at}], {value:e}", 0x13, 0x01 => 0x12);
    form!(report, apic, "add-register", "add [{at}], {value:e}", 0x10, 0x02 => 0x12);
    form!(report, apic, "sub-immediate", "sub dword ptr [{at}], 0x02 /* {value} */", 0x13, 0 => 0x11);
}

fn exchange(report: &mut Report, apic: Apic) {
    let found = cpu::without_interrupts(|| {
        apic.write(TASK_PRIORITY, 0x14);
        let mut value = 0x15u64;
        // SAFETY: As in `form`.
        unsafe {
            asm!("xchg [{}], {:e}", in(reg) apic.address(TASK_PRIORITY), inout(reg) value, options(nostack))
        }
        let found = (apic.read(TASK_PRIORITY), value);
        apic.write(TASK_PRIORITY, 0);
        found
    });
    check!(report, "apic-xchg", found, (0x15, 0x14));
}

/// A modification leaves the flags that it would leave on memory.
fn flags(report: &mut Report, apic: Apic) {
    let at = apic.address(TASK_PRIORITY);
    let flags = cpu::without_interrupts(|| {
        apic.write(TASK_PRIORITY, 0x10);
        let flags: u64;
        // SAFETY: As in `form`.
        unsafe { asm!("and dword ptr [{}], 0x0f", "lahf", in(reg) at, out("rax") flags, options(nostack)) }
        flags
    });
    check!(report, "apic-flags", (flags >> 8) as u8 & ZERO != 0);
}
