//! Runs a guest VM that does nothing but spin, for as long as the root VM says at the test hypercall, and answers how many
//! ticks later it had the processor back. On Arm.

#![no_std]
#![no_main]

use core::cell::Cell;

use plinth_extension_api::abi::Permissions;
use plinth_extension_api::{Exit, ExitClass, Extension, Failure, MAX_PPS, PerPp, Resume, VsId};
use plinth_extension_api::{extension, log, passthrough};
use plinth_test_extensions::{NOT_ENDED, argument, is_test};

const PAGE: u64 = 4096;
/// `b .`, where a VS begins after a reset.
const SPIN: u32 = 0x1400_0000;

/// A slice of the guest's.
#[derive(Clone, Copy)]
struct Slice {
    guest: VsId,
    root: VsId,
    end: u64,
    /// How it went: what the root VM is told.
    result: Option<u64>,
}

struct Slices(PerPp<Cell<Option<Slice>>>);

impl Extension for Slices {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let place = self.0.of(exit);
        if let Some(slice) = place.get().filter(|slice| slice.guest == exit.vs()) {
            place.set(Some(Slice { result: Some(ended(exit, slice.end)), ..slice }));
            return Resume::RunVs(slice.root);
        }
        if !is_test(exit) {
            return passthrough::vmexit(exit);
        }
        match place.get() {
            // The second call asks for the result, since the root VM's is not active when there is one.
            Some(Slice { result: Some(result), .. }) => {
                place.set(place.get().map(|slice| Slice { result: None, ..slice }));
                exit.answer_hypercall(result)
            }
            slice => begin(exit, slice.map(|slice| slice.guest)).map_or(Resume::GiveUp, |slice| {
                place.set(Some(slice));
                exit.set_general(0, 0);
                Resume::AdvanceAndRunVs(slice.guest)
            }),
        }
    }
}

fn ended(exit: &Exit<'_>, end: u64) -> u64 {
    let now = exit.plinth().time().map_or(u64::MAX, |(now, _)| now);
    if exit.class() == ExitClass::Timer && now >= end {
        return now - end;
    }
    log::warn!("slices: a {} exit at {now:#x}, not the timer's at {end:#x}", exit.class().name());
    NOT_ENDED
}

/// Sets the timer. The guest is made once.
fn begin(exit: &Exit<'_>, guest: Option<VsId>) -> Result<Slice, Failure> {
    let plinth = exit.plinth();
    let guest = match guest {
        Some(guest) => guest,
        None => spinning(exit)?,
    };
    let end = plinth.time()?.0.saturating_add(argument(exit));
    plinth.timer_set(Some(end))?;
    Ok(Slice { guest, root: exit.vs(), end, result: None })
}

fn spinning(exit: &Exit<'_>) -> Result<VsId, Failure> {
    let plinth = exit.plinth();
    let vm = plinth.vm_create()?;
    plinth.vm_map(vm, 0, plinth.allocate_page()?, PAGE, Permissions::all())?;
    plinth.vm_write_memory(vm, 0, &SPIN.to_le_bytes())?;
    plinth.vs_create(plinth.vp_create(vm)?, exit.pp())
}

extension!(Slices = Slices(PerPp::new([const { Cell::new(None) }; MAX_PPS])));
