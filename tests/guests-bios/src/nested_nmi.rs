//! An NMI that comes while another one is handled is delivered behind the handler's IRET, not at it: its handler has a stack of
//! its own, which begins anew, so that the second frame would lie where the first one is needed.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_guests::apic::{Apic, NMI};
use plinth_test_guests::{Report, check, cpu, trap};
use plinth_test_guests_bios as _;

global_asm!(
    // Notes where it came from. The first ones of a round send another one, which must wait.
    ".globl plinth_nested_nmi",
    "plinth_nested_nmi:",
    "push rax",
    "push rcx",
    "mov rcx, [rip + {count}]",
    "lea rax, [rip + {places}]",
    "and ecx, 15",
    "push rdx",
    "mov rdx, [rsp + 24]",
    "mov [rax + rcx * 8], rdx",
    "pop rdx",
    "inc qword ptr [rip + {count}]",
    "cmp qword ptr [rip + {more}], 0",
    "je 2f",
    "dec qword ptr [rip + {more}]",
    "mov rax, [rip + {command}]",
    "mov dword ptr [rax], 0x4400",
    "mov ecx, 1000",
    "1: dec ecx",
    "jnz 1b",
    "2: pop rcx",
    "pop rax",
    ".globl plinth_nested_nmi_iret",
    "plinth_nested_nmi_iret: iretq",
    count = sym COUNT,
    places = sym PLACES,
    more = sym MORE,
    command = sym COMMAND,
);

unsafe extern "C" {
    fn plinth_nested_nmi();
    static plinth_nested_nmi_iret: u8;
}

/// NMIs so far, and where the last 16 came.
static COUNT: AtomicU64 = AtomicU64::new(0);
static PLACES: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
/// How many of the next ones send another one.
static MORE: AtomicU64 = AtomicU64::new(0);
/// The address of the interrupt command register.
static COMMAND: AtomicU64 = AtomicU64::new(0);

/// The vector.
const VECTOR: usize = 2;
/// Rounds, and NMIs in a row in each.
const ROUNDS: u64 = 50;
const IN_A_ROW: u64 = 3;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(_parameters: u64) -> ! {
    trap::install();
    let mut report = Report::new("nested-nmi");
    let Some(apic) = Apic::find() else {
        report.check("machine-has-an-apic", false);
        report.done();
    };
    // SAFETY: the handler keeps all registers and ends by IRET.
    unsafe { trap::set_handler(VECTOR, plinth_nested_nmi) };
    COMMAND.store(apic.address(plinth_test_guests::apic::COMMAND), Ordering::SeqCst);
    let iret = &raw const plinth_nested_nmi_iret as u64;
    let (mut counted, mut behind, mut flags) = (true, true, true);
    for _ in 0..ROUNDS {
        COUNT.store(0, Ordering::SeqCst);
        MORE.store(IN_A_ROW - 1, Ordering::SeqCst);
        apic.send_to_own_id(NMI | 1 << 14);
        cpu::pause(1_000_000);
        counted &= COUNT.load(Ordering::SeqCst) == IN_A_ROW;
        behind &= PLACES.iter().all(|place| place.load(Ordering::SeqCst) != iret);
        flags &= cpu::flags() & 1 << 8 == 0;
    }
    check!(report, "each-nmi-is-delivered", counted);
    check!(report, "none-is-delivered-at-the-iret", behind);
    check!(report, "no-trap-flag-stays", flags);
    check!(report, "no-debug-exception-comes-of-it", trap::steps().0, 0);
    report.done()
}
