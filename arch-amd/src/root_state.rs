//! The state of the OS that Plinth launches under: captured at the launch, put into the root VS, taken out of it again
//! where the OS gets its processor back.

use core::array;

use plinth_arch_x86::exit_registers::ExitRegisters;
use plinth_arch_x86::root_state::{RootState, Segment, TableRegister};

use crate::vmcb::{EFER_SVME, Vmcb};
use crate::vs::SvmVs;

/// The state of an OS on this processor when Plinth launched.
#[derive(Debug)]
pub struct SvmRoot {
    /// What MOV, RDMSR and the like can read.
    pub(crate) state: RootState,
    /// The page into which VMSAVE put the rest.
    pub(crate) hidden: u64,
}

/// Puts the state of the OS that launched into the root VS's VMCB.
pub(crate) fn take_root(vmcb: &mut Vmcb, root: &SvmRoot) {
    copy_hidden_state(root.hidden, vmcb);
    let root = &root.state;
    let save = &mut vmcb.save;
    save.cr0 = root.cr0;
    save.cr2 = root.cr2;
    save.cr3 = root.cr3;
    save.cr4 = root.cr4;
    save.efer = root.efer | EFER_SVME;
    save.dr6 = root.dr6;
    save.dr7 = root.dr7;
    save.pat = root.pat;
    save.spec_ctrl = root.spec_ctrl;
    save.rip = root.rip;
    save.rflags = root.rflags;
    (save.es, save.cs, save.ss, save.ds) = (root.es, root.cs, root.ss, root.ds);
    (save.gdtr, save.idtr) = (table(root.gdtr), table(root.idtr));
    save.cpl = 0;
}

fn table(register: TableRegister) -> Segment {
    Segment { selector: 0, attributes: 0, limit: u32::from(register.limit), base: register.base }
}

/// Copies what VMSAVE put into one block to another.
fn copy_hidden_state(from: u64, to: &mut Vmcb) {
    // SAFETY: `from` is the page that `take_over` saved into: mapped, and written by nobody any more.
    let from = unsafe { &(*(from as *const Vmcb)).save };
    let to = &mut to.save;
    (to.fs, to.gs, to.ldtr, to.tr) = (from.fs, from.gs, from.ldtr, from.tr);
    (to.star, to.lstar, to.cstar, to.sfmask) = (from.star, from.lstar, from.cstar, from.sfmask);
    to.kernel_gs_base = from.kernel_gs_base;
    (to.sysenter_cs, to.sysenter_esp, to.sysenter_eip) =
        (from.sysenter_cs, from.sysenter_esp, from.sysenter_eip);
}

impl SvmVs {
    /// The state of the processor that the guest takes back: the inverse of `init_root`.
    pub(crate) fn to_root_state(&self, registers: ExitRegisters) -> RootState {
        let save = &self.view().save;
        RootState {
            registers: registers.take(array::from_fn(|number| number)),
            rip: save.rip,
            rflags: save.rflags,
            cr0: save.cr0,
            cr2: save.cr2,
            cr3: save.cr3,
            cr4: save.cr4,
            efer: save.efer & !EFER_SVME,
            dr6: save.dr6,
            dr7: save.dr7,
            pat: save.pat,
            spec_ctrl: save.spec_ctrl,
            es: save.es,
            cs: save.cs,
            ss: save.ss,
            ds: save.ds,
            gdtr: TableRegister { limit: save.gdtr.limit as u16, base: save.gdtr.base },
            idtr: TableRegister { limit: save.idtr.limit as u16, base: save.idtr.base },
        }
    }
}
