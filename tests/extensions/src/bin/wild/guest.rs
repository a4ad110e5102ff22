//! The guest VM, whichever PP it is on: only that PP is here at a time.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::abi::Permissions;
use plinth_extension_api::abi::register::INSTRUCTION_POINTER;
use plinth_extension_api::{Exit, ExitClass, Failure, Plinth, VmId, VpId, VsId, log};
use plinth_test_extensions::random::Random;

use super::machine;

pub(super) const PAGE: usize = 4096;
/// Of memory, from address 0 on.
pub(super) const PAGES: usize = 4;
/// No VS.
const NONE: u64 = u64::MAX;
const SEED: u64 = 0x3117_0D06;
/// After how many exits of one slice the root VM goes on, whatever the timer says.
const EXITS_OF_SLICE: u64 = 100;
/// After how many slices a guest is replaced that could go on.
const SLICES_OF_GUEST: u64 = 2;
/// After how many exits there is a line, and whenever there are twice as many.
const LINE: u64 = 20;

/// The memory of a guest before it runs.
pub(super) type Memory = [[u8; PAGE]; PAGES];

pub(super) struct Guest {
    vm: AtomicU64,
    vp: AtomicU64,
    vs: AtomicU64,
    /// The VS before, which was active when it was replaced.
    old: AtomicU64,
    seed: AtomicU64,
    /// In this slice.
    exits: AtomicU64,
    /// Where the last slice ended.
    last_end: AtomicU64,
    /// Of this guest's.
    slices: AtomicU64,
    tally: Tally,
}

struct Tally {
    exits: AtomicU64,
    guests: AtomicU64,
    moves: AtomicU64,
}

fn add(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

impl Guest {
    pub(super) const fn new() -> Self {
        let [vm, vp, vs, old] = [const { AtomicU64::new(NONE) }; 4];
        let [exits, guests, moves] = [const { AtomicU64::new(0) }; 3];
        let tally = Tally { exits, guests, moves };
        let [exits, last_end, slices] = [const { AtomicU64::new(0) }; 3];
        Self { vm, vp, vs, old, seed: AtomicU64::new(SEED), exits, last_end, slices, tally }
    }

    /// Makes the VM.
    pub(super) fn make_home(&self, plinth: Plinth) -> Result<(), Failure> {
        let vm = plinth.vm_create()?;
        for page in 0..PAGES {
            let gpa = (page * PAGE) as u64;
            plinth.vm_map(vm, gpa, plinth.allocate_page()?, PAGE as u64, Permissions::all())?;
        }
        machine::open(plinth, vm)?;
        self.vm.store(vm.raw(), Ordering::SeqCst);
        self.vp.store(plinth.vp_create(vm)?.raw(), Ordering::SeqCst);
        log::info!("wild: seed {SEED:#x}");
        Ok(())
    }

    pub(super) fn is(&self, vs: VsId) -> bool {
        self.vs.load(Ordering::SeqCst) == vs.raw()
    }

    /// Whether it has done something in the slice that ends with this exit. One that stays where it is counts as idle.
    pub(super) fn has_run(&self, exit: &Exit<'_>) -> bool {
        let at = exit.instruction_pointer();
        self.last_end.swap(at, Ordering::Relaxed) != at || self.exits.load(Ordering::Relaxed) != 0
    }

    fn random(&self) -> Random {
        Random::new(self.seed.fetch_add(0x9E37_79B9, Ordering::Relaxed))
    }

    /// A random number below `limit`.
    pub(super) fn pick(&self, limit: u64) -> u64 {
        self.random().below(limit)
    }

    /// Another PP for it now and then.
    pub(super) fn wants_to_move(&self, pp: u64, pps: u64) -> Option<u64> {
        let mut random = self.random();
        let next = random.below(pps.max(1));
        (next != pp && random.below(2) == 0).then_some(next)
    }

    /// It is not active anywhere.
    pub(super) fn move_to(&self, plinth: Plinth, pp: u64) -> Result<(), Failure> {
        add(&self.tally.moves);
        match self.vs.load(Ordering::SeqCst) {
            NONE => Ok(()),
            vs => plinth.vs_migrate(VsId::from_raw(vs), pp),
        }
    }

    /// The VS that runs now: the one that has run before, or a new one.
    pub(super) fn take_up(&self, plinth: Plinth, pp: u64) -> Result<VsId, Failure> {
        self.exits.store(0, Ordering::Relaxed);
        let vs = self.vs.load(Ordering::SeqCst);
        if vs == NONE || add(&self.slices) > SLICES_OF_GUEST {
            self.renew(plinth, pp)
        } else {
            Ok(VsId::from_raw(vs))
        }
    }

    /// Makes a new one, with other memory. The one before may be active still; the one before that is not.
    fn renew(&self, plinth: Plinth, pp: u64) -> Result<VsId, Failure> {
        let current = self.vs.swap(NONE, Ordering::SeqCst);
        let old = self.old.swap(current, Ordering::SeqCst);
        if old != NONE {
            plinth.vs_destroy(VsId::from_raw(old))?;
        }
        let mut random = self.random();
        let kind = machine::Kind::pick(&mut random);
        let mut memory: Memory = [[0; PAGE]; PAGES];
        machine::fill(&mut memory, kind, &mut random);
        let vm = VmId::from_raw(self.vm.load(Ordering::SeqCst));
        for (page, bytes) in memory.iter().enumerate() {
            plinth.vm_write_memory(vm, (page * PAGE) as u64, bytes)?;
        }
        let vs = plinth.vs_create(VpId::from_raw(self.vp.load(Ordering::SeqCst)), pp)?;
        machine::start(plinth, vs, kind, &mut random)?;
        self.vs.store(vs.raw(), Ordering::SeqCst);
        self.slices.store(0, Ordering::Relaxed);
        add(&self.tally.guests);
        Ok(vs)
    }

    /// Answers an exit of the guest's with random numbers. Returns what runs next; nothing for the root VM.
    pub(super) fn answer(&self, exit: &mut Exit<'_>) -> Result<Option<VsId>, Failure> {
        let total = add(&self.tally.exits);
        if total.is_multiple_of(LINE) && (total / LINE).is_power_of_two() {
            let [guests, moves] =
                [&self.tally.guests, &self.tally.moves].map(|count| count.load(Ordering::Relaxed));
            log::info!("wild: {total} exits, {guests} guests, {moves} moves");
        }
        let mut random = self.random();
        let is_over = matches!(exit.class(), ExitClass::Shutdown | ExitClass::EntryRefused)
            || exit.class() == ExitClass::Memory && random.below(2) == 0;
        let goes_on = add(&self.exits) < EXITS_OF_SLICE && exit.class() != ExitClass::Wait;
        if is_over {
            let next = self.renew(exit.plinth(), exit.pp())?;
            return Ok(goes_on.then_some(next));
        }
        for _ in 0..random.below(3) {
            exit.set_general(random.below(16) as usize, random.next());
        }
        let next = machine::after(exit, &mut random);
        exit.plinth().vs_write(exit.vs(), INSTRUCTION_POINTER, next)?;
        Ok(goes_on.then(|| exit.vs()))
    }
}
