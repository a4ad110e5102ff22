//! System registers on Arm: what the ID registers promise, what EL1 finds as on the bare machine, and what a guest VM does not
//! reach of the root VM's.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::{LINUX, Payload, Test};
use crate::emulator::{Ended, Watched};
use crate::test::board::Bench;

/// Processors that QEMU's boards are tested with.
const MAX: &[&str] = &["-cpu", "max,pauth-impdef=on", "-machine", "mte=on"];
const A53: &[&str] = &["-machine", "gic-version=2", "-cpu", "cortex-a53"];
/// The extension on a stage 2 of its own, though the processor has VHE.
const WITHOUT_VHE: &[&str] = &["vhe = off"];

/// Each ID field that says that something is there.
const PROMISED: Test = Test {
    name: "promised",
    proves: "what the ID registers show works at EL1: each instruction and register that a field promises",
    boards: &["qemu-virt"],
    payload: Payload::Guest("armv8-promised"),
    command_line: "",
    memory: 256,
    timeout: 60,
    expect: &["TEST promised there-are-promises ok", "TEST promised done "],
    ..LINUX
};

/// Every register, compared with the bare machine's.
const REGISTERS: Test = Test {
    name: "registers",
    proves: "every encoding of a system register, read and written at EL1, does what it does on the bare machine",
    payload: Payload::Guest("armv8-registers"),
    timeout: 120,
    expect: &["TEST registers registers ok", "TEST registers done "],
    check: Some(same_as_bare),
    ..PROMISED
};

/// A guest VM that reads and writes every register.
const BESIDE: Test = Test {
    name: "beside",
    proves: "a guest VM that reads and writes every system register finds none of the root VM's own, and changes none",
    payload: Payload::Guest("armv8-beside"),
    extension: Some("beside"),
    timeout: 120,
    expect: &["TEST beside registers-kept ok", "TEST beside some-are-trapped ok", "TEST beside done "],
    ..PROMISED
};

/// Every offset of the interrupt controller, compared with the bare machine's.
const OFFSETS: Test = Test {
    name: "offsets",
    proves: "every offset of GICv3's registers with every width and all low bits does what it does on the bare machine",
    payload: Payload::Guest("armv8-offsets"),
    timeout: 120,
    expect: &["TEST offsets offsets ok", "TEST offsets done "],
    check: Some(same_offsets_as_bare),
    ..PROMISED
};

/// A processor without AArch32.
const A64FX: &[&str] = &["-cpu", "a64fx", "-machine", "mte=off"];

const STATES: Test = Test {
    name: "states",
    proves: "an extension gives a VS no state that EL1 and EL0 do not have",
    payload: Payload::Guest("armv8-attack"),
    extension: Some("states"),
    expect: &[
        "states: supervisor mode of AArch32: refused",
        "states: Hyp mode: refused",
        "states: EL2 with SP_EL0: refused",
        "states: EL2: refused",
        "states: EL3: refused",
        "TEST attack done ",
    ],
    forbid: &["its own state is refused"],
    check: None,
    ..PROMISED
};

pub(super) const TESTS: &[Test] = &[
    STATES,
    Test {
        name: "states-64-bit",
        proves: "an extension gives a VS no state that EL1 and EL0 do not have, on a processor without AArch32 at EL0 either",
        boards: &["qemu-virt-max"],
        arguments: A64FX,
        expect: &["states: EL0 of AArch32: refused", "states: EL3: refused", "TEST attack done "],
        ..STATES
    },
    OFFSETS,
    Test {
        name: "offsets-vhe",
        proves: "every offset of GICv3's registers does what it does on the bare machine, in the EL2&0 regime",
        arguments: MAX,
        ..OFFSETS
    },
    Test { boards: &["qemu-virt-max"], ..OFFSETS },
    PROMISED,
    Test {
        name: "promised-vhe",
        proves: "what the ID registers show works at EL1, in the EL2&0 regime, with tags, SVE and SME",
        arguments: MAX,
        ..PROMISED
    },
    Test { boards: &["qemu-virt-max"], ..PROMISED },
    Test {
        name: "promised-without-vhe",
        proves: "what the ID registers show works at EL1, with the extension on a stage 2 of its own",
        boards: &["qemu-virt-max"],
        settings: WITHOUT_VHE,
        expect: &["TEST promised SCXTNUM ok", "TEST promised MOPS ok", "TEST promised done "],
        ..PROMISED
    },
    REGISTERS,
    Test {
        name: "registers-gicv2-a53",
        proves: "every system register does at EL1 what it does on the bare machine, on a Cortex-A53 with GICv2",
        arguments: A53,
        ..REGISTERS
    },
    Test {
        name: "registers-vhe",
        proves: "every system register does at EL1 what it does on the bare machine, in the EL2&0 regime, with tags, SVE and SME",
        arguments: MAX,
        ..REGISTERS
    },
    Test { boards: &["qemu-virt-max"], ..REGISTERS },
    BESIDE,
    Test {
        name: "beside-gicv2-a53",
        proves: "a guest VM finds and changes no system register of the root VM, on a Cortex-A53 with GICv2",
        arguments: A53,
        ..BESIDE
    },
    Test {
        name: "beside-vhe",
        proves: "a guest VM finds and changes no system register of the root VM, in the EL2&0 regime, with tags, SVE and SME",
        arguments: MAX,
        ..BESIDE
    },
    Test { boards: &["qemu-virt-max"], ..BESIDE },
    Test {
        name: "beside-without-vhe",
        proves: "a guest VM finds and changes no system register of the root VM, with the extension on a stage 2 of its own",
        boards: &["qemu-virt-max"],
        settings: WITHOUT_VHE,
        ..BESIDE
    },
];

/// What differs from the bare machine.
struct Difference {
    /// The row of the register, and its place there.
    register: (&'static str, usize),
    /// In these bits.
    bits: u64,
    reason: &'static str,
}

/// The bare machine to compare with has no EL2, so that the guest starts at EL1. QEMU has SCTLR_EL2.TSCXT, which is about EL0
/// alone, trap EL1 in the EL2&0 regime; `promised-without-vhe` finds SCXTNUM.
const DIFFERENT: &[Difference] = &[
    Difference { register: ("3_0_C0_C1", 1), bits: 0xF000, reason: "ID_PFR1_EL1.Virtualization: EL2" },
    Difference { register: ("3_0_C0_C4", 0), bits: 0xF00, reason: "ID_AA64PFR0_EL1.EL2" },
    Difference { register: ("3_0_C12_C0", 1), bits: u64::MAX, reason: "RVBAR_EL1 is there without EL2 only" },
    Difference { register: ("3_0_C12_C0", 2), bits: u64::MAX, reason: "RMR_EL1 is there without EL2 only" },
    Difference { register: ("3_0_C13_C0", 7), bits: u64::MAX, reason: "SCXTNUM_EL1: QEMU" },
    Difference { register: ("3_3_C13_C0", 7), bits: u64::MAX, reason: "SCXTNUM_EL0: QEMU" },
];

impl Difference {
    /// Whether it is the one between what was found in a register bare and under Plinth.
    fn explains(&self, register: (&str, usize), found: [&str; 2]) -> bool {
        let value = |found: &str| u64::from_str_radix(found.trim_end_matches('!'), 16);
        let inside = match found.map(value) {
            [Ok(bare), Ok(plinth)] => (bare ^ plinth) & !self.bits == 0,
            _ => self.bits == u64::MAX,
        };
        self.register == register && inside && !self.reason.is_empty()
    }
}
/// The rows of registers by their names, with what was found in each place.
fn rows(lines: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let rows = lines.iter().filter_map(|line| line.split_once("registers: S"));
    rows.filter_map(|(_, row)| row.split_once(':'))
        .map(|(name, places)| (name, places.split_whitespace().collect()))
        .collect()
}

/// Boots the same test bare.
fn bare_lines(bench: &Bench<'_>, test: &Test) -> Result<Vec<String>> {
    let bare = Test { bare: true, extension: None, check: None, ..*test };
    let reference = bench.boot(&bare, &bench.log(&format!("{}-bare", test.name)))?.watched;
    if !matches!(reference.ended, Ended::Exit(_)) || reference.missing.is_some() {
        bail!("the bare boot to compare with did not end well: {:?}", reference.ended);
    }
    Ok(reference.lines)
}

/// Compares what was found at the offsets of the interrupt controller.
fn same_offsets_as_bare(bench: &Bench<'_>, test: &Test, watched: &Watched) -> Result<()> {
    let bare = bare_lines(bench, test)?;
    let [bare, plinth] = [&bare, &watched.lines].map(|lines| found_at_offsets(lines));
    let differs = bare.iter().zip(&plinth).find(|(bare, plinth)| bare != plinth);
    match differs {
        Some((bare, plinth)) => bail!("bare: {bare}\nunder Plinth: {plinth}"),
        None if bare.len() != plinth.len() || bare.is_empty() => {
            bail!("{} lines bare, {} under Plinth", bare.len(), plinth.len())
        }
        None => Ok(()),
    }
}

fn found_at_offsets(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.split_once("offsets: ")).map(|(_, found)| found.trim()).collect()
}

/// Boots the same test bare and compares.
fn same_as_bare(bench: &Bench<'_>, test: &Test, watched: &Watched) -> Result<()> {
    let reference = bare_lines(bench, test)?;
    let differences = differences(&rows(&reference), &rows(&watched.lines));
    if differences.is_empty() { Ok(()) } else { bail!("registers differ:\n{}", differences.join("\n")) }
}

fn differences(bare: &BTreeMap<&str, Vec<&str>>, plinth: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
    let mut differences = Vec::new();
    let names = bare.keys().chain(plinth.keys().filter(|name| !bare.contains_key(*name)));
    for name in names {
        for place in 0..8 {
            let found = [bare, plinth]
                .map(|rows| rows.get(name).and_then(|row| row.get(place)).copied().unwrap_or("."));
            let explained = DIFFERENT.iter().any(|known| known.explains((name, place), found));
            if found[0] != found[1] && !explained {
                differences.push(format!("S{name}_{place}: bare {}, under Plinth {}", found[0], found[1]));
            }
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_that_differs_is_told() {
        let [bare, plinth] = ["12 . 5! fault", "12 7 5 fault"].map(|row| {
            vec![format!("x registers: S3_0_C1_C2: {row} . . . ."), "registers: 4 there".to_owned()]
        });
        let found = differences(&rows(&bare), &rows(&plinth));
        assert_eq!(found, ["S3_0_C1_C2_1: bare ., under Plinth 7", "S3_0_C1_C2_2: bare 5!, under Plinth 5"]);
        assert!(differences(&rows(&bare), &rows(&bare)).is_empty());
        let explained = |plinth| {
            let [bare, plinth] =
                ["2022!", plinth].map(|found| vec![format!("registers: S3_0_C0_C4: {found}")]);
            differences(&rows(&bare), &rows(&plinth)).is_empty()
        };
        assert!(explained("2222!"), "EL2");
        assert!(!explained("3222!") && !explained("fault"), "more than that");
    }
}
