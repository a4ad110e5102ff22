//! The hypervisor's own memory: it reads as zeroes, and what is written to it vanishes.

use core::arch::asm;

use plinth_test_guests::reservation::{self, Reservation};
use plinth_test_guests::{Report, check, cpu, plinth, say};

const PAGE: u64 = 4096;
/// RFLAGS.TF.
const TRAP: u64 = 1 << 8;

pub(super) fn run(report: &mut Report) {
    let found = reservation::find().filter(|_| plinth::is_there());
    let Some(reservation) = found else {
        return report.skip("reservation", "not under Plinth");
    };
    say!("the reservation is at {:#x}, {:#x} bytes", reservation.start, reservation.size);
    reads_zero(report, reservation);
    vanishes(report, reservation);
    check!(report, "reservation-no-trap-flag", cpu::flags() & TRAP == 0);
    reads_zero(report, reservation);
}

/// Eight bytes of any address.
fn read(at: u64) -> u64 {
    let value;
    // SAFETY: The memory map says that there is memory, and reading it changes nothing.
    unsafe { asm!("mov {}, [{}]", out(reg) value, in(reg) at, options(nostack, readonly)) }
    value
}

fn reads_zero(report: &mut Report, reservation: Reservation) {
    let pages = (0..reservation.size / PAGE).map(|page| reservation.start + page * PAGE);
    let zero = pages.flat_map(|page| [page, page + 0x7f8, page + PAGE - 8]).all(|at| read(at) == 0);
    check!(report, "reservation-reads-zero", zero);
}

/// Runs an instruction that writes around `{at}`, and checks that nothing is there afterwards.
macro_rules! vanishes {
    ($report:expr, $at:expr, $name:literal, $($text:literal),+ ; $($operands:tt)*) => {{
        let at: u64 = $at;
        // SAFETY: What is written is the hypervisor's own memory, and must vanish; if it does not, all is lost anyway.
        cpu::without_interrupts(|| unsafe { asm!($($text,)+ at = in(reg) at, $($operands)*) });
        let words = [at - 16, at - 8, at, at + 8, at + 16].map(read);
        check!($report, concat!("reservation-", $name), words == [0; 5]);
    }};
}

fn vanishes(report: &mut Report, reservation: Reservation) {
    let page = reservation.start + PAGE;
    let middle = page + 0x800;
    vanishes!(report, middle, "mov", "mov [{at}], {value}"; value = in(reg) u64::MAX);
    vanishes!(report, middle, "mov-byte", "mov byte ptr [{at} + 3], 0x55";);
    vanishes!(report, middle, "movups", "movups [{at}], xmm0"; out("xmm0") _);
    vanishes!(report, middle, "locked-add", "lock add dword ptr [{at}], 5";);
    vanishes!(report, middle, "locked-xchg", "xchg [{at}], {value}"; value = inout(reg) u64::MAX => _);
    vanishes!(report, middle, "push", "mov {old}, rsp", "mov rsp, {at}", "push {at}", "mov rsp, {old}";
        old = out(reg) _);
    vanishes!(report, page, "rep-stosb", "rep stosb /* {at} */";
        inout("rdi") page - 8 => _, inout("rcx") 24u64 => _, in("al") 0x55u8);
    vanishes!(report, middle, "rep-movsq", "rep movsq /* {at} */";
        inout("rsi") middle - 0x100 => _, inout("rdi") middle => _, inout("rcx") 2u64 => _);
    vanishes!(report, page, "mov-across-pages", "mov [{at} - 4], {value}"; value = in(reg) u64::MAX);
}
