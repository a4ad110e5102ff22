//! The extension's registers at EL0.

use plinth_hal::{UserContext, UserFault, UserVa};

use crate::inject::Place;
use crate::pstate::Pstate;
use crate::syndrome::{Syndrome, class};

/// The register that holds call number and status.
const ID_REGISTER: usize = 8;

/// The extension's registers on one PP.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct UserRegisters {
    /// X0 to X30.
    pub(crate) general: [u64; 31],
    pub(crate) sp: u64,
    pub(crate) pc: u64,
    pub(crate) pstate: u64,
    /// TPIDR_EL0, which EL0 may write.
    pub(crate) thread: u64,
    pub(crate) syndrome: u64,
    pub(crate) address: u64,
    /// The next entry is an upcall: of `general` only the first three registers count, the others are 0.
    pub(crate) upcall: bool,
}

/// PC, PSTATE, stack and thread pointer with which the extension resumes.
#[derive(Clone, Copy)]
pub(crate) struct UserPlace {
    pub(crate) at: Place,
    pub(crate) sp: u64,
    pub(crate) thread: u64,
}

impl UserPlace {
    /// A function of the extension's on an empty stack.
    #[inline]
    pub(crate) fn of_upcall(entry: UserVa, stack: UserVa) -> Self {
        Self { at: Place { pc: entry.raw(), pstate: Pstate::EXTENSION }, sp: stack.raw(), thread: 0 }
    }
}

impl UserRegisters {
    #[inline]
    pub(crate) fn place(&self) -> UserPlace {
        UserPlace {
            at: Place { pc: self.pc, pstate: Pstate::saved(self.pstate) },
            sp: self.sp,
            thread: self.thread,
        }
    }

    /// Takes the arguments of the prepared upcall, if the next entry is one.
    #[inline]
    pub(crate) fn take_upcall(&mut self) -> Option<[u64; 3]> {
        let [first, second, third, ..] = self.general;
        core::mem::take(&mut self.upcall).then_some([first, second, third])
    }

    /// The fault that stopped the extension.
    pub(crate) fn fault(&self) -> UserFault {
        let syndrome = Syndrome(self.syndrome);
        let has_address = matches!(syndrome.class(), class::DATA_ABORT | class::INSTRUCTION_ABORT);
        UserFault {
            vector: syndrome.class(),
            error: syndrome.details(),
            address: if has_address { self.address } else { 0 },
            instruction_pointer: self.pc,
        }
    }
}

impl UserContext for UserRegisters {
    #[inline]
    fn prepare_upcall(&mut self, entry: UserVa, stack: UserVa, arguments: [u64; 3]) {
        [self.general[0], self.general[1], self.general[2]] = arguments;
        self.upcall = true;
        let place = UserPlace::of_upcall(entry, stack);
        (self.pc, self.pstate) = (place.at.pc, place.at.pstate.raw());
        (self.sp, self.thread) = (place.sp, place.thread);
    }

    #[inline]
    fn call_number(&self) -> u64 {
        self.general[ID_REGISTER]
    }

    #[inline]
    fn argument(&self, register: usize) -> u64 {
        if register < 6 { self.general[register] } else { 0 }
    }

    fn set_status(&mut self, status: u64) {
        self.general[ID_REGISTER] = status;
    }

    fn set_output(&mut self, register: usize, value: u64) {
        if register < 6 {
            self.general[register] = value;
        }
    }
}
