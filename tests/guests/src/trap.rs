//! Exceptions and interrupts, caught: the firmware's interrupt table with some vectors taken over.
//!
//! [`crate::probe!`] runs an instruction that may fault. The handler notes the fault and goes on behind the
//! instruction. A fault anywhere else ends the test.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::say;

/// A fault that an instruction raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The exception vector.
    pub vector: u64,
    /// The error code; 0 where the vector has none.
    pub code: u64,
    /// Bytes from the instruction at which it was raised to the end of the probe.
    pub length: u64,
}

/// #DB, #UD, #GP.
const DEBUG: usize = 1;
const UNDEFINED: u64 = 6;
const GENERAL_PROTECTION: u64 = 13;
/// The vector of the interrupts that tests send; nothing in the firmware uses it.
pub const TEST_VECTOR: u8 = 0xe5;
/// Two more, of which it is noted in which order they come.
pub const LOW_VECTOR: u8 = 0x75;
/// The one that has the higher priority.
pub const HIGH_VECTOR: u8 = 0x95;
/// What the local APIC delivers of an interrupt that has gone before it was asked for.
pub const SPURIOUS_VECTOR: u8 = 0xef;
/// No fault.
const NONE: u64 = u64::MAX;

/// Where to go on after a fault; 0 where none is expected.
#[doc(hidden)]
pub static RECOVERY: AtomicU64 = AtomicU64::new(0);
static VECTOR: AtomicU64 = AtomicU64::new(NONE);
static CODE: AtomicU64 = AtomicU64::new(0);
static LENGTH: AtomicU64 = AtomicU64::new(0);
static NMIS: AtomicU64 = AtomicU64::new(0);
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
static ORDER: AtomicU64 = AtomicU64::new(0);
static STEPS: AtomicU64 = AtomicU64::new(0);
static STEPPED_TO: AtomicU64 = AtomicU64::new(0);
/// Where the handler of [`TEST_VECTOR`] writes its end-of-interrupt.
static END_OF_INTERRUPT: AtomicU64 = AtomicU64::new(0);

/// Vectors below are exceptions.
const FIRST_INTERRUPT: usize = 32;
/// Gates in an interrupt table, of 16 bytes each (AMD64 APM vol. 2, 4.8.3).
const GATES: usize = 256;

/// The interrupt table in use.
static TABLE: [AtomicU64; GATES * 2] = [const { AtomicU64::new(0) }; GATES * 2];

/// The operand of LIDT and SIDT.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

impl Fault {
    /// #UD at an instruction of `length` bytes.
    pub const fn undefined(length: u64) -> Self {
        Self { vector: UNDEFINED, code: 0, length }
    }

    /// #GP(0) at an instruction of `length` bytes.
    pub const fn general_protection(length: u64) -> Self {
        Self { vector: GENERAL_PROTECTION, code: 0, length }
    }
}

/// Takes over the vectors that tests provoke; the firmware keeps the others.
pub fn install() {
    let firmware = firmware_table();
    for (place, value) in TABLE.iter().zip(firmware) {
        place.store(*value, Ordering::Relaxed);
    }
    set_gate(DEBUG, debug);
    set_gate(2, nmi);
    set_gate(UNDEFINED as usize, undefined);
    set_gate(12, stack);
    set_gate(GENERAL_PROTECTION as usize, general_protection);
    set_gate(14, page);
    set_gate(18, machine_check);
    set_gate(usize::from(TEST_VECTOR), interrupt);
    set_gate(usize::from(SPURIOUS_VECTOR), spurious);
    set_gate(usize::from(LOW_VECTOR), low);
    set_gate(usize::from(HIGH_VECTOR), high);
    load(TABLE.as_ptr() as u64, (size_of_val(&TABLE) - 1) as u16);
}

/// Takes over a vector with a handler of the caller's.
///
/// # Safety
/// The handler keeps what an interrupt must keep, takes the error code off the stack where there is one, and ends by IRET.
pub unsafe fn set_handler(vector: usize, handler: unsafe extern "C" fn()) {
    set_gate(vector, handler);
}

/// Takes over all interrupts, the firmware's too: each is ended and counted, and nothing else comes of it.
pub fn take_all_interrupts() {
    for vector in FIRST_INTERRUPT..GATES {
        set_gate(vector, any_interrupt);
    }
}

fn firmware_table() -> &'static [u64] {
    let mut pointer = Pointer { limit: 0, base: 0 };
    // SAFETY: SIDT writes the ten bytes of the pointer.
    unsafe { asm!("sidt [{}]", in(reg) &raw mut pointer, options(nostack, preserves_flags)) }
    let words = ((usize::from(pointer.limit) + 1) / 8).min(GATES * 2);
    // SAFETY: The table is where the processor reads it, so it is mapped; the firmware does not change it
    // while this application runs at its own pace.
    unsafe { core::slice::from_raw_parts(pointer.base as *const u64, words) }
}

/// Makes the processor use a table of `limit` + 1 bytes at `base`.
pub fn load(base: u64, limit: u16) {
    let pointer = Pointer { limit, base };
    // SAFETY: LIDT reads the pointer. The callers give a table whose gates lead to handlers, or want the machine to die.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, readonly, preserves_flags)) }
}

/// An interrupt gate to `handler` in the current code segment.
fn set_gate(vector: usize, handler: unsafe extern "C" fn()) {
    let selector: u64;
    // SAFETY: Reading CS changes nothing.
    unsafe { asm!("mov {}, cs", out(reg) selector, options(nomem, nostack, preserves_flags)) }
    let at = handler as usize as u64;
    let low = at & 0xffff | (selector & 0xffff) << 16 | 0x8e00 << 32 | (at >> 16 & 0xffff) << 48;
    TABLE[vector * 2].store(low, Ordering::Relaxed);
    TABLE[vector * 2 + 1].store(at >> 32, Ordering::Relaxed);
}

/// Forgets earlier faults.
#[doc(hidden)]
pub fn arm() {
    VECTOR.store(NONE, Ordering::SeqCst);
}

/// The fault since [`arm`].
#[doc(hidden)]
pub fn taken() -> Option<Fault> {
    RECOVERY.store(0, Ordering::SeqCst);
    let vector = VECTOR.load(Ordering::SeqCst);
    let (code, length) = (CODE.load(Ordering::SeqCst), LENGTH.load(Ordering::SeqCst));
    (vector != NONE).then_some(Fault { vector, code, length })
}

/// NMIs so far.
pub fn nmis() -> u64 {
    NMIS.load(Ordering::SeqCst)
}

/// Interrupts of [`TEST_VECTOR`] so far.
pub fn interrupts() -> u64 {
    INTERRUPTS.load(Ordering::SeqCst)
}

/// The interrupts of [`LOW_VECTOR`] and [`HIGH_VECTOR`] since the last call, the last one in the lowest byte.
pub fn order() -> u64 {
    ORDER.swap(0, Ordering::SeqCst)
}

/// Single-step traps so far, and where the last one came. Each ends the stepping.
pub fn steps() -> (u64, u64) {
    (STEPS.load(Ordering::SeqCst), STEPPED_TO.load(Ordering::SeqCst))
}

/// Says where the interrupt controller's end-of-interrupt register is.
pub fn set_end_of_interrupt(address: u64) {
    END_OF_INTERRUPT.store(address, Ordering::SeqCst);
}

/// Runs assembly that may fault: `probe!("text", …; operands)`, or with `finally "text"` before the operands for what
/// follows it in any case. The result is the fault, if there was one.
///
/// The caller's `unsafe` answers for what the assembly does where it does not fault.
#[macro_export]
macro_rules! probe {
    ($($text:literal),+ ; finally $last:literal ; $($operands:tt)*) => {{
        $crate::trap::arm();
        ::core::arch::asm!(
            "lea {scratch}, [rip + 77f]",
            "mov [rip + {recovery}], {scratch}",
            $($text,)+
            "77:",
            $last,
            scratch = out(reg) _,
            recovery = sym $crate::trap::RECOVERY,
            $($operands)*
        );
        $crate::trap::taken()
    }};
    ($($text:literal),+ ; $($operands:tt)*) => {
        $crate::probe!($($text),+ ; finally "" ; $($operands)*)
    };
}

/// Defines the entry of an exception's handler.
macro_rules! exception {
    ($name:ident, $vector:literal, $code:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!($code, concat!("push ", $vector), "jmp {}", sym recover)
        }
    };
}

exception!(undefined, 6, "push 0");
exception!(stack, 12, "");
exception!(general_protection, 13, "");
exception!(page, 14, "");
exception!(machine_check, 18, "push 0");

/// Notes the fault and goes on at [`RECOVERY`]. On the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS.
#[unsafe(naked)]
unsafe extern "C" fn recover() {
    naked_asm!(
        "push rax",
        "push rcx",
        "mov rax, [rip + {recovery}]",
        "test rax, rax",
        "jz 2f",
        "mov rcx, [rsp + 16]",
        "mov [rip + {vector}], rcx",
        "mov rcx, [rsp + 24]",
        "mov [rip + {code}], rcx",
        "mov rcx, rax",
        "sub rcx, [rsp + 32]",
        "mov [rip + {length}], rcx",
        "mov [rsp + 32], rax",
        "mov qword ptr [rip + {recovery}], 0",
        "pop rcx",
        "pop rax",
        "add rsp, 16",
        "iretq",
        "2:",
        "lea rdi, [rsp + 16]",
        "and rsp, -16",
        "call {fatal}",
        "ud2",
        recovery = sym RECOVERY,
        vector = sym VECTOR,
        code = sym CODE,
        length = sym LENGTH,
        fatal = sym fatal,
    )
}

/// A fault that no probe expects.
extern "sysv64" fn fatal(frame: &[u64; 7]) -> ! {
    say!("unexpected exception {} (code {:#x}) at {:#x}", frame[0], frame[1], frame[2]);
    crate::report::end(crate::report::FAILED)
}

/// Notes a single step and clears the trap flag of what it returns to. On the stack: RIP, CS, RFLAGS, RSP, SS.
#[unsafe(naked)]
unsafe extern "C" fn debug() {
    naked_asm!(
        "push rax",
        "lock inc qword ptr [rip + {steps}]",
        "mov rax, [rsp + 8]",
        "mov [rip + {at}], rax",
        "and dword ptr [rsp + 24], 0xfffffeff",
        "pop rax",
        "iretq",
        steps = sym STEPS,
        at = sym STEPPED_TO,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn nmi() {
    naked_asm!("lock inc qword ptr [rip + {}]", "iretq", sym NMIS)
}

/// Ends an interrupt wherever it may have come from: both of the old controllers, and the processor's own.
#[unsafe(naked)]
unsafe extern "C" fn any_interrupt() {
    naked_asm!(
        "push rax",
        "mov al, 0x20",
        "out 0xa0, al",
        "out 0x20, al",
        "pop rax",
        "jmp {}",
        sym interrupt,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn spurious() {
    naked_asm!("iretq")
}

/// Defines the entry of an interrupt's handler that notes its place in the order.
macro_rules! in_order {
    ($name:ident, $vector:ident) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "shl qword ptr [rip + {order}], 8",
                "or qword ptr [rip + {order}], {vector}",
                "jmp {interrupt}",
                order = sym ORDER,
                vector = const $vector as u64,
                interrupt = sym interrupt,
            )
        }
    };
}

in_order!(low, LOW_VECTOR);
in_order!(high, HIGH_VECTOR);

#[unsafe(naked)]
unsafe extern "C" fn interrupt() {
    naked_asm!(
        "push rax",
        "lock inc qword ptr [rip + {count}]",
        "mov rax, [rip + {end}]",
        "mov dword ptr [rax], 0",
        "pop rax",
        "iretq",
        count = sym INTERRUPTS,
        end = sym END_OF_INTERRUPT,
    )
}
