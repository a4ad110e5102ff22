//! A machine whose PM1a_EVT is at 0x600 and PM1a_CNT at 0x604, where S5 is 0 and S3 is 1: QEMU's q35.

use plinth_acpi::sleep::{Control, SLEEP_ENABLE};

use super::*;

const Q35: Sleep = Sleep {
    controls: [Some(Control { port: 0x605, harmless: 1 }), None, None, None, None],
    statuses: [Some(0x601), None, None, None, None],
    elsewhere: None,
};
const S3: u32 = (SLEEP_ENABLE | 1 << 2) as u32;
const S5: u32 = SLEEP_ENABLE as u32;

fn out(port: u16, size: u8) -> PortAccess {
    PortAccess { port, size, is_read: false, is_string: false }
}

#[test]
fn a_sleep_is_seen_by_whatever_bytes_it_is_written() {
    let mut seen = 0;
    for size in [1, 2, 4] {
        for port in 0x600..0x60A_u16 {
            let access = out(port, size);
            let Some(lane) = access.lane(0x605) else {
                assert_eq!(judge(&Q35, &access, !0x8080_8080), Verdict::Harmless, "{access:?}");
                continue;
            };
            assert_eq!(judge(&Q35, &access, S3 << (8 * lane)), Verdict::Sleep(1), "{access:?}");
            assert_eq!(judge(&Q35, &access, S5 << (8 * lane)), Verdict::Harmless, "{access:?}: S5");
            assert_eq!(judge(&Q35, &access, 4 << (8 * lane)), Verdict::Harmless, "{access:?}: not yet");
            seen += 1;
        }
    }
    assert_eq!(seen, 1 + 2 + 4);
}

#[test]
fn each_of_the_registers_starts_a_sleep() {
    let ports = [0x605, 0x705, 0x805, 0x905, 0xA05];
    let machine = Sleep { controls: ports.map(|port| Some(Control { port, harmless: 1 })), ..Q35 };
    for port in ports {
        assert_eq!(judge(&machine, &out(port, 1), S3), Verdict::Sleep(1), "{port:#x}");
    }
    assert_eq!(machine.ports().count(), 6);
}

#[test]
fn reads_are_harmless_and_strings_fault() {
    let read = PortAccess { is_read: true, ..out(0x604, 2) };
    assert_eq!(judge(&Q35, &read, S3 << 8), Verdict::Harmless);
    for size in [1, 2, 4] {
        let outs = PortAccess { is_string: true, ..out(0x605, size) };
        assert_eq!(judge(&Q35, &outs, 0), Verdict::Fault);
        assert_eq!(judge(&Q35, &PortAccess { is_read: true, ..outs }, 0), Verdict::Fault);
    }
}

#[test]
fn the_wake_status_is_where_the_machine_has_it() {
    assert_eq!(judge(&Q35, &out(0x600, 2), 0x8000), Verdict::Clears);
    assert_eq!(judge(&Q35, &out(0x600, 2), 0x0100), Verdict::Harmless);
    assert_eq!(judge(&Q35, &out(0x600, 4), 0x8000), Verdict::Clears);
    let read = |port, size| PortAccess { is_read: true, ..out(port, size) };
    assert_eq!(wake_bits(&Q35, &read(0x600, 2)), 0x8000);
    assert_eq!(wake_bits(&Q35, &read(0x601, 1)), 0x80);
    assert_eq!(wake_bits(&Q35, &read(0x600, 1)), 0);
    assert_eq!(wake_bits(&Q35, &read(0x604, 2)), 0);
}

#[test]
fn a_machine_that_nobody_has_looked_at_owns_nothing() {
    assert_eq!(ports().count(), 0);
    assert!(!may_concern(0x604));
}

#[test]
fn an_access_that_reaches_one_of_the_ports_starts_in_the_window() {
    let [start, length] = window([0x601, 0x605].into_iter());
    assert_eq!((start, start + length), (0x5FE, 0x606), "four bytes from 5FEH on reach 601H");
    assert_eq!(window(core::iter::empty())[1], 0);
}
