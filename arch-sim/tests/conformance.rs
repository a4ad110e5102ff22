//! The conformance run on the software machine: the same checks by the same code as on the boards. Which checks there
//! must be says the ABI; one that is missing, or that is made but not asked for, fails here.

mod common;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::{TEST, TEST_CALL, program, promoted};
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::lab::{Lab, Setup};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_conformance::Machine;
use plinth_extension_api::abi::spec::checks;
use plinth_extension_api::abi::{Call, ExitClass};

/// The lines that were printed.
type Lines = Arc<Mutex<Vec<String>>>;

/// The software machine, from the extension's side.
struct Sim<'a> {
    standard: &'a Standard,
    user: &'a User,
    lines: &'a Lines,
}

impl Machine for Sim<'_> {
    fn call(&mut self, number: u64, arguments: [u64; 6]) -> (u64, [u64; 2]) {
        self.user.raw_call(number, arguments)
    }

    fn handle(&self) -> u64 {
        self.standard.handle()
    }

    fn reopen(&mut self) -> bool {
        self.standard.open(self.user);
        true
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        self.lines.lock().unwrap().push(line.to_string());
    }

    fn store(&mut self, at: u64, value: u64) {
        self.user.store(at, value);
    }

    fn load(&self, at: u64) -> u64 {
        self.user.load(at)
    }

    fn code(&self) -> u64 {
        self.user.entry()
    }

    fn readable(&self) -> u64 {
        0
    }

    fn interceptable(&self) -> u64 {
        1
    }

    fn interrupt(&self) -> u64 {
        0x40
    }

    fn has_ports(&self) -> bool {
        true
    }
}

/// What the callbacks share.
struct Conformance {
    standard: Arc<Standard>,
    lines: Lines,
    exits: AtomicU64,
}

impl Conformance {
    fn start(&self, user: &User) {
        self.standard.register(user);
        plinth_conformance::start(&mut self.machine(user));
        let _ = user.call(Call::ControlWait, &[]);
    }

    fn machine<'a>(&'a self, user: &'a User) -> Sim<'a> {
        Sim { standard: &self.standard, user, lines: &self.lines }
    }

    /// The first test hypercall runs the checks and is made again; the second one is skipped; the third shows that.
    fn vmexit(&self, user: &User, exit: ExitInfo) {
        let shown = match exit.class {
            ExitClass::Attention => Some(Call::PpKick),
            ExitClass::Timer => Some(Call::TimerSet),
            _ => None,
        };
        if let Some(call) = shown {
            plinth_conformance::resumed(&mut self.machine(user), call);
            return self.standard.run(user);
        }
        if exit.class != ExitClass::Hypercall || exit.register(user, 0) != TEST_CALL {
            return self.standard.vmexit(user, exit);
        }
        let machine = &mut self.machine(user);
        match self.exits.fetch_add(1, Ordering::SeqCst) {
            0 => {
                plinth_conformance::vmexit(machine, exit.vs);
                self.standard.run(user);
            }
            1 => {
                plinth_conformance::resumed(machine, Call::VsRunCurrent);
                self.standard.advance_and_run(user);
            }
            _ => {
                plinth_conformance::resumed(machine, Call::VsAdvanceAndRunCurrent);
                self.standard.advance_and_run(user);
            }
        }
    }
}

#[test]
fn the_software_machine_conforms() {
    let lines = Lines::default();
    let standard = Standard::with_fail();
    let shared =
        Arc::new(Conformance { standard: standard.clone(), lines: lines.clone(), exits: AtomicU64::new(0) });
    let (start, vmexit) = (shared.clone(), shared);
    let extension = standard
        .extension()
        .on(Slot::Start, move |user, _| start.start(user))
        .on(Slot::Vmexit, move |user, arguments| vmexit.vmexit(user, ExitInfo::new(arguments)));
    // Room for runs of pages that make a large leaf.
    let setup = Setup { pool_pages: 1900, ..Setup::default() };
    let mut lab = Lab::with(&setup, extension).expect("the pool is large enough");
    lab.launch(0, &program(&[&TEST, &TEST]));
    promoted(&lab.end(0));
    let lines = lines.lock().unwrap();
    let failed: Vec<_> = lines.iter().filter(|line| line.contains("FAILED")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let verdicts = lines.iter().filter(|line| line.ends_with(" ok"));
    let made: BTreeSet<_> = verdicts.map(|line| line.trim_end_matches(" ok").to_owned()).collect();
    let asked: BTreeSet<_> = checks().map(|check| format!("ABI {check}")).collect();
    let missing: Vec<_> = asked.difference(&made).collect();
    assert!(missing.is_empty(), "the ABI asks for checks that are not made: {missing:#?}");
    let unknown: Vec<_> = made.difference(&asked).collect();
    assert!(unknown.is_empty(), "checks are made that no contract asks for: {unknown:#?}");
}
