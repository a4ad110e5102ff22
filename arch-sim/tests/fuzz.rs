//! Random system calls with hostile arguments: the kernel never panics, never loses anything, and the root VM
//! is still there afterwards. Seeded: a failure repeats (on one processor).

mod common;

use common::{TEST, promoted};
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::Lab;
use plinth_arch_sim::machine::{CONTROL_PAGE, MEMORY_END, RESERVATION, USER_BASE};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{Call, ROOT_VM, SIGNATURE, Status, VERSION, register};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A generator of numbers (xorshift64*), so that a seed is all there is to know.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const BOUNDARIES: [u64; 36] = [
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    31,
    32,
    63,
    64,
    0x100,
    0x101,
    0x200,
    0x30D,
    0xB0E,
    0xFFF,
    0x1000,
    0x1003,
    0x1005,
    0x2000,
    0x3000,
    0xFFFF,
    0x1_0000,
    0x20_0000,
    1 << 30,
    (1 << 30) - 0x1000,
    1 << 39,
    1 << 47,
    1 << 48,
    1 << 63,
    !0xFFF,
    !7,
    u64::MAX - 1,
    u64::MAX,
    RESERVATION.start,
];

/// What the fuzzer knows of the machine: values that made sense once.
struct Fuzzer {
    random: Random,
    calls: u64,
    seen: Vec<u64>,
    mapped: Vec<[u64; 3]>,
}

impl Fuzzer {
    fn new(seed: u64) -> Self {
        Self { random: Random(seed), calls: 0, seen: vec![0], mapped: Vec::new() }
    }

    fn value(&mut self) -> u64 {
        match self.random.below(8) {
            0..4 => self.random.pick(&self.seen.clone()),
            4..7 => self.random.pick(&BOUNDARIES),
            _ => self.random.next() >> self.random.below(64),
        }
    }

    /// A call and its arguments: often plausible, never trusted.
    fn next_call(&mut self, handle: u64) -> (u64, [u64; 6]) {
        self.calls += 1;
        let call = self.random.pick(Call::ALL);
        let mut arguments = std::array::from_fn(|_| self.value());
        if self.random.below(20) != 0 {
            arguments[0] = if call == Call::HandleOpen { VERSION } else { handle };
        }
        if call == Call::VmMap && self.random.below(2) == 0 {
            arguments[4] = 0x1000 << self.random.below(3);
            arguments[5] = self.random.pick(&[1, 3, 5, 7]);
        }
        let number = match self.random.below(50) {
            0 => self.random.next(),
            1 => SIGNATURE << 48 | self.random.next() & 0xF_0003,
            _ => call.number(),
        };
        (number, arguments)
    }

    /// What is learnt from an answer.
    fn note(&mut self, number: u64, arguments: [u64; 6], outputs: [u64; 2]) {
        if outputs[0] != 0 && self.seen.len() < 200 {
            self.seen.push(outputs[0]);
        } else if outputs[0] != 0 {
            let at = self.random.below(200);
            self.seen[at] = outputs[0];
        }
        if number == Call::VmMap.number() {
            self.mapped.push([arguments[1], arguments[2], arguments[4]]);
        }
    }
}

/// A fuzzing extension on all processors.
struct Campaign {
    standard: Arc<Standard>,
    fuzzers: Vec<Mutex<Fuzzer>>,
    roots: Vec<AtomicU64>,
    made: Mutex<Vec<(Call, u64)>>,
    goal: u64,
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
    fn new(seed: u64, pps: usize, goal: u64) -> Arc<Self> {
        Arc::new(Self {
            standard: Standard::with_fail(),
            fuzzers: (0..pps as u64).map(|pp| Mutex::new(Fuzzer::new(seed + pp))).collect(),
            roots: (0..pps).map(|_| AtomicU64::new(0)).collect(),
            made: Mutex::default(),
            goal,
        })
    }

    /// Calls until the goal is reached; or until one resumes something, and its exit comes back here.
    fn fuzz(&self, user: &User, pp: usize, page: u64) {
        loop {
            let (number, arguments) = {
                let mut fuzzer = self.fuzzers[pp].lock().unwrap();
                if fuzzer.calls >= self.goal {
                    return;
                }
                if fuzzer.seen.len() < 4 {
                    fuzzer.seen.extend([page, user.entry(), user.entry() & !0xFFF, RESERVATION.start + 0x5000]);
                    fuzzer.seen.extend(self.roots.iter().map(|root| root.load(Ordering::SeqCst)));
                }
                fuzzer.next_call(self.standard.handle())
            };
            if self.is_allowed(number, arguments) {
                self.make(user, pp, number, arguments);
            }
        }
    }

    /// All but what ends the test by design, or splits the root VM's map beyond what was split before.
    fn is_allowed(&self, number: u64, arguments: [u64; 6]) -> bool {
        let is = |call: Call| call.number() == number;
        let root = self.roots.iter().any(|root| root.load(Ordering::SeqCst) == arguments[1]);
        let splits = arguments[2].saturating_add(arguments[3]) > MEMORY_END;
        let ends = is(Call::IntrinsicReset) || (is(Call::VsPromote) && root);
        !ends && !(is(Call::VmProtect) && arguments[1] == ROOT_VM && splits)
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
        if let Some(undo) = undoing(number) {
            self.made.lock().unwrap().push((undo, outputs[0]));
        }
        self.fuzzers[pp].lock().unwrap().note(number, arguments, outputs);
    }

    /// Makes the root VS whole again and goes on with it.
    fn resume_root(&self, user: &User, pp: usize) {
        let root = self.roots[pp].load(Ordering::SeqCst);
        let standard = &self.standard;
        for (start, end) in [(0, RESERVATION.start), (RESERVATION.end, CONTROL_PAGE)] {
            standard.expect(user, Call::VmProtect, &[ROOT_VM, start, end - start, 7]);
        }
        standard.expect(user, Call::VsWrite, &[root, register::X86_CR0, 0]);
        standard.expect(user, Call::VsWrite, &[root, register::X86_CR3, 0]);
        standard.expect(user, Call::VsWrite, &[root, register::FLAGS, 0]);
        let stop = Lab::program_of(pp) + 32 * 2;
        standard.expect(user, Call::VsWrite, &[root, register::INSTRUCTION_POINTER, stop]);
        standard.expect(user, Call::VsRun, &[root]);
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
        let made = self.made.lock().unwrap().clone();
        for kind in [Call::VsDestroy, Call::VpDestroy, Call::VmDestroy, Call::MemFreePage] {
            for (call, object) in made.iter().filter(|(call, _)| *call == kind) {
                let _ = self.standard.call(user, *call, &[*object]);
            }
        }
    }

    fn vmexit(&self, user: &User, arguments: [u64; 3]) {
        let exit = ExitInfo::new(arguments);
        let pp = exit.field(user, std::mem::offset_of!(plinth_extension_api::abi::ExitPage, pp)) as usize;
        if exit.register(user, 0) == plinth_extension_api::abi::HYPERCALL_STOP {
            self.standard.vmexit(user, exit);
        }
        let finished = self.fuzzers[pp].lock().unwrap().calls >= self.goal;
        if !finished {
            self.fuzz(user, pp, exit.page);
        }
        if exit.vs == self.roots[pp].load(Ordering::SeqCst) && exit.register(user, 0) == CLEAN_UP && finished {
            self.clean_up(user);
            self.standard.advance_and_run(user);
        }
        self.resume_root(user, pp);
    }
}

/// The hypercall by which the root VM asks for a clean-up.
const CLEAN_UP: u64 = 0xC1EA;

fn fuzz(seed: u64, pps: usize, goal: u64) {
    let campaign = Campaign::new(seed, pps, goal);
    let (bootstrap, vmexit, fail) = (campaign.clone(), campaign.clone(), campaign.clone());
    let extension = campaign
        .standard
        .extension()
        .on(Slot::Bootstrap, move |user, [pp, ..]| {
            let root = bootstrap.standard.root_vs(user, pp);
            bootstrap.roots[pp as usize].store(root, Ordering::SeqCst);
            split_the_map(&bootstrap.standard, user);
            bootstrap.standard.expect(user, Call::VsRun, &[root]);
        })
        .on(Slot::Vmexit, move |user, arguments| vmexit.vmexit(user, arguments))
        .on(Slot::Fail, move |user, [page, ..]| {
            let pp = user.load(page + std::mem::offset_of!(plinth_extension_api::abi::ExitPage, pp) as u64);
            fail.resume_root(user, pp as usize);
        });
    let mut lab = Lab::new(extension);
    let clean_up = [Op::Set { register: 0, value: CLEAN_UP }, Op::Hypercall];
    for pp in 1..pps {
        lab.launch(pp - 1, &[]);
    }
    let _ = (&mut lab, clean_up, USER_BASE);
}
