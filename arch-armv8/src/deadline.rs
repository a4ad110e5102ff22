//! The end of a guest's run at a time, by the hypervisor's timer.
//!
//! The timer's interrupt must come to EL2 (HCR_EL2.IMO), and with it every other IRQ. Those of the root VM end the run of a
//! guest VM anyway. The root VM itself gets them at EL1, and with IMO set EL1 meets the virtual interface of GICv3 instead
//! of the physical one. So while a time is set there, the interface is trapped and its registers are accessed for the root VM at
//! EL2 ([`icc`]). An IRQ of its own is announced as a virtual one (HCR_EL2.VI), which the root VM takes when it lets
//! IRQs in, and the priority mask holds back all but the timer's until the root VM turns to the interface: then everything is as
//! it left it, and it acknowledges what the interface has for it. Group 0, its FIQs, is not touched, though the mask holds it
//! back too as long as an IRQ waits.
//!
//! The interface of GICv2 is a page of memory, which EL1 reaches in any case. So there the root VM is watched only while it
//! serves no interrupt, and gets its first IRQ by IMO cleared again and the timer off; the next exit or wait is the next occasion.
//! On the BCM2836 only guest VMs are watched.
//!
//! Without a time nothing of this is there, and an exit pays nothing for it.

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
/// What [`El2Cpu::arm`] and what follows from it add.
pub(crate) const OURS: u64 = HCR_IMO | HCR_TWI | HCR_VI;

impl El2Cpu {
    /// Has the run of the root VM end at `deadline`, where that can be done; once for each run.
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

    /// Has the run of a guest VM end when its time is over, or when one of the root VM's timers rings: these are out of the
    /// processor meanwhile, which would keep their interrupts from the root VM. The clock runs on from one of the guest's runs to
    /// the next.
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

    /// Whether the root VM cannot meet the timer's interrupt in its controller: its accesses are seen, or it has no reason
    /// for any, since it serves no interrupt.
    fn may_watch_root(&self) -> bool {
        match self.gic {
            GicKind::V3 => icc::shows_all(),
            // SAFETY: `new` was told that the interface is there.
            GicKind::V2(base) => unsafe { gic::is_idle(base) },
            GicKind::Bcm2836 { .. } | GicKind::None => false,
        }
    }

    /// The run is over: the root VM gets its interrupts itself again.
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

    /// An interrupt came to EL2 while a guest ran; `None` where that runs on.
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
        // Where it was a timer of the root VM's, that interrupt comes once the root VM's VS is in the processor again.
        Some(exit::interrupt(vs, kind))
    }

    /// An IRQ of the root VM's own has come instead of the timer's.
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

    /// Lets the interface signal what it has for the root VM.
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

    /// Carries out the root VM's access to its interface, if that is trapped for the timer's sake and the exit is about one.
    /// Returns what comes of it: an exit, or none.
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

    /// The run is over because its time is.
    fn timer_exit(&mut self, vs: &mut El2Vs) -> Exit {
        self.exited(vs);
        vs.forget_exit();
        Exit::of(ExitClass::Timer)
    }

    /// The guest runs on without an exit.
    fn resume_guest(&mut self, vs: &mut El2Vs) {
        self.arrived(vs);
        self.error_delivered();
    }
}

/// What came of an access to the interface.
enum Access {
    /// It was made.
    Done,
    /// It met the timer's interrupt, and is to be made again.
    Clock,
    /// It is none.
    Unknown,
}

/// Accesses the register that an exit is about.
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
