//! The table against itself, the bank, and lists of what must not be open.

use super::*;
use crate::el1_registers::{EVERY_VMS, REGISTERS};
use crate::id::controls::El2;

fn at(registers: &[(u64, u64, u64, u64, u64)]) -> impl Iterator<Item = u64> {
    registers.iter().map(|&(op0, op1, crn, crm, op2)| encoding(op0, op1, crn, crm, op2))
}

fn group_of(register: u64) -> Option<&'static Group> {
    groups().find(|group| group.registers.iter().any(|span| (span.first..=span.last).contains(&register)))
}

fn is_banked(register: u64) -> bool {
    REGISTERS.iter().any(|own| own.encoding == register)
}

#[test]
fn each_group_is_there_once_and_says_why() {
    for id in Id::ALL {
        assert_eq!(groups().filter(|group| group.id == *id).count(), 1, "{id:?}");
    }
    for group in groups() {
        assert!(!group.section.is_empty() && !group.reason.is_empty(), "{:?}", group.id);
        assert!(group.registers.iter().all(|span| span.first <= span.last), "{:?}", group.id);
    }
}

#[test]
fn no_register_is_in_two_groups() {
    for (number, group) in groups().enumerate() {
        for span in group.registers {
            let other = groups().skip(number + 1).find(|other| {
                other.registers.iter().any(|own| own.first <= span.last && span.first <= own.last)
            });
            assert!(other.is_none(), "{:?} and {:?} have {span:x?}", group.id, other.map(|other| other.id));
        }
    }
}

/// A control that opens one group and closes another would do what the last entry says.
#[test]
fn groups_that_share_a_control_are_open_to_the_same_vms() {
    let controls = || groups().flat_map(|group| group.controls.iter().map(move |control| (group, control)));
    for (group, control) in controls() {
        for (other, theirs) in controls() {
            if control.register == theirs.register && control.bits() & theirs.bits() != 0 {
                let same = group.is_open_to_root() == other.is_open_to_root()
                    && group.is_open_to_guests() == other.is_open_to_guests();
                assert!(same, "{:?} and {:?} in {:?}", group.id, other.id, control.register);
            }
        }
    }
}

/// What a VM has as its own moves with it, and what moves is somebody's own or must not act in another VM.
#[test]
fn what_is_a_vss_own_is_in_the_bank() {
    // Moved with the vectors; counters, which nobody writes; views of what is in the bank.
    let elsewhere = [
        some(3, 3, 4, 4, 0, 1),
        some(3, 3, 14, 0, 0, 2),
        some(3, 3, 14, 0, 5, 6),
        one(3, 3, 14, 2, 0),
        one(3, 3, 14, 3, 0),
    ];
    let is_elsewhere = |register| elsewhere.iter().any(|span| (span.first..=span.last).contains(&register));
    for group in groups().filter(|group| group.id != Id::Pstate) {
        if group.root != Root::Own && group.guest != Guest::Own {
            continue;
        }
        for register in group.registers.iter().flat_map(|span| span.first..=span.last) {
            assert!(is_banked(register) || is_elsewhere(register), "{:?}: {register:#x}", group.id);
        }
    }
    let stopped = [Id::Debug, Id::Branches, Id::Profiling, Id::TraceBuffer, Id::TraceFilter];
    for register in REGISTERS {
        let group = group_of(register.encoding).unwrap_or_else(|| panic!("{register:x?} is in no group"));
        assert!(group.root == Root::Own || stopped.contains(&group.id), "{register:x?}: {:?}", group.id);
    }
}

#[test]
fn a_guest_vms_part_of_the_bank_comes_first() {
    for (index, register) in REGISTERS.iter().enumerate() {
        let is_guests = group(register.group).is_some_and(|group| group.guest == Guest::Own);
        assert_eq!(is_guests, index < EVERY_VMS, "{register:x?}");
    }
}

/// Every register by which the processor itself reads or writes memory, sends accesses elsewhere, or shows where others are: a
/// guest VM has its own, or none.
#[test]
fn what_carries_an_address_is_nobody_elses() {
    let carriers = [
        // Translation, exceptions, results.
        (3, 0, 2, 0, 0),
        (3, 0, 2, 0, 1),
        (3, 0, 12, 0, 0),
        (3, 0, 7, 4, 0),
        (3, 0, 6, 0, 0),
        (3, 0, 6, 0, 5),
        // Profiling and trace: PMSCR, PMBLIMITR, PMBPTR, PMBSR, TRBLIMITR, TRBPTR, TRBBASER, TRBMAR, TRFCR.
        (3, 0, 9, 9, 0),
        (3, 0, 9, 10, 0),
        (3, 0, 9, 10, 1),
        (3, 0, 9, 10, 3),
        (3, 0, 9, 11, 0),
        (3, 0, 9, 11, 1),
        (3, 0, 9, 11, 2),
        (3, 0, 9, 11, 4),
        (3, 0, 1, 2, 1),
        (2, 1, 0, 1, 0),
        // Branch records: BRBCR, BRBSRC0, BRBTGT0.
        (2, 1, 9, 0, 0),
        (2, 1, 8, 0, 1),
        (2, 1, 8, 0, 2),
        // LORSA, LOREA, LORN, LORC; MPAM1, MPAM0, MPAMSM; ERRSELR, ERXCTLR, ERXADDR, ERXPFGCTL.
        (3, 0, 10, 4, 0),
        (3, 0, 10, 4, 1),
        (3, 0, 10, 4, 2),
        (3, 0, 10, 4, 3),
        (3, 0, 10, 5, 0),
        (3, 0, 10, 5, 1),
        (3, 0, 10, 5, 3),
        (3, 0, 5, 3, 1),
        (3, 0, 5, 4, 1),
        (3, 0, 5, 4, 3),
        (3, 0, 5, 4, 5),
        // Control stacks, stores to accelerators, contexts of predictors.
        (3, 0, 2, 5, 1),
        (3, 3, 2, 5, 1),
        (3, 0, 13, 0, 5),
        (3, 0, 13, 0, 7),
        (3, 3, 13, 0, 7),
        // Debuggers and counters: DBGBVR0, DBGWVR0, OSDLR, PMEVCNTR0, AMEVCNTR00.
        (2, 0, 0, 0, 4),
        (2, 0, 0, 0, 6),
        (2, 0, 1, 3, 4),
        (3, 3, 14, 8, 0),
        (3, 3, 13, 4, 0),
        // Interrupts: ICC_SRE, ICC_SGI1R, ICC_IAR1.
        (3, 0, 12, 12, 5),
        (3, 0, 12, 11, 5),
        (3, 0, 12, 12, 0),
        // Keys, tags.
        (3, 0, 2, 1, 0),
        (3, 0, 1, 0, 6),
        // What an implementation defines.
        (3, 0, 1, 0, 1),
        (3, 0, 15, 2, 0),
    ];
    for register in at(&carriers) {
        let group = group_of(register).unwrap_or_else(|| panic!("{register:#x} is in no group"));
        let is_own = group.guest == Guest::Own && is_banked(register);
        // ICH_HCR_EL2's traps follow from HCR_EL2.IMO.
        let is_trapped = !group.controls.is_empty() || group.id == Id::Interrupts;
        assert!(is_own || group.guest == Guest::Closed && is_trapped, "{register:#x}: {:?}", group.id);
    }
}

/// Nothing is closed by a register that a processor with the group need not have, but by those that come with it.
#[test]
fn a_closed_group_is_closed_on_every_processor_that_has_it() {
    for group in groups().filter(|group| group.guest == Guest::Closed && !group.registers.is_empty()) {
        let fine = [El2::Hfgrtr, El2::Hfgwtr, El2::Hdfgrtr, El2::Hdfgwtr, El2::Hfgitr];
        let by_fine_traps_alone = !group.controls.is_empty()
            && group.controls.iter().all(|control| fine.contains(&control.register));
        // FEAT_FGT is part of Armv8.6, and these of later versions.
        let later = [Id::Permissions, Id::Overlays, Id::ProfilingEvents, Id::Branches];
        assert!(!by_fine_traps_alone || later.contains(&group.id), "{:?}", group.id);
    }
}

#[test]
fn an_extension_can_have_exit_what_the_hardware_traps() {
    for register in (0..1 << 16).filter(|register| crate::write_traps::bit(*register).is_some()) {
        assert_eq!(group_of(register).map(|group| group.exits), Some(Exits::Writes), "{register:#x}");
    }
    for register in (0..1 << 16).filter(|register| crate::syndrome::is_id_register(*register)) {
        assert_eq!(group_of(register).map(|group| group.exits), Some(Exits::Reads), "{register:#x}");
    }
}
