//! The OS lock or the OS double lock is set, as this VM may and as it is after a reset: a hooked page is still watched, a write
//! to the reservation still vanishes, and while the hypervisor steps this VM it finds its debug registers as it has set them.

#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_page_hook::{HOOK, UNHOOK, WHERE};
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, read, say, write};

const READ: u64 = 1;
const WRITE: u64 = 2;
const EXECUTE: u64 = 4;
/// OSLSR_EL1.OSLK.
const OS_LOCK: u64 = 1 << 1;
/// MDSCR_EL1.TDCC, of which nothing here depends.
const NO_CHANNEL: u64 = 1 << 12;
/// A breakpoint's address, which stays off.
const ADDRESS: u64 = 0x1234_5678;

#[repr(align(4096))]
struct Page([AtomicU64; 512]);

static PAGE: Page = Page([const { AtomicU64::new(0) }; 512]);

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("lock", &machine);
    let Some(reservation) = machine.reservation() else {
        report.skip("lock", "there is no Plinth to hook a page");
        report.done(&machine)
    };
    for (os, double) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        say!("lock: OS lock {os}, double lock {double}");
        set(os, double);
        hooked(&mut report);
        reserved(&mut report, reservation.start + 0x3000);
        check!(report, "locks-are-as-before", locks(), (os, double));
        stepped(&mut report, os, double);
    }
    set(0, 0);
    report.done(&machine)
}

fn set(os: u64, double: u64) {
    // SAFETY: locks of debug exceptions, which this program does not use.
    unsafe {
        write!("osdlr_el1", double);
        write!("oslar_el1", os);
    }
}

/// The OS lock and the OS double lock.
fn locks() -> (u64, u64) {
    (u64::from(read!("oslsr_el1") & OS_LOCK != 0), read!("osdlr_el1") & 1)
}

fn hypercall(number: u64, argument: u64) -> u64 {
    calls::hvc([number, argument, 0, 0])[0]
}

/// Three writes to a hooked page.
fn hooked(report: &mut Report) {
    check!(report, "hook", hypercall(HOOK, PAGE.0.as_ptr() as u64 | READ | EXECUTE), 0);
    for round in 1..=3 {
        let at = PAGE.0[round].as_ptr();
        let from: u64;
        // SAFETY: the page is this program's own.
        unsafe {
            asm!("adr {from}, 2f", "2: str {value}, [{at}]", from = out(reg) from, at = in(reg) at,
                value = in(reg) round as u64, options(nostack));
        }
        check!(report, "write-is-seen", hypercall(WHERE, 0), from);
        check!(report, "write-takes-effect", PAGE.0[round].load(Ordering::Relaxed), round as u64);
    }
    check!(report, "hits", hypercall(UNHOOK, 0), 3);
}

/// A write to the hypervisor's memory.
fn reserved(report: &mut Report, at: u64) {
    let at = at as *mut u64;
    // SAFETY: nobody's memory: what is written vanishes.
    let found = unsafe {
        at.write_volatile(0x1122_3344_5566_7788);
        at.read_volatile()
    };
    check!(report, "reservation-reads-zero", found, 0);
}

/// Instructions that the hypervisor steps one by one, because their page may not be executed, and that read and write debug
/// registers.
fn stepped(report: &mut Report, os: u64, double: u64) {
    let code = debug_accesses as *const () as u64;
    check!(report, "execute-hook", hypercall(HOOK, code & !4095 | READ | WRITE), 0);
    let (mut lock, mut other, mut control, mut address) = (1 - os, 1 - double, NO_CHANNEL, ADDRESS);
    let (old_lock, old_other): (u64, u64);
    // SAFETY: the function changes these registers and X30 alone.
    unsafe {
        asm!("blr {code}", code = in(reg) code, inout("x0") lock, inout("x1") other, inout("x2") control,
            inout("x3") address, out("x4") old_lock, out("x5") old_other, out("x30") _, options(nostack));
    }
    let hits = hypercall(UNHOOK, 0);
    check!(report, "each-instruction-is-stepped", hits, 12);
    check!(report, "stepped-reads-find-the-locks", (old_lock & OS_LOCK != 0, old_other), (os != 0, double));
    let found = (lock & OS_LOCK != 0, other, control, address);
    check!(report, "stepped-writes-are-read", found, (os == 0, 1 - double, NO_CHANNEL, ADDRESS));
    check!(report, "stepped-writes-stay", locks(), (1 - os, 1 - double));
    check!(report, "debug-control-stays", read!("mdscr_el1"), NO_CHANNEL);
    check!(report, "breakpoint-stays", read!("dbgbvr0_el1"), ADDRESS);
    // SAFETY: as it was.
    unsafe { write!("mdscr_el1", 0_u64) };
    // The same page with the locks as they are now.
    hooked(report);
}

/// Alone on its page. Reads the locks into X4 and X5, sets locks, MDSCR_EL1 and a breakpoint's address to X0 to X3, and reads them
/// back.
#[unsafe(naked)]
unsafe extern "C" fn debug_accesses() {
    core::arch::naked_asm!(
        ".balign 4096",
        "mrs x4, oslsr_el1",
        "mrs x5, osdlr_el1",
        "msr oslar_el1, x0",
        "msr osdlr_el1, x1",
        "msr mdscr_el1, x2",
        "msr dbgbvr0_el1, x3",
        "mrs x0, oslsr_el1",
        "mrs x1, osdlr_el1",
        "mrs x2, mdscr_el1",
        "mrs x3, dbgbvr0_el1",
        "isb",
        "ret",
        ".balign 4096",
    )
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST lock panicked FAILED: {info}");
    entry::stop()
}
