//! What several tests share; none uses everything.

#![allow(dead_code, unreachable_pub, reason = "every test file compiles its own copy")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plinth_arch_sim::extension::{Extension, Slot, User};
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::{Ended, Lab};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{Call, Error, ExitClass, Failure, register};

/// The hypercall that calls the test's own code in the vmexit callback.
pub const TEST_CALL: u64 = 0x7E57;
/// A page of the root VM's memory that nothing else uses, for programs to meet in.
pub const MEETING: u64 = 0x20_0000;

/// Runs the test's code.
pub const TEST: [Op; 2] = [Op::Set { register: 0, value: TEST_CALL }, Op::Hypercall];

/// A program: its parts one after the other; then the processor stays where it is.
pub fn program(parts: &[&[Op]]) -> Vec<Op> {
    [parts.concat(), vec![Op::Done]].concat()
}

/// Waits for and reads an ID leaf, and reports the first result.
pub fn id_read(leaf: u64) -> [Op; 4] {
    [
        Op::Set { register: 0, value: leaf },
        Op::Set { register: 1, value: 0 },
        Op::IdRead,
        Op::Report { register: 0 },
    ]
}

/// The ordinary extension, which runs `test` in the vmexit callback of the hypercall [`TEST_CALL`].
pub fn with_test(
    standard: &Arc<Standard>,
    test: impl Fn(&Standard, &User, ExitInfo) + Send + Sync + 'static,
) -> Extension {
    let own = standard.clone();
    standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        if exit.class == ExitClass::Hypercall && exit.register(user, 0) == TEST_CALL {
            test(&own, user, exit);
            own.advance_and_run(user);
        }
        own.vmexit(user, exit);
    })
}

/// Runs `test` once in the vmexit callback on one processor, and makes sure that the root VM lives on
/// and that nothing is lost.
pub fn in_vmexit(test: impl Fn(&Standard, &User, ExitInfo) + Send + Sync + 'static) {
    let done = Arc::new(AtomicBool::new(false));
    let mark = done.clone();
    let mut lab = Lab::new(with_test(&Standard::new(), move |standard, user, exit| {
        test(standard, user, exit);
        mark.store(true, Ordering::SeqCst);
    }));
    lab.launch(0, &program(&[&wait_for(1), &TEST]));
    let before = (lab.kernel.free_frames(), lab.kernel.object_counts());
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert!(done.load(Ordering::SeqCst), "the test's code has run to its end");
    let after = (lab.kernel.free_frames(), lab.kernel.object_counts());
    assert_eq!(after.0, before.0, "frames");
    assert_eq!(after.1[0], before.1[0], "VMs");
}

/// Spins until the meeting page's first word has a value.
pub fn wait_for(value: u64) -> [Op; 1] {
    [Op::Await { address: MEETING, value }]
}

/// Sets the meeting page's first word.
pub fn meet(lab: &Lab, value: u64) {
    lab.machine.ram.store(plinth_hal::Spa::new(MEETING), value);
}

/// Asserts that the processor is through with its program: it stays at the end, or has asked for the bare machine and got it.
pub fn promoted(ended: &Ended) {
    match ended {
        Ended::Done(_) => {}
        Ended::Promoted(state) => assert_eq!(state.registers[0], 0, "the stop hypercall's result"),
        other => panic!("not at its end: {other:?}"),
    }
}

/// Asserts that a call fails so.
pub fn refuses(answer: Result<[u64; 2], Failure>, register: u8, error: Error) {
    assert_eq!(answer, Err(Failure::argument(register, error)));
}

/// Asserts that a call fails so, for no argument in particular.
pub fn refuses_call(answer: Result<[u64; 2], Failure>, error: Error) {
    assert_eq!(answer, Err(Failure::from(error)));
}

/// Every call but those that never return.
pub fn returning_calls() -> impl Iterator<Item = Call> {
    Call::ALL.iter().copied().filter(|call| !matches!(call, Call::ControlExit | Call::ControlWait))
}

/// Waits until something has happened.
pub fn eventually(what: &str, happened: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !happened() {
        assert!(start.elapsed().as_secs() < 120, "waited for {what}");
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

/// Writes a program into the extension's own memory.
pub fn write_program(user: &User, at: u64, program: &[Op]) {
    for (index, word) in program.iter().flat_map(|op| op.encode()).enumerate() {
        user.store(at + index as u64 * 8, word);
    }
}

/// A guest VM with one VS, one page of code at [`Guest::CODE`] and one of data at [`Guest::DATA`].
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    pub vm: u64,
    pub vp: u64,
    pub vs: u64,
    pub code: u64,
    pub data: u64,
}

impl Guest {
    pub const CODE: u64 = 0x1000;
    pub const DATA: u64 = 0x40_0000;

    /// Makes it, for processor `pp`.
    pub fn new(standard: &Standard, user: &User, pp: u64, program: &[Op]) -> Self {
        let vm = standard.expect(user, Call::VmCreate, &[]);
        let code = standard.expect(user, Call::MemAllocatePage, &[]);
        let data = standard.expect(user, Call::MemAllocatePage, &[]);
        write_program(user, code, program);
        standard.expect(user, Call::VmMap, &[vm, Self::CODE, code, 0x1000, 5]);
        standard.expect(user, Call::VmMap, &[vm, Self::DATA, data, 0x1000, 3]);
        let vp = standard.expect(user, Call::VpCreate, &[vm]);
        let vs = standard.expect(user, Call::VsCreate, &[vp, pp]);
        standard.expect(user, Call::VsWrite, &[vs, register::INSTRUCTION_POINTER, Self::CODE]);
        Self { vm, vp, vs, code, data }
    }

    /// Takes it apart; all of it must still be there.
    pub fn destroy(&self, standard: &Standard, user: &User) {
        standard.expect(user, Call::VsDestroy, &[self.vs]);
        standard.expect(user, Call::VpDestroy, &[self.vp]);
        for (gpa, page) in [(Self::CODE, self.code), (Self::DATA, self.data)] {
            standard.expect(user, Call::VmUnmap, &[self.vm, gpa, 0x1000]);
            standard.expect(user, Call::MemFreePage, &[page]);
        }
        standard.expect(user, Call::VmDestroy, &[self.vm]);
    }
}
