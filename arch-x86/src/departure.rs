//! The hypervisor's last instructions on a processor: they return it to the OS and lose no NMI. A perf
//! counter whose NMI is lost stays masked, and an OS that has sent NMIs for a backtrace of all processors
//! waits for each of them.
//!
//! On AMD, GIF = 0 holds NMIs back. The kernel sets GIF once the OS's descriptor tables and code segment are
//! loaded, and clears EFER.SVME after that.
//!
//! On Intel no flag holds NMIs back. An NMI between the kernel's IDT and the OS's IDT enters the handler
//! `plinth_departure_nmi`. The handler uses no task register. Its code segment is in the temporary GDT of the
//! [`Way`] and in the OS's GDT. It sets RFLAGS.ID of the interrupted code as a mark. After the OS's IDT is
//! loaded, a processor whose RFLAGS.ID is set sends itself an NMI.

use core::arch::naked_asm;
use core::mem::offset_of;

use plinth_hal::PAGE_SIZE;

use crate::apic::LocalApic;
use crate::nmi::{NmiNote, VECTOR};
use crate::per_cpu::KERNEL_CS;
use crate::root_state::{RootState, Segment, TableRegister};

/// RFLAGS.ID, set where an NMI has arrived. The kernel reads the flag for nothing else.
const MARK: u32 = 1 << 21;
/// The bit number of [`MARK`].
const MARK_BIT: u32 = 21;
/// EFER.SVME.
const EFER_SVME: u32 = 1 << 12;

/// Loads the OS's CR0, CR3 and CR4 from the state at RDI, and EFER's value into EDX:EAX, ready for WRMSR.
macro_rules! load_control {
    () => {
        // Clear CR4.PCIDE first: it can only be set while CR3's PCID is 0 (Intel SDM vol. 3, 4.10.1).
        // Clearing it also invalidates the TLB entries of the extension's PCID, which the OS may use for a
        // process of its own.
        "mov rax, [rdi + {cr3}]
        mov rcx, rax
        and rcx, -4096
        mov cr3, rcx
        mov rcx, cr4
        btr rcx, 17
        mov cr4, rcx
        mov rcx, [rdi + {cr0}]
        mov cr0, rcx
        mov rcx, [rdi + {cr4}]
        mov cr4, rcx
        mov cr3, rax
        mov ecx, 0xC0000080
        mov eax, [rdi + {efer}]
        mov edx, [rdi + {efer} + 4]"
    };
}

/// Loads the OS's SS, and DS and ES, which only 32-bit code uses.
macro_rules! load_segments {
    () => {
        "movzx eax, word ptr [rdi + {ds}]
        mov ds, eax
        movzx eax, word ptr [rdi + {es}]
        mov es, eax
        movzx eax, word ptr [rdi + {ss}]
        mov ss, eax"
    };
}

/// Loads the OS's CS by a far return. The GDT in use must hold its descriptor.
macro_rules! change_code_segment {
    () => {
        "movzx eax, word ptr [rdi + {cs}]
        push rax
        lea rax, [rip + 20f]
        push rax
        retfq
        20:"
    };
}

/// Loads the OS's general registers; IRETQ loads its stack, flags and RIP.
macro_rules! go {
    () => {
        "movzx eax, word ptr [rdi + {ss}]
        push rax
        push qword ptr [rdi + 8 * 4]
        push qword ptr [rdi + {rflags}]
        movzx eax, word ptr [rdi + {cs}]
        push rax
        push qword ptr [rdi + {rip}]
        mov rax, [rdi]
        mov rcx, [rdi + 8 * 1]
        mov rdx, [rdi + 8 * 2]
        mov rbx, [rdi + 8 * 3]
        mov rbp, [rdi + 8 * 5]
        mov rsi, [rdi + 8 * 6]
        mov r8, [rdi + 8 * 8]
        mov r9, [rdi + 8 * 9]
        mov r10, [rdi + 8 * 10]
        mov r11, [rdi + 8 * 11]
        mov r12, [rdi + 8 * 12]
        mov r13, [rdi + 8 * 13]
        mov r14, [rdi + 8 * 14]
        mov r15, [rdi + 8 * 15]
        mov rdi, [rdi + 8 * 7]
        iretq"
    };
}

/// Sends this processor an NMI, with the command and the APIC of the [`Way`] at RSI. Restores the high half
/// of the ICR: the OS may have written a destination there and be about to send.
macro_rules! send_own_nmi {
    () => {
        "mov rax, [rsi + {command}]
        mov rdx, rax
        shr rdx, 32
        mov rcx, [rsi + {apic}]
        test rcx, rcx
        jnz 14f
        mov ecx, 0x830
        wrmsr
        jmp 16f
        14:
        mov r8d, [rcx + 0x310]
        mov [rcx + 0x310], edx
        mov [rcx + 0x300], eax
        mov edx, {tries}
        15:
        test dword ptr [rcx + 0x300], {pending}
        jz 17f
        dec edx
        jnz 15b
        17:
        mov [rcx + 0x310], r8d
        16:"
    };
}

/// Sends an NMI in the middle of the departure, in builds with fault injection, whose test sees that it is
/// not lost.
#[cfg(feature = "fault-injection")]
macro_rules! inject_nmi {
    () => {
        send_own_nmi!()
    };
}
#[cfg(not(feature = "fault-injection"))]
macro_rules! inject_nmi {
    () => {
        ""
    };
}

/// [`naked_asm`] with the offsets of [`RootState`]'s fields as operands.
macro_rules! departure_asm {
    ($($line:expr,)* ; $($name:ident = $kind:ident $value:expr,)*) => {
        naked_asm!(
            $($line,)*
            cr0 = const offset_of!(RootState, cr0),
            cr3 = const offset_of!(RootState, cr3),
            cr4 = const offset_of!(RootState, cr4),
            efer = const offset_of!(RootState, efer),
            gdtr = const offset_of!(RootState, gdtr),
            idtr = const offset_of!(RootState, idtr),
            ds = const offset_of!(RootState, ds),
            es = const offset_of!(RootState, es),
            ss = const offset_of!(RootState, ss),
            cs = const offset_of!(RootState, cs),
            rflags = const offset_of!(RootState, rflags),
            rip = const offset_of!(RootState, rip),
            $($name = $kind $value,)*
        )
    };
}

impl RootState {
    /// Leaves the hypervisor for good on a processor with SVM: loads this state and jumps to its RIP.
    ///
    /// # Safety
    /// 1. VMLOAD has loaded its part of the state; EFER.SVME is set, and GIF is clear.
    /// 2. The state's page tables map the code of this module, the current stack and `self` at the same
    ///    addresses as the current ones, and the state's GDT holds descriptors for its selectors.
    /// 3. Nothing of this processor's part of the hypervisor is used afterwards.
    pub unsafe fn resume_from_svm(&self) -> ! {
        // SAFETY: forwarded to the caller.
        unsafe {
            self.load_first();
            leave_svm(self)
        }
    }

    /// Leaves the hypervisor for good on a processor with VMX: loads the segments and tables of `way`, then
    /// this state, and jumps to its RIP.
    ///
    /// # Safety
    /// 1. VMX is off, and the kernel's page tables and descriptor tables are loaded. The guest state that the
    ///    VMCS held is loaded as well, except for the segments that `way` holds.
    /// 2. As for [`Self::resume_from_svm`]. The state's page tables also map `way`, its [`WayPage`] and the
    ///    local APIC's page at their current addresses.
    /// 3. Nothing of this processor's part of the hypervisor is used afterwards.
    pub unsafe fn resume_from_vmx(&self, way: &Way) -> ! {
        // SAFETY: forwarded to the caller.
        unsafe {
            self.load_first();
            leave_vmx(self, way)
        }
    }
}

/// The way from the kernel's descriptor tables to the OS's on a processor that cannot hold NMIs back: a page
/// with a temporary GDT, which holds every selector that the departure loads, and a temporary IDT with a
/// handler for NMIs. The OS's own GDT does not do: it may be mapped by the OS's page tables alone, and may be
/// read-only, while LTR writes to it.
#[derive(Debug)]
#[repr(C)]
pub struct Way {
    gdtr: TableRegister,
    idtr: TableRegister,
    ldtr: u16,
    tr: u16,
    fs: u16,
    gs: u16,
    fs_base: u64,
    gs_base: u64,
    /// The flag that the kernel's NMI handler sets.
    note: *const u32,
    /// Physical address of the local APIC's page; 0 in x2APIC mode.
    apic: u64,
    /// The ICR's value that sends this processor an NMI; the destination is in the upper 32 bits.
    command: u64,
}

/// 64-bit words of the page.
const WORDS: usize = PAGE_SIZE as usize / 8;
/// Words of the IDT at the page's end, up to and with the NMI's gate.
const IDT_WORDS: usize = (VECTOR as usize + 1) * 2;
/// Words of the GDT at the page's start.
const GDT_WORDS: usize = WORDS - IDT_WORDS;

/// The page of a [`Way`].
pub type WayPage = [u64; WORDS];

/// Present, DPL 0 code, 64-bit, accessed (AMD APM vol. 2, 4.8).
const CODE_64: u64 = 0x00AF_9B00_0000_FFFF;
/// Present, DPL 0 data, writable, accessed.
const DATA: u64 = 0x00CF_9300_0000_FFFF;

impl Way {
    /// Builds the tables in `page` for the code segment `cs` and for FS, GS, LDTR and TR, in the order of
    /// `segments`. `note` is the flag that the kernel's NMI handler sets.
    pub fn new(
        page: &'static mut WayPage,
        cs: u16,
        segments: &[Segment; 4],
        note: &'static NmiNote,
        apic: LocalApic,
    ) -> Self {
        let [fs, gs, ldtr, tr] = segments;
        fill(page, cs, segments);
        let base = &raw const *page as u64;
        let idt = base.wrapping_add(GDT_WORDS as u64 * 8);
        let (apic, command) = apic.own_nmi();
        Self {
            gdtr: TableRegister { limit: (GDT_WORDS * 8 - 1) as u16, base },
            idtr: TableRegister { limit: (IDT_WORDS * 8 - 1) as u16, base: idt },
            ldtr: ldtr.selector,
            // LTR refuses a null selector, and firmware may run without a task register.
            tr: tr.selector & !3,
            fs: fs.selector,
            gs: gs.selector,
            fs_base: fs.base,
            gs_base: gs.base,
            note: note.flag(),
            apic,
            command,
        }
    }
}

/// Writes the GDT and the IDT into the page.
fn fill(page: &mut WayPage, cs: u16, segments: &[Segment; 4]) {
    let index = |selector: u16| usize::from(selector >> 3).min(GDT_WORDS - 2);
    let [fs, gs, ldtr, tr] = segments;
    page.fill(0);
    // An NMI before the far return to `cs` interrupts code in the kernel's code segment, and IRET needs its
    // descriptor.
    for code in [KERNEL_CS, cs] {
        page[index(code)] = CODE_64;
    }
    for segment in [fs, gs].into_iter().filter(|segment| segment.selector & !3 != 0) {
        page[index(segment.selector)] = DATA | u64::from(segment.attributes >> 5 & 3) << 45;
    }
    for segment in [ldtr, tr].into_iter().filter(|segment| segment.selector != 0 && segment.attributes != 0) {
        // LTR wants an available TSS, and marks it busy itself.
        let busy = if segment.selector == tr.selector { 1 << 1 } else { 0 };
        let kind = u64::from(segment.attributes & 0xff & !busy);
        let limit = u64::from(segment.limit.min(0xF_FFFF));
        let low = limit & 0xffff | (limit >> 16) << 48 | (segment.base & 0xff_ffff) << 16 | kind << 40;
        page[index(segment.selector)] = low | (segment.base >> 24 & 0xff) << 56;
        page[index(segment.selector) + 1] = segment.base >> 32;
    }
    let gate = GDT_WORDS + VECTOR as usize * 2;
    [page[gate], page[gate + 1]] = interrupt_gate(&raw const plinth_departure_nmi as u64, cs);
}

/// An interrupt gate of DPL 0 that stays on the stack in use (AMD APM vol. 2, 4.8.4).
const fn interrupt_gate(handler: u64, selector: u16) -> [u64; 2] {
    const PRESENT_INTERRUPT_GATE: u64 = 0x8E << 40;
    let low =
        handler & 0xffff | (selector as u64) << 16 | PRESENT_INTERRUPT_GATE | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

/// The first and the last byte of the code that the OS's page tables must map, for each of the two routines;
/// each spans at most two pages.
pub fn last_code() -> [u64; 4] {
    [
        leave_svm as *const () as u64,
        &raw const plinth_leave_svm_end as u64,
        leave_vmx as *const () as u64,
        &raw const plinth_leave_vmx_end as u64,
    ]
}

unsafe extern "C" {
    static plinth_leave_svm_end: u8;
    static plinth_leave_vmx_end: u8;
    static plinth_departure_nmi: u8;
}

/// # Safety
/// As [`RootState::resume_from_svm`].
#[unsafe(naked)]
unsafe extern "sysv64" fn leave_svm(state: &RootState) -> ! {
    departure_asm!(
        load_control!(),
        "or eax, {svme}",
        "wrmsr",
        "lgdt [rdi + {gdtr}]",
        "lidt [rdi + {idtr}]",
        change_code_segment!(),
        load_segments!(),
        // STGI delivers a pending NMI to the OS's handler, whose stack, tables and segments are loaded by
        // now. EFER.SVME is cleared afterwards: STGI needs it.
        "stgi",
        "nop",
        "mov ecx, 0xC0000080",
        "mov eax, [rdi + {efer}]",
        "mov edx, [rdi + {efer} + 4]",
        "wrmsr",
        go!(),
        ".globl plinth_leave_svm_end",
        "plinth_leave_svm_end:",
        ;
        svme = const EFER_SVME,
    )
}

/// # Safety
/// As [`RootState::resume_from_vmx`].
#[unsafe(naked)]
unsafe extern "sysv64" fn leave_vmx(state: &RootState, way: &Way) -> ! {
    departure_asm!(
        "pushfq",
        "and dword ptr [rsp], {no_mark}",
        "popfq",
        // Load a null SS: IRET of the NMI's handler then works with any GDT.
        "xor eax, eax",
        "mov ss, eax",
        "lgdt [rsi + {way_gdtr}]",
        change_code_segment!(),
        "lidt [rsi + {way_idtr}]",
        // The kernel's NMI handler has recorded an earlier NMI in its flag.
        "mov rax, [rsi + {note}]",
        "cmp dword ptr [rax], 0",
        "je 2f",
        "pushfq",
        "or dword ptr [rsp], {mark}",
        "popfq",
        "2:",
        "lldt word ptr [rsi + {ldtr}]",
        "movzx eax, word ptr [rsi + {tr}]",
        "test eax, eax",
        "jz 3f",
        "ltr ax",
        "3:",
        "movzx eax, word ptr [rsi + {fs}]",
        "mov fs, eax",
        "movzx eax, word ptr [rsi + {gs}]",
        "mov gs, eax",
        "mov ecx, 0xC0000100",
        "mov eax, [rsi + {fs_base}]",
        "mov edx, [rsi + {fs_base} + 4]",
        "wrmsr",
        "mov ecx, 0xC0000101",
        "mov eax, [rsi + {gs_base}]",
        "mov edx, [rsi + {gs_base} + 4]",
        "wrmsr",
        inject_nmi!(),
        load_control!(),
        "wrmsr",
        "lgdt [rdi + {gdtr}]",
        "lidt [rdi + {idtr}]",
        load_segments!(),
        "pushfq",
        "pop rax",
        "bt eax, {mark_bit}",
        "jnc 6f",
        send_own_nmi!(),
        "6:",
        go!(),
        ".globl plinth_departure_nmi",
        "plinth_departure_nmi:",
        "or dword ptr [rsp + 16], {mark}",
        "iretq",
        ".globl plinth_leave_vmx_end",
        "plinth_leave_vmx_end:",
        ;
        mark = const MARK,
        no_mark = const !MARK as i32,
        mark_bit = const MARK_BIT,
        // ICR.delivery status: the APIC has not accepted the last command yet (Intel SDM vol. 3A, 11.6.1).
        pending = const 1 << 12,
        tries = const 1_000_000,
        way_gdtr = const offset_of!(Way, gdtr),
        way_idtr = const offset_of!(Way, idtr),
        ldtr = const offset_of!(Way, ldtr),
        tr = const offset_of!(Way, tr),
        fs = const offset_of!(Way, fs),
        gs = const offset_of!(Way, gs),
        fs_base = const offset_of!(Way, fs_base),
        gs_base = const offset_of!(Way, gs_base),
        note = const offset_of!(Way, note),
        apic = const offset_of!(Way, apic),
        command = const offset_of!(Way, command),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX_CS: u16 = 0x10;
    const LINUX_TR: Segment =
        Segment { selector: 0x40, attributes: 0x8B, limit: 0x206F, base: 0xFFFF_FE00_1234_5000 };
    const NONE: Segment = Segment { selector: 0, attributes: 0, limit: 0, base: 0 };

    fn filled(cs: u16, segments: &[Segment; 4]) -> WayPage {
        let mut page = [!0; WORDS];
        fill(&mut page, cs, segments);
        page
    }

    #[test]
    fn an_nmi_finds_its_handler_and_its_code_segment_under_the_ways_table() {
        let page = filled(LINUX_CS, &[NONE, NONE, NONE, LINUX_TR]);
        assert_eq!((page[usize::from(LINUX_CS >> 3)], page[usize::from(KERNEL_CS >> 3)]), (CODE_64, CODE_64));
        let [low, high] = [page[GDT_WORDS + 4], page[GDT_WORDS + 5]];
        let handler = low & 0xffff | (low >> 48) << 16 | high << 32;
        assert_eq!(handler, &raw const plinth_departure_nmi as u64);
        assert_eq!(
            low >> 16 & 0xffff,
            u64::from(LINUX_CS),
            "the OS's, so that it is the same under both tables"
        );
        assert_eq!(low >> 32 & 7, 0, "no stack of the task register's, which changes on the way");
        assert_eq!(low >> 40 & 0xff, 0x8E);
        assert_eq!((page[GDT_WORDS], page[GDT_WORDS + 3]), (0, 0), "nothing else is expected");
    }

    #[test]
    fn the_task_register_is_loaded_from_an_available_descriptor() {
        let page = filled(LINUX_CS, &[NONE, NONE, NONE, LINUX_TR]);
        let low = page[8];
        assert_eq!(low >> 40 & 0xff, 0x89);
        assert_eq!((low & 0xffff, page[9]), (0x206F, 0xFFFF_FE00));
        assert_eq!(Segment::from_descriptor(0x40, low).base, 0x1234_5000);
    }

    #[test]
    fn user_segments_keep_their_privilege() {
        let user = Segment { selector: 0x2B, attributes: 0xCF3, limit: u32::MAX, base: 0 };
        let page = filled(LINUX_CS, &[user, NONE, NONE, NONE]);
        assert_eq!(page[5], DATA | 3 << 45);
    }

    #[test]
    fn no_selector_reaches_beyond_the_table() {
        let far = Segment { selector: 0xE040, ..LINUX_TR };
        let page = filled(0xE008, &[NONE, NONE, NONE, far]);
        assert_eq!(page[GDT_WORDS + 4] >> 40 & 0xff, 0x8E, "the handler's entry stays");
    }

    #[test]
    fn the_way_is_short() {
        let [svm, svm_end, vmx, vmx_end] = last_code();
        assert!(svm_end.wrapping_sub(svm) < PAGE_SIZE && vmx_end.wrapping_sub(vmx) < PAGE_SIZE);
        assert!((vmx..vmx_end).contains(&(&raw const plinth_departure_nmi as u64)));
    }
}
