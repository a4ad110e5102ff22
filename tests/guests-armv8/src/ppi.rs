//! Tries to shut the interrupt of the hypervisor's timer out, by each register of a redistributor, on its own processor and from
//! another one: the timer that an extension has set ends the run in time nevertheless. What else these registers have is as
//! written, by whatever instruction. Under the extension `timed`, with GICv3.

#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plinth_test_extensions::{TEST_HYPERCALL, TIMED_LATENESS};
use plinth_test_guests_armv8::calls::{self, CPU_ON};
use plinth_test_guests_armv8::{Machine, Report, check, entry, gic, say, secondary, system, trap};

/// Milliseconds until the timer ends a run, after which it is late, and how long this processor does nothing but look.
const AHEAD: u64 = 50;
const LATE: u64 = 400;
const PATIENCE: u64 = 1_000;
/// The timer's interrupt, and a PPI that nobody has here.
const TIMER: u32 = 26;
const OTHER: u32 = 20;

/// Registers with a bit for each interrupt, and what shuts the timer's out: group, enabled, active.
const SHUTS: [(&str, u64, u32); 6] = [
    ("clear-enable", 0x180, 1 << TIMER),
    ("clear-all", 0x180, u32::MAX),
    ("set-active", 0x300, 1 << TIMER),
    ("group-0", 0x80, 0),
    ("priority", 0x400 + (TIMER & !3) as u64, u32::MAX),
    ("edge", 0xC04, u32::MAX),
];

/// The frame that the second processor writes to; 0 once it is to stop.
static FRAME: AtomicU64 = AtomicU64::new(0);
static WRITES: AtomicBool = AtomicBool::new(false);

fn word(frame: u64, offset: u64) -> *mut u32 {
    (frame + offset) as *mut u32
}

fn put(frame: u64, offset: u64, value: u32) {
    // SAFETY: the device tree says that a redistributor is there. Its interrupts are off but for those that nobody sends.
    unsafe { word(frame, offset).write_volatile(value) };
}

fn get(frame: u64, offset: u64) -> u32 {
    // SAFETY: as in `put`; reading changes nothing.
    unsafe { word(frame, offset).read_volatile() }
}

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("ppi", &machine);
    let Some(frame) = gic::private_frame(machine.gic).filter(|_| machine.reservation().is_some()) else {
        report.skip("ppi", "there is no Plinth, or no GICv3");
        report.done(&machine)
    };
    gic::enable(machine.gic);
    check!(report, "left-alone", is_in_time(|| ()));
    for (name, offset, value) in SHUTS {
        let before = get(frame, offset);
        check!(report, name, is_in_time(|| put(frame, offset, value)));
        put(frame, if offset == 0x180 { 0x100 } else { offset }, before);
        put(frame, 0x380, u32::MAX);
    }
    stores(&mut report, frame);
    from_another(&mut report, &machine, frame);
    report.done(&machine)
}

/// Whether a run ends in time that does nothing but `shut` something once, and look at the time.
fn is_in_time(shut: impl FnOnce()) -> bool {
    let ticks = |milliseconds| milliseconds * system::ticks_per_millisecond();
    calls::hvc([TEST_HYPERCALL, ticks(AHEAD), 0, 0]);
    shut();
    system::wait(PATIENCE, || false);
    let late = calls::hvc([TEST_HYPERCALL, TIMED_LATENESS, 0, 0])[0];
    if late >= ticks(LATE) {
        say!("ppi: a run ended {late:#x} ticks late");
    }
    late < ticks(LATE)
}

/// Each kind of store does as on the bare machine.
fn stores(report: &mut Report, frame: u64) {
    let enabled = || get(frame, 0x100) >> OTHER & 1;
    put(frame, 0x100, 1 << OTHER);
    check!(report, "enabled", enabled(), 1);
    put(frame, 0x180, 1 << OTHER);
    check!(report, "disabled", enabled(), 0);
    let priorities = frame + 0x400 + u64::from(OTHER);
    // SAFETY: a byte for each interrupt, of which nobody sends these.
    unsafe { (priorities as *mut u8).add(1).write_volatile(0x50) };
    check!(report, "byte", get(frame, 0x400 + u64::from(OTHER)) >> 8 & 0xFF, 0x50);
    let (at, pair): (u64, u64);
    // SAFETY: the same; the registers of interrupts 16 to 23 are there.
    unsafe {
        asm!("str {value:w}, [{at}], #4", at = inout(reg) priorities => at, value = in(reg) 0x4040_4040_u64);
        asm!("stp {value:w}, wzr, [{pair}, #-4]!", pair = inout(reg) priorities => pair, value = in(reg) 0x6060_6060_u64);
    }
    check!(report, "post-indexed", at, priorities + 4);
    check!(report, "pair-pre-indexed", pair, priorities - 4);
    check!(report, "pair", [get(frame, 0x410), get(frame, 0x414)], [0x6060_6060, 0]);
    // SAFETY: the same.
    let caught = trap::catch(|| unsafe {
        asm!("stnp {value:w}, wzr, [{at}]", at = in(reg) priorities, value = in(reg) 0_u64);
    });
    check!(report, "what-no-register-takes-is-aborted", caught.map(|trap| trap.syndrome & 0x3F), Some(0x10));
    for offset in [0x410, 0x414] {
        put(frame, offset, 0xA0A0_A0A0);
    }
}

/// The second processor shuts the timer's interrupt of this one out again and again.
fn from_another(report: &mut Report, machine: &Machine, frame: u64) {
    let Some(other) = machine.another() else {
        report.skip("from-another", "there is no second processor");
        return;
    };
    FRAME.store(frame, Ordering::SeqCst);
    let (entry, context) = secondary::prepare(second, 0);
    let started = calls::result(calls::firmware(machine.conduit, [CPU_ON, other, entry, context]));
    check!(report, "second-processor", started, 0);
    check!(report, "it-writes", system::wait(PATIENCE, || WRITES.load(Ordering::SeqCst)));
    for _ in 0..3 {
        check!(report, "from-another", is_in_time(|| ()));
    }
    FRAME.store(0, Ordering::SeqCst);
}

fn second(_: u64) -> ! {
    loop {
        let frame = FRAME.load(Ordering::SeqCst);
        if frame != 0 {
            for (_, offset, value) in SHUTS {
                put(frame, offset, value);
            }
            WRITES.store(true, Ordering::SeqCst);
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST ppi panicked FAILED: {info}");
    entry::stop()
}
