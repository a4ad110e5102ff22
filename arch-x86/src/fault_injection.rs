//! Has the kernel do what its own protections must stop, because a test extension asks for it: a kernel that is right does
//! none of this, so its protections cannot be seen otherwise. No image has this but the tests' own.
//!
//! Each act is a function here. The handler of the kernel's exceptions asks [`caught`]; a fault that was expected ends the
//! function, and the log gets the words in which the kernel would have panicked.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_hal::{PAGE_SIZE, UserContext, UserExit};
use plinth_kernel::KERNEL_STACK_PAGES;
// BOUND: one processor at a time injects faults, and holds it for a copy.
use spin::Mutex;

use crate::apic::LocalApic;
use crate::kernel_fault::{KernelFault, PAGE_FAULT};
use crate::nmi::NmiNote;
use crate::user::UserRegisters;

/// RAX of the extension that asks for all acts, by a system call or by a fault. RDI is a function of its own that does
/// nothing but return, RSI a word of its data.
const COMMIT: u64 = 0x7E57_0002;
/// RAX of the extension that has the kernel's stack overflow.
const OVERFLOW: u64 = 0x7E57_0003;

/// The address whose use is to fault; 0 while nothing is.
static EXPECTED: AtomicU64 = AtomicU64::new(0);
/// How it did.
static CAUGHT: Mutex<Option<KernelFault>> = Mutex::new(None);

/// Data that would be a good function: RET.
static mut DATA: [u8; 16] = [0xC3; 16];
/// What the kernel may only read.
static CONSTANT: [u8; 16] = [0xC3; 16];

/// What this processor takes NMIs with.
#[derive(Clone, Copy, Debug)]
pub struct Nmis {
    /// What the handler leaves.
    pub note: &'static NmiNote,
    /// They are held back by the global interrupt flag (AMD).
    pub held_back: bool,
}

/// Serves the extension's wish, if it stopped with one. The kernel goes on as if there had been none.
pub fn serve(exit: UserExit, registers: &UserRegisters, nmis: Nmis) {
    if matches!(exit, UserExit::Kick | UserExit::Clock) {
        return;
    }
    match registers.call_number() {
        COMMIT => commit(registers.argument(0), registers.argument(1), nmis),
        OVERFLOW => {
            // SAFETY: either the processor leaves for the handler of double faults, or the guard page is not one, and
            // nobody uses it.
            unsafe { overflow() };
            log::error!("fault injection: overflows its stack: not stopped");
        }
        _ => {}
    }
}

/// Sends this processor, which leaves the hypervisor, an NMI. The global interrupt flag holds it back.
pub fn inject_nmi() {
    let apic = LocalApic::current();
    apic.send_nmi(apic.id());
}

/// Goes on behind an act that has faulted as it should.
pub(crate) fn caught(fault: KernelFault) -> Option<u64> {
    let expected = EXPECTED.load(Ordering::SeqCst);
    let acts = [read as *const () as u64, write as *const () as u64, expected];
    if expected == 0 || fault.vector != PAGE_FAULT || fault.address != expected {
        return None;
    }
    acts.contains(&fault.instruction).then(|| {
        *CAUGHT.lock() = Some(fault);
        stopped as *const () as u64
    })
}

/// A function that does something to an address.
type Act = unsafe extern "sysv64" fn(u64);

fn commit(users_code: u64, users_data: u64, nmis: Nmis) {
    let local = [0xC3_u8; 16];
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
    let mut stopped = acts.iter().filter(|(what, act, address)| is_stopped(what, *act, *address)).count();
    stopped += usize::from(takes_nmi(below(stack), nmis));
    log::info!("fault injection: {} acts, {stopped} stopped", acts.len() + 1);
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
fn attempt(act: Act, address: u64) -> Option<KernelFault> {
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

/// Whether an NMI that comes while the stack pointer leads nowhere is taken, and changes nothing.
fn takes_nmi(nowhere: u64, nmis: Nmis) -> bool {
    let apic = LocalApic::current();
    // SAFETY: the NMI's handler has a stack of its own; else the processor leaves for that of double faults.
    unsafe {
        take_nmi(nowhere, nmis.note.flag(), apic.page(), u64::from(apic.id()) << 24, nmis.held_back.into())
    };
    let taken = nmis.note.take() != 0;
    let verdict = if taken { "taken on its own stack" } else { "not taken" };
    log::info!("fault injection: an NMI with the stack pointer at {nowhere:#x}: {verdict}");
    taken
}

/// Reads a byte.
///
/// # Safety
/// A read of it changes nothing, or is expected to fault.
#[unsafe(naked)]
unsafe extern "sysv64" fn read(address: u64) {
    naked_asm!("mov al, [rdi]", "ret")
}

/// Clears a byte.
///
/// # Safety
/// It is expected to fault; if it does not, the test has failed.
#[unsafe(naked)]
unsafe extern "sysv64" fn write(address: u64) {
    naked_asm!("mov byte ptr [rdi], 0", "ret")
}

/// Runs what is there.
///
/// # Safety
/// It is a RET, or expected to fault.
#[unsafe(naked)]
unsafe extern "sysv64" fn execute(address: u64) {
    naked_asm!("jmp rdi")
}

/// Where an act goes on that was stopped.
#[unsafe(naked)]
unsafe extern "sysv64" fn stopped() {
    naked_asm!("ret")
}

/// Pushes as much as the whole stack holds. What lies below it is a page that nobody uses.
#[unsafe(naked)]
unsafe extern "sysv64" fn overflow() {
    naked_asm!(
        "mov rax, rsp",
        "mov ecx, {words}",
        "2: push 0",
        "dec ecx",
        "jnz 2b",
        "mov rsp, rax",
        "ret",
        words = const KERNEL_STACK_PAGES as u64 * PAGE_SIZE / 8,
    )
}

/// Sends this processor an NMI while the stack pointer is `stack`, and waits for the note. `id` is the high half of the command.
///
/// # Safety
/// `page` is the local APIC's; with `held_back` SVM is on.
#[unsafe(naked)]
unsafe extern "sysv64" fn take_nmi(stack: u64, flag: *const u32, page: u64, id: u64, held_back: u64) {
    naked_asm!(
        "mov r9, rsp",
        "mov rsp, rdi",
        "test r8d, r8d",
        "jz 2f",
        "stgi",
        "2:",
        "mov [rdx + 0x310], ecx",
        "mov dword ptr [rdx + 0x300], {nmi}",
        "mov ecx, 1000000",
        "3:",
        "cmp dword ptr [rsi], 0",
        "jne 4f",
        "dec ecx",
        "jnz 3b",
        "4:",
        "test r8d, r8d",
        "jz 5f",
        "clgi",
        "5:",
        "mov rsp, r9",
        "ret",
        // Delivery mode 4 (AMD APM vol. 2, 16.5).
        nmi = const 4 << 8,
    )
}
