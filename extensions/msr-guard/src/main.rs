//! Refuses and logs changes of registers that rootkits like to bend, such as those that lead into the OS's kernel: each
//! keeps the first value that it was given on a processor. 0 is always allowed.

#![no_std]
#![no_main]

use core::cell::Cell;

use plinth_extension_api::abi::register;
use plinth_extension_api::{Event, Exit, ExitClass, Extension, Failure, Plinth, Resume, VmId};
use plinth_extension_api::{MAX_PPS, PerPp};
use plinth_extension_api::{extension, log, passthrough};

/// A register, by the number that instructions use and by the one that `vs_write` uses.
struct Guarded {
    name: &'static str,
    number: u64,
    register: u64,
}

/// Where SYSCALL and SYSENTER go (AMD64 APM vol. 2, 6.1).
#[cfg(target_arch = "x86_64")]
const GUARDED: [Guarded; 3] = [
    Guarded { name: "LSTAR", number: 0xC000_0082, register: register::X86_LSTAR },
    Guarded { name: "CSTAR", number: 0xC000_0083, register: register::X86_CSTAR },
    Guarded { name: "SYSENTER_EIP", number: 0x176, register: register::X86_SYSENTER_EIP },
];

/// What memory types page tables can name (Arm ARM, MAIR_EL1). VBAR_EL1, which leads into the kernel, cannot be trapped by
/// most processors.
#[cfg(target_arch = "aarch64")]
const GUARDED: [Guarded; 1] =
    [Guarded { name: "MAIR_EL1", number: 0xC510, register: register::ARM_SYSTEM + 0xC510 }];

struct MsrGuard {
    /// The first value of each register on each PP.
    first: PerPp<[Cell<Option<u64>>; GUARDED.len()]>,
}

impl Extension for MsrGuard {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        GUARDED
            .iter()
            .try_for_each(|guarded| plinth.vm_intercept_registers(VmId::ROOT, guarded.number, 1, false, true))
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let write = exit.class() == ExitClass::RegisterWrite;
        match GUARDED.iter().position(|guarded| write && guarded.number == exit.number()) {
            Some(index) => guard(exit, &GUARDED[index], &self.first.of(exit)[index]),
            None => passthrough::vmexit(exit),
        }
    }
}

fn guard(exit: &Exit<'_>, guarded: &Guarded, first: &Cell<Option<u64>>) -> Resume {
    let new = exit.written_register();
    let allowed = new == 0 || first.get().is_none_or(|first| first == new);
    if !allowed || exit.plinth().vs_write(exit.vs(), guarded.register, new).is_err() {
        let (pp, name, at) = (exit.pp(), guarded.name, exit.instruction_pointer());
        log::warn!("msr-guard: pp {pp}: write of {new:#x} to {name} at {at:#x} refused");
        return Resume::Inject(Event::REFUSED);
    }
    if new != 0 {
        first.set(Some(new));
    }
    Resume::AdvanceAndRun
}

extension!(
    MsrGuard =
        MsrGuard { first: PerPp::new([const { [const { Cell::new(None) }; GUARDED.len()] }; MAX_PPS]) },
    groups: [VM, VP, VS, INTRINSIC]
);
