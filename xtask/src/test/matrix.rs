//! `cargo xtask test --matrix`: the board tests as a grid, a case in each row and a backend in each column.
//!
//! A *case* is what a board test tries, whatever the machine: the test's name without the words for one (`-2` for two CPUs,
//! `-gicv2-a53`, `-vhe`). A cell says how many machines it runs on. A cell without one is a hole. Each hole has a reason in
//! [`HOLES`], which either says why the case does not exist there, or admits that the test is still to be written. A host
//! test fails where a hole has no reason, so that a new test for one backend asks its author about the others.

use std::collections::{BTreeMap, BTreeSet};

use super::missing_cases::{HOLES, Hole};
use super::table;

/// The columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Backend {
    /// `arch-amd`.
    Amd,
    /// `arch-intel`.
    Intel,
    /// `arch-armv8`.
    Arm,
}

impl Backend {
    pub(super) const ALL: [Self; 3] = [Self::Amd, Self::Intel, Self::Arm];

    /// The backend that runs on a board.
    fn of(board: &str) -> Self {
        match board {
            _ if board.starts_with("qemu-q35") => Self::Amd,
            _ if board.starts_with("bochs") => Self::Intel,
            _ => Self::Arm,
        }
    }
}

/// The words at the end of a test's name that name a machine.
const MACHINES: &[&str] = &[
    "1",
    "2",
    "4",
    "8",
    "a53",
    "a72",
    "acpi",
    "arm",
    "arrandale",
    "gicv2",
    "gicv3",
    "max",
    "intel",
    "nvhe",
    "off",
    "sandy-bridge",
    "skylake-x",
    "vhe",
];

/// What a test tries, whatever the machine.
pub(super) fn case(name: &str) -> &str {
    let mut case = name;
    loop {
        let shorter = MACHINES.iter().find_map(|word| case.strip_suffix(word)?.strip_suffix('-'));
        match shorter {
            Some(shorter) => case = shorter,
            None => return case,
        }
    }
}

/// The machines of each case, by backend: board and test, since one board stands for several by its arguments.
pub(super) type Grid = BTreeMap<&'static str, BTreeMap<Backend, BTreeSet<(&'static str, &'static str)>>>;

/// The grid of all board tests.
pub(super) fn grid() -> Grid {
    let mut grid = Grid::new();
    for test in table::all() {
        for board in test.boards {
            let row = grid.entry(case(test.name)).or_default();
            row.entry(Backend::of(board)).or_default().insert((board, test.name));
        }
    }
    grid
}

/// Why a case has no test on a backend.
pub(super) fn reason(case: &str, backend: Backend) -> Option<&'static Hole> {
    HOLES.iter().find(|hole| hole.on.contains(&backend) && hole.cases.iter().any(|name| covers(name, case)))
}

/// Whether `pattern`, a case or a beginning with `*` behind it, stands for `case`.
pub(super) fn covers(pattern: &str, case: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == case, |beginning| case.starts_with(beginning))
}

/// Prints the grid, and below it what its holes mean.
pub(super) fn print() {
    let grid = grid();
    println!("{:34} {:>6} {:>6} {:>6}", "case", "AMD", "Intel", "Arm");
    let mut used = BTreeSet::new();
    for (case, row) in &grid {
        let cells = Backend::ALL.map(|backend| match (row.get(&backend), reason(case, backend)) {
            (Some(machines), _) => machines.len().to_string(),
            (None, Some(hole)) => {
                let number = number(hole);
                used.insert(number);
                format!("{}{number}", if hole.open { '?' } else { '-' })
            }
            (None, None) => "?".to_owned(),
        });
        println!("{case:34} {:>6} {:>6} {:>6}", cells[0], cells[1], cells[2]);
    }
    let whole = grid.values().filter(|row| row.len() == Backend::ALL.len()).count();
    println!("\n{} cases, {whole} of them on every backend. A number: so many machines.", grid.len());
    println!("-N: the case does not exist there; ?N: the test is still to be written:");
    for number in used {
        println!("{number:4}  {}", HOLES[number - 1].why);
    }
}

/// The number by which the grid refers to a reason.
fn number(hole: &Hole) -> usize {
    HOLES.iter().position(|other| std::ptr::eq(other, hole)).map_or(0, |place| place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_a_name_without_its_machine() {
        assert_eq!(case("kick-gicv2-a53"), "kick");
        assert_eq!(case("linux-2"), "linux");
        assert_eq!(case("exits-vhe-off"), "exits");
        assert_eq!(case("late-cycles-long-4"), "late-cycles-long");
        assert_eq!(case("vhe"), "vhe");
    }

    #[test]
    fn every_hole_has_a_reason() {
        let grid = grid();
        let holes = grid.iter().flat_map(|(case, row)| {
            Backend::ALL
                .into_iter()
                .filter(|backend| !row.contains_key(backend))
                .map(move |backend| (*case, backend))
        });
        let unexplained: Vec<_> = holes.filter(|(case, backend)| reason(case, *backend).is_none()).collect();
        assert!(
            unexplained.is_empty(),
            "say why in xtask/src/test/missing_cases.rs, or write the test: {unexplained:?}"
        );
    }

    #[test]
    fn no_reason_is_left_over() {
        let grid = grid();
        for (hole, name) in HOLES.iter().flat_map(|hole| hole.cases.iter().map(move |name| (hole, name))) {
            let stands_for_one = grid.iter().any(|(case, row)| {
                covers(name, case) && hole.on.iter().any(|backend| !row.contains_key(backend))
            });
            assert!(stands_for_one, "{name} is no case any more, or has no hole left: {}", hole.why);
        }
    }
}
