//! A page is hooked while it is in use: each write is seen with its address, takes effect, and the next one is seen too.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_extension_page_hook::{HOOK, REFUSED, UNHOOK, WHERE};
use plinth_test_guests::{Report, check, cpu, plinth, trap};
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::prelude::*;

const READ: u64 = 1;
const EXECUTE: u64 = 4;
const RETURN: u8 = 0xC3;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("page-hook");
    let page = boot::allocate_pages(AllocateType::AnyPages, MemoryType::LOADER_CODE, 1);
    let page = page.map_or(0, |page| page.as_ptr() as u64);
    if !plinth::is_there() {
        report.skip("page-hook", "there is no Plinth to hook it");
        report.done()
    }
    check!(report, "allocated", page != 0);
    cpu::without_interrupts(|| {
        writes(&mut report, page);
        across(&mut report, page);
        execute_only(&mut report, page);
    });
    report.done()
}

/// Writes, and says from where.
fn write(at: u64, value: u64) -> u64 {
    let from;
    // SAFETY: The page is this program's own.
    unsafe {
        asm!("lea {from}, [rip + 2f]", "2: mov [{at}], {value}", from = out(reg) from, at = in(reg) at,
            value = in(reg) value, options(nostack))
    }
    from
}

fn read(at: u64) -> u64 {
    // SAFETY: The page is this program's own.
    unsafe { (at as *const u64).read_volatile() }
}

fn writes(report: &mut Report, page: u64) {
    check!(report, "hook", plinth::hypercall(HOOK, page | READ | EXECUTE), Ok(0));
    for round in 1..=3 {
        let from = write(page + 8 * round, round);
        check!(report, "write-takes-effect", read(page + 8 * round), round);
        check!(report, "write-is-seen", plinth::hypercall(WHERE, 0), Ok(from));
    }
    check!(report, "trap-flag", cpu::flags() & 1 << 8 == 0);
    check!(report, "hits", plinth::hypercall(UNHOOK, 0), Ok(3));
    write(page, 4);
    check!(report, "unhooked", plinth::hypercall(UNHOOK, 0), Ok(0));
}

/// A string instruction: each iteration that touches the page is a hit.
fn across(report: &mut Report, page: u64) {
    check!(report, "hook-again", plinth::hypercall(HOOK, page | READ | EXECUTE), Ok(0));
    // SAFETY: Three bytes of the page, which is this program's own.
    unsafe {
        asm!("rep stosb", inout("rdi") page => _, inout("rcx") 3u64 => _, in("al") 0x55u8, options(nostack))
    }
    check!(report, "string", read(page) & 0xFF_FFFF, 0x55_5555);
    let hits = plinth::hypercall(UNHOOK, 0);
    check!(report, "string-is-seen", matches!(hits, Ok(1..=3)));
}

/// Where the machine has it: code that runs unseen and cannot be read unseen.
fn execute_only(report: &mut Report, page: u64) {
    // SAFETY: The page is this program's own, and can be run.
    unsafe { (page as *mut u8).write_volatile(RETURN) };
    match plinth::hypercall(HOOK, page | EXECUTE) {
        Ok(0) => {
            // SAFETY: It is a function that returns.
            let function: extern "sysv64" fn() = unsafe { core::mem::transmute(page) };
            function();
            check!(report, "execute-only-reads", read(page) & 0xFF, u64::from(RETURN));
            check!(report, "execute-only-hits", plinth::hypercall(UNHOOK, 0), Ok(1));
        }
        Ok(REFUSED) => report.skip("execute-only", "the machine has no such pages"),
        other => check!(report, "execute-only", other, Ok(0)),
    }
}
