//! What an OS was, on one processor, when the hypervisor launched under it, and is when it gets the bare processor back.

use core::arch::asm;

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
    /// Speculation control, where each VS has its own; else 0, and the register stays in the processor.
    pub spec_ctrl: u64,
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

    /// Loads what the kernel has no use for any more.
    ///
    /// # Safety
    /// This processor's part of the hypervisor is being left: see [`crate::departure`].
    pub(crate) unsafe fn load_first(&self) {
        // SAFETY: the debug and PAT registers take what was read from them.
        unsafe {
            asm!("mov cr2, {}", in(reg) self.cr2, options(nomem, nostack, preserves_flags));
            asm!("mov dr6, {}", in(reg) self.dr6, options(nomem, nostack, preserves_flags));
            asm!("mov dr7, {}", in(reg) self.dr7, options(nomem, nostack, preserves_flags));
            msr::write(msr::index::PAT, self.pat);
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
