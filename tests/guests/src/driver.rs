//! Sets a test extension off, and shows that the machine lives on.

use plinth_test_extensions::TEST_HYPERCALL;

use crate::trap::{self, Fault};
use crate::{Report, check, cpu, plinth, say};

/// What the test hypercall must come to.
pub type Expected = Result<u64, Fault>;

/// No extension takes the hypercall any more: #UD.
pub const NOBODY: Expected = Err(Fault::undefined(LENGTH));

/// Bytes of VMMCALL and of VMCALL.
const LENGTH: u64 = 3;

/// Runs the guest called `name`: makes the test hypercall with `argument` in RBX and goes on as if nothing had happened.
pub fn run(name: &'static str, argument: u64, expected: Expected) -> ! {
    run_by(name, expected, || plinth::hypercall(TEST_HYPERCALL, argument), |_| {})
}

/// The same, and does `more` afterwards.
pub fn run_and(name: &'static str, argument: u64, expected: Expected, more: impl FnOnce(&mut Report)) -> ! {
    run_by(name, expected, || plinth::hypercall(TEST_HYPERCALL, argument), more)
}

/// More test hypercalls than any test asks for.
const MANY: u64 = 100_000;

/// The same, with as many test hypercalls as have the result `again`.
pub fn run_while(name: &'static str, argument: u64, again: u64, expected: Expected) -> ! {
    let hypercall = || {
        let mut results = (0..MANY).map(|_| plinth::hypercall(TEST_HYPERCALL, argument));
        results.find(|result| *result != Ok(again)).unwrap_or(Ok(again))
    };
    run_by(name, expected, hypercall, |_| {})
}

fn run_by(
    name: &'static str,
    expected: Expected,
    hypercall: impl FnOnce() -> Expected,
    more: impl FnOnce(&mut Report),
) -> ! {
    trap::install();
    let mut report = Report::new(name);
    if !plinth::is_there() {
        report.skip("hypercall", "there is no Plinth to take it");
        lives(&mut report);
        report.done()
    }
    let result = hypercall();
    say!("{name}: the hypercall's result is {result:x?}");
    check!(report, "hypercall", result, expected);
    lives(&mut report);
    more(&mut report);
    report.done()
}

/// Exits of several kinds, each answered as by a machine that is well, and an interrupt.
pub fn lives(report: &mut Report) {
    answers(report);
    cpu::halt();
    report.check("lives-interrupt", true);
}

/// Exits of several kinds, each answered as by a machine that is well.
pub fn answers(report: &mut Report) {
    let [highest, vendor, ..] = cpu::cpuid(0, 0);
    let same = (0..1000).all(|_| cpu::cpuid(0, 0)[..2] == [highest, vendor]);
    check!(report, "lives-cpuid", highest != 0 && same);
    let efer = cpu::read_msr(cpu::EFER);
    check!(
        report,
        "lives-msr",
        efer.is_ok_and(|efer| efer & (cpu::EFER_LME | cpu::EFER_SVME) == cpu::EFER_LME)
    );
    let result = plinth::hypercall(0, 0);
    check!(report, "lives-undefined", result, NOBODY);
}
