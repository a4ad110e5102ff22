//! Debug calls: none needs a handle, none changes anything.

use plinth_extension_api::abi::{Error, ExitClass, Failure, MAX_WRITE, register};
use plinth_hal::{Arch, UserContext, VsHw};

use super::{Answer, DONE, about};
use crate::limits::MAX_PPS;
use crate::pp::Pp;
use crate::report::logger;

/// The registers that a dump shows, of those that the machine has.
const DUMPED: [(&str, u64); 22] = [
    ("ip", register::INSTRUCTION_POINTER),
    ("flags", register::FLAGS),
    ("cr0", register::X86_CR0),
    ("cr2", register::X86_CR2),
    ("cr3", register::X86_CR3),
    ("cr4", register::X86_CR4),
    ("efer", register::X86_EFER),
    ("cs", register::X86_CS),
    ("cs base", register::X86_CS + 1),
    ("ss", register::X86_SS),
    ("tr", register::X86_TR),
    ("gdtr", register::X86_GDTR),
    ("idtr", register::X86_IDTR),
    ("idtr limit", register::X86_IDTR + 1),
    ("sctlr_el1", arm(0, 1, 0, 0)),
    ("ttbr0_el1", arm(0, 2, 0, 0)),
    ("ttbr1_el1", arm(0, 2, 0, 1)),
    ("vbar_el1", arm(0, 12, 0, 0)),
    ("sp_el1", arm(4, 4, 1, 0)),
    ("elr_el1", arm(0, 4, 0, 1)),
    ("esr_el1", arm(0, 5, 2, 0)),
    ("far_el1", arm(0, 6, 0, 0)),
];

/// The number of an AArch64 system register with Op0 3.
const fn arm(op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    register::ARM_SYSTEM | 3 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

impl<A: Arch> Pp<'_, A> {
    /// Writes two values to the log.
    pub(super) fn debug_out(&mut self) -> Answer {
        log::info!(
            "pp {}: extension: {:#018x} {:#018x}",
            self.index,
            self.user.argument(0),
            self.user.argument(1)
        );
        DONE
    }

    /// Writes a VS's registers to the log.
    pub(super) fn debug_dump_vs(&mut self) -> Answer {
        let id = self.id(0);
        let index = self.index;
        let dump = |hw: &A::Vs| {
            for (name, number) in DUMPED {
                if let Ok(value) = hw.read(number) {
                    log::info!("pp {index}: vs {:#x}: {name} {value:#018x}", id.raw());
                }
            }
        };
        match &self.active {
            Some(active) if active.id == id => dump(&active.vs.hw),
            _ => self.kernel.vss.with(id, |vs| dump(&vs.hw)).map_err(about(0))?,
        }
        DONE
    }

    /// Writes a line of text to the log.
    pub(super) fn debug_write(&mut self) -> Answer {
        let (address, length) = (self.user.argument(0), self.user.argument(1));
        if length > MAX_WRITE {
            return Err(Failure::argument(1, Error::InvalidArgument));
        }
        let level =
            logger::level(self.user.argument(2)).ok_or(Failure::argument(2, Error::InvalidArgument))?;
        let mut buffer = [0; MAX_WRITE as usize];
        let text = &mut buffer[..length as usize];
        self.copy_from_user(address, text).map_err(about(0))?;
        let text = core::str::from_utf8(text).map_err(|_| Failure::argument(0, Error::InvalidArgument))?;
        let clean = text.trim_end_matches(['\r', '\n']);
        log::log!(level, "extension: {}", Printable(clean));
        DONE
    }

    /// How many exits of a class there were.
    pub(super) fn debug_exit_count(&mut self) -> Answer {
        let pp = self.user.argument(0);
        let class =
            ExitClass::from_raw(self.user.argument(1)).ok_or(Failure::argument(1, Error::InvalidArgument))?;
        if pp >= MAX_PPS as u64 {
            return Err(Failure::argument(0, Error::InvalidArgument));
        }
        Ok([self.kernel.exit_count(pp as usize, class), 0])
    }
}

/// Text without control characters, so that an extension cannot forge log lines or drive the terminal.
struct Printable<'a>(&'a str);

impl core::fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        use core::fmt::Write;
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { '?' } else { c }))
    }
}
