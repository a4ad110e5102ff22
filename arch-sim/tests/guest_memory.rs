//! What the kernel reads and writes of a guest's memory for the extension.

mod common;

use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{TEST, TEST_CALL, meet, program, promoted, refuses, wait_for, with_test};
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::lab::{Lab, Setup};
use plinth_arch_sim::machine::{CONTROL_PAGE, MEMORY_END, RESERVATION};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{Call, Error, ExitClass, ExitPage, MAX_COPY, ROOT_VM};

/// How much the kernel copies at a time.
const CHUNK: u64 = 256;
/// What the page that is read is full of.
const OWN: u64 = 0x5E_C2E7;
const GPA: u64 = 0x5000;
/// How long a reader that holds the page up stands still: the others have as much time to take it away.
const STANDSTILL: Duration = Duration::from_millis(300);

fn eventually(what: &str, done: &AtomicBool) {
    let start = Instant::now();
    while !done.load(Ordering::SeqCst) {
        assert!(start.elapsed().as_secs() < 20, "{what}");
        std::thread::yield_now();
    }
}

/// A guest page that another PP unmaps, frees, and has the kernel use for something else, while it is being read.
#[derive(Default)]
struct Race {
    page: Mutex<Option<(u64, u64)>>,
    reads: AtomicBool,
    reused: AtomicBool,
    words: Mutex<Vec<u64>>,
}

impl Race {
    /// The reader stands still before the first piece until the other PP is done, or for a while.
    fn before_read(&self, bytes: usize) {
        if bytes as u64 == CHUNK
            && self.page.lock().unwrap().is_some()
            && !self.reads.swap(true, Ordering::SeqCst)
        {
            let start = Instant::now();
            while !self.reused.load(Ordering::SeqCst) && start.elapsed() < STANDSTILL {
                std::thread::yield_now();
            }
        }
    }

    fn read(&self, standard: &Standard, user: &User) {
        let vm = standard.expect(user, Call::VmCreate, &[]);
        let page = standard.expect(user, Call::MemAllocatePage, &[]);
        let buffer = standard.expect(user, Call::MemAllocatePage, &[]);
        (0..4096).step_by(8).for_each(|at| user.store(page + at, OWN));
        standard.expect(user, Call::VmMap, &[vm, GPA, page, 0x1000, 3]);
        *self.page.lock().unwrap() = Some((vm, page));
        standard.expect(user, Call::VmReadMemory, &[vm, GPA, buffer, CHUNK]);
        *self.words.lock().unwrap() = (0..CHUNK).step_by(8).map(|at| user.load(buffer + at)).collect();
    }

    fn reuse(&self, standard: &Standard, user: &User) {
        eventually("the reader", &self.reads);
        let (vm, page) = self.page.lock().unwrap().expect("the reader has made it");
        standard.expect(user, Call::VmUnmap, &[vm, GPA, 0x1000]);
        standard.expect(user, Call::MemFreePage, &[page]);
        // Whatever the kernel makes of free frames: tables, VSs.
        for index in 0..6 {
            let other = standard.expect(user, Call::VmCreate, &[]);
            let vp = standard.expect(user, Call::VpCreate, &[other]);
            standard.expect(user, Call::VsCreate, &[vp, 1]);
            let data = standard.expect(user, Call::MemAllocatePage, &[]);
            standard.expect(user, Call::VmMap, &[other, index << 30, data, 0x1000, 3]);
        }
        self.reused.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_page_that_is_being_read_does_not_become_somebody_elses() {
    let (race, standard) = (Arc::new(Race::default()), Standard::new());
    let (both, own) = (race.clone(), standard.clone());
    let mut lab = Lab::new(standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        if exit.class != ExitClass::Hypercall || exit.register(user, 0) != TEST_CALL {
            return own.vmexit(user, exit);
        }
        match exit.field(user, offset_of!(ExitPage, pp)) {
            0 => both.read(&own, user),
            _ => both.reuse(&own, user),
        }
        own.advance_and_run(user);
    }));
    let hook = race.clone();
    lab.machine.before_reads(move |_, bytes| hook.before_read(bytes));
    lab.launch(0, &program(&[&wait_for(1), &TEST]));
    lab.launch(1, &program(&[&TEST]));
    meet(&lab, 1);
    promoted(&lab.end(0));
    promoted(&lab.end(1));
    assert!(race.reused.load(Ordering::SeqCst), "it was taken away in the end");
    assert_eq!(*race.words.lock().unwrap(), vec![OWN; CHUNK as usize / 8]);
}

/// Runs `test` on a machine whose map is as large as `memory_end` says.
fn on_machine(memory_end: u64, test: impl Fn(&Standard, &User) + Send + Sync + 'static) -> Lab {
    let done = Arc::new(AtomicBool::new(false));
    let mark = done.clone();
    let setup = Setup { memory_end, ..Setup::default() };
    let extension = with_test(&Standard::new(), move |standard, user, _| {
        test(standard, user);
        mark.store(true, Ordering::SeqCst);
    });
    let mut lab = Lab::with(&setup, extension).expect("the map is right");
    promoted(&lab.run(&program(&[&TEST])));
    assert!(done.load(Ordering::SeqCst), "the test's code has run to its end");
    lab
}

#[test]
fn where_the_root_vm_has_no_memory_nothing_is_read_and_nothing_written() {
    on_machine(MEMORY_END + (4 << 20), |standard, user| {
        let buffer = standard.expect(user, Call::MemAllocatePage, &[]);
        let copy = |call, at, bytes| standard.call(user, call, &[ROOT_VM, at, buffer, bytes]);
        for hole in [MEMORY_END, MEMORY_END + (2 << 20) + 0x123, MEMORY_END + (8 << 20), 1 << 45] {
            for call in [Call::VmReadMemory, Call::VmWriteMemory] {
                refuses(copy(call, hole, 8), 2, Error::NotMapped);
                refuses(copy(call, hole, MAX_COPY), 2, Error::NotMapped);
            }
        }
        refuses(copy(Call::VmReadMemory, CONTROL_PAGE, 8), 2, Error::NotMapped);
        refuses(copy(Call::VmWriteMemory, CONTROL_PAGE, 8), 2, Error::Denied);
        refuses(copy(Call::VmReadMemory, MEMORY_END - 0x1000, MAX_COPY + 1), 4, Error::InvalidArgument);
        assert_eq!(
            copy(Call::VmReadMemory, MEMORY_END - 0x1000, 0x1000),
            Ok([0, 0]),
            "the last page is memory"
        );
        // Across the end: the part before it may have been copied.
        refuses(copy(Call::VmReadMemory, MEMORY_END - 0x800, 0x1000), 2, Error::NotMapped);
    });
}

#[test]
fn page_0_of_the_root_vm_is_memory_like_any_other() {
    on_machine(MEMORY_END, |standard, user| {
        let buffer = standard.expect(user, Call::MemAllocatePage, &[]);
        for at in [0, 0x400, 0xFF8] {
            user.store(buffer, OWN + at);
            standard.expect(user, Call::VmWriteMemory, &[ROOT_VM, at, buffer, 8]);
            user.store(buffer, 0);
            standard.expect(user, Call::VmReadMemory, &[ROOT_VM, at, buffer, 8]);
            assert_eq!(user.load(buffer), OWN + at);
        }
    });
}

/// A guest may access its memory past the caches: what the kernel has written there must be in memory.
#[test]
fn what_is_written_for_a_guest_is_written_back() {
    let lab = Arc::new(Mutex::new(None));
    let pages = |lab: &Lab| {
        let ranges = lab.machine.take_written_back();
        ranges.into_iter().map(|range| (range.start % 0x1000, range.end - range.start)).collect::<Vec<_>>()
    };
    let machine = lab.clone();
    let standard = Standard::new();
    let mut made = Lab::new(with_test(&standard, move |standard, user, _| {
        let machine: &plinth_arch_sim::machine::Machine = machine.lock().unwrap().expect("it is there");
        let vm = standard.expect(user, Call::VmCreate, &[]);
        let page = standard.expect(user, Call::MemAllocatePage, &[]);
        let buffer = standard.expect(user, Call::MemAllocatePage, &[]);
        standard.expect(user, Call::VmMap, &[vm, GPA, page, 0x1000, 7]);
        machine.take_written_back();
        standard.expect(user, Call::VmWriteMemory, &[vm, GPA + 0x123, buffer, 0x45]);
        let ranges = machine.take_written_back();
        assert_eq!(
            ranges.iter().map(|range| (range.start % 0x1000, range.end - range.start)).collect::<Vec<_>>(),
            [(0x123, 0x45)]
        );
    }));
    *lab.lock().unwrap() = Some(made.machine);
    assert_eq!(
        pages(&made),
        [(0, 0x1000); 2],
        "the frame of zeroes, and that which takes the root VM's writes"
    );
    let write = plinth_arch_sim::isa::Op::Store { address: RESERVATION.start + 0x5000, value: 7 };
    made.launch(0, &program(&[&TEST, &[write]]));
    promoted(&made.end(0));
    assert_eq!(pages(&made), [(0, 0x1000)], "the frame that took the root VM's write is zeroed again");
}
