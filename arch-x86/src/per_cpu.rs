//! What each processor needs of its own while the hypervisor is in charge: descriptor tables, the TSS, the few words that
//! the system-call entry reaches through GS, and the stacks on which exceptions arrive.
//!
//! Nothing in it is a secret but addresses: where kernel and extension have tables of their own, the extension's map it too,
//! since entering and leaving ring 3 takes it ([`crate::kpti`]).

use core::mem::offset_of;

use x86_64::VirtAddr;
use x86_64::structures::idt::InterruptDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

use crate::kpti::KptiRoots;
use crate::nmi::NmiNote;
use crate::{exceptions, msr, user};

/// Selectors, in the order that SYSCALL and SYSRET want (AMD APM vol. 2, 6.1.1).
pub const KERNEL_CS: u16 = 0x08;
/// The kernel's stack segment.
pub const KERNEL_SS: u16 = 0x10;
/// The extension's stack segment.
pub const USER_SS: u64 = 0x18 | 3;
/// The extension's code segment.
pub const USER_CS: u64 = 0x20 | 3;
/// The task state segment.
const TSS: u16 = 0x28;

/// Pages that a [`PerCpu`] and its stacks take.
pub const PER_CPU_PAGES: usize = 5;

/// The entry of the interrupt stack table that double faults and machine checks use.
const EMERGENCY_STACK: u16 = 0;
/// The entry that NMIs use where the processor cannot hold them back while the kernel runs.
const NMI_STACK: u16 = 1;
/// The entry that debug exceptions use.
const DEBUG_STACK: u16 = 2;
/// Where the debug exceptions' stack ends, from the start of the structure: it needs a few words behind it.
const DEBUG_STACK_END: u64 = 0x1800;
/// The same of the stack on which all other exceptions of ring 3 arrive.
const ENTRY_STACK_END: u64 = 0x2000;
/// The same of the emergency stack, of which a panic needs more than that.
const EMERGENCY_STACK_END: u64 = 0x4000;
/// The same of the NMIs' stack.
const NMI_STACK_END: u64 = 0x5000;

/// One processor's structures. Lies at the start of [`PER_CPU_PAGES`] pages; the rest is stacks.
#[repr(C)]
#[derive(Debug)]
pub struct PerCpu {
    tss: TaskStateSegment,
    user_rsp: u64,
    kernel_rsp: u64,
    user_flags: u64,
    tables: KptiRoots,
    gdt: [u64; 7],
    idt: InterruptDescriptorTable,
}

const _: () = assert!(size_of::<PerCpu>() + 512 <= DEBUG_STACK_END as usize);

/// Present, DPL 0 code, 64-bit (AMD APM vol. 2, 4.8).
const CODE_64: u64 = 0x00AF_9B00_0000_FFFF;
/// Present, DPL 0 data, writable.
const DATA: u64 = 0x00CF_9300_0000_FFFF;
/// RFLAGS of the extension: bit 1 is always set.
const USER_FLAGS: u64 = 1 << 1;
/// DPL 3 in a descriptor.
const RING_3: u64 = 3 << 45;

impl PerCpu {
    /// Where the TSS keeps RSP0, from the start of the structure.
    pub(crate) const RSP0: usize =
        offset_of!(Self, tss) + offset_of!(TaskStateSegment, privilege_stack_table);
    /// Where the system-call entry leaves the extension's RSP for a moment.
    pub(crate) const USER_RSP: usize = offset_of!(Self, user_rsp);
    /// The kernel's stack pointer while the extension runs.
    pub(crate) const KERNEL_RSP: usize = offset_of!(Self, kernel_rsp);
    /// RFLAGS with which the extension is called and returned to.
    pub(crate) const USER_FLAGS: usize = offset_of!(Self, user_flags);
    /// The processor's [`KptiRoots`].
    pub(crate) const TABLES: usize = offset_of!(Self, tables);
    /// From the start of the structure to the page in which a fresh emergency stack is used.
    pub(crate) const EMERGENCY_PAGE: usize = EMERGENCY_STACK_END as usize - 4096;

    /// Fills in the structure at `at`.
    ///
    /// # Safety
    /// `at` is the start of [`PER_CPU_PAGES`] zeroed pages, mapped, exclusively the caller's, for ever.
    pub unsafe fn place(at: *mut Self) {
        let stack = |end| VirtAddr::new_truncate((at as u64).wrapping_add(end));
        let mut tss = TaskStateSegment::new();
        tss.privilege_stack_table[0] = stack(ENTRY_STACK_END);
        tss.interrupt_stack_table[EMERGENCY_STACK as usize] = stack(EMERGENCY_STACK_END);
        tss.interrupt_stack_table[DEBUG_STACK as usize] = stack(DEBUG_STACK_END);
        tss.interrupt_stack_table[NMI_STACK as usize] = stack(NmiNote::stack(NMI_STACK_END));
        let base = at as u64 + offset_of!(Self, tss) as u64;
        let gdt = [0, CODE_64, DATA, DATA | RING_3, CODE_64 | RING_3, tss_low(base), base >> 32];
        let idt = exceptions::table(EMERGENCY_STACK, DEBUG_STACK);
        let (user_flags, tables) = (USER_FLAGS, KptiRoots::SHARED);
        let per_cpu = Self { tss, user_rsp: 0, kernel_rsp: 0, user_flags, tables, gdt, idt };
        // SAFETY: `at` is ours, aligned to a page and large enough, says the caller.
        unsafe { at.write(per_cpu) };
    }

    /// Has the extension run with interrupts on from its next turn on, or off, as it does at first.
    ///
    /// # Safety
    /// `this` was placed by [`Self::place`], and this processor alone uses it.
    pub unsafe fn let_interrupts_in(this: *mut Self, on: bool) {
        const INTERRUPT_FLAG: u64 = 1 << 9;
        let flags = if on { USER_FLAGS | INTERRUPT_FLAG } else { USER_FLAGS };
        // SAFETY: nobody else uses the structure, says the caller; the flags are harmless in ring 3, and the IDT has a stub for
        // every interrupt.
        unsafe { (&raw mut (*this).user_flags).write(flags) };
    }

    /// Loads the descriptor tables, the segments and the task register.
    ///
    /// # Safety
    /// 1. `this` was placed by [`Self::place`], and this processor alone uses it.
    /// 2. The processor is in 64-bit mode at privilege level 0, with interrupts off, and the caller goes on
    ///    in the kernel's image.
    pub unsafe fn load(this: *mut Self) {
        let gdt = Pseudo { limit: 7 * 8 - 1, base: (this as u64).wrapping_add(offset_of!(Self, gdt) as u64) };
        let idt = Pseudo {
            limit: (size_of::<InterruptDescriptorTable>() - 1) as u16,
            base: (this as u64).wrapping_add(offset_of!(Self, idt) as u64),
        };
        // SAFETY: by (1) both tables are valid and stay; the selectors loaded are those of this GDT, and by (2) the
        // far return goes on in this function. The TSS descriptor is an available one: nobody has loaded it.
        unsafe {
            core::arch::asm!(
                "lgdt [{gdt}]",
                "lidt [{idt}]",
                "push {cs}",
                "lea {scratch}, [rip + 2f]",
                "push {scratch}",
                "retfq",
                "2:",
                "mov ss, {ss:e}",
                "mov ds, {ss:e}",
                "mov es, {ss:e}",
                "xor {scratch:e}, {scratch:e}",
                "mov fs, {scratch:e}",
                "mov gs, {scratch:e}",
                "lldt {scratch:x}",
                "ltr {tss:x}",
                gdt = in(reg) &raw const gdt,
                idt = in(reg) &raw const idt,
                cs = const KERNEL_CS,
                ss = in(reg) u32::from(KERNEL_SS),
                tss = in(reg) TSS,
                scratch = out(reg) _,
            );
        }
    }
}

impl PerCpu {
    /// Points SYSCALL at the kernel's entry, and SWAPGS at this structure.
    ///
    /// # Safety
    /// As [`Self::load`], which has been called.
    pub unsafe fn load_system_calls(this: *mut Self) {
        /// RFLAGS bits that SYSCALL clears: all that can be.
        const MASK: u64 = 0x0024_7FD5 & !2;
        let star = (u64::from(KERNEL_SS) << 48) | (u64::from(KERNEL_CS) << 32);
        // SAFETY: `this` is placed; the MSRs exist in 64-bit mode; the selectors are those of `gdt`, in the order that STAR wants.
        unsafe {
            msr::write(msr::index::STAR, star);
            msr::write(msr::index::LSTAR, user::system_call_entry((*this).tables));
            msr::write(msr::index::CSTAR, 0);
            msr::write(msr::index::SFMASK, MASK);
            msr::write(msr::index::FS_BASE, 0);
            msr::write(msr::index::GS_BASE, 0);
            msr::write(msr::index::KERNEL_GS_BASE, this as u64);
        }
    }
}

impl PerCpu {
    /// Gives NMIs a handler, on a stack of their own. For processors that cannot hold NMIs back: one may then arrive
    /// anywhere in the kernel and in the extension.
    ///
    /// # Safety
    /// 1. `this` was placed by [`Self::place`] and is not loaded yet.
    /// 2. `handler` keeps every register, ends by IRETQ or in [`crate::nmi::ends_turn`], and runs under the tables of ring 3
    ///    as well.
    pub unsafe fn set_nmi_handler(this: *mut Self, handler: u64) {
        // SAFETY: nobody else knows the structure yet; the handler is as (2) says.
        unsafe {
            (*this)
                .idt
                .non_maskable_interrupt
                .set_handler_addr(VirtAddr::new_truncate(handler))
                .set_code_selector(x86_64::registers::segmentation::SegmentSelector(KERNEL_CS))
                .set_stack_index(NMI_STACK);
        }
    }

    /// What NMI handlers write.
    ///
    /// # Safety
    /// As [`Self::place`].
    pub unsafe fn nmi_note(this: *const Self) -> &'static NmiNote {
        // SAFETY: the stack's page is mapped, zeroed and this processor's own for ever, says the caller.
        unsafe { NmiNote::at_top((this as u64).wrapping_add(NMI_STACK_END)) }
    }

    /// Has ring 3 entered and left by these tables.
    ///
    /// # Safety
    /// `this` was placed by [`Self::place`] and is not loaded yet; the tables are as [`KptiRoots`] wants them.
    pub unsafe fn set_tables(this: *mut Self, tables: KptiRoots) {
        // SAFETY: nobody else knows the structure yet.
        unsafe { (*this).tables = tables };
    }

    /// Where the fixed parts lie that a VM exit loads on Intel: bases of the TSS, the GDT and the IDT.
    pub fn bases(this: *const Self) -> [u64; 3] {
        let base = this as u64;
        [offset_of!(Self, tss), offset_of!(Self, gdt), offset_of!(Self, idt)]
            .map(|offset| base.wrapping_add(offset as u64))
    }

    /// Loads the GDT with its own limit again.
    ///
    /// # Safety
    /// As [`Self::load`], which has been called on this processor.
    #[inline]
    pub unsafe fn load_gdt(this: *const Self) {
        let gdt = Pseudo { limit: 7 * 8 - 1, base: (this as u64).wrapping_add(offset_of!(Self, gdt) as u64) };
        // SAFETY: it is the table in use; only the limit may differ.
        unsafe { core::arch::asm!("lgdt [{}]", in(reg) &raw const gdt, options(nostack, preserves_flags)) };
    }
}

/// The selector of the task state segment.
pub const TSS_SELECTOR: u16 = TSS;

/// The operand of LGDT and LIDT.
#[repr(C, packed(2))]
struct Pseudo {
    limit: u16,
    base: u64,
}

/// The low half of an available 64-bit TSS descriptor. The limit leaves no room for an I/O bitmap: ring 3
/// has no ports.
const fn tss_low(base: u64) -> u64 {
    let limit = size_of::<TaskStateSegment>() as u64 - 1;
    limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56
}
