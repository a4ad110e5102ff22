//! Writes to the interrupt controller's page in every form that compilers make.
//!
//! Interrupts are off from the first write to the last read: the firmware's handlers save and restore the priority as
//! CR8, whose four bits are the upper half of the register that is tested here.

use core::arch::asm;

use plinth_test_guests::apic::{Apic, DESTINATION, ID, SELF, TASK_PRIORITY};
use plinth_test_guests::{Report, check, cpu, plinth, trap};

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
    registers(report, apic);
    read_only(report, apic);
    undefined(report, apic);
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

/// Registers that keep what is written to them: of logical ids, spurious vector, destination, LINT0 and the timer's divisor.
fn registers(report: &mut Report, apic: Apic) {
    let values = [
        ("apic-logical-destination", 0xD0, 0x0200_0000),
        ("apic-destination-format", 0xE0, 0x0FFF_FFFF),
        ("apic-spurious-vector", 0xF0, 0x1EF),
        ("apic-destination", DESTINATION, 0x5500_0000),
        ("apic-lint0", 0x350, 0x1_0033),
        ("apic-timer-divisor", 0x3E0, 0xB),
    ];
    for (name, register, value) in values {
        let found = cpu::without_interrupts(|| {
            let before = apic.read(register);
            apic.write(register, value);
            let found = apic.read(register);
            apic.write(register, before);
            (found, apic.read(register) == before)
        });
        check!(report, name, found, (value, true));
    }
}

/// Registers that only show something: version, processor priority, interrupts in service.
fn read_only(report: &mut Report, apic: Apic) {
    for register in [0x30, 0xA0, 0x100, 0x170] {
        let kept = cpu::without_interrupts(|| {
            let before = apic.read(register);
            apic.write(register, !before);
            apic.read(register) == before
        });
        check!(report, "apic-read-only", kept);
    }
}

/// Every offset with every width of which the manuals say nothing, and the id, by which processors find each other. What is written
/// would be an interrupt in the command register, and show in the others.
fn undefined(report: &mut Report, apic: Apic) {
    if !plinth::is_there() {
        return report.skip("apic-undefined", "each machine does what it will");
    }
    const VALUE: u64 = 0x4000 | SELF as u64 | trap::TEST_VECTOR as u64;
    let interrupts = trap::interrupts();
    let changed = cpu::without_interrupts(|| {
        let before = apic.state();
        let accesses = (0..4096).flat_map(|offset| [1, 2, 4, 8].map(|width| (offset, width)));
        let accesses = accesses.filter(|(offset, width)| offset + width <= 4096);
        let undefined =
            accesses.filter(|(offset, width)| *offset == ID || !Apic::is_defined(*offset, *width));
        undefined
            .filter(|(offset, width)| {
                apic.store(*offset, *width, VALUE | VALUE << 32);
                apic.state() != before
            })
            .count()
    });
    check!(report, "apic-undefined-changes-nothing", changed, 0);
    check!(report, "apic-undefined-sends-nothing", trap::interrupts(), interrupts);
}
