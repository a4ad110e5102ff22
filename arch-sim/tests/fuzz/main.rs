//! Random system calls with hostile arguments: the kernel never panics, never loses anything, and the root VM
//! is still there afterwards. Seeded: a failure repeats (on one processor).

#[path = "../common/mod.rs"]
mod common;
mod fuzzer;

use crate::fuzzer::{Fuzzer, Kind};
use common::{TEST, eventually, meet, program, promoted, wait_for};
use plinth_arch_sim::extension::{Extension, Slot, User};
use plinth_arch_sim::isa::{Op, SIZE};
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::machine::{CONTROL_PAGE, LOW_PAGE, MEMORY_END, RESERVATION};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{Call, ExitClass, ExitPage, ROOT_VM, Status, register};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A fuzzing extension on all processors.
struct Campaign {
    seed: u64,
    standard: Arc<Standard>,
    fuzzers: Vec<Mutex<Fuzzer>>,
    roots: Vec<AtomicU64>,
    /// Where each processor's exit page is. What it says of the processor may be overwritten by a call that answers there.
    exit_pages: Vec<AtomicU64>,
    made: Mutex<Vec<(Call, u64)>>,
    goal: u64,
    /// All processors but 0 get in the way of that one's calls.
    is_feud: bool,
    /// Only processor 0 is left.
    others_are_done: AtomicBool,
}

/// What undoes a call, by its output.
fn undoing(number: u64) -> Option<Call> {
    let pairs = [
        (Call::VsCreate, Call::VsDestroy),
        (Call::VpCreate, Call::VpDestroy),
        (Call::VmCreate, Call::VmDestroy),
        (Call::MemAllocatePage, Call::MemFreePage),
    ];
    pairs.into_iter().find(|pair| pair.0.number() == number).map(|pair| pair.1)
}

impl Campaign {
    fn new(seed: u64, pps: usize, goal: u64, is_feud: bool) -> Arc<Self> {
        Arc::new(Self {
            seed,
            standard: Standard::with_fail(),
            fuzzers: (0..pps as u64).map(|pp| Mutex::new(Fuzzer::new(seed + pp))).collect(),
            roots: (0..pps).map(|_| AtomicU64::new(0)).collect(),
            exit_pages: (0..pps).map(|_| AtomicU64::new(0)).collect(),
            made: Mutex::default(),
            goal,
            is_feud,
            others_are_done: AtomicBool::new(false),
        })
    }

    /// Calls until the goal is reached; or until one resumes something, and its exit comes back here.
    fn fuzz(&self, user: &User, pp: usize, page: u64) {
        self.teach(user, pp, page);
        loop {
            let (number, arguments) = {
                let mut fuzzer = self.fuzzers[pp].lock().unwrap();
                if fuzzer.calls >= self.goal {
                    return;
                }
                if self.is_feud && pp != 0 {
                    let victim = self.fuzzers[0].lock().unwrap();
                    fuzzer.strike(self.standard.handle(), &victim)
                } else {
                    fuzzer.next_call(self.standard.handle())
                }
            };
            if self.is_feud && pp != 0 {
                self.scribble(user, pp);
            }
            if self.is_allowed(number, arguments) {
                self.make(user, pp, number, arguments);
            }
        }
    }

    /// Tells the fuzzer what is there without its doing.
    fn teach(&self, user: &User, pp: usize, page: u64) {
        let mut fuzzer = self.fuzzers[pp].lock().unwrap();
        for address in [page, user.entry(), RESERVATION.start + 0x5000] {
            fuzzer.learn(Kind::Page, address & !0xFFF);
        }
        for root in &self.roots {
            fuzzer.learn(Kind::Vs, root.load(Ordering::SeqCst));
        }
        fuzzer.learn(Kind::Vm, ROOT_VM);
    }

    /// Overwrites a word of processor 0's exit page, whose calls go on meanwhile.
    fn scribble(&self, user: &User, pp: usize) {
        const WORDS: u64 = (size_of::<ExitPage>() / 8) as u64;
        let page = self.exit_pages[0].load(Ordering::SeqCst);
        let victim_is_done = self.fuzzers[0].lock().unwrap().calls >= self.goal;
        if page != 0 && !victim_is_done {
            let (word, value) = {
                let mut fuzzer = self.fuzzers[pp].lock().unwrap();
                (fuzzer.any() % WORDS, fuzzer.any())
            };
            user.store(page + word * 8, value);
        }
    }

    /// The processor that an exit page belongs to.
    fn processor(&self, page: u64) -> usize {
        self.exit_pages.iter().position(|known| known.load(Ordering::SeqCst) == page).unwrap()
    }

    /// All but what ends the test by design, or splits the root VM's map beyond what was split before.
    fn is_allowed(&self, number: u64, arguments: [u64; 6]) -> bool {
        let is = |call: Call| call.number() == number;
        let root = self.roots.iter().any(|root| root.load(Ordering::SeqCst) == arguments[1]);
        let beyond = arguments[2].saturating_add(arguments[3]) > MEMORY_END;
        let splits = is(Call::VmProtect) && arguments[1] == ROOT_VM && beyond;
        let spoils = is(Call::VmWriteMemory) && arguments[1] == ROOT_VM;
        let ends = spoils || is(Call::IntrinsicReset) || (is(Call::VsPromote) && root);
        !ends && !splits
    }

    fn make(&self, user: &User, pp: usize, number: u64, arguments: [u64; 6]) {
        if number == Call::HandleClose.number() && self.fuzzers.len() > 1 {
            return;
        }
        let (status, outputs) = user.raw_call(number, arguments);
        if Status::from_raw(status).result().is_err() {
            return;
        }
        if number == Call::HandleClose.number() {
            self.standard.open(user);
        }
        if number == Call::MemAllocateHuge.number() {
            let pages =
                (0..arguments[1]).step_by(0x1000).map(|offset| (Call::MemFreePage, outputs[0] + offset));
            self.made.lock().unwrap().extend(pages);
        }
        if let Some(undo) = undoing(number) {
            self.made.lock().unwrap().push((undo, outputs[0]));
        }
        self.fuzzers[pp].lock().unwrap().note(number, arguments, outputs[0]);
    }

    /// Makes the root VS whole again and goes on with it at `at`.
    fn resume_root(&self, user: &User, pp: usize, at: u64) {
        let root = self.roots[pp].load(Ordering::SeqCst);
        let standard = &self.standard;
        let low_end = LOW_PAGE + plinth_hal::PAGE_SIZE;
        for (start, end) in [(0, LOW_PAGE), (low_end, RESERVATION.start), (RESERVATION.end, CONTROL_PAGE)] {
            standard.expect(user, Call::VmProtect, &[ROOT_VM, start, end - start, 7]);
        }
        for register in [register::X86_CR0, register::X86_CR3, register::FLAGS] {
            standard.expect(user, Call::VsWrite, &[root, register, 0]);
        }
        for call in [Call::VsSetView, Call::VsStep] {
            standard.expect(user, call, &[root, 0]);
        }
        standard.expect(user, Call::VsWrite, &[root, register::INSTRUCTION_POINTER, at]);
        standard.expect(user, Call::VsRun, &[root]);
    }

    /// Waits until a processor has made its calls, as long as it makes any.
    fn goes_on(&self, pp: usize) {
        let calls = || self.fuzzers[pp].lock().unwrap().calls;
        while calls() < self.goal {
            let before = calls();
            eventually("another call", || calls() > before);
        }
    }

    /// Destroys all that was made.
    fn clean_up(&self, user: &User) {
        for fuzzer in &self.fuzzers {
            for [vm, gpa, size] in fuzzer.lock().unwrap().mapped.clone() {
                for page in (0..size).step_by(0x1000) {
                    let _ = self.standard.call(user, Call::VmUnmap, &[vm, gpa + page, 0x1000]);
                }
            }
        }
        let mut made = self.made.lock().unwrap().clone();
        // The VPs of root VSs that are gone, where others' VSs have kept them.
        made.extend((0..self.roots.len() as u64).map(|vp| (Call::VpDestroy, vp)));
        let destroy = |kind: Call| {
            for (call, object) in made.iter().filter(|(call, _)| *call == kind) {
                let _ = self.standard.call(user, *call, &[*object]);
            }
        };
        destroy(Call::VsDestroy);
        for fuzzer in &self.fuzzers {
            for view in &fuzzer.lock().unwrap().views {
                let _ = self.standard.call(user, Call::VmViewDestroy, view);
            }
        }
        [Call::VpDestroy, Call::VmDestroy, Call::MemFreePage].into_iter().for_each(destroy);
    }

    fn vmexit(&self, user: &User, arguments: [u64; 3]) {
        let exit = ExitInfo::new(arguments);
        let pp = self.processor(exit.page);
        if self.fuzzers[pp].lock().unwrap().calls < self.goal {
            self.fuzz(user, pp, exit.page);
        }
        let at = exit.field(user, offset_of!(ExitPage, instruction_pointer));
        let ending = exit.vs == self.roots[pp].load(Ordering::SeqCst) && at & !0xFFF == end_program(pp);
        // Other processors' fuzzing may hit this one's root VS and its memory: then it ends once more.
        let disturbed = pp == 0 && !self.others_are_done.load(Ordering::SeqCst);
        if !ending || disturbed || exit.class != ExitClass::Hypercall {
            self.resume_root(user, pp, end_program(pp));
        }
        if exit.class == ExitClass::Hypercall && exit.register(user, 0) == CLEAN_UP {
            self.clean_up(user);
            self.standard.advance_and_run(user);
        }
        self.standard.vmexit(user, exit);
    }

    fn extension(self: &Arc<Self>) -> Extension {
        let (bootstrap, vmexit, fail) = (self.clone(), self.clone(), self.clone());
        self.standard
            .extension()
            .on(Slot::Bootstrap, move |user, [pp, page, _]| {
                bootstrap.exit_pages[pp as usize].store(page, Ordering::SeqCst);
                let root = bootstrap.standard.root_vs(user, pp);
                bootstrap.roots[pp as usize].store(root, Ordering::SeqCst);
                split_the_map(&bootstrap.standard, user);
                bootstrap.standard.expect(user, Call::VsRun, &[root]);
            })
            .on(Slot::Vmexit, move |user, arguments| vmexit.vmexit(user, arguments))
            .on(Slot::Fail, move |user, [page, ..]| {
                let pp = fail.processor(page);
                fail.resume_root(user, pp, Lab::program_of(pp) + 3 * SIZE);
            })
    }
}

/// Splits the root VM's large leaves, so that later changes of permissions need no frames.
fn split_the_map(standard: &Standard, user: &User) {
    for region in (0..MEMORY_END).step_by(2 << 20).filter(|region| !RESERVATION.contains(region)) {
        for permissions in [5, 7] {
            standard.expect(user, Call::VmProtect, &[ROOT_VM, region, 0x1000, permissions]);
        }
    }
}

/// The hypercall by which the root VM asks for a clean-up.
const CLEAN_UP: u64 = 0xC1EA;

/// Calls that cannot succeed in the middle of it all, or do not return when they do.
const NEVER: [Call; 13] = [
    Call::ControlAgain,
    Call::HandleOpen,
    Call::CallbackRegisterBootstrap,
    Call::CallbackRegisterVmexit,
    Call::CallbackRegisterFail,
    Call::VsInitAsRoot,
    Call::VsRun,
    Call::VsRunCurrent,
    Call::VsAdvanceAndRunCurrent,
    Call::VsAdvanceAndRun,
    Call::VsAdvance,
    Call::VsPromote,
    Call::IntrinsicReset,
];

/// Where the root VS of a processor goes on once there was enough fuzzing.
const fn end_program(pp: usize) -> u64 {
    0x18_0000 + pp as u64 * 0x1000
}

/// Runs `goal` calls on each of `pps` processors at once.
fn fuzz(seed: u64, pps: usize, goal: u64) -> Arc<Campaign> {
    run(Campaign::new(seed, pps, goal, false))
}

fn run(campaign: Arc<Campaign>) -> Arc<Campaign> {
    let (pps, goal) = (campaign.fuzzers.len(), campaign.goal);
    let mut lab = Lab::new(campaign.extension());
    lab.load(
        end_program(0),
        &program(&[&wait_for(2), &[Op::Set { register: 0, value: CLEAN_UP }, Op::Hypercall]]),
    );
    for pp in 0..pps {
        let again = [Op::Jump { address: Lab::program_of(pp) + 3 * SIZE }];
        let touch_all = [Op::Load { address: 1 << 39 }, Op::Load { address: 1 << 30 }];
        if pp != 0 {
            lab.load(end_program(pp), &[Op::Done]);
        }
        lab.launch(pp, &[&touch_all[..], &wait_for(1), &TEST, &again].concat());
    }
    eventually("the first touch", || (0..pps).map(|pp| lab.exits(pp, ExitClass::Memory)).sum::<u64>() >= 2);
    let before = lab.kernel.free_frames();
    meet(&lab, 1);
    for pp in 1..pps {
        campaign.goes_on(pp);
        promoted(&lab.end(pp));
    }
    campaign.goes_on(0);
    eventually("the first processor", || campaign.fuzzers[0].lock().unwrap().calls >= goal);
    campaign.others_are_done.store(true, Ordering::SeqCst);
    meet(&lab, 2);
    promoted(&lab.end(0));
    assert_eq!(lab.kernel.object_counts(), [1, pps, pps], "seed {:#x}", campaign.seed);
    assert_eq!(lab.kernel.free_frames(), before, "seed {:#x}", campaign.seed);
    campaign
}

/// How many calls the long run makes, where `PLINTH_FUZZ_CALLS` does not say: `cargo xtask test` wants a million.
const CALLS: u64 = 100_000;

#[test]
fn a_long_run() {
    let calls = std::env::var("PLINTH_FUZZ_CALLS").map_or(CALLS, |text| text.parse().unwrap());
    let campaign = fuzz(0x5EED, 1, calls);
    let succeeded = &campaign.fuzzers[0].lock().unwrap().succeeded;
    println!("{calls} calls, {} of them succeeded, 0 leaks", succeeded.values().sum::<u64>());
    for call in common::returning_calls().filter(|call| !NEVER.contains(call)) {
        let count = succeeded.get(&call.number()).copied().unwrap_or(0);
        assert!(count >= (calls / 20_000).min(5), "{call:?} is hardly tested: {count} times");
    }
}

#[test]
fn several_seeds() {
    for seed in 1..=10 {
        fuzz(seed << 32 | 0xF00D, 1, 4_000);
    }
}

#[test]
fn two_processors_at_once() {
    for seed in 1..=6 {
        fuzz(seed << 24 | 0xBEE, 2, 5_000);
    }
}

#[test]
fn four_processors_at_once() {
    fuzz(0xCAFE, 4, 5_000);
}

/// How many calls each side makes, where `PLINTH_FEUD_CALLS` does not say: `cargo xtask test --full` wants a million.
const FEUD_CALLS: u64 = 20_000;
/// How many feuds there are at the most.
const FEUDS: u64 = 5;

#[test]
fn processors_that_attack_one_anothers_calls() {
    let calls = std::env::var("PLINTH_FEUD_CALLS").map_or(FEUD_CALLS, |text| text.parse().unwrap());
    let mut missing =
        vec![Call::VsDestroy, Call::VpDestroy, Call::VmDestroy, Call::MemFreePage, Call::VsMigrate];
    // Which of them meet what the other one made hangs on how the host runs the two.
    for seed in 0xFE0D..0xFE0D + FEUDS {
        let campaign = run(Campaign::new(seed, 2, calls, true));
        let [caller, striker] =
            [0, 1].map(|pp: usize| campaign.fuzzers[pp].lock().unwrap().succeeded.clone());
        let succeeded = [&caller, &striker].map(|succeeded| succeeded.values().sum::<u64>());
        println!("{calls} calls and as many against them, {succeeded:?} of them succeeded, 0 leaks");
        missing.retain(|call| !striker.contains_key(&call.number()));
        if missing.is_empty() {
            return;
        }
    }
    panic!("{missing:?} have never met what the other one made");
}
