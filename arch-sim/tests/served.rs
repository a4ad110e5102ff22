//! What the kernel tells the root VM's kernel about itself, with and without an extension, and how it refuses.

mod common;

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::{Guest, TEST, TEST_CALL, eventually, id_read, meet, program, promoted, wait_for, with_test};
use plinth_arch_sim::extension::{Extension, Slot};
use plinth_arch_sim::isa::{self, Op};
use plinth_arch_sim::lab::{Lab, Setup};
use plinth_arch_sim::machine::{CONTROL_PAGE, LOW_PAGE, MEMORY_END, RESERVATION, Trace};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{
    BACKEND_SIMULATED, Call, EXTENSION_EXITED, EXTENSION_FAULTED, EXTENSION_RUNNING, Error, ExitClass,
    ExitPage, Failure, HYPERCALL_LOG, HYPERCALL_PP_STATUS, HYPERCALL_STATUS, HYPERCALL_TRACE,
    HYPERCALL_TRACE_READ, HYPERCALLS_SERVED, LogRecord, MAY_STOP_EXTENSION, MachineStatus, PP_LAUNCHED,
    PP_OUTSIDE, PpStatus, ROOT_VM, Status, TraceRecord, VERSION, register,
};
use plinth_hal::{Event, PAGE_SIZE, Spa};
use sha2::{Digest, Sha256};
use zerocopy::FromBytes;

/// A page of the root VM's for answers.
const ANSWER: u64 = 0x40_0000;
/// What stands there before.
const UNTOUCHED: u64 = 0x5555_AAAA_5555_AAAA;
/// What a call leaves in a register that it does not change.
const BEFORE: [u64; 4] = [ANSWER, 0, 0, 0];

/// A call with its arguments; reports the status and the four results.
fn call(number: u64, arguments: &[u64]) -> Vec<Op> {
    let mut all = [0; 4];
    all[..arguments.len()].copy_from_slice(arguments);
    let set = [number, all[0], all[1], all[2], all[3]];
    let set = (0..).zip(set).map(|(register, value)| Op::Set { register, value });
    let report = (0..5).map(|register| Op::Report { register });
    set.chain([Op::Hypercall]).chain(report).collect()
}

/// The ordinary extension, which crashes in the test's hypercall and must not see the kernel's.
fn extension() -> Extension {
    let standard = Standard::new();
    let own = standard.clone();
    standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        if exit.class == ExitClass::Hypercall {
            let number = exit.register(user, 0);
            assert_ne!(number >> 16, HYPERCALLS_SERVED, "the extension sees {number:#x}");
            if number == TEST_CALL {
                user.load(0x1238);
            }
        }
        own.vmexit(user, exit);
    })
}

fn lab(extension: Extension) -> Lab {
    let lab = Lab::new(extension);
    (0..PAGE_SIZE).step_by(8).for_each(|at| lab.machine.ram.store(Spa::new(ANSWER + at), UNTOUCHED));
    lab
}

fn bytes(lab: &Lab, at: u64, size: usize) -> Vec<u8> {
    let words = (at..at + size as u64).step_by(8).map(|at| lab.machine.ram.load(Spa::new(at)));
    words.flat_map(u64::to_le_bytes).collect()
}

fn read<T: FromBytes>(lab: &Lab, at: u64) -> T {
    T::read_from_bytes(&bytes(lab, at, size_of::<T>())).expect("the size is right")
}

fn status_of(failure: Failure) -> u64 {
    Status::from(failure).raw()
}

/// What calls have reported: status and results of each.
fn answers(lab: &Lab) -> Vec<[u64; 5]> {
    let values = lab.machine.values();
    values.chunks(5).map(|chunk| chunk.try_into().expect("five of each")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8").trim_end_matches('\0').to_owned()
}

#[test]
fn status_tells_what_runs() {
    let mut lab = lab(extension());
    lab.launch(0, &program(&[&wait_for(1), &id_read(4)[..3], &call(HYPERCALL_STATUS, &[ANSWER])]));
    lab.launch(1, &wait_for(99));
    meet(&lab, 1);
    promoted(&lab.end(0));
    let found: MachineStatus = read(&lab, ANSWER);
    let size = size_of::<MachineStatus>() as u64;
    assert_eq!(answers(&lab), [[0, size, 0, 0, 0]]);
    assert_eq!((found.size as u64, u64::from(found.abi_version)), (size, VERSION));
    assert_eq!(
        (u64::from(found.backend), u64::from(found.may_stop)),
        (BACKEND_SIMULATED, MAY_STOP_EXTENSION)
    );
    assert_eq!((found.pps, found.launched, found.vms), (2, 2, 1));
    assert_eq!(text(&found.release), env!("CARGO_PKG_VERSION"));
    assert!(found.launched_at > 0 && found.counter > found.launched_at && found.frequency > 0);
    assert_eq!(found.pool, Setup::default().pool_pages * PAGE_SIZE);
    assert_eq!(found.pool_free, lab.kernel.free_frames() as u64 * PAGE_SIZE);
    assert_eq!((u64::from(found.extension), text(&found.extension_end)), (EXTENSION_RUNNING, String::new()));
    let file = Setup::default().image.bytes();
    assert_eq!(
        (found.extension_size, &found.extension_hash[..]),
        (file.len() as u64, &*Sha256::digest(file))
    );
    assert!(found.log_newest > found.log_oldest || found.log_oldest == 0);
    assert_eq!((found.traced, found.trace_records), (0, 0));
    let behind = ANSWER + size.next_multiple_of(8);
    assert_eq!(lab.machine.ram.load(Spa::new(behind)), UNTOUCHED, "no more than that is written");
}

#[test]
fn each_pp_has_a_status() {
    let mut lab = lab(extension());
    let first = call(HYPERCALL_PP_STATUS, &[ANSWER, 1]);
    let second = call(HYPERCALL_PP_STATUS, &[ANSWER + PAGE_SIZE, 0]);
    lab.launch(0, &program(&[&wait_for(1), &first, &second, &call(HYPERCALL_PP_STATUS, &[ANSWER, 2])]));
    lab.launch(1, &program(&[&id_read(4)[..3], &id_read(5)[..3]]));
    promoted(&lab.end(1));
    meet(&lab, 1);
    promoted(&lab.end(0));
    let found: PpStatus = read(&lab, ANSWER);
    assert_eq!((found.pp, u64::from(found.standing), found.is_lost), (1, PP_LAUNCHED, 0));
    assert_eq!(found.hardware_id, plinth_arch_sim::machine::Machine::hardware_id(1));
    assert_eq!(found.exits[ExitClass::IdRead as usize], 2);
    assert_eq!(found.exits.iter().sum::<u64>(), 2);
    let own: PpStatus = read(&lab, ANSWER + PAGE_SIZE);
    assert_eq!((own.pp, own.exits[ExitClass::Hypercall as usize]), (0, 2), "this one included");
    let refused = status_of(Failure::argument(2, Error::InvalidArgument));
    assert_eq!(answers(&lab)[2], [refused, ANSWER, 2, 0, 0]);
    assert_ne!(u64::from(own.standing), PP_OUTSIDE);
}

#[test]
fn all_is_served_when_the_extension_is_gone() {
    let mut lab = lab(extension());
    let calls = [
        call(HYPERCALL_STATUS, &[ANSWER]),
        call(HYPERCALL_PP_STATUS, &[ANSWER + PAGE_SIZE, 0]),
        call(HYPERCALL_LOG, &[ANSWER + 2 * PAGE_SIZE, 0]),
        call(HYPERCALL_TRACE, &[1 << ExitClass::IdRead as u64]),
        id_read(7)[..3].to_vec(),
        call(HYPERCALL_TRACE_READ, &[ANSWER + 3 * PAGE_SIZE, 0, 0]),
    ];
    promoted(&lab.run(&program(&[&TEST, &calls.concat()])));
    let answers = answers(&lab);
    assert!(answers.iter().all(|answer| answer[0] == 0), "{answers:x?}");
    let found: MachineStatus = read(&lab, ANSWER);
    assert_eq!(u64::from(found.extension), EXTENSION_FAULTED);
    let end = text(&found.extension_end);
    assert!(end.starts_with("pp 0, Vmexit callback: it faulted, vector") && end.contains("0x1238"), "{end}");
    let record: TraceRecord = read(&lab, ANSWER + 3 * PAGE_SIZE);
    assert_eq!((answers[4][1], record.class, record.number), (1, ExitClass::IdRead as u16, 7));
}

#[test]
fn an_extension_that_exits_is_told_apart() {
    let standard = Standard::new();
    let mut lab = lab(with_test(&standard, |_, user, _| _ = user.call(Call::ControlExit, &[])));
    promoted(&lab.run(&program(&[&TEST, &call(HYPERCALL_STATUS, &[ANSWER])])));
    let found: MachineStatus = read(&lab, ANSWER);
    assert_eq!(u64::from(found.extension), EXTENSION_EXITED);
    assert_eq!(text(&found.extension_end), "pp 0, Vmexit callback: it asked to");
}

/// Pages that are not the root VM's own memory.
const BAD_PAGES: [(u64, Error); 12] = [
    (ANSWER + 8, Error::InvalidArgument),
    (1, Error::InvalidArgument),
    (u64::MAX, Error::InvalidArgument),
    (RESERVATION.start, Error::Denied),
    (RESERVATION.start + 0x1_0000, Error::Denied),
    (RESERVATION.end - PAGE_SIZE, Error::Denied),
    (LOW_PAGE, Error::Denied),
    (CONTROL_PAGE, Error::Denied),
    (MEMORY_END, Error::Denied),
    (1 << 39, Error::Denied),
    (1 << 52, Error::Denied),
    (!(PAGE_SIZE - 1), Error::Denied),
];

/// Each call that takes a page.
const PAGE_CALLS: [u64; 4] = [HYPERCALL_STATUS, HYPERCALL_PP_STATUS, HYPERCALL_LOG, HYPERCALL_TRACE_READ];

#[test]
fn a_page_that_is_not_the_root_vms_own_memory_is_refused() {
    for (page, error) in BAD_PAGES {
        for number in PAGE_CALLS {
            let mut lab = lab(extension());
            let before = bytes(&lab, RESERVATION.start, 0x1_0000);
            let trace = trace(&[ExitClass::IdRead]);
            promoted(&lab.run(&program(&[&trace, &id_read(3)[..3], &call(number, &[page])])));
            let refused = status_of(Failure::argument(1, error));
            assert_eq!(answers(&lab)[1], [refused, page, 0, 0, 0], "{number:#x} {page:#x}");
            assert_eq!(bytes(&lab, RESERVATION.start, 0x1_0000), before, "the kernel's image");
        }
    }
}

#[test]
fn a_device_is_refused() {
    let mut lab = lab(extension());
    let uncached = Op::SetUncached { start: ANSWER, size: PAGE_SIZE };
    promoted(&lab.run(&program(&[&[uncached], &call(HYPERCALL_STATUS, &[ANSWER])])));
    let refused = status_of(Failure::argument(1, Error::Denied));
    assert_eq!(answers(&lab), [[refused, BEFORE[0], 0, 0, 0]]);
    assert_eq!(lab.machine.ram.load(Spa::new(ANSWER)), UNTOUCHED);
}

#[test]
fn what_the_extension_protects_the_kernel_does_not_write_to() {
    for permissions in [1_u64, 5] {
        let mut lab = lab(with_test(&Standard::new(), move |standard, user, _| {
            standard.expect(user, Call::VmProtect, &[ROOT_VM, ANSWER, PAGE_SIZE, permissions]);
        }));
        let beside = call(HYPERCALL_STATUS, &[ANSWER + PAGE_SIZE]);
        promoted(&lab.run(&program(&[&TEST, &call(HYPERCALL_STATUS, &[ANSWER]), &beside])));
        let refused = status_of(Failure::argument(1, Error::Denied));
        assert_eq!((answers(&lab)[0][0], answers(&lab)[1][0]), (refused, 0));
        assert_eq!(lab.machine.ram.load(Spa::new(ANSWER)), UNTOUCHED);
    }
}

#[test]
fn a_view_of_the_root_vs_counts_as_its_tables_do() {
    let mut lab = lab(with_test(&Standard::new(), move |standard, user, exit| {
        let view = standard.expect(user, Call::VmViewCreate, &[ROOT_VM]);
        standard.expect(user, Call::VmViewProtect, &[ROOT_VM, view, ANSWER, PAGE_SIZE, 5]);
        standard.expect(user, Call::VsSetView, &[exit.vs, view]);
    }));
    promoted(&lab.run(&program(&[&TEST, &call(HYPERCALL_STATUS, &[ANSWER])])));
    assert_eq!(answers(&lab)[0][0], status_of(Failure::argument(1, Error::Denied)));
    assert_eq!(lab.machine.ram.load(Spa::new(ANSWER)), UNTOUCHED);
}

#[test]
fn user_mode_finds_no_such_instruction_and_the_extension_does_not_see_it() {
    for crashed in [false, true] {
        let mut lab = lab(extension());
        let user = [Op::Privilege { level: 3 }];
        let calls = [call(HYPERCALL_STATUS, &[ANSWER]), call(HYPERCALL_TRACE, &[1])].concat();
        let first = if crashed { &TEST[..] } else { &[] };
        promoted(&lab.run(&program(&[first, &user, &calls, &[Op::Privilege { level: 0 }]])));
        let undefined =
            lab.machine.trace().iter().filter(|entry| **entry == Trace::Event(Event::Undefined)).count();
        assert_eq!(undefined, 2 + usize::from(crashed));
        assert_eq!(lab.machine.ram.load(Spa::new(ANSWER)), UNTOUCHED);
        let registers = [HYPERCALL_STATUS, ANSWER, 0, 0, 0];
        assert_eq!(answers(&lab)[0], registers, "as they were");
    }
}

#[test]
fn other_numbers_of_the_group_are_no_call() {
    let mut lab = lab(extension());
    let numbers = [0, 6, 9, 0xFFFF].map(|number| HYPERCALLS_SERVED << 16 | number);
    promoted(&lab.run(&program(&[&numbers.map(|number| call(number, &[ANSWER])).concat()])));
    let refused = status_of(Error::UnknownCall.into());
    assert_eq!(answers(&lab), [[refused, ANSWER, 0, 0, 0]; 4]);
}

/// Exits that an extension has seen: class and number.
type Seen = Arc<Mutex<Vec<(ExitClass, u64)>>>;

/// An extension that runs a guest VM's program in the test's hypercall, counts its exits by class, and goes back at a hypercall.
fn hosting(program: &'static [Op]) -> (Extension, Seen) {
    let standard = Standard::new();
    let (own, root) = (standard.clone(), AtomicU64::new(0));
    let exits = Arc::new(Mutex::new(Vec::new()));
    let seen = exits.clone();
    let extension = standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        if exit.field(user, offset_of!(ExitPage, vm)) != ROOT_VM {
            seen.lock().unwrap().push((exit.class, exit.register(user, 0)));
            if exit.class != ExitClass::Hypercall {
                own.advance_and_run(user);
            }
            let root = root.load(Ordering::SeqCst);
            let ip = own.expect(user, Call::VsRead, &[root, register::INSTRUCTION_POINTER]);
            own.expect(user, Call::VsWrite, &[root, register::INSTRUCTION_POINTER, ip + isa::SIZE]);
            own.expect(user, Call::VsRun, &[root]);
        }
        if exit.class == ExitClass::Hypercall && exit.register(user, 0) == TEST_CALL {
            root.store(exit.vs, Ordering::SeqCst);
            let guest = Guest::new(&own, user, 0, program);
            own.expect(user, Call::VsRun, &[guest.vs]);
        }
        own.vmexit(user, exit);
    });
    (extension, exits)
}

#[test]
fn a_guest_vm_gets_its_extensions_answer_and_no_other() {
    const CALL: [Op; 3] = [
        Op::Set { register: 0, value: HYPERCALL_STATUS },
        Op::Set { register: 1, value: Guest::DATA },
        Op::Hypercall,
    ];
    let (extension, exits) = hosting(&CALL);
    let mut lab = lab(extension);
    promoted(&lab.run(&program(&[&TEST, &call(HYPERCALL_STATUS, &[ANSWER])])));
    assert_eq!(*exits.lock().unwrap(), [(ExitClass::Hypercall, HYPERCALL_STATUS)]);
    assert_eq!(answers(&lab)[0][0], 0, "the root VM's own is served");
}

/// The records in an answer page: cursor and text of each.
fn records(page: &[u8], mut cursor: u64) -> Vec<(u64, LogRecord, String)> {
    let mut rest = page;
    let mut records = Vec::new();
    while let Ok((header, behind)) = LogRecord::read_from_prefix(rest) {
        let padded = (header.length as usize).next_multiple_of(8);
        records.push((cursor, header, text(&behind[..header.length as usize])));
        (rest, cursor) = (&behind[padded..], cursor + 16 + padded as u64);
    }
    records
}

#[test]
fn the_log_is_read_by_cursors() {
    let mut lab = lab(extension());
    lab.launch(0, &program(&[&wait_for(1), &call(HYPERCALL_LOG, &[ANSWER, 0])]));
    meet(&lab, 1);
    promoted(&lab.end(0));
    let [status, size, first, next, newest] = answers(&lab)[0];
    assert!(status == 0 && size != 0 && next == first + size && next <= newest, "{:x?}", answers(&lab));
    let found = records(&bytes(&lab, ANSWER, size as usize), first);
    assert!(
        found.iter().any(|(_, record, text)| text.starts_with("extension at ") && record.level == 3),
        "{found:?}"
    );
    // From each record's cursor on, what follows is the same; other cursors are none.
    let cursor = found[1].0;
    let mut lab = self::lab(extension());
    let calls = [cursor, cursor + 8, !7, cursor + 1].map(|cursor| call(HYPERCALL_LOG, &[ANSWER, cursor]));
    promoted(&lab.run(&program(&[&calls.concat()])));
    let refused = status_of(Failure::argument(2, Error::InvalidArgument));
    let answers = answers(&lab);
    assert!(answers[0][0] == 0 && answers[0][2] >= cursor, "{answers:x?}");
    assert_eq!([answers[2], answers[3]].map(|answer| (answer[0], answer[1])), [(refused, ANSWER); 2]);
}

#[test]
fn the_crash_is_in_the_log_with_its_pp_and_time() {
    let mut lab = lab(extension());
    let reads: Vec<_> =
        (0..20).flat_map(|page| call(HYPERCALL_LOG, &[ANSWER + page * PAGE_SIZE, 0])).collect();
    lab.launch(1, &wait_for(99));
    promoted(&lab.run(&program(&[&TEST, &reads[..11]])));
    // The log is all machines' of this test program, so the place of the crash is found by following the cursors.
    let (mut cursor, mut found) = (0, Vec::new());
    while found.is_empty() {
        let mut next = self::lab(extension());
        promoted(&next.run(&program(&[&call(HYPERCALL_LOG, &[ANSWER, cursor])])));
        let [status, size, first, end, newest] = answers(&next)[0];
        assert_eq!(status, 0);
        let all = records(&bytes(&next, ANSWER, size as usize), first);
        found.extend(
            all.into_iter().filter(|(_, _, text)| text.contains("the extension is gone (it faulted)")),
        );
        assert!(!found.is_empty() || end < newest, "the log ends without it");
        cursor = end;
    }
    let (_, record, _) = &found[0];
    assert_eq!((record.pp, record.level), (0, 1));
    assert!(record.counter > 0);
}

fn trace(classes: &[ExitClass]) -> Vec<Op> {
    call(HYPERCALL_TRACE, &[classes.iter().fold(0, |mask, class| mask | 1 << *class as u64)])
}

fn traced(lab: &Lab, at: u64, count: u64) -> Vec<TraceRecord> {
    (0..count).map(|record| read(lab, at + record * 32)).collect()
}

#[test]
fn a_trace_has_the_classes_that_were_asked_for_with_their_durations() {
    let mut lab = lab(extension());
    let exits = [&id_read(4)[..3], &[Op::PortRead { port: 0x60 }], &id_read(9)[..3]].concat();
    let read = |at| call(HYPERCALL_TRACE_READ, &[at, 0, 0]);
    let parts = [
        &exits[..],
        &trace(&[ExitClass::IdRead]),
        &exits,
        &read(ANSWER),
        &trace(&[ExitClass::IdRead, ExitClass::PortRead]),
        &exits,
        &trace(&[]),
        &exits,
        &read(ANSWER + PAGE_SIZE),
    ];
    promoted(&lab.run(&program(&parts)));
    let answers = answers(&lab);
    let mask = 1 << ExitClass::IdRead as u64;
    assert_eq!(answers[0], [0, 0, 2048, 0, 0]);
    assert_eq!(answers[1], [0, 2, 0, 2, 2]);
    assert_eq!(answers[2], [0, mask, 2048, 0, 0]);
    assert_eq!((answers[3][1], answers[4]), (mask | 1 << ExitClass::PortRead as u64, [0, 4, 0, 4, 4]));
    let records = traced(&lab, ANSWER + PAGE_SIZE, 4);
    let what: Vec<_> = records.iter().map(|record| (record.class, record.number)).collect();
    let (id, port) = (ExitClass::IdRead as u16, ExitClass::PortRead as u16);
    assert_eq!(what[..3], [(id, 4), (id, 9), (id, 4)]);
    assert!(what[3] == (port, 0x60) || what[3] == (id, 9), "{what:?}");
    let start = Lab::program_of(0);
    assert!(records.iter().all(|record| (start..start + PAGE_SIZE).contains(&record.instruction_pointer)));
    assert!(records.iter().all(|record| record.duration > 0));
    assert!(records.windows(2).all(|pair| pair[1].counter >= pair[0].counter + u64::from(pair[0].duration)));
}

#[test]
fn another_pps_trace_is_read_by_cursors_and_keeps_the_newest() {
    let mut lab = lab(extension());
    let rounds = 2500;
    let loops: Vec<_> = (0..rounds).flat_map(|_| id_read(6)[2..3].to_vec()).collect();
    lab.launch(0, &program(&[&wait_for(1), &trace(&[ExitClass::IdRead]), &wait_for(2)]));
    meet(&lab, 1);
    eventually("the trace", || lab.machine.values().len() == 5);
    // Larger than the page that a program has: the processors behind are not used.
    lab.launch(1, &program(&[&loops]));
    promoted(&lab.end(1));
    meet(&lab, 2);
    promoted(&lab.end(0));
    let mut again = lab;
    let pages = [0, 1, 600, 2500, 2501].map(|cursor| call(HYPERCALL_TRACE_READ, &[ANSWER, 1, cursor]));
    again.launch(2, &program(&[&pages.concat()]));
    promoted(&again.end(2));
    let answers = answers(&again);
    let oldest = rounds - 2047;
    assert_eq!(answers[1], [0, 128, oldest, oldest + 128, rounds]);
    assert_eq!(answers[2], answers[1]);
    assert_eq!(answers[3], [0, 128, 600, 728, rounds]);
    assert_eq!(answers[4], [0, 0, rounds, rounds, rounds]);
    assert_eq!(answers[5][0], status_of(Failure::argument(3, Error::InvalidArgument)));
}

#[test]
fn a_trace_of_no_class_or_without_memory_is_refused() {
    let mut lab = lab(extension());
    let wrong = [1 << 22, 1 << 63, u64::MAX].map(|classes| call(HYPERCALL_TRACE, &[classes])).concat();
    promoted(&lab.run(&program(&[&wrong])));
    let refused = status_of(Failure::argument(1, Error::InvalidArgument));
    assert!(answers(&lab).iter().all(|answer| answer[0] == refused));
    let setup = Setup { pool_pages: 130, ..Setup::default() };
    let mut lab = Lab::with(&setup, extension()).expect("the setup is right");
    lab.launch(
        0,
        &program(&[&wait_for(1), &trace(&[ExitClass::IdRead]), &call(HYPERCALL_STATUS, &[ANSWER])]),
    );
    let free = lab.kernel.free_frames();
    assert!(free < 4 * 16, "{free} frames are too many for this test");
    meet(&lab, 1);
    promoted(&lab.end(0));
    assert_eq!(answers(&lab)[0][0], status_of(Error::OutOfMemory.into()));
    let found: MachineStatus = read(&lab, ANSWER);
    assert_eq!((found.traced, found.trace_records, lab.kernel.free_frames()), (0, 0, free));
}

#[test]
fn a_guest_vms_exits_are_not_in_the_root_vms_trace() {
    let (extension, exits) = hosting(&[Op::IdRead, Op::PortRead { port: 3 }, Op::Hypercall]);
    let mut lab = lab(extension);
    let all = [ExitClass::IdRead, ExitClass::PortRead, ExitClass::Hypercall];
    let read = call(HYPERCALL_TRACE_READ, &[ANSWER, 0, 0]);
    promoted(&lab.run(&program(&[&trace(&all), &TEST, &id_read(5)[..3], &read])));
    assert_eq!(exits.lock().unwrap().len(), 3);
    let count = answers(&lab)[1][1];
    let found: Vec<_> =
        traced(&lab, ANSWER, count).iter().map(|record| (record.class, record.number)).collect();
    let (call, id) = (ExitClass::Hypercall as u16, ExitClass::IdRead as u16);
    assert_eq!(found, [(call, TEST_CALL), (id, 5)]);
}

#[test]
fn nothing_of_a_trace_stays_when_the_bare_machine_goes_on() {
    let mut lab = lab(extension());
    let ended = lab.run(&[&trace(&[ExitClass::IdRead])[..], &id_read(0x7EA5_E77E), &Op::STOP].concat());
    promoted(&ended);
    let words = (RESERVATION.start + 0x1_0000..RESERVATION.end).step_by(8);
    let left = words.filter(|at| lab.machine.ram.load(Spa::new(*at)) == 0x7EA5_E77E).count();
    assert_eq!(left, 0);
}

/// A generator of numbers that look random: SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

#[test]
fn whatever_is_asked_the_answer_is_typed_and_only_the_page_changes() {
    let interesting = [
        0,
        1,
        2,
        7,
        8,
        63,
        64,
        2048,
        ANSWER,
        ANSWER + 8,
        RESERVATION.start,
        LOW_PAGE,
        CONTROL_PAGE,
        MEMORY_END,
        1 << 40,
        1 << 63,
        u64::MAX,
        !0xFFF,
    ];
    for crashed in [false, true] {
        let (mut state, mut parts) = (7 + u64::from(crashed), Vec::new());
        let mut asked = Vec::new();
        for _ in 0..400 {
            let number = (HYPERCALLS_SERVED << 16) | (random(&mut state) % 8);
            let mut argument = || match random(&mut state) % 8 {
                0 => random(&mut state),
                _ => interesting[random(&mut state) as usize % interesting.len()],
            };
            let arguments = [argument(), argument(), argument(), argument()];
            asked.push((number, arguments));
            parts.extend(call(number, &arguments));
        }
        let mut lab = lab(extension());
        let first = if crashed { &TEST[..] } else { &[] };
        let image = bytes(&lab, RESERVATION.start, 0x1_0000);
        let devices = lab.machine.device_writes();
        promoted(&lab.run(&program(&[first, &parts])));
        assert_eq!(bytes(&lab, RESERVATION.start, 0x1_0000), image);
        assert_eq!(lab.machine.device_writes(), devices);
        assert_eq!(lab.machine.ram.load(Spa::new(ANSWER + PAGE_SIZE)), 0, "the page behind");
        assert_eq!(lab.machine.ram.load(Spa::new(LOW_PAGE)), 0);
        let answers = answers(&lab);
        assert_eq!(answers.len(), asked.len());
        let mut good = 0;
        for (answer, (number, arguments)) in answers.iter().zip(&asked) {
            match Status::from_raw(answer[0]).result() {
                Ok(()) => good += 1,
                Err(failure) => {
                    assert_eq!(Status::from(failure).raw(), answer[0], "{number:#x} {arguments:x?}");
                    assert_eq!(answer[1..], arguments[..], "registers of a call that fails");
                }
            }
        }
        assert!(good > 10 && good < 390, "{good} of {} did something", asked.len());
    }
}
