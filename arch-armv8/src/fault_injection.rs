//! Has the kernel do what its own protections must stop, because a test extension asks for it: a kernel that is right does
//! none of this, so its protections cannot be seen otherwise. No image has this but the tests' own.
//!
//! Each act is a function here. The handler of the kernel's own exceptions asks [`caught`]; a fault that was expected ends
//! the function, and the log gets the words in which the kernel would have panicked.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::{ELR_EL2, ESR_EL2, FAR_EL2, Readable, SPSR_EL2, Writeable};
use plinth_hal::{PAGE_SIZE, UserContext};
use plinth_kernel::KERNEL_STACK_PAGES;
// BOUND: one processor at a time injects faults, and holds it for a copy.
use spin::Mutex;

use crate::kernel_fault::OwnFault;
use crate::user::UserRegisters;

/// X8 of the extension that asks for all acts. X0 is a function of its own that does nothing but return, X1 a word of its
/// data.
const COMMIT: u64 = 0x7E57_0002;
/// X8 of the extension that has the kernel's stack overflow.
const OVERFLOW: u64 = 0x7E57_0003;

/// RET.
const RETURN: u32 = 0xD65F_03C0;

/// The address whose use is to fault; 0 while nothing is.
static EXPECTED: AtomicU64 = AtomicU64::new(0);
/// How it did.
static CAUGHT: Mutex<Option<OwnFault>> = Mutex::new(None);
/// What is to be read after the next exit of a guest; 0 for nothing.
static AFTER_EXIT: AtomicU64 = AtomicU64::new(0);

/// Data that would be a good function.
static mut DATA: [u32; 4] = [RETURN; 4];
/// What the kernel may only read.
static CONSTANT: [u32; 4] = [RETURN; 4];

/// Serves the extension's wish, if it called with one. The kernel goes on as if there had been none. Only with the `shared`
/// regime are the extension's addresses in the kernel's tables.
pub(crate) fn serve(registers: &UserRegisters, shared: bool) {
    match registers.call_number() {
        COMMIT => commit(registers.argument(0), registers.argument(1), shared),
        OVERFLOW => {
            // SAFETY: either the processor leaves for its emergency stack, or the guard page is not one, and nobody uses it.
            unsafe { overflow() };
            log::error!("fault injection: overflows its stack: not stopped");
        }
        _ => {}
    }
}

/// A guest has exited. What the exit has left in EL2's registers is put back.
pub(crate) fn exited() {
    let address = AFTER_EXIT.swap(0, Ordering::SeqCst);
    if address == 0 {
        return;
    }
    let (elr, spsr, esr, far) = (ELR_EL2.get(), SPSR_EL2.get(), ESR_EL2.get(), FAR_EL2.get());
    let stopped = is_stopped("reads the extension's data after an exit", read, address);
    log::info!("fault injection: after an exit 1 act, {} stopped", u8::from(stopped));
    ELR_EL2.set(elr);
    SPSR_EL2.set(spsr);
    ESR_EL2.set(esr);
    FAR_EL2.set(far);
}

/// Goes on behind an act that has faulted as it should.
pub(crate) fn caught(fault: &OwnFault) -> Option<u64> {
    let expected = EXPECTED.load(Ordering::SeqCst);
    let acts = [read as *const () as u64, write as *const () as u64, expected];
    if expected == 0 || fault.access().is_none() || fault.address != expected {
        return None;
    }
    acts.contains(&fault.instruction).then(|| {
        *CAUGHT.lock() = Some(*fault);
        stopped as *const () as u64
    })
}

/// A function that does something to an address.
type Act = unsafe extern "C" fn(u64);

fn commit(users_code: u64, users_data: u64, shared: bool) {
    let local = [RETURN; 4];
    let stack = &raw const local as u64;
    let (code, constant, data) =
        (commit as *const () as u64, &raw const CONSTANT as u64, &raw mut DATA as u64);
    let acts: [(&str, Act, u64); 9] = [
        ("executes the extension's code", execute, users_code),
        ("reads the extension's data", read, users_data),
        ("writes the extension's data", write, users_data),
        ("writes its own code", write, code),
        ("writes its own constants", write, constant),
        ("executes its own data", execute, data),
        ("executes its own stack", execute, stack),
        ("reads page 0", read, 8),
        ("reads below its stack", read, below(stack)),
    ];
    let acts = if shared { &acts[..] } else { &acts[3..] };
    let stopped = acts.iter().filter(|(what, act, address)| is_stopped(what, *act, *address)).count();
    log::info!("fault injection: {} acts, {stopped} stopped", acts.len());
    AFTER_EXIT.store(if shared { users_data } else { 0 }, Ordering::SeqCst);
}

fn is_stopped(what: &str, act: Act, address: u64) -> bool {
    let fault = attempt(act, address);
    match fault {
        Some(fault) => log::info!("fault injection: {what}: {fault}"),
        None => log::error!("fault injection: {what}: not stopped"),
    }
    fault.is_some()
}

/// The fault that an act ends in.
fn attempt(act: Act, address: u64) -> Option<OwnFault> {
    EXPECTED.store(address, Ordering::SeqCst);
    // SAFETY: a fault ends the act. One that is not stopped fails the test: it has read, run a RET, or spoilt a byte.
    unsafe { act(address) };
    EXPECTED.store(0, Ordering::SeqCst);
    CAUGHT.lock().take()
}

/// An address in the guard page below the stack; where there is none, one in the last page that could be it.
fn below(stack: u64) -> u64 {
    let pages = KERNEL_STACK_PAGES as u64;
    let place = |page| stack - page * PAGE_SIZE;
    (1..pages).map(place).find(|address| attempt(read, *address).is_some()).unwrap_or(place(pages))
}

/// Reads a byte.
///
/// # Safety
/// A read of it changes nothing, or is expected to fault.
#[unsafe(naked)]
unsafe extern "C" fn read(address: u64) {
    naked_asm!("ldrb w1, [x0]", "ret")
}

/// Clears a byte.
///
/// # Safety
/// It is expected to fault; if it does not, the test has failed.
#[unsafe(naked)]
unsafe extern "C" fn write(address: u64) {
    naked_asm!("strb wzr, [x0]", "ret")
}

/// Runs what is there.
///
/// # Safety
/// It is a RET, or expected to fault.
#[unsafe(naked)]
unsafe extern "C" fn execute(address: u64) {
    naked_asm!("br x0")
}

/// Where an act goes on that was stopped.
#[unsafe(naked)]
unsafe extern "C" fn stopped() {
    naked_asm!("ret")
}

/// Stores as much as the whole stack holds. What lies below it is a page that nobody uses.
#[unsafe(naked)]
unsafe extern "C" fn overflow() {
    naked_asm!(
        "mov x0, sp",
        "mov x1, #{pairs}",
        "2: stp xzr, xzr, [sp, #-16]!",
        "subs x1, x1, #1",
        "b.ne 2b",
        "mov sp, x0",
        "ret",
        pairs = const KERNEL_STACK_PAGES as u64 * PAGE_SIZE / 16,
    )
}
