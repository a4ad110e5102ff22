//! A page is hooked while it is in use: each write is seen with its address, takes effect, and the next one is seen too;
//! code on an execute-only page runs unseen and is not read unseen.

#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::AtomicU64;

use plinth_extension_page_hook::{HOOK, UNHOOK, WHERE};
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, plinth, say};

const READ: u64 = 1;
const EXECUTE: u64 = 4;

/// A page that is this program's own.
#[repr(align(4096))]
struct Page([AtomicU64; 512]);

static PAGE: Page = Page([const { AtomicU64::new(0) }; 512]);

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("page-hook", &machine);
    if machine.reservation().is_none() {
        report.skip("page-hook", "there is no Plinth to hook it");
        report.done(&machine)
    }
    let page = PAGE.0.as_ptr() as u64;
    writes(&mut report, page);
    execute_only(&mut report);
    // Under the example `trace` this writes its histogram to the log.
    check!(report, "report", plinth::report());
    report.done(&machine)
}

fn hypercall(number: u64, argument: u64) -> u64 {
    calls::hvc([number, argument, 0, 0])[0]
}

/// Writes, and says from where.
fn write(at: u64, value: u64) -> u64 {
    let from;
    // SAFETY: The page is this program's own.
    unsafe {
        asm!("adr {from}, 2f", "2: str {value}, [{at}]", from = out(reg) from, at = in(reg) at,
            value = in(reg) value, options(nostack))
    }
    from
}

fn read(at: u64) -> u64 {
    // SAFETY: Reading this program's own memory changes nothing.
    unsafe { (at as *const u64).read_volatile() }
}

fn writes(report: &mut Report, page: u64) {
    check!(report, "hook", hypercall(HOOK, page | READ | EXECUTE), 0);
    for round in 1..=3 {
        let from = write(page + 8 * round, round);
        check!(report, "write-takes-effect", read(page + 8 * round), round);
        check!(report, "write-is-seen", hypercall(WHERE, 0), from);
    }
    check!(report, "hits", hypercall(UNHOOK, 0), 3);
    write(page, 4);
    check!(report, "unhooked", hypercall(UNHOOK, 0), 0);
}

/// The page of a function's code, hooked for reads.
fn execute_only(report: &mut Report) {
    let code = answer as *const () as u64;
    check!(report, "execute-only-hook", hypercall(HOOK, code & !4095 | EXECUTE), 0);
    // SAFETY: It is a function.
    let result = unsafe { answer() };
    let before = hypercall(UNHOOK, 0);
    check!(report, "execute-only-runs-unseen", (result, before), (42, 0));
    check!(report, "execute-only-hook-again", hypercall(HOOK, code & !4095 | EXECUTE), 0);
    let word = read(code & !7);
    let hits = hypercall(UNHOOK, 0);
    check!(report, "execute-only-reads-are-seen", (word != 0, hits), (true, 1));
}

/// Alone on its page.
#[unsafe(naked)]
unsafe extern "C" fn answer() -> u64 {
    core::arch::naked_asm!(".balign 4096", "mov x0, #42", "ret", ".balign 4096")
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST page-hook panicked FAILED: {info}");
    entry::stop()
}
