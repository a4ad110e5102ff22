//! CR0, CR3, CR4 and CR8: what the guest writes it reads, and what the processor refuses it refuses.
//!
//! Under Intel's VMX some bits of CR0 and CR4 are the kernel's, and only writes that change one of those exit. So each
//! write is tried with such a bit changed too (CR0.NE), and must come to the same.

use core::arch::asm;

use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, probe};

const PE: u64 = 1 << 0;
const MP: u64 = 1 << 1;
const TS: u64 = 1 << 3;
const NE: u64 = 1 << 5;
const WP: u64 = 1 << 16;
const AM: u64 = 1 << 18;
const NW: u64 = 1 << 29;
const CD: u64 = 1 << 30;
const PG: u64 = 1 << 31;
/// CR4 bits that every 64-bit processor has and that nothing here depends on: TSD, DE, PCE.
const CR4_HARMLESS: [u64; 3] = [1 << 2, 1 << 3, 1 << 8];
const CR4_PAE: u64 = 1 << 5;

/// #GP at a write of a control register with a REX-less form of three bytes.
const REFUSED: Option<Fault> = Some(Fault::general_protection(3));

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: Reading a control register changes nothing.
        unsafe {
            asm!(concat!("mov {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags))
        }
        value
    }};
}

/// Writes a control register; the result is the fault that it raises. The machine goes on with that value in it.
macro_rules! write {
    ($text:literal, $value:expr) => {{
        // SAFETY: Each value is either refused or harmless to code that uses neither x87 nor SSE, and is put back.
        unsafe { probe!($text; in("rax") $value) }
    }};
}

pub(super) fn run(report: &mut Report) {
    cpu::without_interrupts(|| {
        cr0(report);
        machine_status(report);
        cr4(report);
        cr8(report);
        if cpu::is_amd() {
            report.skip("control-registers-refused", "no exit on AMD, so the processor alone answers");
        } else {
            cr0_refused(report);
            cr3_cr4_refused(report);
        }
    });
}

/// Each bit alone and together with NE.
fn cr0(report: &mut Report) {
    let before = read!("cr0");
    for change in [NE, MP, TS, WP, AM, CD] {
        for value in [before ^ change, before ^ change ^ NE] {
            let fault = write!("mov cr0, rax", value);
            let found = read!("cr0");
            let restored = write!("mov cr0, rax", before);
            check!(report, "cr0-write", [fault, restored], [None; 2]);
            check!(report, "cr0-reads-back", found, value);
        }
    }
    let found = read!("cr0");
    check!(report, "cr0-restored", found, before);
}

/// CLTS, LMSW and SMSW, with NE as it was and changed.
fn machine_status(report: &mut Report) {
    let before = read!("cr0");
    for base in [before, before ^ NE] {
        let _ = write!("mov cr0, rax", base | TS);
        let status: u64;
        // SAFETY: Task switches are noted by nobody here. SMSW only reads.
        unsafe { asm!("smsw {:e}", out(reg) status, options(nomem, nostack, preserves_flags)) }
        check!(report, "smsw", status & 0xffff, (base | TS) & 0xffff);
        // SAFETY: As above.
        unsafe { asm!("clts", options(nomem, nostack)) }
        let cleared = read!("cr0");
        check!(report, "clts", cleared, base & !TS);
        // SAFETY: As above; PE cannot be cleared in this way.
        unsafe { asm!("lmsw {:x}", in(reg) TS as u16, options(nomem, nostack)) }
        let loaded = read!("cr0");
        check!(report, "lmsw", loaded, base & !0xf | PE | TS);
    }
    let restored = write!("mov cr0, rax", before);
    check!(report, "machine-status-restored", restored, None);
}

fn cr4(report: &mut Report) {
    let before = cpu::read_cr4();
    for change in CR4_HARMLESS {
        let fault = write!("mov cr4, rax", before ^ change);
        let found = cpu::read_cr4();
        let restored = write!("mov cr4, rax", before);
        check!(report, "cr4-write", [fault, restored], [None; 2]);
        check!(report, "cr4-reads-back", found, before ^ change);
    }
}

/// The task priority in four bits; more are refused.
fn cr8(report: &mut Report) {
    let before = read!("cr8");
    let fault = write!("mov cr8, rax", 0xau64);
    let found = read!("cr8");
    check!(report, "cr8", (fault, found), (None, 0xa));
    if !cpu::is_amd() {
        let refused = write!("mov cr8, rax", 0x10u64);
        check!(report, "cr8-refused", refused, Some(Fault::general_protection(4)));
    }
    let restored = write!("mov cr8, rax", before);
    check!(report, "cr8-restored", restored, None);
}

fn cr0_refused(report: &mut Report) {
    let before = read!("cr0");
    for (name, value) in [
        ("cr0-upper-half-refused", before | 1 << 32),
        ("cr0-pg-without-pe-refused", before & !PE),
        ("cr0-nw-without-cd-refused", before & !CD | NW),
        ("cr0-paging-off-in-64-bit-code-refused", before & !PG),
    ] {
        for value in [value, value ^ NE] {
            let fault = write!("mov cr0, rax", value);
            check!(report, name, fault, REFUSED);
        }
    }
    // A bit that no processor has is ignored.
    let fault = write!("mov cr0, rax", before ^ NE | 1 << 7);
    let found = read!("cr0");
    let restored = write!("mov cr0, rax", before);
    check!(report, "cr0-reserved-ignored", (fault, found, restored), (None, before ^ NE, None));
    let after = read!("cr0");
    check!(report, "cr0-refused-changes-nothing", after, before);
}

fn cr3_cr4_refused(report: &mut Report) {
    let cr3 = read!("cr3");
    check!(report, "cr3-write", write!("mov cr3, rax", cr3), None);
    let fault = write!("mov cr3, rax", cr3 | 1 << 61);
    check!(report, "cr3-beyond-address-space-refused", fault, REFUSED);
    let cr4 = cpu::read_cr4();
    for (name, value) in [
        ("cr4-reserved-refused", cr4 | 1 << 31),
        ("cr4-upper-half-refused", cr4 | 1 << 32),
        ("cr4-pae-off-in-long-mode-refused", cr4 & !CR4_PAE),
    ] {
        let fault = write!("mov cr4, rax", value);
        check!(report, name, fault, REFUSED);
    }
    let found = (read!("cr3"), cpu::read_cr4());
    check!(report, "cr3-cr4-refused-changes-nothing", found, (cr3, cr4));
}
