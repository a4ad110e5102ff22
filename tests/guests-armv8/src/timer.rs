//! Sets the timer of the extension `timed` and does nothing that exits, with interrupts of its own masked, waiting and
//! served meanwhile: the run ends in time, and no interrupt is lost, or seen where it is masked.

#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;

use plinth_test_extensions::{TEST_HYPERCALL, TIMED_LATENESS};
use plinth_test_guests_armv8::gic::To;
use plinth_test_guests_armv8::machine::Gic;
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, gic, read, say, system, write};

/// Milliseconds until the timer ends a run, and until a timer of this VM's own rings.
const AHEAD: u64 = 200;
const OWN: u64 = 50;
/// What is so many milliseconds late has come by something else; and how long the guest waits for it.
const LATE: u64 = 5_000;
const PATIENCE: u64 = 15_000;
/// The interrupt that this processor sends itself.
const NUMBER: u32 = 6;
/// ISR_EL1.I: an IRQ waits.
const WAITS: u64 = 1 << 7;

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("timer", &machine);
    if machine.reservation().is_none() {
        report.skip("timer", "there is no Plinth whose timer could be set");
        report.done(&machine)
    }
    gic::enable(machine.gic);
    let before = gic::hypervisor_timer(machine.gic);
    check!(report, "at-once", ends(0, spin));
    check!(report, "interrupts-off", ends(AHEAD, spin));
    check!(report, "asleep", ends(AHEAD, sleep));
    check!(report, "no-interrupt-is-lost", opened(), 1);
    interrupted(&mut report, machine.gic);
    if let Gic::V3(..) = machine.gic {
        waiting(&mut report);
        masked(&mut report, machine.gic);
        acknowledged(&mut report, machine.gic);
    } else {
        report.skip("waiting", "there an interrupt that waits keeps the timer out");
    }
    check!(report, "another-time-replaces-the-first", ends(0, spin));
    check!(report, "the-controller-is-as-before", gic::hypervisor_timer(machine.gic), before);
    report.done(&machine)
}

fn milliseconds(count: u64) -> u64 {
    count * system::ticks_per_millisecond()
}

/// Whether a run ends by the timer and in time, that many milliseconds from now; `wait` comes back when it has, or does not
/// want to wait any more.
fn ends(ahead: u64, wait: impl FnOnce(u64)) -> bool {
    wait(milliseconds(ahead));
    let late = calls::hvc([TEST_HYPERCALL, TIMED_LATENESS, 0, 0])[0];
    if late >= milliseconds(LATE) {
        say!("a run ended {late:#x} ticks late");
    }
    late < milliseconds(LATE)
}

/// Sets the timer, and waits by an instruction again and again until X15 is set.
macro_rules! wait_by {
    ($instruction:literal, $ahead:expr) => {
        // SAFETY: the hypercall changes X0, and X15 later; the vectors handle what comes meanwhile.
        unsafe {
            asm!(
                "mov x15, #0",
                "hvc #0",
                "2:",
                $instruction,
                "mrs {now}, cntvct_el0",
                "cbnz x15, 3f",
                "cmp {now}, {end}",
                "b.lo 2b",
                "3:",
                now = out(reg) _,
                end = in(reg) system::ticks() + milliseconds(PATIENCE) + $ahead,
                inout("x0") TEST_HYPERCALL => _,
                inout("x1") $ahead => _,
                out("x2") _,
                out("x3") _,
                out("x15") _,
            )
        }
    };
}

/// Sets the timer and looks at X15 until it is set.
fn spin(ahead: u64) {
    wait_by!("isb", ahead);
}

/// Sets the timer and sleeps until X15 is set. This VM's own timer wakes it sooner once, and is not served.
fn sleep(ahead: u64) {
    gic::set_timer(AHEAD + PATIENCE);
    wait_by!("wfi", ahead);
    gic::set_timer(0);
}

/// Lets interrupts in until one of this VM's own timer has come. Returns how many have.
fn opened() -> u64 {
    let own = system::affinity();
    let before = gic::timer_count(own);
    gic::open(true);
    system::wait(PATIENCE, || gic::timer_count(own) != before);
    gic::open(false);
    gic::timer_count(own) - before
}

/// With interrupts on, and one that comes meanwhile. Where the timer is kept out from then on, that counts alone.
fn interrupted(report: &mut Report, gic: Gic) {
    let own = system::affinity();
    let before = gic::timer_count(own);
    gic::set_timer(OWN);
    gic::open(true);
    match gic {
        Gic::V3(..) => check!(report, "interrupts-on", ends(AHEAD, spin)),
        _ => _ = calls::hvc([TEST_HYPERCALL, milliseconds(AHEAD), 0, 0]),
    }
    let came = system::wait(PATIENCE, || gic::timer_count(own) != before);
    gic::open(false);
    check!(report, "interrupt-comes", came);
    check!(report, "interrupt-comes-once", gic::timer_count(own) - before, 1);
}

/// With interrupts off, and one that waits from some time on.
fn waiting(report: &mut Report) {
    let own = system::affinity();
    let before = gic::timer_count(own);
    gic::set_timer(OWN);
    check!(report, "waiting", ends(AHEAD, spin));
    check!(report, "interrupt-waits", (gic::timer_count(own) - before, read!("isr_el1") & WAITS), (0, WAITS));
    check!(report, "interrupt-has-waited", opened(), 1);
}

/// With one that the interface's mask holds back, interrupts on.
fn masked(report: &mut Report, gic: Gic) {
    const HELD_BACK: u64 = 0x80;
    let own = system::affinity();
    let before = gic::count(own, NUMBER);
    // SAFETY: the mask lets through what is more urgent than all of this VM's own.
    unsafe { write!("S3_0_C4_C6_0", HELD_BACK) };
    gic::send(gic, To::Itself, NUMBER);
    gic::open(true);
    check!(report, "masked", ends(AHEAD, spin));
    check!(report, "mask-holds", (gic::count(own, NUMBER) - before, read!("S3_0_C4_C6_0")), (0, HELD_BACK));
    // SAFETY: the vectors handle what comes.
    unsafe { write!("S3_0_C4_C6_0", 0xFF_u64) };
    check!(report, "mask-opens", system::wait(PATIENCE, || gic::count(own, NUMBER) == before + 1));
    gic::open(false);
}

/// The interface as this VM sees it while the timer is set: an interrupt is sent, waits, is acknowledged and ended by hand.
fn acknowledged(report: &mut Report, gic: Gic) {
    // SAFETY: as in `masked`.
    unsafe { write!("S3_0_C4_C6_0", 0xF0_u64) };
    calls::hvc([TEST_HYPERCALL, milliseconds(PATIENCE), 0, 0]);
    gic::send(gic, To::Itself, NUMBER);
    check!(report, "irq-waits", system::wait(PATIENCE, || read!("isr_el1") & WAITS != 0));
    check!(report, "mask-reads-back", read!("S3_0_C4_C6_0"), 0xF0);
    check!(report, "pending", read!("S3_0_C12_C12_2"), u64::from(NUMBER));
    check!(report, "acknowledged", read!("S3_0_C12_C12_0"), u64::from(NUMBER));
    check!(report, "running", read!("S3_0_C12_C11_3") & 0xFF, 0xA0);
    check!(report, "irq-is-gone", read!("isr_el1") & WAITS, 0);
    // SAFETY: the end of what was acknowledged.
    unsafe { write!("S3_0_C12_C12_1", u64::from(NUMBER)) };
    check!(report, "running-nothing", read!("S3_0_C12_C11_3") & 0xFF, 0xFF);
    check!(report, "nothing-pending", read!("S3_0_C12_C12_2"), 1023);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST timer panicked FAILED: {info}");
    entry::stop()
}
