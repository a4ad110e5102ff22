//! Requests with each field wrong: each is refused with its own error, and the device's state stays as it is.

use std::io::Error;

use crate::device::{CALL, Device, INFO, Kind, LAUNCH, RESERVE, Request, STOP};

/// The error that a request must end with.
const INVALID: i32 = libc::EINVAL;

/// A request that is right but for one thing, and the error.
struct Case {
    what: &'static str,
    request: Request,
    error: i32,
}

const fn case(what: &'static str, request: Request, error: i32) -> Case {
    Case { what, request, error }
}

/// The offsets of the fields that have to be 0, of 32 bits each.
fn zeroes(kind: Kind) -> Vec<usize> {
    let words = |from: usize, to: usize| (from..to).step_by(4);
    match kind {
        INFO => words(8, 568).collect(),
        RESERVE => words(32, 96).collect(),
        LAUNCH => words(36, 104).collect(),
        STOP => words(12, 64).collect(),
        _ => words(48, 88).chain(words(108, 144)).collect(),
    }
}

/// One that passes all checks that need no state, where there is one.
fn right(kind: Kind) -> Request {
    let request = Request::new(kind);
    match kind {
        RESERVE => request.with(8, 32 << 20),
        CALL => request.with(8, 0x504c << 48 | 0x1_0003),
        _ => request,
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [INFO, RESERVE, LAUNCH, STOP, CALL] {
        let size = kind.size as u32;
        for wrong in [0, 4, 8, size - 8, size + 8, u32::MAX] {
            cases.push(case("the size", right(kind).with_half(0, wrong), libc::E2BIG));
        }
        for wrong in [0, 2, u32::MAX] {
            cases.push(case("the version", right(kind).with_half(4, wrong), INVALID));
        }
        for offset in zeroes(kind) {
            for value in [1, 0x8000_0000] {
                cases.push(case("a word that has to be 0", right(kind).with_half(offset, value), INVALID));
            }
        }
    }
    for size in [0, 1, 4096, (2 << 20) + 4096, 1 << 31, !((2 << 20) - 1)] {
        cases.push(case("the reservation's size", right(RESERVE).with(8, size), INVALID));
    }
    for log in [1, 8 << 20, u64::MAX] {
        cases.push(case("the log's size", right(RESERVE).with(24, log), INVALID));
    }
    cases.push(case("an end before the size", right(RESERVE).with(16, 1 << 20), INVALID));
    cases.push(case("a launch's flags", right(LAUNCH).with_half(32, 2), INVALID));
    cases.push(case("a stop's flags", right(STOP).with_half(8, 2), INVALID));
    let call = |number: u64| right(CALL).with(8, 0x504c << 48 | number);
    for number in [0, 1, 0x1_0001, 0x1_0004, 0x1_ffff, 0x2_0010, 0x3_0000] {
        cases.push(case("a hypercall", call(number), INVALID));
    }
    cases.push(case("no signature", right(CALL).with(8, 0x1_0003), INVALID));
    cases.push(case("a CPU", right(CALL).with_half(104, 1024), INVALID));
    cases.push(case("a CPU that is not there", right(CALL).with_half(104, 1023), libc::ENXIO));
    cases.push(case("a buffer's argument", right(CALL).with_half(100, 5), INVALID));
    cases.push(case(
        "a buffer's size",
        right(CALL).with_half(100, 1).with(88, 4096).with_half(96, 4097),
        INVALID,
    ));
    cases.push(case("a buffer without argument", right(CALL).with(88, 4096).with_half(96, 8), INVALID));
    cases.push(case("a buffer without address", right(CALL).with_half(100, 1).with_half(96, 8), INVALID));
    cases
}

/// Tries all. Returns how many there were.
pub(crate) fn all() -> Result<usize, String> {
    let device = Device::open().map_err(|error| format!("/dev/plinth: {error}"))?;
    let before = state(&device)?;
    let cases = cases();
    for case in &cases {
        let mut request = case.request.clone();
        let result = device.ask(&mut request);
        expect(case.what, &case.request, result, case.error)?;
        if request.bytes() != case.request.bytes() {
            return Err(format!("{}: the device has written to {request:?}", case.what));
        }
    }
    let numbers = numbers(&device)?;
    if state(&device)? != before {
        return Err("the state has changed".to_owned());
    }
    Ok(cases.len() + numbers)
}

/// Requests by numbers that there are not, and with structures that are not there.
fn numbers(device: &Device) -> Result<usize, String> {
    let request = Request::new(INFO);
    let code = INFO.code();
    let unknown = [
        0,
        0x5401,
        code & !0xff | 0x3f,
        code & !0xff | 0x45,
        code & !0xff00,
        code & 0x3fff_ffff,
        u64::from(u32::MAX),
    ];
    for number in unknown {
        expect("an unknown number", &request, device.ask_by(number, &mut request.clone()), libc::ENOTTY)?;
    }
    let other_size = code & !(0x3fff << 16) | 8 << 16;
    expect(
        "a number of another size",
        &request,
        device.ask_by(other_size, &mut request.clone()),
        libc::E2BIG,
    )?;
    for address in [0, 1, 0xffff_8000_0000_0000, u64::MAX - 7] {
        expect("a structure that is not there", &request, device.ask_at(code, address), libc::EFAULT)?;
    }
    Ok(unknown.len() + 5)
}

fn expect(what: &str, request: &Request, result: std::io::Result<()>, error: i32) -> Result<(), String> {
    match result {
        Err(found) if found.raw_os_error() == Some(error) => Ok(()),
        Ok(()) => Err(format!("{what} wrong in {request:?}: accepted")),
        Err(found) => Err(format!(
            "{what} wrong in {request:?}: {found} instead of {}",
            Error::from_raw_os_error(error)
        )),
    }
}

/// What must not change: the state, the CPUs, the reservation.
fn state(device: &Device) -> Result<Vec<u64>, String> {
    let mut info = Request::new(INFO);
    device.ask(&mut info).map_err(|error| format!("INFO: {error}"))?;
    Ok([8, 32, 40, 432, 440].map(|offset| info.word(offset)).to_vec())
}
