//! Exceptions at EL1, caught: [`catch`] runs code that may fault and tells how; EL0 code runs by [`at_el0`]. Each
//! processor catches its own.

use core::arch::{asm, global_asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::{entry, gic, mmu, read, say, system, write};

/// Exception classes of ESR_EL1 (Arm ARM, D19.2).
pub mod class {
    /// No reason: an instruction that is not there.
    pub const UNKNOWN: u64 = 0;
    /// FP or SIMD, switched off.
    pub const FP: u64 = 7;
    /// PSTATE.IL is set.
    pub const ILLEGAL_STATE: u64 = 0xE;
    /// SVC.
    pub const SVC: u64 = 0x15;
    /// An instruction fetch of EL1 itself.
    pub const FETCH: u64 = 0x21;
    /// A data access of EL0.
    pub const DATA_EL0: u64 = 0x24;
    /// A data access of EL1 itself.
    pub const DATA: u64 = 0x25;
    /// A step of EL1's own debugger.
    pub const STEP: u64 = 0x33;
    /// BRK.
    pub const BRK: u64 = 0x3C;
}

/// An exception that was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// ESR_EL1.
    pub syndrome: u64,
    /// FAR_EL1.
    pub address: u64,
}

impl Trap {
    /// The exception class.
    pub fn class(self) -> u64 {
        self.syndrome >> 26
    }

    /// Aborts: a synchronous external abort.
    pub fn is_external(self) -> bool {
        self.syndrome & 0x3F == 0x10
    }
}

/// What a processor has caught since it began to expect something.
struct Catcher {
    /// 0: nothing is expected. 1: the handler skips the instruction. Else: it goes on there.
    recovery: AtomicU64,
    count: AtomicU64,
    undefined: AtomicU64,
    syndrome: AtomicU64,
    address: AtomicU64,
}

const SKIP: u64 = 1;

static CATCHERS: [Catcher; system::PROCESSORS] = [const {
    Catcher {
        recovery: AtomicU64::new(0),
        count: AtomicU64::new(0),
        undefined: AtomicU64::new(0),
        syndrome: AtomicU64::new(0),
        address: AtomicU64::new(0),
    }
}; system::PROCESSORS];

impl Catcher {
    /// This processor's.
    fn own() -> &'static Self {
        &CATCHERS[system::index(system::affinity())]
    }

    fn expect(&self, recovery: u64) {
        self.count.store(0, Ordering::SeqCst);
        self.undefined.store(0, Ordering::SeqCst);
        self.recovery.store(recovery, Ordering::SeqCst);
    }

    fn caught(&self) -> Option<Trap> {
        self.recovery.store(0, Ordering::SeqCst);
        let trap = Trap {
            syndrome: self.syndrome.load(Ordering::Relaxed),
            address: self.address.load(Ordering::Relaxed),
        };
        (self.count.load(Ordering::Relaxed) != 0).then_some(trap)
    }

    fn note(&self, trap: Trap) {
        self.count.store(self.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if trap.class() == class::UNKNOWN {
            self.undefined.store(self.undefined.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        self.syndrome.store(trap.syndrome, Ordering::Relaxed);
        self.address.store(trap.address, Ordering::Relaxed);
    }
}

/// Makes this processor use the vectors.
pub(crate) fn install() {
    // SAFETY: they handle what comes.
    unsafe { write!("vbar_el1", vectors()) };
}

pub(crate) fn vectors() -> u64 {
    (&raw const __guest_vectors) as u64
}

/// Runs `code`, skipping instructions that fault. Returns the last fault, if there was any.
pub fn catch(code: impl FnOnce()) -> Option<Trap> {
    let own = Catcher::own();
    own.expect(SKIP);
    code();
    own.caught()
}

/// Runs `code`, skipping instructions that fault. Returns how many did, and how many of them because they are not there.
pub fn count(code: impl FnOnce()) -> [u64; 2] {
    let own = Catcher::own();
    own.expect(SKIP);
    code();
    own.caught();
    [own.count.load(Ordering::Relaxed), own.undefined.load(Ordering::Relaxed)]
}

/// Branches to an address from where there is no way back but by an exception.
pub fn branch_to(address: u64) -> Option<Trap> {
    branch_with(address, 0)
}

/// The same with `argument` in the first register.
pub fn branch_with(address: u64, argument: u64) -> Option<Trap> {
    let own = Catcher::own();
    own.expect(0);
    // SAFETY: the handler goes on behind the branch; what it jumps to is the test's.
    unsafe {
        asm!(
            "adr x9, 2f",
            "str x9, [{recovery}]",
            "dsb sy",
            "br {address}",
            "2:",
            recovery = in(reg) own.recovery.as_ptr(),
            address = in(reg) address,
            inout("x0") argument => _,
            out("x9") _,
            clobber_abi("C")
        );
    }
    own.caught()
}

/// Runs `code` at EL0 with `argument` in its first register, until an exception. The code lies in this image and uses
/// no stack.
pub fn at_el0(code: unsafe extern "C" fn(), argument: u64) -> Option<Trap> {
    let own = Catcher::own();
    own.expect(0);
    let place = code as usize as u64 + mmu::ALIAS;
    // SAFETY: EL0 may execute there; the handler goes on behind ERET, on this stack.
    unsafe {
        asm!(
            "adr x9, 2f",
            "str x9, [{recovery}]",
            "msr elr_el1, {place}",
            "msr spsr_el1, {state}",
            "isb",
            "eret",
            "2:",
            recovery = in(reg) own.recovery.as_ptr(),
            place = in(reg) place,
            state = in(reg) 0x3C0_u64,
            inout("x0") argument => _,
            out("x9") _,
            clobber_abi("C")
        );
    }
    own.caught()
}

/// ERET with a state to which EL1 may not return. Returns what the instruction behind it raises.
pub fn return_to(state: u64) -> Option<Trap> {
    let own = Catcher::own();
    own.expect(0);
    // SAFETY: an illegal return leaves level and stack as they are; the handler goes on behind ERET.
    unsafe {
        asm!(
            "adr x9, 2f",
            "str x9, [{recovery}]",
            "msr elr_el1, x9",
            "msr spsr_el1, {state}",
            "isb",
            "eret",
            "2:",
            recovery = in(reg) own.recovery.as_ptr(),
            state = in(reg) state,
            out("x9") _,
            clobber_abi("C")
        );
    }
    own.caught()
}

unsafe extern "C" {
    static __guest_vectors: u8;
}

global_asm!(
    ".pushsection .text.guest_vectors, \"ax\"",
    ".balign 2048",
    ".global __guest_vectors",
    "__guest_vectors:",
    ".set kind, 0",
    ".rept 16",
    ".balign 128",
    "sub sp, sp, #192",
    "stp x0, x1, [sp]",
    "mov x0, #kind",
    "b {common}",
    ".set kind, kind + 1",
    ".endr",
    ".popsection",
    common = sym common,
);

/// # Safety
/// For the vectors alone.
#[unsafe(naked)]
unsafe extern "C" fn common() {
    naked_asm!(
        "stp x2, x3, [sp, #16]",
        "stp x4, x5, [sp, #32]",
        "stp x6, x7, [sp, #48]",
        "stp x8, x9, [sp, #64]",
        "stp x10, x11, [sp, #80]",
        "stp x12, x13, [sp, #96]",
        "stp x14, x15, [sp, #112]",
        "stp x16, x17, [sp, #128]",
        "stp x18, x29, [sp, #144]",
        "str x30, [sp, #160]",
        "bl {taken}",
        "ldr x30, [sp, #160]",
        "ldp x18, x29, [sp, #144]",
        "ldp x16, x17, [sp, #128]",
        "ldp x14, x15, [sp, #112]",
        "ldp x12, x13, [sp, #96]",
        "ldp x10, x11, [sp, #80]",
        "ldp x8, x9, [sp, #64]",
        "ldp x6, x7, [sp, #48]",
        "ldp x4, x5, [sp, #32]",
        "ldp x2, x3, [sp, #16]",
        "ldp x0, x1, [sp]",
        "add sp, sp, #192",
        "eret",
        taken = sym taken,
    )
}

extern "C" fn taken(kind: u64) {
    match kind {
        4 | 8 => synchronous(kind),
        5 | 9 => gic::interrupt(),
        _ => unexpected(kind),
    }
}

fn synchronous(kind: u64) {
    /// SPSR_EL1: EL1h, all masked.
    const EL1H: u64 = 0x3C5;
    /// SS, IL, D.
    const STEP_ILLEGAL_DEBUG: u64 = 1 << 21 | 1 << 20 | 1 << 9;
    let own = Catcher::own();
    let recovery = own.recovery.load(Ordering::SeqCst);
    if recovery == 0 {
        unexpected(kind);
    }
    let syndrome = read!("esr_el1");
    own.note(Trap { syndrome, address: read!("far_el1") });
    let state = if kind == 8 { EL1H } else { read!("spsr_el1") & !STEP_ILLEGAL_DEBUG | 1 << 9 };
    let stepped = syndrome >> 26 == class::STEP;
    let next = match recovery {
        SKIP if stepped => read!("elr_el1"),
        SKIP => read!("elr_el1") + 4,
        place => place,
    };
    // SAFETY: where the code goes on that expected this.
    unsafe {
        write!("elr_el1", next);
        write!("spsr_el1", state);
    }
}

fn unexpected(kind: u64) -> ! {
    say!(
        "unexpected exception {kind}: ESR {:#x} FAR {:#x} ELR {:#x} SPSR {:#x}",
        read!("esr_el1"),
        read!("far_el1"),
        read!("elr_el1"),
        read!("spsr_el1")
    );
    say!("TEST stopped FAILED");
    entry::stop()
}
