//! What AArch64 exits carry: which system register an instruction names, and the general register beside it.

use super::Exit;
use crate::abi::ExitClass;
use crate::resume::Resume;

/// What an ID read asks for: an ID register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    /// Its encoding in MRS: Op0 15:14, Op1 13:11, CRn 10:7, CRm 6:3, Op2 2:0.
    pub register: u64,
}

/// The answer to an ID read: the register's value.
pub type IdValue = u64;

/// The number of XZR, which reads as zero and takes no value.
const ZERO_REGISTER: u64 = 31;

impl Exit<'_> {
    /// What an ID read asks for; `None` for all other exits.
    #[inline]
    pub fn id_read(&self) -> Option<Id> {
        (self.class() == ExitClass::IdRead).then(|| Id { register: self.number() })
    }

    /// Answers an ID read, and says how to go on.
    #[inline]
    pub fn answer_id(&mut self, value: IdValue) -> Resume {
        self.answer_register(value)
    }

    /// What a trapped MSR writes.
    #[inline]
    pub fn written_register(&self) -> u64 {
        match self.detail() {
            ZERO_REGISTER => 0,
            source => self.general(source as usize),
        }
    }

    /// Answers a trapped MRS, and says how to go on.
    #[inline]
    pub fn answer_register(&mut self, value: u64) -> Resume {
        let target = self.detail();
        if target < ZERO_REGISTER {
            self.set_general(target as usize, value);
        }
        Resume::AdvanceAndRun
    }
}
