//! Exceptions and interrupts while the hypervisor runs.
//!
//! From ring 3 they stop the extension. In the kernel there are two exceptions that are no bug: a guarded access
//! to an MSR that does not exist, and an NMI that was held back until the processor is given back. Interrupts come there only
//! where they are dropped.
//!
//! The root VM programs the vectors of interrupts, and it may be hostile: one may come with the vector of any exception. It
//! brings no error code then. Where the exception has one, the stack tells the two apart: the processor starts at a multiple
//! of 16 and pushes five words, or six with the code (AMD APM vol. 2, 8.9.3; Intel SDM vol. 3A, 6.14.2).
//!
//! Until the kernel's tables are loaded, an exception of ring 3 runs on those of ring 3: the stubs and all that follows up to
//! there lie in the section `plinth_entry`, and their stacks beside [`PerCpu`], which both map.

use core::arch::{global_asm, naked_asm};

use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::registers::segmentation::SegmentSelector;
use x86_64::structures::idt::{Entry, InterruptDescriptorTable};

use crate::kernel_fault::KernelFault;
use crate::kpti::KptiRoots;
use crate::per_cpu::{KERNEL_CS, PerCpu};
use crate::{halt, msr, nmi, user};

/// Vectors, each of which has a stub.
const VECTORS: usize = 256;
/// Those of them that are the architecture's exceptions.
pub(crate) const COUNT: usize = 32;
/// Exceptions with an error code: 8, 10 to 14, 17, 21, 29 and 30 (AMD APM vol. 2, 8.2).
pub(crate) const WITH_ERROR_CODE: u64 = 0x6022_7D00;
/// Added to the vector of one of these that came without: it was an interrupt.
const NO_CODE: u64 = 256;
/// Bytes from one stub to the next.
const STUB_SIZE: usize = 16;

const DEBUG: u64 = 1;
const DOUBLE_FAULT: usize = 8;
const MACHINE_CHECK: usize = 18;
const SECURITY: u64 = 30;

// One stub for each vector: pushes a zero where the processor pushes no error code, then the vector.
global_asm!(
    ".pushsection plinth_entry, \"ax\", @progbits",
    ".balign 16",
    "plinth_exception_stubs:",
    ".set vector, 0",
    ".rept 256",
    ".balign 16",
    ".if vector >= 32 || (({with_error_code} >> vector) & 1) == 0",
    "push 0",
    ".endif",
    "push vector",
    ".if vector == {double_fault} || vector == {machine_check}",
    "jmp {emergency}",
    ".else",
    "jmp {entry}",
    ".endif",
    ".set vector, vector + 1",
    ".endr",
    ".popsection",
    double_fault = const DOUBLE_FAULT,
    machine_check = const MACHINE_CHECK,
    emergency = sym emergency,
    with_error_code = const WITH_ERROR_CODE,
    entry = sym exception,
);

/// The handlers run in the kernel's code segment, whatever is loaded when the table is made.
const KERNEL: SegmentSelector = SegmentSelector(KERNEL_CS);

unsafe extern "C" {
    static plinth_exception_stubs: [u8; VECTORS * STUB_SIZE];
}

fn stub(vector: usize) -> VirtAddr {
    VirtAddr::new_truncate(
        (&raw const plinth_exception_stubs as u64).wrapping_add(vector.wrapping_mul(STUB_SIZE) as u64),
    )
}

const _: () = assert!(size_of::<InterruptDescriptorTable>() == VECTORS * size_of::<Entry<()>>());

/// The IDT of every processor.
pub(crate) fn table(emergency_stack: u16, debug_stack: u16) -> InterruptDescriptorTable {
    let mut idt = InterruptDescriptorTable::new();
    for vector in 0..VECTORS {
        // SAFETY: the table has that many entries, all of one form, those that are reserved for exceptions to come among them.
        // The stub of each vector keeps every register and ends by IRETQ or in `user::from_ring_3`.
        unsafe {
            let entry = &mut *(&raw mut idt).cast::<Entry<()>>().add(vector);
            entry.set_handler_addr(stub(vector)).set_code_selector(KERNEL);
        }
    }
    // SAFETY: the handler keeps every register and ends by IRETQ or in `exception`, on a stack that `PerCpu::place` put
    // into the TSS.
    unsafe {
        idt.debug
            .set_handler_addr(VirtAddr::new_truncate(debug as *const () as u64))
            .set_code_selector(KERNEL)
            .set_stack_index(debug_stack);
    }
    // SAFETY: as above; the emergency stack is the one that `PerCpu::place` put into the TSS.
    unsafe {
        idt.double_fault
            .set_handler_addr(stub(DOUBLE_FAULT))
            .set_code_selector(KERNEL)
            .set_stack_index(emergency_stack);
        idt.machine_check
            .set_handler_addr(stub(MACHINE_CHECK))
            .set_code_selector(KERNEL)
            .set_stack_index(emergency_stack);
        idt.security_exception
            .set_handler_addr(VirtAddr::new_truncate(redirected_init as *const () as u64))
            .set_code_selector(KERNEL)
            .set_stack_index(emergency_stack);
    }
    idt
}

/// What a stub and the processor have pushed when the kernel itself faults.
#[derive(Debug)]
#[repr(C)]
struct KernelFrame {
    caller_saved: [u64; 9],
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Debug exceptions, which need a stack of their own: an extension that single-steps into SYSCALL may have its trap delivered
/// at the first instruction of the kernel, on the extension's own stack. The manuals clear the trap flag first (SFMASK), but
/// not every processor need agree, and Bochs does not. There the kernel goes on without it.
///
/// # Safety
/// Only the processor may call it, with the stack of its IDT entry.
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
unsafe extern "sysv64" fn debug() {
    naked_asm!(
        "test byte ptr [rsp + 8], 3",
        "jnz 2f",
        "and dword ptr [rsp + 16], 0xfffffeff",
        "iretq",
        "2:",
        "push 0",
        "push {vector}",
        "jmp {from_ring_3}",
        vector = const DEBUG,
        from_ring_3 = sym user::from_ring_3,
    )
}

/// An INIT as the exception #SX, with its error code (AMD APM vol. 2, 8.2): it is dropped. Like an NMI it may come between
/// SYSCALL and the change of stacks. Without an error code it is an interrupt.
///
/// # Safety
/// Only the processor may call it, with the stack of its IDT entry.
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
unsafe extern "sysv64" fn redirected_init() {
    naked_asm!(
        "test spl, 8",
        "jnz 2f",
        "add rsp, 8",
        "iretq",
        "2:",
        "push 0",
        "push {vector}",
        "jmp {exception}",
        vector = const SECURITY + NO_CODE,
        exception = sym exception,
    )
}

/// Double faults and machine checks: one in the kernel may have come where the tables were still those of ring 3, or again.
/// The kernel's are named on the same pages as the emergency stack, which is a fresh one.
///
/// # Safety
/// Only their stubs may jump here.
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
unsafe extern "sysv64" fn emergency() {
    naked_asm!(
        "push rax",
        "mov rax, rsp",
        "and rax, -4096",
        "mov rax, [rax - {page} + {kernel}]",
        "test rax, rax",
        "jz 2f",
        "mov cr3, rax",
        "2:",
        "pop rax",
        "jmp {exception}",
        page = const PerCpu::EMERGENCY_PAGE,
        kernel = const PerCpu::TABLES + KptiRoots::KERNEL,
        exception = sym exception,
    )
}

/// Where all stubs meet. With an error code, pushed by the processor or the stub, and the vector the stack is 8 bytes from a
/// multiple of 16; without one it is put in.
///
/// # Safety
/// Only the stubs may jump here.
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
unsafe extern "sysv64" fn exception() {
    naked_asm!(
        "test spl, 8",
        "jnz 2f",
        "push qword ptr [rsp]",
        "mov qword ptr [rsp + 8], 0",
        "add qword ptr [rsp], {no_code}",
        "2:",
        "test byte ptr [rsp + 24], 3",
        "jnz {from_ring_3}",
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "mov rdi, rsp",
        // Nine registers, two words of the stub, five of the processor, from a 16-byte aligned start.
        "cld",
        "call {kernel_exception}",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "add rsp, 16",
        "iretq",
        no_code = const NO_CODE,
        from_ring_3 = sym user::from_ring_3,
        kernel_exception = sym kernel_exception,
    )
}

/// An exception in the kernel: goes on behind a guarded access, is an interrupt that is dropped, else it is a bug. NMIs have
/// handlers of their own, but on a processor that is about to be given back.
extern "sysv64" fn kernel_exception(frame: &mut KernelFrame) {
    if frame.vector == nmi::VECTOR {
        return;
    }
    if halt::accepts_interrupts(frame.rip) {
        return;
    }
    if let Some(fixup) = msr::fixup(frame.rip) {
        frame.rip = fixup;
        return;
    }
    let fault = frame.fault();
    #[cfg(feature = "fault-injection")]
    if let Some(next) = crate::fault_injection::caught(fault) {
        frame.rip = next;
        return;
    }
    // PANIC: an exception of the kernel's own code that it does not expect: the kernel is wrong, and its PP stops with a
    // report. What guests and extensions cause is sorted out above.
    panic!("{fault}");
}

impl KernelFrame {
    fn fault(&self) -> KernelFault {
        KernelFault {
            vector: self.vector,
            error: self.error,
            address: Cr2::read_raw(),
            instruction: self.rip,
            stack: self.rsp,
        }
    }
}
