//! The virtual machine control block (AMD APM vol. 2, appendix B).

pub(crate) mod setup;

use core::mem::offset_of;

use plinth_arch_x86::root_state::Segment;

/// The whole block: one page, read and written by the processor at VMRUN, #VMEXIT, VMLOAD and VMSAVE.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(crate) struct Vmcb {
    pub(crate) control: Control,
    pub(crate) save: Save,
}

/// The control area.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Control {
    pub(crate) intercept_cr: u32,
    pub(crate) intercept_dr: u32,
    pub(crate) intercept_exceptions: u32,
    pub(crate) intercept_misc: u32,
    pub(crate) intercept_svm: u32,
    pub(crate) intercept_more: u32,
    reserved_18: [u8; 0x40 - 0x18],
    pub(crate) iopm_base: u64,
    pub(crate) msrpm_base: u64,
    pub(crate) tsc_offset: u64,
    pub(crate) asid: u32,
    pub(crate) tlb_control: u32,
    pub(crate) interrupt_control: u64,
    pub(crate) interrupt_shadow: u64,
    pub(crate) exit_code: u64,
    pub(crate) exit_info: [u64; 2],
    pub(crate) exit_interrupt_info: u64,
    pub(crate) nested_enable: u64,
    reserved_98: [u8; 0xA8 - 0x98],
    pub(crate) event_injection: u64,
    pub(crate) nested_cr3: u64,
    pub(crate) lbr_control: u64,
    pub(crate) clean: u64,
    pub(crate) next_rip: u64,
    pub(crate) fetched: u8,
    pub(crate) instruction_bytes: [u8; 15],
    reserved_e0: [u8; 0x400 - 0xE0],
}

/// The state save area.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Save {
    pub(crate) es: Segment,
    pub(crate) cs: Segment,
    pub(crate) ss: Segment,
    pub(crate) ds: Segment,
    pub(crate) fs: Segment,
    pub(crate) gs: Segment,
    pub(crate) gdtr: Segment,
    pub(crate) ldtr: Segment,
    pub(crate) idtr: Segment,
    pub(crate) tr: Segment,
    reserved_a0: [u8; 0xCB - 0xA0],
    pub(crate) cpl: u8,
    reserved_cc: [u8; 4],
    pub(crate) efer: u64,
    reserved_d8: [u8; 0x148 - 0xD8],
    pub(crate) cr4: u64,
    pub(crate) cr3: u64,
    pub(crate) cr0: u64,
    pub(crate) dr7: u64,
    pub(crate) dr6: u64,
    pub(crate) rflags: u64,
    pub(crate) rip: u64,
    reserved_180: [u8; 0x1D8 - 0x180],
    pub(crate) rsp: u64,
    reserved_1e0: [u8; 0x1F8 - 0x1E0],
    pub(crate) rax: u64,
    pub(crate) star: u64,
    pub(crate) lstar: u64,
    pub(crate) cstar: u64,
    pub(crate) sfmask: u64,
    pub(crate) kernel_gs_base: u64,
    pub(crate) sysenter_cs: u64,
    pub(crate) sysenter_esp: u64,
    pub(crate) sysenter_eip: u64,
    pub(crate) cr2: u64,
    reserved_248: [u8; 0x268 - 0x248],
    pub(crate) pat: u64,
    pub(crate) debug_control: u64,
    reserved_278: [u8; 0x2E0 - 0x278],
    pub(crate) spec_ctrl: u64,
    reserved_2e8: [u8; 0xC00 - 0x2E8],
}

const _: () = assert!(size_of::<Vmcb>() == 4096);
const _: () = assert!(offset_of!(Vmcb, save) == 0x400);
const _: () = assert!(offset_of!(Control, asid) == 0x58);
const _: () = assert!(offset_of!(Control, exit_code) == 0x70);
const _: () = assert!(offset_of!(Control, event_injection) == 0xA8);
const _: () = assert!(offset_of!(Control, clean) == 0xC0);
const _: () = assert!(offset_of!(Control, fetched) == 0xD0);
const _: () = assert!(offset_of!(Save, cpl) == 0xCB);
const _: () = assert!(offset_of!(Save, efer) == 0xD0);
const _: () = assert!(offset_of!(Save, cr4) == 0x148);
const _: () = assert!(offset_of!(Save, rip) == 0x178);
const _: () = assert!(offset_of!(Save, rsp) == 0x1D8);
const _: () = assert!(offset_of!(Save, rax) == 0x1F8);
const _: () = assert!(offset_of!(Save, cr2) == 0x240);
const _: () = assert!(offset_of!(Save, pat) == 0x268);
const _: () = assert!(offset_of!(Save, spec_ctrl) == 0x2E0);

/// Bits of [`Control::intercept_misc`] (offset 0x00C).
pub(crate) mod misc {
    pub(crate) const INTR: u32 = 1 << 0;
    pub(crate) const NMI: u32 = 1 << 1;
    pub(crate) const INIT: u32 = 1 << 3;
    pub(crate) const CPUID: u32 = 1 << 18;
    pub(crate) const IRET: u32 = 1 << 20;
    pub(crate) const RDPMC: u32 = 1 << 15;
    pub(crate) const INVD: u32 = 1 << 22;
    pub(crate) const HLT: u32 = 1 << 24;
    pub(crate) const INVLPGA: u32 = 1 << 26;
    pub(crate) const IOIO: u32 = 1 << 27;
    pub(crate) const MSR: u32 = 1 << 28;
    pub(crate) const SHUTDOWN: u32 = 1 << 31;
}

/// [`Control::intercept_svm`] (offset 0x010): VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI and SKINIT.
pub(crate) const SVM_INSTRUCTIONS: u32 = 0x7F;

/// More of [`Control::intercept_svm`]: MONITOR and MWAIT, the latter also where nothing is monitored.
pub(crate) const MONITOR_AND_MWAIT: u32 = 7 << 10;

/// Bits of [`Control::nested_enable`]: nested paging; and INVLPGB and TLBSYNC, which are undefined without.
pub(crate) const NESTED_PAGING: u64 = 1 << 0;
pub(crate) const BROADCAST_FLUSH: u64 = 1 << 7;

/// Bits of [`Control::interrupt_control`] (AMD APM vol. 2, 15.21): an interrupt waits, whatever the task priority, and its
/// vector; and the guest's interrupt flag and task priority are about such interrupts alone.
pub(crate) const VIRTUAL_INTERRUPT: u64 = 1 << 8 | 1 << 20;
pub(crate) const VIRTUAL_VECTOR_SHIFT: u32 = 32;
pub(crate) const VIRTUAL_MASKING: u64 = 1 << 24;

/// More of [`Control::interrupt_control`], for virtual NMIs (AMD APM vol. 2, 15.21.10): one waits, one is being handled, and
/// the processor delivers them.
pub(crate) const VIRTUAL_NMI: u64 = 1 << 11;
pub(crate) const VIRTUAL_NMI_BLOCKED: u64 = 1 << 12;
pub(crate) const VIRTUAL_NMI_ENABLED: u64 = 1 << 26;

/// Bits of [`Control::clean`] (AMD APM vol. 2, 15.15.3): what memory holds is what the processor has cached.
pub(crate) mod clean {
    pub(crate) const ALL: u64 = 0x3FF;
    pub(crate) const INTERCEPTS: u64 = 1 << 0;
    pub(crate) const VIRTUAL_INTERRUPT: u64 = 1 << 3;
    pub(crate) const NESTED_PAGING: u64 = 1 << 4;
    pub(crate) const CONTROL_REGISTERS: u64 = 1 << 5;
    pub(crate) const DEBUG_REGISTERS: u64 = 1 << 6;
}

/// [`Control::tlb_control`]: flush everything, on any processor with SVM.
pub(crate) const FLUSH_ALL: u32 = 1;
/// [`Control::tlb_control`]: flush this ASID, where flush-by-ASID is offered.
pub(crate) const FLUSH_ASID: u32 = 3;

/// [`Control::event_injection`]: valid.
pub(crate) const EVENT_VALID: u64 = 1 << 31;
/// [`Control::event_injection`]: bits 63:32 are an error code.
pub(crate) const EVENT_ERROR_CODE: u64 = 1 << 11;
/// [`Control::event_injection`]: type NMI.
pub(crate) const EVENT_NMI: u64 = 2 << 8;
/// [`Control::event_injection`]: type exception.
pub(crate) const EVENT_EXCEPTION: u64 = 3 << 8;

/// Exit codes (AMD APM vol. 2, appendix C).
pub(crate) mod exit_code {
    pub(crate) const EXCEPTION_DB: u32 = 0x41;
    pub(crate) const EXCEPTION_AC: u32 = 0x51;
    pub(crate) const INTR: u32 = 0x60;
    pub(crate) const NMI: u32 = 0x61;
    pub(crate) const INIT: u32 = 0x63;
    pub(crate) const CPUID: u32 = 0x72;
    pub(crate) const IRET: u32 = 0x74;
    pub(crate) const INVD: u32 = 0x76;
    pub(crate) const HLT: u32 = 0x78;
    pub(crate) const INVLPGA: u32 = 0x7A;
    pub(crate) const IOIO: u32 = 0x7B;
    pub(crate) const MSR: u32 = 0x7C;
    pub(crate) const SHUTDOWN: u32 = 0x7F;
    pub(crate) const VMRUN: u32 = 0x80;
    pub(crate) const VMMCALL: u32 = 0x81;
    pub(crate) const VMLOAD: u32 = 0x82;
    pub(crate) const VMSAVE: u32 = 0x83;
    pub(crate) const STGI: u32 = 0x84;
    pub(crate) const CLGI: u32 = 0x85;
    pub(crate) const SKINIT: u32 = 0x86;
    pub(crate) const NESTED_PAGE_FAULT: u32 = 0x400;
    /// The state was refused. Stored sign-extended by some, so only the low half counts.
    pub(crate) const INVALID: u32 = u32::MAX;
}

/// EFER.SVME.
pub(crate) const EFER_SVME: u64 = 1 << 12;
