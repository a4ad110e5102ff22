//! Firmware at EL2 that has launched Plinth: it continues at EL1, and gets EL2 back if the launch fails, or when it stops
//! Plinth.
//!
//! When it stops Plinth it has run at EL1 for a while. So EL2 gets the tables, vectors, stack and timers that EL1 has now;
//! EL2's other registers are restored from before the launch. EL1 is left in its reset state, since firmware at EL2 does not
//! use it.

use plinth_extension_api::abi::HYPERCALL_STOP_AT_EL2;
use plinth_hal::{GuestMemory, Obstacle};
use plinth_launch::LaunchStatus;

use crate::caller::CallerRegisters;
use crate::caller::el2_state::El2State;
use crate::caller::way_back::{self, CallerFrame};
use crate::el1_context::SP_EL1;
use crate::el2::HostRegisters;
use crate::exit_registers::ExitRegisters;
use crate::id::facts::{MMFR1, MMFR2, PFR0, PFR1};
use crate::paging::lowered::Translation;
use crate::psci::power_state::POWER_STATES;
use crate::root_state::El2Root;
use crate::sysreg::read_system;
use crate::trap_config::HCR_E2H;
use crate::vs::El2Vs;
use crate::{el2::id_registers, power::secondary, pstate};

/// How to give the boot CPU back to the firmware.
#[derive(Clone, Copy, Debug)]
pub(crate) struct El2Caller {
    host: HostRegisters,
    state: El2State,
    /// What the firmware has in PSTATE beside masks and conditions.
    modes: u64,
}

impl El2Caller {
    /// Who calls on this processor, whose registers are loaded. `state` is its, too.
    pub(crate) fn current(state: El2State) -> Self {
        Self { host: HostRegisters::current(), state, modes: modes() }
    }

    /// Whether EL2 is laid out as EL1: the EL2&0 regime.
    fn is_shared(&self) -> bool {
        self.host.hcr & HCR_E2H != 0
    }

    fn at_el2(&self) -> Translation {
        let HostRegisters { mair, tcr, ttbr, sctlr, vbar, .. } = self.host;
        Translation { mair, tcr, ttbr, sctlr, vbar }
    }

    /// The caller's translation as EL1 has it, if it has any.
    pub(crate) fn translation(&self) -> Option<Translation> {
        self.at_el2().lowered(self.is_shared())
    }

    /// What keeps the firmware from going on at EL2 from a VS's state.
    pub(crate) fn obstacle(
        &self,
        vs: &El2Vs,
        guest: &impl GuestMemory,
        registers: ExitRegisters,
    ) -> Option<Obstacle> {
        let [level] = registers.take([1]);
        let el1_context = vs.el1_context();
        let el1 = el1_context.translation();
        let runs = |code| el1.executes(self.is_shared(), code, |entry| guest.read_u64(entry));
        match () {
            () if level != HYPERCALL_STOP_AT_EL2 => Some(Obstacle::LowerLevel),
            () if POWER_STATES.others_run() => Some(Obstacle::OthersRun),
            () if secondary::holds_any() => Some(Obstacle::OthersAreHeld),
            () if vs.entry().pstate.level() != 1 || vs.is_big_endian() || el1.has_upper() => {
                Some(Obstacle::State)
            }
            () if !runs(way_back::last_code()) => Some(Obstacle::Tables),
            () => None,
        }
    }

    /// Goes back to where the call came from, with `status` in X0.
    ///
    /// # Safety
    /// The kernel has nothing under way on this processor, and no guest has run on it; `root` is what the caller goes on with.
    pub(crate) unsafe fn refuse(&self, root: &El2Root, status: LaunchStatus) -> ! {
        let mut general = root.general;
        general[0] = status.raw();
        let spsr = pstate::at_el2(root.pstate, self.modes);
        let frame = self.frame(self.host, root.pc, spsr, root.sp);
        // SAFETY: the caller's tables mapped this code when it called, at the same address; the rest is forwarded to the caller.
        unsafe {
            way_back::put_back(&self.state);
            if let Some(registers) = root.registers {
                registers.give_back();
            }
            way_back::leave(&frame, general)
        }
    }

    /// Gives the processor to the firmware, which goes on at EL2 where its VS is.
    ///
    /// # Safety
    /// The kernel has nothing under way on this processor any more, and [`Self::obstacle`] has found none.
    pub(crate) unsafe fn give_back(&self, vs: &El2Vs, registers: ExitRegisters) -> ! {
        secondary::wait_until_off();
        let el1_context = vs.el1_context();
        if !el1_context.is_loaded() {
            el1_context.load();
        }
        let (place, shared) = (vs.entry(), self.is_shared());
        let Translation { mair, tcr, ttbr, sctlr, vbar } =
            el1_context.translation().raised(&self.at_el2(), shared);
        let host = HostRegisters { mair, tcr, ttbr, sctlr, vbar, ..self.host };
        let spsr = pstate::at_el2(place.pstate, self.modes);
        let frame = self.frame(host, place.pc, spsr, el1_context.read(SP_EL1).unwrap_or(0));
        let own = CallerRegisters::of_el1(&el1_context);
        el1_context.reset();
        // SAFETY: EL1 runs no more on this processor; the rest is forwarded to the caller.
        unsafe {
            way_back::put_back(&self.state.with_thread(own.thread()));
            own.raise(&el1_context, shared, self.state.counter_offset());
            way_back::leave(&frame, registers.take(core::array::from_fn(|number| number)))
        }
    }

    const fn frame(&self, host: HostRegisters, elr: u64, spsr: u64, sp: u64) -> CallerFrame {
        let [cptr, cnthctl] = self.state.laid_out();
        CallerFrame { host, cptr, cnthctl, elr, spsr, sp }
    }
}

/// PSTATE's PAN, UAO, DIT, TCO and SSBS, each where SPSR_EL2 has it, as far as the processor has them.
fn modes() -> u64 {
    let facts = id_registers::facts();
    let mut modes = 0;
    if facts.has(MMFR1, 20, 1) {
        modes |= read_system!("S3_0_C4_C2_3");
    }
    if facts.has(MMFR2, 4, 1) {
        modes |= read_system!("S3_0_C4_C2_4");
    }
    if facts.has(PFR0, 48, 1) {
        modes |= read_system!("S3_3_C4_C2_5");
    }
    if facts.has(PFR1, 8, 1) {
        modes |= read_system!("S3_3_C4_C2_7");
    }
    if facts.has(PFR1, 4, 2) {
        modes |= read_system!("S3_3_C4_C2_6");
    }
    modes
}
