//! That no field is forgotten, and what VMs see.

use super::fields::FIELDS;
use super::*;
use crate::id::facts::*;

const AARCH64: [IdRegister; 20] = [
    PFR0, PFR1, PFR2, ZFR0, SMFR0, FPFR0, DFR0, DFR1, DFR2, AFR0, ISAR0, ISAR1, ISAR2, ISAR3, MMFR0, MMFR1,
    MMFR2, MMFR3, MMFR4, MMFR4,
];

/// What the architecture reserves (DDI 0487, D19.2), in fields of four bits.
const RESERVED: &[(IdRegister, &[u32])] = &[
    (PFR1, &[20]),
    (PFR2, &[20, 24, 28, 36, 40, 44, 48, 52, 56, 60]),
    (ZFR0, &[8, 28, 36, 60]),
    (FPFR0, &[32, 36, 40, 44, 48, 52, 56, 60]),
    (DFR2, &[8, 12, 28, 32, 36, 40, 44, 48, 52, 56, 60]),
    (AFR0, &[32, 36, 40, 44, 48, 52, 56, 60]),
    (ISAR0, &[0]),
    (ISAR3, &[32, 36, 40, 44, 48, 52, 56, 60]),
    (MMFR0, &[52]),
    (MMFR2, &[44]),
    (MMFR3, &[48]),
];

fn is_reserved(register: IdRegister, shift: u32) -> bool {
    RESERVED.iter().any(|(known, shifts)| *known == register && shifts.contains(&shift))
}

/// A field that is in neither list has no entry yet: it is hidden, and this test asks for one.
#[test]
fn every_field_is_in_the_table_once() {
    for register in AARCH64 {
        for shift in (0..64).step_by(4) {
            let nibble = 0xF << shift;
            let entries =
                FIELDS.iter().filter(|field| field.register == register && field.mask() & nibble != 0);
            let expected = usize::from(!is_reserved(register, shift));
            assert_eq!(entries.count(), expected, "{register:?} at {shift}");
        }
    }
    for field in FIELDS {
        assert!(field.shift % 4 == 0 && field.width % 4 == 0 && field.nothing < 16, "{field:?}");
    }
}

#[test]
fn what_is_not_in_the_table_is_shown_to_nobody() {
    for register in
        (0..64).map(IdRegister::of).filter(|register| !register.is_aarch32() && !AARCH64.contains(register))
    {
        assert_eq!(
            [shown(register, u64::MAX, true), shown(register, u64::MAX, false)],
            [0; 2],
            "{register:?}"
        );
    }
    assert_eq!(shown(PFR1, 0xF << 20, true), 0);
    assert_eq!(shown(MMFR3, 0xF << 48, false), 0);
}

#[test]
fn the_root_vm_sees_the_machine_but_for_what_nobody_has() {
    for register in AARCH64 {
        let hidden = FIELDS.iter().filter(|field| {
            field.register == register && group(field.backed).is_some_and(|group| !group.is_open_to_root())
        });
        let hidden = hidden.fold(0, |all, field| all | field.mask());
        let reserved = (0..64).step_by(4).filter(|shift| is_reserved(register, *shift));
        let reserved = reserved.fold(0, |all, shift| all | 0xF << shift);
        assert_eq!(shown(register, u64::MAX, true), !(hidden | reserved), "{register:?}");
    }
    // A processor of each kind that there is an emulator of, and one with tables of 128 bits.
    assert!(!hides_from_root(&Facts::with(&[
        (PFR0, 0, 0x1122),
        (ISAR2, 16, 1),
        (PFR1, 24, 1),
        (MMFR3, 0, 1)
    ])));
    assert!(hides_from_root(&Facts::with(&[(MMFR3, 32, 1)])));
}

#[test]
fn a_guest_vm_sees_what_it_has() {
    let seen = |register, value| shown(register, value, false);
    // Both exception levels, FP, no EL2, no EL3, no GIC.
    assert_eq!(seen(PFR0, 0x0110_1122_1111_2222), 0x0100_0000_0011_0022);
    assert_eq!(seen(PFR0, 3 << 56) >> 56, 1, "no SCXTNUM");
    assert_eq!(seen(ISAR1, 0xF << 60 | 0x55), 0x55 & 0xFF, "keys, and no stores of 64 bytes");
    assert_eq!(seen(ISAR2, 1 << 16), 1 << 16, "copies");
    assert_eq!(seen(DFR0, 0x0010_110F_0016), 6 | 0xF << 36, "no double lock, and none of the counters");
    assert_eq!([seen(MMFR3, u64::MAX), seen(MMFR4, u64::MAX)], [0xF << 60, 0]);
    assert_eq!(seen(MMFR1, 0xF), 2, "no flag of a table's that TCR2_EL1 turns on");
    assert_eq!([seen(PFR1, 0x3 << 8 | 1 << 44), seen(ZFR0, u64::MAX), seen(SMFR0, u64::MAX)], [0; 3]);
    let [aarch32, debug] = [1 << 3 | 1, 1 << 3 | 2].map(IdRegister::of);
    assert_eq!([seen(aarch32, 0x10), seen(debug, 0x303_0066)], [0x10, 0]);
}

/// Each level of a field that a guest VM sees is backed by something that it has: what is Native in the root VM is hidden here.
#[test]
fn no_field_promises_a_guest_vm_what_is_closed() {
    for field in FIELDS {
        let seen = shown(field.register, field.mask(), false) & field.mask();
        let open = group(field.backed).is_some_and(|group| group.is_open_to_guests());
        assert_eq!(open, seen != field.nothing << field.shift, "{field:?}");
    }
}
