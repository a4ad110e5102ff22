//! An OS at EL1 with a stub at EL2 launches Plinth below itself on all its processors, and stops it, again and again. It stands in
//! the loader's place: the archive that the loader would carry lies behind it.
//!
//! In between, it refuses to be refused: a broken extension, a processor that is not launched, processors that are switched off and on
//! under Plinth. Each time all of EL2 and EL1 must be as it was.

#![no_std]
#![no_main]

mod load;
mod workers;

use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_arm64_image::archive::Archive;
use plinth_extension_api::abi::HYPERCALL_STOP;
use plinth_launch::{LaunchError, LaunchInfo, LaunchStatus, Range};
use plinth_test_guests_armv8::stub::{self, El2};
use plinth_test_guests_armv8::vectors::{self, Vectors};
use plinth_test_guests_armv8::{
    Machine, Report, calls, check, entry, gic, mmu, plinth, read, say, system, write,
};

use load::Loaded;
use workers::Workers;

/// How often it is launched and stopped.
const ROUNDS: usize = 10;
/// Milliseconds until a timer rings, and in which anything happens.
const SOON: u64 = 5;
const PATIENCE: u64 = 20_000;

/// Rounds in which something else happens besides.
const BROKEN_EXTENSION: usize = 0;
const REFUSED_PROCESSOR: usize = 1;
const OFF_AND_ON: usize = 2;
const ANOTHER_STOPS: usize = 3;
const PENDING_TIMER: usize = 4;

struct Shared<T>(UnsafeCell<Option<T>>);

// SAFETY: written by the first processor while the others wait for work.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    fn set(&self, value: T) {
        // SAFETY: nobody reads it meanwhile, says the implementation of `Sync`.
        unsafe { *self.0.get() = Some(value) };
    }

    fn get(&self) -> Option<T> {
        // SAFETY: nobody writes it meanwhile.
        unsafe { *self.0.get() }
    }
}

static MACHINE: Shared<Machine> = Shared::new();
static LOADED: Shared<Loaded> = Shared::new();
/// EL2 of each processor before the launch, the first one first.
static BEFORE: [Shared<El2>; system::PROCESSORS] = [const { Shared::new() }; system::PROCESSORS];
/// A word that says where the last difference was.
static DIFFERENCE: AtomicU64 = AtomicU64::new(0);

fn machine() -> Machine {
    match MACHINE.get() {
        Some(machine) => machine,
        None => entry::stop(),
    }
}

/// What a processor answers where all is as it should be; else the number of what is not.
const FINE: u64 = 0;

/// Registers of EL1 and EL0 that nobody but the OS has a use for, and a few that it cannot live without.
fn el1_registers() -> [u64; 20] {
    [
        read!("sctlr_el1"),
        read!("ttbr0_el1"),
        read!("ttbr1_el1"),
        read!("tcr_el1"),
        read!("mair_el1"),
        read!("amair_el1"),
        read!("vbar_el1"),
        read!("contextidr_el1"),
        read!("tpidr_el1"),
        read!("tpidr_el0"),
        read!("tpidrro_el0"),
        read!("sp_el0"),
        read!("cntkctl_el1"),
        read!("cpacr_el1"),
        read!("mdscr_el1"),
        read!("afsr0_el1"),
        read!("csselr_el1"),
        read!("cntv_cval_el0"),
        read!("cntp_cval_el0"),
        read!("mpidr_el1"),
    ]
}

/// Gives them values of their own.
fn mark_el1() {
    let own = system::affinity();
    // SAFETY: registers that nothing here depends on.
    unsafe {
        write!("contextidr_el1", 0x1234_u64 + own);
        write!("tpidr_el1", 0x5678_9ABC_DEF0_u64 + own);
        write!("tpidr_el0", 0x1357_9BDF_0246_u64 + own);
        write!("tpidrro_el0", 0x2468_ACE0_1357_u64 + own);
        write!("sp_el0", 0x7_0000_0000_u64 + own);
        write!("amair_el1", 0_u64);
        write!("ttbr1_el1", 0x7000_u64);
        write!("cntp_cval_el0", 0x7FFF_FFFF_0000_0000_u64 + own);
        write!("cntkctl_el1", 3_u64);
    }
}

/// Notes what EL2 of this processor is.
fn note(index: u64) -> u64 {
    stub::mark(&machine());
    mark_el1();
    match stub::state(&machine()) {
        Some(state) => {
            BEFORE[index as usize].set(state);
            FINE
        }
        None => 1,
    }
}

/// Launches this processor, which must come back with all that it had but what a call may change. Returns the status, or all ones
/// where that is not so.
fn launch(index: u64) -> u64 {
    let Some(loaded) = LOADED.get() else { return u64::MAX };
    let (before, mut after) = (Vectors::pattern(), Vectors::zero());
    let el1 = el1_registers();
    vectors::load(&before);
    // SAFETY: the kernel comes back behind the call, and everything is where the contract says.
    let status = unsafe { stub::soft_restart(loaded.entry, loaded.info, index) };
    vectors::store(&mut after);
    if before == after && el1 == el1_registers() { status } else { u64::MAX }
}

/// Looks at what a processor under Plinth finds.
fn look(_: u64) -> u64 {
    let Some(loaded) = LOADED.get() else { return 1 };
    let own = system::affinity();
    let machine = machine();
    let rings = gic::timer_count(own);
    gic::set_timer(SOON);
    gic::open(true);
    let rang = system::wait(PATIENCE, || gic::timer_count(own) == rings + 1);
    gic::open(false);
    let stub_is_hidden = (0..stub::CALLS)
        .chain([stub::NO_CALL])
        .all(|call| calls::hvc([call, loaded.entry, loaded.info, 0])[0] == stub::UNKNOWN_CALL);
    let answers = calls::result(calls::firmware(machine.conduit, [calls::PSCI_VERSION, 0, 0, 0]));
    match () {
        () if !plinth::report() => 2,
        () if plinth::exits() == 0 => 3,
        () if !rang => 4,
        () if !stub_is_hidden => 5,
        () if load::word(loaded.sample) != 0 => 6,
        () if answers >> 32 != 0 => 7,
        () => FINE,
    }
}

/// Looks whether this processor is what it was before the launch.
fn is_bare(index: u64) -> u64 {
    compare(index, |state| state)
}

/// The same of one that was switched off under Plinth, and has the first one's EL2 now.
fn is_bare_as_first(_: u64) -> u64 {
    compare(0, El2::common)
}

fn compare(index: u64, of: impl Fn(El2) -> El2) -> u64 {
    let Some(loaded) = LOADED.get() else { return 1 };
    let own = system::affinity();
    let (Some(before), Some(after)) = (BEFORE[index as usize].get(), stub::state(&machine())) else {
        return 2;
    };
    if let Some((word, was, is)) = of(before).difference(&of(after)) {
        say!("takeover: word {word} of EL2 was {was:#x} and is {is:#x}");
        DIFFERENCE.store(word as u64, Ordering::Relaxed);
        return 3;
    }
    let rings = gic::timer_count(own);
    gic::set_timer(SOON);
    gic::open(true);
    let rang = system::wait(PATIENCE, || gic::timer_count(own) == rings + 1);
    gic::open(false);
    match () {
        () if calls::hvc([stub::NO_CALL, 0, 0, 0])[0] != stub::UNKNOWN_CALL => 4,
        () if calls::hvc([HYPERCALL_STOP, 0, 0, 0])[0] != stub::UNKNOWN_CALL => 5,
        () if !rang => 6,
        () if load::word(loaded.sample) == 0 => 7,
        () => FINE,
    }
}

/// Asks for the bare machine.
fn stop(_: u64) -> u64 {
    calls::hvc([HYPERCALL_STOP, 0, 0, 0])[0]
}

/// One launch, and the way back.
fn round(report: &mut Report, workers: &Workers, round: usize) {
    let last = workers.others().last();
    check!(report, "stub-is-there", workers.all_answer(note, FINE));
    if round == REFUSED_PROCESSOR && last.is_some() {
        return refuse_last(report, workers);
    }
    let rings = gic::timer_count(system::affinity());
    if round == PENDING_TIMER {
        gic::set_timer(0);
    }
    check!(report, "launched", workers.all_answer(launch, LaunchStatus::LAUNCHED.raw()));
    if round == PENDING_TIMER {
        gic::open(true);
        let rang = || gic::timer_count(system::affinity()) == rings + 1;
        check!(report, "timer-waits-for-launch", system::wait(PATIENCE, rang));
        gic::open(false);
    }
    check!(report, "runs-under-plinth", workers.all_answer(look, FINE));
    let off_and_on = last.filter(|_| round == OFF_AND_ON);
    if let Some(last) = off_and_on {
        check!(report, "switched-off", workers.switch_off(last));
        check!(report, "not-without-those-that-are-off", stop(0) != 0);
        check!(report, "switched-on", workers.switch_on(last));
        check!(report, "launched-by-plinth", workers.run(last, look, 0), Some(FINE));
    }
    let stopped = match last.filter(|_| round == ANOTHER_STOPS) {
        Some(last) => workers.run(last, stop, 0),
        None => Some(stop(0)),
    };
    check!(report, "stopped", stopped, Some(0));
    check!(report, "bare", is_bare(0), FINE);
    for place in workers.others() {
        let look = if off_and_on == Some(place) { is_bare_as_first } else { is_bare };
        check!(report, "bare-too", workers.run(place, look, place as u64 + 1), Some(FINE));
    }
}

/// The last processor is refused: those before it are given back.
fn refuse_last(report: &mut Report, workers: &Workers) {
    let Some((loaded, last)) = LOADED.get().zip(workers.others().last()) else { return };
    let info = loaded.info as *mut LaunchInfo;
    check!(report, "first-is-launched", launch(0), 0);
    for place in 0..last {
        check!(report, "others-are-launched", workers.run(place, launch, place as u64 + 1), Some(0));
    }
    // The first processor finds zeroes in the reservation now; the last one does not.
    let spoil: workers::Job = |info| {
        // SAFETY: the launch information, which this processor still reaches.
        unsafe { (*(info as *mut LaunchInfo)).size = 0 };
        mmu::clean_range(Range { start: info, size: size_of::<LaunchInfo>() as u64 });
        FINE
    };
    check!(report, "contract-is-spoilt", workers.run(last, spoil, info as u64), Some(FINE));
    let refused = LaunchStatus::failed(LaunchError::BadContract, 0).raw();
    check!(report, "last-is-refused", workers.run(last, launch, last as u64 + 1), Some(refused));
    check!(report, "last-is-bare", workers.run(last, is_bare, last as u64 + 1), Some(FINE));
    check!(report, "others-are-given-back", stop(0), 0);
    check!(report, "all-are-bare", workers.all_answer(is_bare, FINE));
}

/// The extension's file is broken: the first processor is refused.
fn refuse_first(report: &mut Report, loaded: &Loaded) {
    load::break_extension(loaded);
    check!(report, "stub-is-there", note(0), FINE);
    let status = LaunchStatus::from_raw(launch(0));
    check!(report, "extension-is-refused", status.error(), Some(LaunchError::BadExtension));
    check!(report, "nothing-is-changed", is_bare(0), FINE);
}

fn takeover(report: &mut Report, machine: &Machine, archive: &Archive<'_>, workers: &Workers) -> Option<()> {
    let reservation = load::reserve(machine, archive)?;
    let count = workers.others().count() as u64 + 1;
    for number in 0..ROUNDS {
        if number == BROKEN_EXTENSION {
            let loaded = load::load(machine, archive, reservation, count)?;
            LOADED.set(loaded);
            refuse_first(report, &loaded);
        }
        LOADED.set(load::load(machine, archive, reservation, count)?);
        round(report, workers, number);
    }
    // It is the firmware's machine again: a processor starts where its own stub is put.
    if let Some(last) = workers.others().last() {
        check!(report, "switched-off-when-bare", workers.switch_off(last));
        check!(report, "switched-on-when-bare", workers.switch_on(last));
        check!(
            report,
            "with-its-own-stub",
            workers.run(last, |_| calls::hvc([stub::NO_CALL, 0, 0, 0])[0], 0),
            Some(stub::UNKNOWN_CALL)
        );
    }
    Some(())
}

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("takeover", &machine);
    MACHINE.set(machine);
    gic::enable(machine.gic);
    let workers = Workers::start(machine);
    check!(report, "all-processors", workers.is_some());
    match (load::archive(), workers) {
        (Some(archive), Some(workers)) => {
            let done = takeover(&mut report, &machine, &archive, &workers);
            check!(report, "everything-in-its-place", done.is_some());
        }
        (archive, _) => check!(report, "archive", archive.is_some()),
    }
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST takeover panicked FAILED: {info}");
    entry::stop()
}
