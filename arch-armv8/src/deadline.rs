//! Ends a guest's run at a deadline, by the hypervisor timer (CNTHP).
//!
//! The timer's interrupt must come to EL2, so HCR_EL2.IMO is set, and every other IRQ then comes to EL2 too. For a guest VM
//! that is the usual state: an IRQ of the root VM ends the guest's run anyway. The root VM itself normally takes its IRQs at
//! EL1. With IMO set, EL1 meets the virtual CPU interface of GICv3 instead of the physical one. So while a deadline is armed
//! for the root VM:
//!
//! - Its accesses to the CPU interface are trapped and carried out at EL2 ([`icc`]).
//! - An IRQ of its own is announced as a virtual IRQ (HCR_EL2.VI), which the root VM takes once it unmasks IRQs. Until then
//!   the priority mask blocks everything but the timer. Group 0, taken as FIQ, is blocked by that mask too.
//! - At the root VM's next access to a trapped ICC register the original mask is restored, and its read of ICC_IAR1_EL1
//!   acknowledges the pending interrupt.
//!
//! The CPU interface of GICv2 is a page of memory, which EL1 reaches in any case. There a deadline is armed only while the
//! root VM has no active interrupt. Its first IRQ clears IMO and stops the timer; the next exit or WFI arms the deadline
//! again. On the BCM2836 only guest VMs have deadlines.
//!
//! Without a deadline none of this is active, and an exit pays nothing for it.

use aarch64_cpu::registers::{CNTPCT_EL0, Readable};
use plinth_hal::{Exit, ExitClass};

use crate::cpu::El2Cpu;
use crate::exit_registers::{ExitPage, operand, set_result};
use crate::machine::device_tree::GicKind;
use crate::switch::IRQ;
use crate::vs::{El2Vs, HCR_VI};
use crate::{el1_timer, exit, gic, gic::icc};

/// HCR_EL2.IMO: IRQs come to EL2.
const HCR_IMO: u64 = 1 << 4;
/// HCR_EL2.TWI: WFI is trapped.
const HCR_TWI: u64 = 1 << 13;
/// The bits that an armed deadline adds to HCR_EL2.
pub(crate) const OURS: u64 = HCR_IMO | HCR_TWI | HCR_VI;

impl El2Cpu {
    /// Arms the deadline of the root VM's run, if the interrupt controller allows it. At most once for a run.
    pub(crate) fn arm(&mut self, deadline: u64) {
        if self.extra & OURS != 0 || !self.may_watch_root() {
            return;
        }
        // SAFETY: the clock was made for this processor, and the guest runs with IMO set.
        if unsafe { self.clock.arm(deadline) } {
            self.extra |= HCR_IMO;
            self.use_interface(icc::ROOT);
        }
    }

    /// Arms the timer for a guest VM's run: for the guest's own deadline, or for the earliest of the root VM's timers,
    /// whichever comes first. The root VM's timer registers are saved in memory while another VM runs, so their interrupts
    /// would not fire. The timer stays armed from one run of the guest to the next.
    pub(crate) fn watch(&mut self, vs: &El2Vs) {
        // SAFETY: the clock was made for this processor.
        let is_let_in = |ppi| unsafe { self.clock.lets_in(ppi) };
        let root = self.root_bank.into_iter().flat_map(|el1_context| el1_context.timers());
        let root = el1_timer::first(root, CNTPCT_EL0.get(), is_let_in);
        let first = root.into_iter().chain(vs.deadline()).min();
        if first == self.clock.deadline() {
            return;
        }
        // SAFETY: the clock was made for this processor, and guest VMs run with IMO set.
        unsafe {
            match first {
                Some(first) => _ = self.clock.arm(first),
                None => self.clock.put_back(),
            }
        }
    }

    /// Whether the timer's interrupt stays invisible to the root VM: either its accesses to the controller are trapped, or
    /// it has no active interrupt and so no reason to access the controller.
    fn may_watch_root(&self) -> bool {
        match self.gic {
            GicKind::V3 => icc::shows_all(),
            // SAFETY: `new` was told that the interface is there.
            GicKind::V2(base) => unsafe { gic::is_idle(base) },
            GicKind::Bcm2836 { .. } | GicKind::None => false,
        }
    }

    /// Ends the run's deadline: the root VM's interrupts go to EL1 again, and the controller is as the root VM left it.
    pub(crate) fn disarm(&mut self) {
        if self.extra & OURS == 0 {
            return;
        }
        self.release();
        // SAFETY: as in `arm`.
        unsafe { self.clock.put_back() };
        self.extra &= !OURS;
        if self.interface_traps == icc::ROOT {
            self.use_interface(0);
        }
    }

    /// Handles an interrupt that came to EL2 while a guest ran. Returns the exit, or `None` if the guest resumes without
    /// one.
    pub(crate) fn guest_interrupted(&mut self, vs: &mut El2Vs, kind: u64) -> Option<Exit> {
        let timed = kind == IRQ && self.clock.deadline().is_some();
        let rung = timed && self.clock.is_expired();
        if timed && !rung && vs.is_root() {
            self.resume_guest(vs);
            vs.forget_exit();
            self.pass_on();
            return None;
        }
        if rung && !vs.is_root() {
            // SAFETY: as in `watch`.
            unsafe { self.clock.put_back() };
        }
        if rung && (vs.is_root() || vs.deadline().is_some_and(|deadline| deadline <= CNTPCT_EL0.get())) {
            return Some(self.timer_exit(vs));
        }
        self.exited(vs);
        // If a timer of the root VM expired, its interrupt fires once the root VM's registers are loaded again.
        Some(exit::interrupt(vs, kind))
    }

    /// Hands an IRQ of the root VM on to it: the IRQ arrived at EL2 only because a deadline is armed.
    fn pass_on(&mut self) {
        if self.gic != GicKind::V3 {
            // SAFETY: as in `arm`.
            unsafe { self.clock.put_back() };
            self.extra = self.extra & !HCR_IMO | HCR_TWI;
            return;
        }
        // SAFETY: `new` was told that the interface is there.
        let before = unsafe { gic::mask(self.gic) };
        if self.held.is_none() {
            self.held = before;
            self.extra |= HCR_VI;
            // SAFETY: as above; it is masked. Else the IRQ has the timer's priority, and no timer comes before it is taken.
            unsafe {
                self.clock.reenable();
                gic::admit_clock(self.gic);
            }
        }
    }

    /// Restores the root VM's priority mask and withdraws the virtual IRQ: the physical interface now signals the pending
    /// interrupt.
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            // SAFETY: as in `pass_on`, which masked it.
            unsafe {
                gic::unmask(self.gic, held);
                core::arch::asm!("isb", options(nostack, preserves_flags));
            }
            self.extra &= !HCR_VI;
        }
    }

    /// Carries out the root VM's access to the CPU interface, if a deadline is why the access was trapped. Returns `None`
    /// for any other exit, and else the exit that follows: `Some(None)` if the guest resumes without one.
    pub(crate) fn serve_interface(
        &mut self,
        vs: &mut El2Vs,
        exit: &Exit,
        exit_page: ExitPage,
    ) -> Option<Option<Exit>> {
        if self.interface_traps != icc::ROOT {
            return None;
        }
        self.release();
        match access(exit, exit_page) {
            Access::Done => {
                self.resume_guest(vs);
                vs.skip();
                Some(None)
            }
            Access::Clock => Some(Some(self.timer_exit(vs))),
            Access::Unknown => None,
        }
    }

    /// Ends the run because its deadline has passed.
    fn timer_exit(&mut self, vs: &mut El2Vs) -> Exit {
        self.exited(vs);
        vs.forget_exit();
        Exit::of(ExitClass::Timer)
    }

    /// Resumes the guest without reporting an exit.
    fn resume_guest(&mut self, vs: &mut El2Vs) {
        self.arrived(vs);
        self.error_delivered();
    }
}

/// The outcome of an access to the CPU interface.
enum Access {
    /// The access was carried out.
    Done,
    /// The access acknowledged the hypervisor timer's interrupt; the guest has to repeat it.
    Clock,
    /// The register is not one of the CPU interface.
    Unknown,
}

/// Carries out the access that an exit describes.
fn access(exit: &Exit, exit_page: ExitPage) -> Access {
    if exit.class == ExitClass::RegisterWrite {
        let value = operand(exit_page.registers_once(), exit.detail);
        // SAFETY: the access is the root VM's own.
        return if unsafe { icc::write(exit.number, value) } { Access::Done } else { Access::Unknown };
    }
    let Some(value) = icc::read(exit.number) else { return Access::Unknown };
    if icc::takes_clock(exit.number, value) {
        return Access::Clock;
    }
    set_result(exit_page.writer(), exit.detail, value);
    Access::Done
}
