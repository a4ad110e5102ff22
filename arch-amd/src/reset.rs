//! The state of a processor after INIT (AMD APM vol. 2, table 14-1).

use plinth_arch_x86::root_state::Segment;

use crate::vmcb::{EFER_SVME, Save};

/// RFLAGS bit 1 reads as 1.
const FLAGS_RESET: u64 = 1 << 1;
/// CR0.ET, and caches disabled: the state after INIT (AMD APM vol. 2, table 14-1).
const CR0_RESET: u64 = 0x6000_0010;
/// The PAT after a reset.
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// The state after INIT (AMD APM vol. 2, table 14-1), but for what INIT leaves alone.
pub(crate) fn initialize(save: &mut Save) {
    const DATA: u16 = 0x93;
    const CODE: u16 = 0x9B;
    const LDT: u16 = 0x82;
    const TSS: u16 = 0x8B;
    let segment = |attributes| Segment { selector: 0, attributes, limit: 0xffff, base: 0 };
    (save.es, save.ss, save.ds, save.fs, save.gs) =
        (segment(DATA), segment(DATA), segment(DATA), segment(DATA), segment(DATA));
    save.cs = Segment { selector: 0xF000, attributes: CODE, limit: 0xffff, base: 0xFFFF_0000 };
    (save.gdtr, save.idtr) = (segment(0), segment(0));
    (save.ldtr, save.tr) = (segment(LDT), segment(TSS));
    save.cpl = 0;
    save.efer = EFER_SVME;
    (save.cr0, save.cr2, save.cr3, save.cr4) = (CR0_RESET, 0, 0, 0);
    (save.dr6, save.dr7) = (0xFFFF_0FF0, 0x400);
    (save.rip, save.rflags) = (0xFFF0, FLAGS_RESET);
    if save.pat == 0 {
        save.pat = PAT_RESET;
    }
    save.rax = 0;
    save.rsp = 0;
}
