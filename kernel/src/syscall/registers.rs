//! Registers of a VS, one at a time and many at once.

use core::iter::StepBy;
use core::mem::size_of;
use core::ops::Range;

use plinth_extension_api::abi::{Error, Failure, GENERAL_REGISTERS, MAX_REGISTERS, RegisterAccess};
use plinth_hal::{Arch, BadRegister, PhysicalMemory, Spa, UserContext, VsHw};

use super::{Answer, DONE, about};
use crate::object::objects::Vs;
use crate::object::table::Id;
use crate::pp::Pp;

/// Bytes of one [`RegisterAccess`].
const ENTRY: u64 = size_of::<RegisterAccess>() as u64;

impl<A: Arch> Pp<'_, A> {
    /// Reads a register.
    pub(super) fn vs_read(&mut self) -> Answer {
        let value = self.read_register(self.user.argument(2))?;
        Ok([value, 0])
    }

    /// Writes a register; bits that keep the kernel safe stay.
    pub(super) fn vs_write(&mut self) -> Answer {
        let (number, value) = (self.user.argument(2), self.user.argument(3));
        self.write_register(number, value)?;
        DONE
    }

    /// Reads many registers into the extension's list.
    pub(super) fn vs_read_many(&mut self) -> Answer {
        for at in self.register_list()? {
            let entry = self.register_entry(at)?;
            let read = RegisterAccess { value: self.read_register(entry.number)? & entry.mask, ..entry };
            self.copy_to_user(at, &read.to_bytes()).map_err(about(2))?;
        }
        DONE
    }

    /// Writes many registers from the extension's list, of each the bits in its mask.
    pub(super) fn vs_write_many(&mut self) -> Answer {
        for at in self.register_list()? {
            let RegisterAccess { number, mask, value } = self.register_entry(at)?;
            let kept = if mask == u64::MAX { 0 } else { self.read_register(number)? & !mask };
            self.write_register(number, kept | value & mask)?;
        }
        DONE
    }

    /// The addresses of the entries of the list in REG2, of the length in REG3. The VS is looked up first, so that a bad id
    /// is an error of an empty list too.
    fn register_list(&mut self) -> Result<StepBy<Range<u64>>, Failure> {
        let (list, count) = (self.user.argument(2), self.user.argument(3));
        if count > MAX_REGISTERS {
            return Err(Failure::argument(3, Error::InvalidArgument));
        }
        self.with_vs(|_| ())?;
        let end = list.checked_add(count * ENTRY).ok_or(Failure::argument(2, Error::InvalidArgument))?;
        Ok((list..end).step_by(ENTRY as usize))
    }

    fn register_entry(&self, at: u64) -> Result<RegisterAccess, Failure> {
        let mut bytes = [0; ENTRY as usize];
        self.copy_from_user(at, &mut bytes).map_err(about(2))?;
        Ok(RegisterAccess::from_bytes(&bytes))
    }

    #[inline(always)]
    fn read_register(&mut self, number: u64) -> Result<u64, Failure> {
        if number < GENERAL_REGISTERS as u64 {
            return self.read_general(number);
        }
        self.with_vs(|hw| hw.read(number))?.map_err(bad_register)
    }

    fn write_register(&mut self, number: u64, value: u64) -> Result<(), Failure> {
        if number < GENERAL_REGISTERS as u64 {
            return self.write_general(number, value);
        }
        self.with_vs(|hw| hw.write(number, value))?.map_err(bad_register)
    }

    fn read_general(&self, number: u64) -> Result<u64, Failure> {
        if self.is_active(self.id(1)) {
            let [value] = self.page.registers_once().take([number as usize]);
            return Ok(value);
        }
        self.at_rest(number, |at| self.machine.memory.read_u64(at))
    }

    fn write_general(&self, number: u64, value: u64) -> Result<(), Failure> {
        if self.is_active(self.id(1)) {
            self.page.writer().set_general(number as usize, value);
            return Ok(());
        }
        self.at_rest(number, |at| self.machine.memory.write_u64(at, value))
    }

    fn is_active(&self, id: Id) -> bool {
        self.active.as_ref().is_some_and(|active| active.id == id)
    }

    /// Works on the memory that holds a general register of the VS in REG1, which is at rest. Apart, as
    /// `with_state_at_rest`.
    #[inline(never)]
    fn at_rest<R>(&self, number: u64, work: impl FnOnce(Spa) -> R) -> Result<R, Failure> {
        let work = |vs: &mut Vs<A>| work(register_at(vs.hw.registers_at(), number));
        self.kernel.vss.with(self.id(1), work).map_err(about(1))
    }
}

fn register_at(registers: Spa, number: u64) -> Spa {
    registers.word(number)
}

fn bad_register(_: BadRegister) -> Failure {
    Failure::argument(2, Error::InvalidArgument)
}
