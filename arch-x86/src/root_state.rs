//! What an OS was, on one processor, when the hypervisor launched under it; and how it gets the bare
//! processor back.

use core::arch::{asm, naked_asm};
use core::mem::offset_of;

use crate::msr;

/// Number of RSP among the general registers.
pub const RSP: usize = 4;

/// A segment register with its hidden part, attributes in the packed form of the VMCB (AMD APM vol. 2, 15.5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// Descriptor bits 55:52 and 47:40 as bits 11:8 and 7:0.
    pub attributes: u16,
    /// The limit in bytes, scaled.
    pub limit: u32,
    /// The base.
    pub base: u64,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, packed(2))]
pub struct TableRegister {
    /// Length in bytes, less 1.
    pub limit: u16,
    /// The base.
    pub base: u64,
}

/// The registers of an OS that Plinth launches under, or gives the processor back to: all but those that VMSAVE
/// (AMD) or the VMCS (Intel) hold, and those that neither the kernel nor the extension touches.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct RootState {
    /// General registers by number; RSP is [`RSP`].
    pub registers: [u64; 16],
    /// Address of the next instruction.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Control registers.
    pub cr0: u64,
    /// Page-fault address.
    pub cr2: u64,
    /// Page-table root.
    pub cr3: u64,
    /// Feature enables.
    pub cr4: u64,
    /// Extended feature enables, without SVME.
    pub efer: u64,
    /// Debug status.
    pub dr6: u64,
    /// Debug control.
    pub dr7: u64,
    /// Page attribute table.
    pub pat: u64,
    /// Segments.
    pub es: Segment,
    /// Code segment.
    pub cs: Segment,
    /// Stack segment.
    pub ss: Segment,
    /// Data segment.
    pub ds: Segment,
    /// Global descriptor table.
    pub gdtr: TableRegister,
    /// Interrupt descriptor table.
    pub idtr: TableRegister,
}

/// What the image's entry point leaves on the OS's stack: the registers that a call preserves, and CR4 as it was before
/// control-flow enforcement went off.
#[derive(Debug)]
#[repr(C)]
pub struct EntryFrame {
    cr4: u64,
    rflags: u64,
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbp: u64,
    rbx: u64,
    return_address: u64,
}

const _: () = assert!(size_of::<EntryFrame>() <= plinth_launch::CALLER_STACK);

macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a control or debug register at privilege level 0 changes nothing.
        unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

macro_rules! read_selector {
    ($name:literal) => {{
        let value: u16;
        // SAFETY: reading a selector changes nothing.
        unsafe { asm!(concat!("mov {:x}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

impl RootState {
    /// Captures the caller of the image's entry point, as it is once that returns `0` to it.
    ///
    /// # Safety
    /// The processor is in 64-bit mode at privilege level 0, with its GDT mapped; the frame is the one on its caller's stack.
    pub unsafe fn capture(frame: &EntryFrame) -> Self {
        let mut state =
            Self { rip: frame.return_address, rflags: frame.rflags, cr4: frame.cr4, ..Self::default() };
        state.registers = frame.registers();
        state.cr0 = read_register!("cr0");
        state.cr2 = read_register!("cr2");
        state.cr3 = read_register!("cr3");
        state.dr6 = read_register!("dr6");
        state.dr7 = read_register!("dr7");
        // SAFETY: every processor in 64-bit mode has EFER and PAT.
        (state.efer, state.pat) = unsafe { (msr::read(msr::index::EFER), msr::read(msr::index::PAT)) };
        // SAFETY: SGDT and SIDT write ten bytes to where they are told.
        unsafe {
            asm!("sgdt [{}]", in(reg) &raw mut state.gdtr, options(nostack, preserves_flags));
            asm!("sidt [{}]", in(reg) &raw mut state.idtr, options(nostack, preserves_flags));
        }
        // SAFETY: forwarded to the caller.
        unsafe { state.capture_segments() };
        state
    }

    /// # Safety
    /// As [`Self::capture`].
    unsafe fn capture_segments(&mut self) {
        let gdtr = self.gdtr;
        for (segment, selector) in [
            (&mut self.es, read_selector!("es")),
            (&mut self.cs, read_selector!("cs")),
            (&mut self.ss, read_selector!("ss")),
            (&mut self.ds, read_selector!("ds")),
        ] {
            // SAFETY: it is the current GDT, mapped, says the caller of `capture`.
            *segment = unsafe { Segment::from_table(gdtr, selector) };
        }
    }

    /// Leaves the hypervisor for ever: loads all of the state and goes on at its RIP.
    ///
    /// # Safety
    /// 1. What VMLOAD or the VMCS holds of the state is loaded already, the global interrupt flag is set.
    /// 2. The state's page tables map this function, the current stack and `self` at the same addresses as the current ones,
    ///    and its GDT holds its selectors.
    /// 3. Nothing of this processor's part of the hypervisor is used afterwards.
    pub unsafe fn resume(&self) -> ! {
        // SAFETY: forwarded to the caller; the debug and PAT registers take what was read from them.
        unsafe {
            asm!("mov cr2, {}", in(reg) self.cr2, options(nomem, nostack, preserves_flags));
            asm!("mov dr6, {}", in(reg) self.dr6, options(nomem, nostack, preserves_flags));
            asm!("mov dr7, {}", in(reg) self.dr7, options(nomem, nostack, preserves_flags));
            msr::write(msr::index::PAT, self.pat);
            load_and_go(self)
        }
    }
}

impl EntryFrame {
    fn registers(&self) -> [u64; 16] {
        let mut registers = [0; 16];
        registers[3] = self.rbx;
        // Just above the return address: where RSP is once the entry point has returned.
        registers[RSP] = (&raw const *self as u64).wrapping_add(size_of::<Self>() as u64);
        registers[5] = self.rbp;
        registers[12..].copy_from_slice(&[self.r12, self.r13, self.r14, self.r15]);
        registers
    }
}

impl Segment {
    /// The segment that `selector` means in a GDT.
    ///
    /// # Safety
    /// The GDT is the one in use, and mapped.
    pub unsafe fn from_table(gdtr: TableRegister, selector: u16) -> Self {
        let offset = selector & !7;
        let in_table = selector & 4 == 0 && offset != 0 && offset < gdtr.limit;
        if !in_table {
            return Self { selector, ..Self::default() };
        }
        // SAFETY: the entry lies inside the table that the processor itself uses, says the caller.
        let descriptor =
            unsafe { core::ptr::read_unaligned(gdtr.base.wrapping_add(u64::from(offset)) as *const u64) };
        Self::from_descriptor(selector, descriptor)
    }

    /// The hidden part that a descriptor gives (AMD APM vol. 2, 4.7).
    pub const fn from_descriptor(selector: u16, descriptor: u64) -> Self {
        let attributes = descriptor >> 40 & 0xff | descriptor >> 44 & 0xf00;
        let limit = descriptor & 0xffff | descriptor >> 32 & 0xf_0000;
        let scaled = if descriptor >> 55 & 1 != 0 { limit << 12 | 0xfff } else { limit };
        let base = descriptor >> 16 & 0xff_ffff | (descriptor >> 56) << 24;
        Self { selector, attributes: attributes as u16, limit: scaled as u32, base }
    }
}

/// The last instructions of the hypervisor on a processor.
///
/// # Safety
/// As [`RootState::resume`].
#[unsafe(naked)]
unsafe extern "sysv64" fn load_and_go(state: &RootState) -> ! {
    naked_asm!(
        // Without PCIDs first: CR4.PCIDE can only be set while CR3's low bits are 0 (Intel SDM vol. 3, 4.10.1). As it goes,
        // so does what the TLB has of the extension's PCID, which may be one of the OS's.
        "mov rax, [rdi + {cr3}]",
        "mov rcx, rax",
        "and rcx, -4096",
        "mov cr3, rcx",
        "mov rcx, cr4",
        "btr rcx, 17",
        "mov cr4, rcx",
        "mov rcx, [rdi + {cr0}]",
        "mov cr0, rcx",
        "mov rcx, [rdi + {cr4}]",
        "mov cr4, rcx",
        "mov cr3, rax",
        "mov ecx, 0xC0000080",
        "mov eax, [rdi + {efer}]",
        "mov edx, [rdi + {efer} + 4]",
        "wrmsr",
        "lgdt [rdi + {gdtr}]",
        "lidt [rdi + {idtr}]",
        "movzx eax, word ptr [rdi + {ds}]",
        "mov ds, eax",
        "movzx eax, word ptr [rdi + {es}]",
        "mov es, eax",
        "movzx eax, word ptr [rdi + {ss}]",
        "push rax",
        "push qword ptr [rdi + 8 * 4]",
        "push qword ptr [rdi + {rflags}]",
        "movzx eax, word ptr [rdi + {cs}]",
        "push rax",
        "push qword ptr [rdi + {rip}]",
        "mov rax, [rdi]",
        "mov rcx, [rdi + 8 * 1]",
        "mov rdx, [rdi + 8 * 2]",
        "mov rbx, [rdi + 8 * 3]",
        "mov rbp, [rdi + 8 * 5]",
        "mov rsi, [rdi + 8 * 6]",
        "mov r8, [rdi + 8 * 8]",
        "mov r9, [rdi + 8 * 9]",
        "mov r10, [rdi + 8 * 10]",
        "mov r11, [rdi + 8 * 11]",
        "mov r12, [rdi + 8 * 12]",
        "mov r13, [rdi + 8 * 13]",
        "mov r14, [rdi + 8 * 14]",
        "mov r15, [rdi + 8 * 15]",
        "mov rdi, [rdi + 8 * 7]",
        "iretq",
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
    )
}

/// The address of the code that [`RootState::resume`] ends in: its page must be mapped in the OS's tables.
pub fn last_code() -> u64 {
    load_and_go as *const () as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_code_descriptor_decodes() {
        let segment = Segment::from_descriptor(0x38, 0x00AF_9B00_0000_FFFF);
        assert_eq!(segment, Segment { selector: 0x38, attributes: 0xA9B, limit: u32::MAX, base: 0 });
    }

    #[test]
    fn a_byte_granular_descriptor_keeps_its_limit_and_base() {
        let segment = Segment::from_descriptor(8, 0x1240_9356_789A_BCDE);
        assert_eq!(segment.limit, 0xBCDE);
        assert_eq!(segment.base, 0x1256_789A);
        assert_eq!(segment.attributes, 0x493);
    }
}
