//! Runs the guests.

mod pages;
mod start;

use core::cell::Cell;

use plinth_extension_api::abi::Permissions;
use plinth_extension_api::{
    Exit, ExitClass, Extension, Failure, MAX_PPS, PerPp, Plinth, Resume, VmId, VpId, VsId, log, passthrough,
};
use plinth_test_extensions::attacks::{self, DESTROY, FAILED, GO_ON, RUNNING};
use plinth_test_extensions::{argument, is_test};

use self::pages::{PAGE, PAGES, attack_pages};
use self::start::Guest;

/// Where a guest ends.
const END: u64 = 0xF4;

/// What a processor has: the guests' VM and VP, and the guest that runs.
struct Place {
    home: Cell<Option<(VmId, VpId)>>,
    guest: Cell<Option<(VsId, VsId)>>,
}

/// The extension.
pub(crate) struct Attacks {
    places: PerPp<Place>,
}

impl Attacks {
    pub(crate) const fn new() -> Self {
        Self {
            places: PerPp::new([const { Place { home: Cell::new(None), guest: Cell::new(None) } }; MAX_PPS]),
        }
    }
}

impl Place {
    fn home(&self, plinth: Plinth) -> Result<(VmId, VpId), Failure> {
        if let Some(home) = self.home.get() {
            return Ok(home);
        }
        let vm = plinth.vm_create()?;
        for page in 0..PAGES {
            plinth.vm_map(vm, page * PAGE, plinth.allocate_page()?, PAGE, Permissions::all())?;
        }
        let home = (vm, plinth.vp_create(vm)?);
        self.home.set(Some(home));
        Ok(home)
    }

    /// Makes a guest, and runs it.
    fn begin(&self, exit: &mut Exit<'_>, guest: &Guest) -> Result<Resume, Failure> {
        let plinth = exit.plinth();
        let (vm, vp) = self.home(plinth)?;
        // A call copies a page at the most.
        for (number, page) in attack_pages.chunks(PAGE as usize).enumerate() {
            plinth.vm_write_memory(vm, number as u64 * PAGE, page)?;
        }
        let vs = plinth.vs_create(vp, exit.pp())?;
        guest.enter(plinth, vs)?;
        self.guest.set(Some((vs, exit.vs())));
        Ok(run(exit, vs))
    }

    fn answer(&self, exit: &mut Exit<'_>) -> Result<Resume, Failure> {
        match (argument(exit), self.guest.get()) {
            (attacks::CACHES_OFF, None) => self.begin(exit, &start::CACHES_OFF),
            (attacks::DEBUG_LOOP, None) => self.begin(exit, &start::DEBUG_LOOP),
            (attacks::DEBUG_ONCE, None) => self.begin(exit, &start::DEBUG_ONCE),
            (attacks::ALIGNMENT_LOOP, None) => self.begin(exit, &start::ALIGNMENT_LOOP),
            (attacks::PAE, None) => self.begin(exit, &start::PAE),
            (GO_ON, Some((vs, _))) => Ok(run(exit, vs)),
            (DESTROY, Some((vs, _))) => {
                self.guest.set(None);
                exit.plinth().vs_destroy(vs)?;
                Ok(exit.answer_hypercall(0))
            }
            _ => Ok(exit.answer_hypercall(FAILED)),
        }
    }

    /// An exit of the guest's, whose VS is `vs`: its turn is over, or it ends.
    fn vmexit(exit: &mut Exit<'_>, root: VsId) -> Result<Resume, Failure> {
        let plinth = exit.plinth();
        match (exit.class(), exit.number()) {
            (ExitClass::Interrupt | ExitClass::Attention, _) => {}
            (ExitClass::Nmi, _) => plinth.vs_inject(root, plinth_extension_api::Event::NMI)?,
            (ExitClass::PortWrite, END) => plinth.vs_write(root, 0, exit.general(0) & 0xFF)?,
            (class, number) => {
                let at = exit.instruction_pointer();
                log::warn!("guest-attacks: {} exit, number {number:#x}, at {at:#x}", class.name());
                plinth.vs_write(root, 0, FAILED)?;
            }
        }
        Ok(Resume::RunVs(root))
    }
}

/// Runs the guest; the hypercall's result is [`RUNNING`] until it has another.
fn run(exit: &mut Exit<'_>, vs: VsId) -> Resume {
    exit.set_general(0, RUNNING);
    Resume::AdvanceAndRunVs(vs)
}

impl Extension for Attacks {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let place = self.places.of(exit);
        let answer = match place.guest.get() {
            Some((vs, root)) if vs == exit.vs() => Place::vmexit(exit, root),
            _ if is_test(exit) => place.answer(exit),
            _ => return passthrough::vmexit(exit),
        };
        answer.unwrap_or_else(|failure| {
            log::warn!("guest-attacks: {failure}");
            Resume::GiveUp
        })
    }
}
