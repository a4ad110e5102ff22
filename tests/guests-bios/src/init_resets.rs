//! What INIT resets of a processor beside the registers that every kernel looks at: its local APIC with an interrupt in service
//! and a running timer, CR2, and the debug registers.

#![no_std]
#![no_main]

use core::arch::global_asm;

use plinth_test_guests::apic::Apic;
use plinth_test_guests::{Report, check, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::real_mode::{NOTES, RealModePage, TOLD, a_while};
use plinth_test_guests_bios::{flat_data, low_pages};

global_asm!(
    ".section .rodata.plinth_init_resets, \"a\"",
    ".globl plinth_init_resets",
    "plinth_init_resets:",
    ".code16",
    "cli",
    flat_data!(),
    "mov esi, cs:[0x910]",
    "mov eax, [esi + 0x80]",
    "mov cs:[0x804], eax",
    "mov eax, [esi + 0xD0]",
    "mov cs:[0x808], eax",
    "mov eax, [esi + 0xE0]",
    "mov cs:[0x80C], eax",
    "mov eax, [esi + 0xF0]",
    "mov cs:[0x810], eax",
    "mov eax, [esi + 0x120]",
    "mov cs:[0x814], eax",
    "mov eax, [esi + 0x320]",
    "mov cs:[0x818], eax",
    "mov eax, [esi + 0x350]",
    "mov cs:[0x81C], eax",
    "mov eax, [esi + 0x380]",
    "mov cs:[0x820], eax",
    "mov eax, [esi + 0x3E0]",
    "mov cs:[0x824], eax",
    "mov eax, cr2",
    "mov cs:[0x828], eax",
    "mov eax, dr0",
    "mov cs:[0x82C], eax",
    "mov eax, dr1",
    "mov cs:[0x830], eax",
    "mov eax, dr2",
    "mov cs:[0x834], eax",
    "mov eax, dr3",
    "mov cs:[0x838], eax",
    "mov eax, dr6",
    "mov cs:[0x83C], eax",
    "mov eax, dr7",
    "mov cs:[0x840], eax",
    // Now something else than after INIT. An interrupt that is in service comes from this processor itself.
    "mov ax, cs",
    "mov ss, ax",
    "mov sp, 0x1000",
    "mov dword ptr [esi + 0xD0], 0x2000000",
    "mov dword ptr [esi + 0xE0], 0x0FFFFFFF",
    "mov dword ptr [esi + 0xF0], 0x1FF",
    "mov dword ptr [esi + 0x3E0], 0xB",
    "mov dword ptr [esi + 0x350], 0x10033",
    "mov dword ptr [esi + 0x320], 0x30041",
    "mov dword ptr [esi + 0x380], 0x1000000",
    "mov dword ptr [esi + 0x300], 0x44040",
    "sti",
    "2: pause",
    "cmp dword ptr [esi + 0x120], 0",
    "je 2b",
    "cli",
    "mov dword ptr [esi + 0x80], 0x50",
    "mov eax, 0xABC000",
    "mov cr2, eax",
    "mov dr0, eax",
    "mov dr1, eax",
    "mov dr2, eax",
    "mov dr3, eax",
    "mov eax, 0xFFFF4FF1",
    "mov dr6, eax",
    "mov eax, 0x455",
    "mov dr7, eax",
    "lock inc dword ptr cs:[0x800]",
    "3: pause",
    "jmp 3b",
    // The handler of the interrupt, which does not end it.
    ".org plinth_init_resets + 0x400",
    "iret",
    ".globl plinth_init_resets_end",
    "plinth_init_resets_end:",
    ".code64",
    ".text",
);

unsafe extern "C" {
    static plinth_init_resets: u8;
    static plinth_init_resets_end: u8;
}

/// What the code notes: how often it has come to its end, and from the next word on what it has found.
const STARTS: u64 = NOTES;
const FOUND: u64 = NOTES + 4;
/// What it is told: the address of the local APIC.
const APIC_PAGE: u64 = TOLD;

/// Registers and their values after INIT, in the order in which they are noted (Intel SDM vol. 3A, "Processor State After Reset"
/// and "Local APIC State After It Receives an INIT-Deassert IPI"; AMD APM vol. 2, table 14-1 and 16.3.2).
const AFTER_INIT: [(&str, u32); 16] = [
    ("task-priority", 0),
    ("logical-destination", 0),
    ("destination-format", u32::MAX),
    ("spurious-vector", 0xFF),
    ("in-service", 0),
    ("timer-vector", 0x1_0000),
    ("lint0-vector", 0x1_0000),
    ("timer-count", 0),
    ("timer-divisor", 0),
    ("cr2", 0),
    ("dr0", 0),
    ("dr1", 0),
    ("dr2", 0),
    ("dr3", 0),
    ("dr6", 0xFFFF_0FF0),
    ("dr7", 0x400),
];

/// The local APIC's id of the second processor, INIT and startup IPI.
const SECOND: u32 = 1;
const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600;
/// Where the handler lies in the page; the vector that it is for, and its gate in real mode's interrupt table.
const HANDLER: u32 = 0x400;
const GATE: u64 = 0x40 * 4;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("init-resets");
    match (low_pages(memory).next(), Apic::find()) {
        (Some(page), Some(apic)) => {
            let code = [&raw const plinth_init_resets, &raw const plinth_init_resets_end];
            // SAFETY: a usable page below 1 MiB; what the loader keeps there is not needed any more. The code is for real mode.
            let stub = unsafe { RealModePage::place(page, code) };
            let gate = (page as u32 / 16) << 16 | HANDLER;
            // SAFETY: the interrupt table of real mode is at address 0 and nobody's any more: no BIOS runs from here on.
            unsafe { (GATE as *mut u32).write_volatile(gate) };
            stub.put(APIC_PAGE, apic.address(0) as u32);
            run(&mut report, apic, stub);
        }
        _ => report.check("machine-has-low-memory-and-an-apic", false),
    }
    report.done()
}

fn run(report: &mut Report, apic: Apic, stub: RealModePage) {
    for start in 1..=3 {
        apic.send_to(SECOND, INIT);
        a_while();
        apic.send_to(SECOND, STARTUP | stub.vector());
        report.check("second-runs", stub.becomes(STARTS, start));
        for ((name, expected), offset) in AFTER_INIT.iter().zip((FOUND..).step_by(4)) {
            check!(report, name, stub.get(offset), *expected);
        }
    }
}
