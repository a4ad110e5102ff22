//! Runs code of the root VM's in a guest VM beside it, on Arm. The test hypercall's argument is the address of a page: it is copied to
//! address 0 of a VM, and run from its beginning at EL1 without an MMU. What the guest does that is trapped is skipped and
//! counted, until it makes a call: with the argument [`ASK`] the root VM then gets, in X0 to X3, whether it was that which ended
//! it, how many accesses were trapped, and the guest's X0 and X1. [`GO_ON`] lets it go on where an interrupt has stopped it.

#![no_std]
#![no_main]

use core::cell::Cell;

use plinth_extension_api::abi::Permissions;
use plinth_extension_api::{Exit, ExitClass, Extension, Failure, MAX_PPS, PerPp, Resume, VmId, VpId, VsId};
use plinth_extension_api::{extension, log, passthrough};
use plinth_test_extensions::{ASK, GO_ON, argument, is_test};

const PAGE: u64 = 4096;
/// Exception classes of what is closed with SVE and SME (Arm ARM, ESR_EL2).
const SVE: u64 = 0x19;
const SME: u64 = 0x1D;

#[derive(Clone, Copy)]
struct Run {
    guest: VsId,
    root: VsId,
    trapped: u64,
    result: [u64; 4],
}

struct Place {
    home: Cell<Option<(VmId, VpId)>>,
    run: Cell<Option<Run>>,
}

impl Place {
    const fn new() -> Self {
        Self { home: Cell::new(None), run: Cell::new(None) }
    }

    /// An exit of the guest's.
    fn guest_exit(&self, run: Run, exit: &Exit<'_>) -> Resume {
        let again = Run { trapped: run.trapped + 1, ..run };
        match exit.class() {
            ExitClass::Interrupt | ExitClass::Attention => return Resume::RunVs(run.root),
            ExitClass::RegisterRead | ExitClass::RegisterWrite | ExitClass::IdRead => {
                self.run.set(Some(again));
                return Resume::AdvanceAndRun;
            }
            ExitClass::Other if matches!(exit.number(), SVE | SME) => {
                self.run.set(Some(again));
                return Resume::AdvanceAndRun;
            }
            ExitClass::Hypercall => {}
            class => log::warn!("beside: the guest ends with a {} exit, {:#x}", class.name(), exit.number()),
        }
        let called = u64::from(exit.class() == ExitClass::Hypercall);
        let result = [called, run.trapped, exit.general(0), exit.general(1)];
        self.run.set(Some(Run { result, ..run }));
        Resume::RunVs(run.root)
    }

    fn begin(&self, exit: &mut Exit<'_>) -> Result<Resume, Failure> {
        let plinth = exit.plinth();
        let (vm, vp) = match self.home.get() {
            Some(home) => home,
            None => {
                let vm = plinth.vm_create()?;
                plinth.vm_map(vm, 0, plinth.allocate_page()?, PAGE, Permissions::all())?;
                (vm, plinth.vp_create(vm)?)
            }
        };
        self.home.set(Some((vm, vp)));
        if let Some(run) = self.run.take() {
            plinth.vs_destroy(run.guest)?;
        }
        let mut page = [0; PAGE as usize];
        plinth.vm_read_memory(VmId::ROOT, argument(exit), &mut page)?;
        plinth.vm_write_memory(vm, 0, &page)?;
        let guest = plinth.vs_create(vp, exit.pp())?;
        self.run.set(Some(Run { guest, root: exit.vs(), trapped: 0, result: [0; 4] }));
        exit.set_general(0, 0);
        Ok(Resume::AdvanceAndRunVs(guest))
    }
}

struct Beside(PerPp<Place>);

impl Extension for Beside {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let place = self.0.of(exit);
        let run = place.run.get();
        if let Some(run) = run.filter(|run| run.guest == exit.vs()) {
            return place.guest_exit(run, exit);
        }
        if !is_test(exit) {
            return passthrough::vmexit(exit);
        }
        match (argument(exit), run) {
            (ASK, run) => {
                let result = run.map_or([0; 4], |run| run.result);
                for (index, value) in result.into_iter().enumerate().skip(1) {
                    exit.set_general(index, value);
                }
                exit.answer_hypercall(result[0])
            }
            (GO_ON, Some(run)) => {
                exit.set_general(0, 0);
                Resume::AdvanceAndRunVs(run.guest)
            }
            _ => place.begin(exit).unwrap_or_else(|failure| {
                log::error!("beside: {failure}");
                Resume::GiveUp
            }),
        }
    }
}

extension!(
    Beside = Beside(PerPp::new([const { Place::new() }; MAX_PPS])),
    groups: [VM, VP, VS, MEMORY]
);
