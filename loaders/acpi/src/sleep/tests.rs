//! Tables as QEMU and laptops have them, and broken ones.

extern crate std;

use std::vec::Vec;

use super::*;
use crate::test_image::{Image, RSDP};

/// As QEMU's q35 has them: the words of the packages are `One` and `Zero`, or a byte.
const S3_AND_S5: &[u8] = b"\x10\x08\\\0\x08_S3_\x12\x06\x04\x01\x01\0\0\x08_S4_\x12\x08\x04\x0A\x02\x0A\x02\0\0\x08_S5_\x12\x06\x04\0\0\0\0";

/// What a FADT holds behind its header.
fn fadt(fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = std::vec![0; 268 - 36];
    for (offset, field) in fields {
        bytes[offset - 36..][..field.len()].copy_from_slice(field);
    }
    bytes
}

/// A machine with the DSDT as the second of its tables, where [`Image`] puts it.
fn find(fadt: &[u8], dsdt: &[u8], ssdt: &[u8]) -> Sleep {
    let image = Image::new(true, &[(b"FACP", fadt), (b"DSDT", dsdt), (b"SSDT", ssdt)]);
    registers(&Tables::new(|at, buffer: &mut [u8]| image.read(at, buffer), RSDP).unwrap()).unwrap()
}

/// PM1a at ports 0x600 and 0x604; the DSDT.
fn q35() -> Vec<u8> {
    fadt(&[(40, &Image::address(1).to_le_bytes()[..4]), (56, &[0, 6]), (64, &[4, 6])])
}

#[test]
fn the_kinds_are_those_of_the_packages() {
    let sleep = find(&q35(), S3_AND_S5, b"");
    let control = Control { port: 0x605, harmless: 1 << 0 | 1 << 2 };
    assert_eq!(sleep.controls, [Some(control), None, None, None, None]);
    assert_eq!((sleep.statuses, sleep.elsewhere), ([Some(0x601), None, None, None, None], None));
    assert_eq!(control.forbidden(SLEEP_ENABLE | 1 << 2), Some(1), "S3");
    assert_eq!(control.forbidden(1 << 2), None, "not yet");
    assert_eq!(control.forbidden(SLEEP_ENABLE), None, "S5");
    assert_eq!(control.forbidden(SLEEP_ENABLE | 2 << 2), None, "S4");
    assert_eq!(control.forbidden(SLEEP_ENABLE | 7 << 2), Some(7), "nobody knows what that is");
}

#[test]
fn what_is_not_named_is_not_harmless() {
    let none = |dsdt: &[u8]| find(&q35(), dsdt, b"").controls[0].unwrap().harmless;
    assert_eq!(none(b""), 0);
    assert_eq!(none(b"\x14_S5_\x12\x06\x04\0\0"), 0, "a method");
    assert_eq!(none(b"\x08_S5_\x0D\x06\x04\0\0"), 0, "a string");
    assert_eq!(none(b"\x08_S5_\x12\x06\x04\x0A"), 0, "cut off");
    assert_eq!(none(b"\x08_S3_\x12\x04\x02\0\0\x08_S5_\x12\x04\x02\0\0"), 0, "S3 is called as S5 is");
    assert_eq!(
        none(b"\x08\\_S5_\x12\x44\0\x04\x0B\x05\0\0\0\0"),
        1 << 5,
        "from the root, with a long length"
    );
}

#[test]
fn tables_that_firmware_adds_count_too() {
    let sleep = find(&q35(), b"", S3_AND_S5);
    assert_eq!(sleep.controls[0].unwrap().harmless, 1 << 0 | 1 << 2);
}

#[test]
fn both_fields_of_both_registers_count() {
    let fadt = fadt(&[
        (140, &Image::address(1).to_le_bytes()),
        (64, &[4, 6]),
        (172, &[1, 16, 0, 2, 4, 0x18]),
        (184, &[1, 16, 0, 2, 8, 0x18]),
    ]);
    let sleep = find(&fadt, b"\x08_S5_\x12\x08\x04\x0A\x07\x0A\x06\0\0", b"");
    let [old_a, a, b] = [(0x605, 7), (0x1805, 7), (0x1809, 6)]
        .map(|(port, kind)| Some(Control { port, harmless: 1 << kind }));
    assert_eq!(
        sleep.controls,
        [old_a, a, None, b, None],
        "the kinds have other names in the second register"
    );
    assert_eq!(sleep.statuses, [None; 5]);
}

#[test]
fn a_machine_without_them_has_one_register_for_both() {
    let fadt = fadt(&[
        (40, &Image::address(1).to_le_bytes()[..4]),
        (244, &[1, 8, 0, 1, 4, 5]),
        (256, &[1, 8, 0, 1, 5, 5]),
    ]);
    let sleep = find(&fadt, S3_AND_S5, b"");
    let control = Control { port: 0x504, harmless: 0b101 };
    assert_eq!(sleep.controls, [None, None, None, None, Some(control)]);
    assert_eq!(sleep.statuses, [None, None, None, None, Some(0x505)]);
}

#[test]
fn a_register_that_is_no_port_is_told() {
    for offset in [172, 184, 244] {
        for space in [0, 2, 3, 0x7F] {
            let sleep = find(&fadt(&[(offset, &[space, 8, 0, 1, 0, 0, 0, 0xFE])]), S3_AND_S5, b"");
            assert_eq!((sleep.controls, sleep.elsewhere), ([None; 5], Some(0xFE00_0000)));
        }
        let unused = find(&fadt(&[(offset, &[0, 8, 0, 1])]), S3_AND_S5, b"");
        assert_eq!((unused.controls, unused.elsewhere), ([None; 5], None));
    }
}

#[test]
fn a_short_table_has_the_old_fields_alone() {
    let sleep = find(&q35()[..116 - 36], S3_AND_S5, b"");
    assert_eq!(
        sleep.controls.map(|control| control.map(|it| it.port)),
        [Some(0x605), None, None, None, None]
    );
    let image = Image::new(true, &[(b"APIC", b"")]);
    let tables = Tables::new(|at, buffer: &mut [u8]| image.read(at, buffer), RSDP).unwrap();
    assert_eq!(registers(&tables), None);
}

#[test]
fn broken_tables_have_an_answer() {
    let dsdt = Image::new(true, &[(b"FACP", &q35()), (b"DSDT", S3_AND_S5)]);
    for at in RSDP as usize..dsdt.bytes.len() {
        for value in [0, 0x7F, 0xFF] {
            let mut bytes = dsdt.bytes.clone();
            bytes[at] = value;
            let mut broken = Image { bytes };
            broken.correct_rsdp();
            if let Some(tables) = Tables::new(|at, buffer: &mut [u8]| broken.read(at, buffer), RSDP) {
                let _ = registers(&tables);
            }
        }
    }
}
