//! Checks of what the kernel tells the root VM's kernel about itself, for the guests of every machine.

use plinth_extension_api::abi::{
    EXTENSION_RUNNING, Error, ExitClass, HYPERCALL_LOG, HYPERCALL_PP_STATUS, HYPERCALL_STATUS,
    HYPERCALL_TRACE, HYPERCALL_TRACE_READ, LogRecord, MachineStatus, PP_LAUNCHED, PpStatus, Status,
    TraceRecord, VERSION,
};
use zerocopy::FromBytes;

/// A page of the guest's for answers.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Page(pub [u8; 4096]);

/// The guest that checks.
pub trait Guest {
    /// Makes a hypercall: its number, then its arguments. Returns its result, then the further ones.
    fn call(&mut self, registers: [u64; 5]) -> [u64; 5];

    /// Notes a check.
    fn check(&mut self, name: &'static str, passed: bool);
}

/// What a guest knows of its machine.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The backend's number.
    pub backend: u64,
    /// A word of the log that every launch leaves there.
    pub log: &'static str,
    /// Pages that are no memory of the root VM's; 0 counts for nothing.
    pub bad_pages: [u64; 3],
}

/// Every call and some refusals; whether an extension runs or not.
pub fn check(guest: &mut impl Guest, page: &mut Page, expected: &Expected) {
    status(guest, page, expected);
    pp_status(guest, page);
    let found = log_has(guest, page, expected.log);
    guest.check("log", found);
    trace(guest, page);
    refusals(guest, page, expected);
}

/// The state of the extension, by the kernel's own word.
pub fn extension_state(guest: &mut impl Guest, page: &mut Page) -> Option<u64> {
    machine_status(guest, page).map(|status| u64::from(status.extension))
}

fn address(page: &Page) -> u64 {
    page.0.as_ptr() as u64
}

/// Calls with the page, which the kernel fills.
fn call(guest: &mut impl Guest, page: &mut Page, number: u64, second: u64, third: u64) -> [u64; 5] {
    let answer = guest.call([number, address(page), second, third, 0]);
    // What it has written is read from memory.
    core::hint::black_box(page);
    answer
}

fn machine_status(guest: &mut impl Guest, page: &mut Page) -> Option<MachineStatus> {
    let [status, size, ..] = call(guest, page, HYPERCALL_STATUS, 0, 0);
    let found = MachineStatus::read_from_prefix(&page.0).ok()?.0;
    (status == 0 && size == size_of::<MachineStatus>() as u64).then_some(found)
}

fn status(guest: &mut impl Guest, page: &mut Page, expected: &Expected) {
    let first = machine_status(guest, page);
    let second = machine_status(guest, page);
    let (Some(first), Some(second)) = (first, second) else { return guest.check("status", false) };
    let is_right = u64::from(first.backend) == expected.backend
        && u64::from(first.abi_version) == VERSION
        && first.launched >= 1
        && first.pps >= first.launched
        && first.vms == 1
        && first.pool_free < first.pool
        && first.extension_size != 0
        && first.extension_hash.iter().any(|byte| *byte != 0)
        && first.extension_hash == second.extension_hash;
    guest.check("status", is_right);
    let has_ended = first.extension_end[0] != 0;
    guest.check("status-extension", has_ended == (u64::from(first.extension) != EXTENSION_RUNNING));
    guest.check("status-time", first.launched_at < first.counter && first.counter < second.counter);
}

fn pp_status(guest: &mut impl Guest, page: &mut Page) {
    let hypercalls = |guest: &mut _, page: &mut Page| {
        let [status, ..] = call(guest, page, HYPERCALL_PP_STATUS, 0, 0);
        let found = PpStatus::read_from_prefix(&page.0).ok()?.0;
        let is_right = status == 0 && u64::from(found.standing) == PP_LAUNCHED && found.pp == 0;
        is_right.then(|| found.exits[ExitClass::Hypercall as usize])
    };
    let first = hypercalls(guest, page);
    let second = hypercalls(guest, page);
    guest.check("pp-status", first.zip(second).is_some_and(|(first, second)| second == first + 1));
}

/// Whether a word is in the log, followed by its cursors.
fn log_has(guest: &mut impl Guest, page: &mut Page, word: &str) -> bool {
    let mut cursor = 0;
    loop {
        let [status, size, _, next, newest] = call(guest, page, HYPERCALL_LOG, cursor, 0);
        if status != 0 {
            return false;
        }
        let mut rest = &page.0[..(size as usize).min(page.0.len())];
        while let Ok((header, behind)) = LogRecord::read_from_prefix(rest) {
            let length = header.length as usize;
            let text =
                behind.get(..length).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default();
            if text.contains(word) {
                return true;
            }
            rest = behind.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        if next >= newest || next == cursor {
            return false;
        }
        cursor = next;
    }
}

fn trace(guest: &mut impl Guest, page: &mut Page) {
    const ROUNDS: u64 = 5;
    let class = 1 << ExitClass::Hypercall as u64;
    let [on, before, capacity, ..] = guest.call([HYPERCALL_TRACE, class, 0, 0, 0]);
    guest.check("trace-on", on == 0 && before == 0 && capacity != 0);
    let found = pp_trace_newest(guest, page);
    for _ in 0..ROUNDS {
        call(guest, page, HYPERCALL_PP_STATUS, 0, 0);
    }
    let [off, was, ..] = guest.call([HYPERCALL_TRACE, 0, 0, 0, 0]);
    guest.check("trace-off", off == 0 && was == class);
    let end = pp_trace_newest(guest, page);
    pp_trace_newest(guest, page);
    let later = pp_trace_newest(guest, page);
    guest.check("trace-stays-off", end == later);
    let [status, count, first, next, newest] = call(guest, page, HYPERCALL_TRACE_READ, 0, found);
    guest.check("trace-read", status == 0 && first == found && next == newest && count >= ROUNDS);
    let mut last = 0;
    let mut rest = &page.0[..(count as usize * size_of::<TraceRecord>()).min(page.0.len())];
    let (mut is_right, mut calls) = (true, 0);
    while let Ok((record, behind)) = TraceRecord::read_from_prefix(rest) {
        is_right &= record.class == ExitClass::Hypercall as u16
            && record.instruction_pointer != 0
            && record.duration != 0
            && record.counter > last;
        calls += u64::from(record.number == HYPERCALL_PP_STATUS);
        (last, rest) = (record.counter + u64::from(record.duration) - 1, behind);
    }
    guest.check("trace-records", is_right && calls >= ROUNDS);
}

fn pp_trace_newest(guest: &mut impl Guest, page: &mut Page) -> u64 {
    call(guest, page, HYPERCALL_PP_STATUS, 0, 0);
    PpStatus::read_from_prefix(&page.0).map_or(0, |(found, _)| found.trace_newest)
}

fn refusals(guest: &mut impl Guest, page: &mut Page, expected: &Expected) {
    let error = |answer: [u64; 5]| Status::from_raw(answer[0]).result().err().map(|failure| failure.error);
    page.0.fill(0x5A);
    let unaligned = guest.call([HYPERCALL_STATUS, address(page) + 8, 0, 0, 0]);
    guest.check("unaligned-page", error(unaligned) == Some(Error::InvalidArgument));
    let none = call(guest, page, HYPERCALL_PP_STATUS, 63, 0);
    guest.check("no-such-pp", error(none) == Some(Error::InvalidArgument));
    let future = call(guest, page, HYPERCALL_LOG, !7, 0);
    guest.check("cursor-in-the-future", error(future) == Some(Error::InvalidArgument));
    let unknown = call(guest, page, HYPERCALL_STATUS + 0xF00, 0, 0);
    guest.check("no-such-call", error(unknown) == Some(Error::UnknownCall));
    for bad in expected.bad_pages.into_iter().filter(|page| *page != 0) {
        let answer = guest.call([HYPERCALL_STATUS, bad, 0, 0, 0]);
        guest.check("bad-page", error(answer) == Some(Error::Denied) && answer[1] == bad);
    }
    guest.check("nothing-is-written", page.0.iter().all(|byte| *byte == 0x5A));
}
