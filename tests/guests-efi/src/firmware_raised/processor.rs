//! The machine's second processor, started and switched off by PSCI (Arm DEN 0022) as an OS does.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use uefi::boot;

/// CPU_ON and AFFINITY_INFO with 64-bit arguments.
const CPU_ON: u64 = 0xC400_0003;
const AFFINITY_INFO: u64 = 0xC400_0004;
/// AFFINITY_INFO's answer for one that is off.
const IS_OFF: u64 = 1;
/// The affinity of QEMU's second processor.
const SECOND: u64 = 1;
/// Milliseconds that it may take.
const PATIENCE: u32 = 10_000;

/// What it and the first one tell each other, in memory: its caches are off.
#[repr(C, align(2048))]
struct Board {
    /// CurrentEL as it finds it.
    level: AtomicU64,
    /// Not 0 where it is to end.
    ends: AtomicU64,
}

static BOARD: Board = Board { level: AtomicU64::new(0), ends: AtomicU64::new(0) };

/// Brings both words to memory, or from there.
fn synchronize() {
    // SAFETY: a line of this application's data.
    unsafe {
        asm!("dsb sy", "dc civac, {}", "dsb sy", in(reg) &raw const BOARD, options(nostack, preserves_flags))
    };
}

/// Calls the firmware.
fn firmware(number: u64, arguments: [u64; 3]) -> u64 {
    let mut result = number;
    let [first, second, third] = arguments;
    // SAFETY: by SMCCC the firmware keeps all but X0 to X17.
    unsafe {
        asm!(
            "smc #0",
            inout("x0") result,
            inout("x1") first => _,
            inout("x2") second => _,
            inout("x3") third => _,
            out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _,
            out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
            options(nostack)
        );
    }
    result
}

fn wait(done: impl Fn() -> bool) -> bool {
    let mut waited = 0;
    while !done() && waited < PATIENCE {
        boot::stall(Duration::from_millis(1));
        waited += 1;
    }
    done()
}

/// Starts it. Returns the exception level that it runs at.
pub(crate) fn start() -> Option<u64> {
    BOARD.level.store(0, Ordering::SeqCst);
    BOARD.ends.store(0, Ordering::SeqCst);
    synchronize();
    let (entry, board) = (run as *const () as u64, &raw const BOARD as u64);
    (firmware(CPU_ON, [SECOND, entry, board]) == 0).then_some(())?;
    let level = || {
        synchronize();
        BOARD.level.load(Ordering::SeqCst) >> 2
    };
    wait(|| level() != 0).then(level)
}

/// Has it switch itself off. Returns whether it is.
pub(crate) fn end() -> bool {
    BOARD.ends.store(1, Ordering::SeqCst);
    synchronize();
    wait(|| firmware(AFFINITY_INFO, [SECOND, 0, 0]) == IS_OFF)
}

/// What it runs, with its MMU off.
#[unsafe(naked)]
extern "C" fn run() -> ! {
    naked_asm!(
        "mrs x1, CurrentEL",
        "str x1, [x0]",
        "dsb sy",
        // BOUND: the first processor ends it.
        "1: ldr x2, [x0, #8]",
        "cbz x2, 1b",
        "mov w0, #2",
        "movk w0, #0x8400, lsl #16",
        "smc #0",
        "2: b 2b",
    )
}
