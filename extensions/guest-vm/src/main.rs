//! Runs a small guest VM beside the root VM, on a processor whose OS asks for it by hypercall. The guest has a page of
//! memory, and of devices what is answered here: what it prints goes to the log, and while it waits, it is interrupted.
//!
//! The root VM gives it the time: its interrupts end the guest's turn, and its next hypercall begins another.

#![no_std]
#![no_main]

use core::cell::Cell;

use plinth_extension_api::abi::Permissions;
use plinth_extension_api::{Event, Exit, ExitClass, Extension, Failure, MAX_PPS, PerPp, Plinth, Resume};
use plinth_extension_api::{VmId, VpId, VsId};
use plinth_extension_api::{extension, log, passthrough};
use plinth_extension_guest_vm::{FAILED, RUN, RUNNING};

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod machine;

const PAGE: u64 = 4096;

/// What the guest wants of its machine.
enum Request {
    /// To print a letter.
    Print(u8),
    /// To have no more of the interrupt: it was served.
    #[cfg_attr(
        target_arch = "x86_64",
        allow(dead_code, reason = "there an interrupt is over once it is taken")
    )]
    Served,
    /// To end.
    End(u64),
}

/// One run of the guest, on one processor.
#[derive(Clone, Copy)]
struct Guest {
    vs: VsId,
    /// The root VM's VS that lets it run.
    root: VsId,
    line: [u8; 64],
    length: usize,
    interrupted: bool,
    ended: Option<u64>,
}

impl Guest {
    fn new((vm, vp): (VmId, VpId), exit: &Exit<'_>) -> Result<Self, Failure> {
        let plinth = exit.plinth();
        plinth.vm_write_memory(vm, 0, machine::page())?;
        let vs = plinth.vs_create(vp, exit.pp())?;
        machine::start(plinth, vs)?;
        Ok(Self { vs, root: exit.vs(), line: [0; 64], length: 0, interrupted: false, ended: None })
    }

    /// Answers an exit of the guest's.
    fn vmexit(&mut self, exit: &mut Exit<'_>) -> Result<Resume, Failure> {
        let plinth = exit.plinth();
        match exit.class() {
            ExitClass::Interrupt | ExitClass::Attention => return Ok(Resume::RunVs(self.root)),
            ExitClass::Nmi => {
                plinth.vs_inject(self.root, Event::NMI)?;
                return Ok(Resume::RunVs(self.root));
            }
            ExitClass::Wait => {
                if !core::mem::replace(&mut self.interrupted, true) {
                    plinth.vs_inject(self.vs, Event::interrupt(machine::INTERRUPT))?;
                }
                return Ok(Resume::AdvanceAndRunVs(self.root));
            }
            _ => {}
        }
        match machine::request(exit) {
            Some(Request::Print(letter)) => self.print(letter),
            Some(Request::Served) => plinth.vs_inject(self.vs, Event::withdraw(machine::INTERRUPT))?,
            Some(Request::End(status)) => return Ok(self.end(status)),
            None => {
                let (class, number, at) = (exit.class().name(), exit.number(), exit.instruction_pointer());
                log::warn!("guest-vm: {class} exit, number {number:#x}, at {at:#x}: nobody answers that");
                return Ok(self.end(FAILED));
            }
        }
        Ok(Resume::AdvanceAndRun)
    }

    /// A line goes to the log when it is whole, or as long as can be.
    fn print(&mut self, letter: u8) {
        if letter != b'\n' {
            self.line[self.length] = letter;
            self.length += 1;
        }
        if letter == b'\n' || self.length == self.line.len() {
            log::info!("guest-vm: it says: {}", self.line[..self.length].escape_ascii());
            self.length = 0;
        }
    }

    fn end(&mut self, status: u64) -> Resume {
        log::info!("guest-vm: it ends with {status:#x}");
        self.ended = Some(status);
        Resume::RunVs(self.root)
    }
}

/// What a processor has: the guest's VM and VP, which stay, and a run of it.
struct Place {
    home: Cell<Option<(VmId, VpId)>>,
    guest: Cell<Option<Guest>>,
}

impl Place {
    const fn new() -> Self {
        Self { home: Cell::new(None), guest: Cell::new(None) }
    }

    /// Lets the guest run, or tells the root VM what it ended with.
    fn run(&self, exit: &mut Exit<'_>) -> Result<Resume, Failure> {
        let guest = match self.guest.get() {
            Some(guest) => guest,
            None => Guest::new(self.home(exit.plinth())?, exit)?,
        };
        if let Some(status) = guest.ended {
            self.guest.set(None);
            exit.plinth().vs_destroy(guest.vs)?;
            return Ok(exit.answer_hypercall(status));
        }
        self.guest.set(Some(guest));
        exit.set_general(0, RUNNING);
        Ok(Resume::AdvanceAndRunVs(guest.vs))
    }

    /// A VM with a page at address 0, and its VP.
    fn home(&self, plinth: Plinth) -> Result<(VmId, VpId), Failure> {
        if let Some(home) = self.home.get() {
            return Ok(home);
        }
        let vm = plinth.vm_create()?;
        plinth.vm_map(vm, 0, plinth.allocate_page()?, PAGE, Permissions::all())?;
        let home = (vm, plinth.vp_create(vm)?);
        self.home.set(Some(home));
        Ok(home)
    }
}

struct GuestVm {
    places: PerPp<Place>,
}

impl Extension for GuestVm {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let place = self.places.of(exit);
        if let Some(mut guest) = place.guest.get().filter(|guest| guest.vs == exit.vs()) {
            let resume = guest.vmexit(exit);
            place.guest.set(Some(guest));
            return resume.unwrap_or(Resume::GiveUp);
        }
        if !exit.is_hypercall(RUN) {
            return passthrough::vmexit(exit);
        }
        place.run(exit).unwrap_or_else(|failure| {
            log::warn!("guest-vm: pp {}: {failure}", exit.pp());
            exit.answer_hypercall(FAILED)
        })
    }
}

extension!(
    GuestVm = GuestVm { places: PerPp::new([const { Place::new() }; MAX_PPS]) },
    groups: [VM, VP, VS, INTRINSIC, MEMORY]
);
