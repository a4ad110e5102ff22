//! The way to ring 3: descriptors, a stack for the exceptions that come from there, and pages that programs may use.

use core::arch::asm;
use core::cell::UnsafeCell;

use plinth_test_guests::Report;

/// Selectors: that of the kernel's code is where the entry code has it.
const USER_DATA: u64 = 4 << 3 | 3;
const USER_CODE: u64 = 5 << 3 | 3;
const TASK: u16 = 6 << 3;
/// RFLAGS: IOPL 3, so that the program can write to the serial port, and bit 1.
const FLAGS: u64 = 3 << 12 | 2;
/// Page-table entries: user. Addresses in them.
const USER: u64 = 1 << 2;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

const STACK_SIZE: usize = 32 << 10;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: used by one processor, in turn.
unsafe impl Sync for Stack {}

static USER_STACK: Stack = Stack(UnsafeCell::new([0; STACK_SIZE]));
static EXCEPTION_STACK: Stack = Stack(UnsafeCell::new([0; STACK_SIZE]));

/// The task-state segment: of it RSP0 is used (Intel SDM vol. 3A, 8.7; AMD64 APM vol. 2, 12.2.5).
#[repr(C, packed(4))]
struct TaskState {
    reserved: u32,
    stack: u64,
    rest: [u32; 22],
    ports: u32,
}

struct Place<T>(UnsafeCell<T>);

// SAFETY: written by one processor before anything reads it.
unsafe impl<T> Sync for Place<T> {}

static TASK_STATE: Place<TaskState> =
    Place(UnsafeCell::new(TaskState { reserved: 0, stack: 0, rest: [0; 22], ports: 104 << 16 }));
static DESCRIPTORS: Place<[u64; 8]> = Place(UnsafeCell::new([0; 8]));

/// The operand of LGDT.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

fn end(stack: &'static Stack) -> u64 {
    stack.0.get() as u64 + STACK_SIZE as u64
}

/// The privilege level that this runs at.
pub(crate) fn level() -> u64 {
    let selector: u64;
    // SAFETY: reading CS changes nothing.
    unsafe { asm!("mov {}, cs", out(reg) selector, options(nomem, nostack, preserves_flags)) }
    selector & 3
}

/// The program to be entered, and its arguments.
struct Program {
    run: fn(Report, u64) -> !,
    report: Option<Report>,
    argument: u64,
}

/// Runs a program in ring 3, which does not come back.
///
/// # Safety
/// The caller uses no descriptor table but the entry code's, all memory below 4 GiB is mapped one to one, and one processor runs.
pub(crate) unsafe fn enter(run: fn(Report, u64) -> !, report: Report, argument: u64) -> ! {
    let mut program = Program { run, report: Some(report), argument };
    // SAFETY: one processor runs; the tables are as the caller says.
    unsafe {
        open_pages();
        load_descriptors();
        asm!(
            "push {data}",
            "push {stack}",
            "push {flags}",
            "push {code}",
            "push {entry}",
            "iretq",
            data = in(reg) USER_DATA,
            // As after a call.
            stack = in(reg) end(&USER_STACK) - 8,
            flags = in(reg) FLAGS,
            code = in(reg) USER_CODE,
            entry = in(reg) arrive as *const () as u64,
            in("rdi") &raw mut program,
            options(noreturn)
        )
    }
}

extern "sysv64" fn arrive(program: &mut Program) -> ! {
    let (run, argument) = (program.run, program.argument);
    match program.report.take() {
        Some(report) => run(report, argument),
        None => plinth_test_guests::report::end(plinth_test_guests::report::FAILED),
    }
}

/// Lets programs use all of the 4 GiB that the entry code has mapped.
///
/// # Safety
/// As [`enter`].
unsafe fn open_pages() {
    let root: u64;
    // SAFETY: reading CR3 changes nothing; tables are mapped one to one, and giving more rights harms nobody.
    unsafe {
        asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags));
        let open = |table: u64, index: u64| {
            let entry = (table + index * 8) as *mut u64;
            entry.write_volatile(entry.read_volatile() | USER);
            entry.read_volatile() & ADDRESS
        };
        let pointers = open(root & ADDRESS, 0);
        for directory in (0..4).map(|index| open(pointers, index)) {
            (0..512).for_each(|index| _ = open(directory, index));
        }
        asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags));
    }
}

/// # Safety
/// As [`enter`].
unsafe fn load_descriptors() {
    let task = TASK_STATE.0.get();
    let at = task as u64;
    // SAFETY: one processor runs, and nothing uses these yet. The first four descriptors are the entry code's.
    unsafe {
        (*task).stack = end(&EXCEPTION_STACK);
        DESCRIPTORS.0.get().write([
            0,
            0,
            0x00AF_9B00_0000_FFFF,
            0x00CF_9300_0000_FFFF,
            0x00CF_F300_0000_FFFF,
            0x00AF_FB00_0000_FFFF,
            // An available 64-bit task state of 104 bytes.
            103 | (at & 0xFF_FFFF) << 16 | 0x89 << 40 | (at >> 24 & 0xFF) << 56,
            at >> 32,
        ]);
        let pointer = Pointer { limit: 8 * 8 - 1, base: DESCRIPTORS.0.get() as u64 };
        asm!("lgdt [{}]", "ltr {:x}", in(reg) &raw const pointer, in(reg) TASK, options(nostack, preserves_flags));
    }
}
