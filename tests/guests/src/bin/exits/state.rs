//! State that the hypervisor and its extension could destroy: it is the same after exits as before.

use core::arch::asm;

use plinth_test_guests::{Report, check, cpu, plinth};

/// FS, GS and kernel GS base, SYSENTER's and SYSCALL's registers, with a value that each takes and nothing here needs.
const REGISTERS: [(&str, u32, u64); 10] = [
    ("msr-sysenter-cs", 0x174, 0x38),
    ("msr-sysenter-esp", 0x175, 0x1111_2222_3000),
    ("msr-sysenter-eip", 0x176, 0x1111_2222_4000),
    ("msr-star", 0xC000_0081, 0x0023_0010_1234_5678),
    ("msr-lstar", 0xC000_0082, 0xFFFF_8000_1234_5678),
    ("msr-cstar", 0xC000_0083, 0x7FFF_1234_5678),
    ("msr-sfmask", 0xC000_0084, 0x4_7700),
    ("msr-fs-base", 0xC000_0100, 0x1234_5000),
    ("msr-gs-base", 0xC000_0101, 0xFFFF_8888_0000_0000),
    ("msr-kernel-gs-base", 0xC000_0102, 0xFFFF_9999_0000_0000),
];

/// A hypercall that nobody knows: the extension refuses it after a look at several registers.
const UNKNOWN: u64 = 0x7777;

/// Exits that the kernel and the extension answer.
fn exits() {
    (0..3).for_each(|_| _ = cpu::cpuid(1, 0));
    let _ = plinth::hypercall(UNKNOWN, 0);
    let _ = cpu::cpuid(0x4000_0000, 0);
}

pub(super) fn run(report: &mut Report) {
    cpu::without_interrupts(|| {
        registers(report);
        debug_registers(report);
        fault_address(report);
        vectors(report);
        tables(report);
    });
}

fn registers(report: &mut Report) {
    for (name, number, value) in REGISTERS {
        let before = cpu::read_msr(number);
        // SAFETY: Nothing in a UEFI application uses the register; it is put back.
        let written = unsafe { cpu::write_msr(number, value) };
        exits();
        let found = cpu::read_msr(number);
        // SAFETY: As it was.
        let restored = unsafe { cpu::write_msr(number, before.unwrap_or(0)) };
        check!(report, name, (written, found, restored), (Ok(()), Ok(value), Ok(())));
    }
}

/// Breakpoints are the guest's: registers keep their value, and none fires in the hypervisor.
fn debug_registers(report: &mut Report) {
    const NOWHERE: u64 = 0xFFFF_FFFF_FFFF_F000;
    /// Bits that are always set, and the one that tells a single step.
    const STATUS: u64 = 0xFFFF_4FF0;
    /// Breakpoint 0 is on for execution; bit 10 is always set.
    const CONTROL: u64 = 0x402;
    // SAFETY: The breakpoint lies where no code is, and all is off again at the end.
    unsafe {
        asm!("mov dr0, {at}", "mov dr3, {at}", "mov dr6, {status}", "mov dr7, {control}",
            at = in(reg) NOWHERE, status = in(reg) STATUS, control = in(reg) CONTROL, options(nostack));
    }
    exits();
    let (zero, three, status, control): (u64, u64, u64, u64);
    // SAFETY: As above.
    unsafe {
        asm!("mov {zero}, dr0", "mov {three}, dr3", "mov {status}, dr6", "mov {control}, dr7",
            "mov dr7, {off}", "mov dr6, {clear}",
            zero = out(reg) zero, three = out(reg) three, status = out(reg) status, control = out(reg) control,
            off = in(reg) 0x400u64, clear = in(reg) 0xFFFF_0FF0u64, options(nostack));
    }
    check!(report, "debug-registers", [zero, three, status, control], [NOWHERE, NOWHERE, STATUS, CONTROL]);
}

fn fault_address(report: &mut Report) {
    const ADDRESS: u64 = 0x1234_5678_9ABC;
    // SAFETY: The register only tells where a page fault came from.
    unsafe { asm!("mov cr2, {}", in(reg) ADDRESS, options(nostack, preserves_flags)) }
    exits();
    let found: u64;
    // SAFETY: As above.
    unsafe { asm!("mov {}, cr2", out(reg) found, options(nostack, preserves_flags)) }
    check!(report, "cr2", found, ADDRESS);
}

/// SSE's registers, which the extension may not touch and the kernel does not.
fn vectors(report: &mut Report) {
    let before = [0x1111_2222_3333_4444u64, 0x5555_6666_7777_8888];
    let mut after = [0u64; 2];
    // SAFETY: The firmware has switched SSE on. CPUID's results are thrown away; RBX is put back.
    unsafe {
        asm!("movdqu xmm0, [{before}]", "movdqu xmm7, [{before}]", "mov {rbx}, rbx", "mov eax, 0x40000000", "cpuid",
            "mov rbx, {rbx}", "paddq xmm0, xmm7", "psubq xmm0, xmm7", "movdqu [{after}], xmm0",
            before = in(reg) &raw const before, after = in(reg) &raw mut after, rbx = out(reg) _,
            out("rax") _, out("rcx") _, out("rdx") _, out("xmm0") _, out("xmm7") _, options(nostack));
    }
    check!(report, "sse-registers", after, before);
}

/// The descriptor-table registers: a VM exit leaves limits of its own in the processor's.
fn tables(report: &mut Report) {
    let before = stored();
    exits();
    let after = stored();
    check!(report, "descriptor-tables", after, before);
    let gdtr = before.0;
    // One entry less, and back. The last one is nobody's.
    let mut shorter = gdtr;
    let limit = u16::from_le_bytes([gdtr[0], gdtr[1]]);
    [shorter[0], shorter[1]] = (limit - 8).to_le_bytes();
    // SAFETY: The table stays where it is, and keeps the segments in use.
    unsafe { asm!("lgdt [{}]", in(reg) shorter.as_ptr(), options(nostack, readonly, preserves_flags)) }
    exits();
    let found = stored().0;
    // SAFETY: As it was.
    unsafe { asm!("lgdt [{}]", in(reg) gdtr.as_ptr(), options(nostack, readonly, preserves_flags)) }
    check!(report, "lgdt", found, shorter);
    if before.2 == 0 {
        // SAFETY: There is no local table to lose.
        unsafe { asm!("lldt {:x}", in(reg) 0u16, options(nostack, preserves_flags)) }
    }
    let after = stored();
    check!(report, "lldt", after, before);
}

/// GDTR, IDTR, LDTR and TR.
fn stored() -> ([u8; 10], [u8; 10], u16, u16) {
    let (mut gdtr, mut idtr) = ([0; 10], [0; 10]);
    let (ldtr, tr): (u16, u16);
    // SAFETY: They only store, ten bytes each.
    unsafe {
        asm!("sgdt [{gdtr}]", "sidt [{idtr}]", "sldt {ldtr:x}", "str {tr:x}", gdtr = in(reg) gdtr.as_mut_ptr(),
            idtr = in(reg) idtr.as_mut_ptr(), ldtr = out(reg) ldtr, tr = out(reg) tr, options(nostack));
    }
    (gdtr, idtr, ldtr, tr)
}
