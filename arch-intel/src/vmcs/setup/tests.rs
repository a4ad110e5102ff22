//! What a new VMCS holds, for the root VM and for others.

extern crate std;

use std::vec::Vec;

use super::*;
use crate::control_registers::{CACHING, read_cr0, set_cr0};
use crate::reset;
use crate::vmcs::field::{CR0_SHADOW, GUEST_CR0};
use crate::vmcs::in_memory::{fresh, written};

const GUEST_TAG: u16 = ROOT_TAG + 1;
/// CR0: PG, NE and PE, as processors have it in IA32_VMX_CR0_FIXED0.
const CR0_MUST: u64 = 0x8000_0021;
const NE: u64 = 1 << 5;

fn features(secondary: u32) -> Features {
    let mut features = Features { cr0_must: CR0_MUST, vpid: true, ..*Features::current() };
    features.controls.secondary = secondary;
    features
}

/// A VMCS as a VS of the VM gets it.
fn new(tag: u16, secondary: u32) -> (Current, Features) {
    let (vmcs, features) = (fresh(), features(secondary));
    // SAFETY: nothing of a processor is touched in a test.
    unsafe { controls(&vmcs, &features, &VmxVm::without_memory(tag), tag) };
    reset::power_up(&vmcs);
    reset::initialize(&vmcs, &features);
    (vmcs, features)
}

#[test]
fn exceptions_that_can_keep_the_processor_exit_from_every_vm() {
    for tag in [ROOT_TAG, GUEST_TAG] {
        let (vmcs, _) = new(tag, 0);
        assert_eq!(vmcs.read(EXCEPTIONS), 1 << 1 | 1 << 17, "VM {tag}: #DB and #AC");
    }
}

#[test]
fn how_memory_is_cached_is_no_guest_vms_to_say() {
    let (vmcs, features) = new(GUEST_TAG, 0);
    assert_eq!(vmcs.read(CR0_MASK), NE | CACHING, "a write that changes one of them exits");
    assert_eq!(vmcs.read(GUEST_CR0) & CACHING, 0, "not even as after a reset");
    assert_eq!(read_cr0(&vmcs), 0x6000_0010, "it sees the state after a reset");
    for value in [0x11, 0x4000_0011, 0x6000_0011] {
        set_cr0(&vmcs, &features, value);
        assert_eq!((read_cr0(&vmcs), vmcs.read(CR0_SHADOW)), (value, value));
        assert_eq!(vmcs.read(GUEST_CR0), 0x11 | NE);
    }
}

#[test]
fn the_root_vm_says_how_memory_is_cached() {
    let (vmcs, features) = new(ROOT_TAG, 0);
    assert_eq!(vmcs.read(CR0_MASK), NE);
    set_cr0(&vmcs, &features, 0x6000_0011);
    assert_eq!(vmcs.read(GUEST_CR0), 0x6000_0011 | NE);
}

/// Fields that software has to write, as no VM entry takes them for granted (Intel SDM vol. 3C, 24.11.3, with the lists of
/// 24.4 to 24.8 and vol. 3D, appendix B): host state, guest state, and the controls that count whatever the others say.
const REQUIRED: [&[u64]; 4] = [
    // Selectors of the host; the guest's. Host TR is the last of its row.
    &[
        0x0C00, 0x0C02, 0x0C04, 0x0C06, 0x0C08, 0x0C0A, 0x0C0C, 0x800, 0x802, 0x804, 0x806, 0x808, 0x80A,
        0x80C, 0x80E,
    ],
    // 64 bits: vm, TSC offset; link pointer, DEBUGCTL, PAT, EFER, four PDPTEs; PAT and EFER of the host.
    &[
        0x2000, 0x2002, 0x2004, 0x2010, 0x201A, 0x2800, 0x2802, 0x2804, 0x2806, 0x280A, 0x280C, 0x280E,
        0x2810, 0x2C00, 0x2C02,
    ],
    // 32 bits: controls; limits, rights, interruptibility, activity, SYSENTER_CS; the host's.
    &[
        0x4000, 0x4002, 0x4004, 0x4006, 0x4008, 0x400A, 0x400C, 0x400E, 0x4010, 0x4012, 0x4014, 0x4016,
        0x401E, 0x4800, 0x4802, 0x4804, 0x4806, 0x4808, 0x480A, 0x480C, 0x480E, 0x4810, 0x4812, 0x4814,
        0x4816, 0x4818, 0x481A, 0x481C, 0x481E, 0x4820, 0x4822, 0x4824, 0x4826, 0x482A, 0x4C00,
    ],
    // Natural width: masks and shadows; the guest's registers; the host's but for RSP, which each entry writes.
    &[
        0x6000, 0x6002, 0x6004, 0x6006, 0x6800, 0x6802, 0x6804, 0x6806, 0x6808, 0x680A, 0x680C, 0x680E,
        0x6810, 0x6812, 0x6814, 0x6816, 0x6818, 0x681A, 0x681C, 0x681E, 0x6820, 0x6822, 0x6824, 0x6826,
        0x6C00, 0x6C02, 0x6C04, 0x6C06, 0x6C08, 0x6C0A, 0x6C0C, 0x6C0E, 0x6C10, 0x6C12, 0x6C16,
    ],
];

/// Fields that a control makes count: the control's field, its bit, and the encodings.
const BY_CONTROL: [(u32, u64); 3] = [(1 << 5, 0x0000), (1 << 20, 0x202C), (1 << 27, 0x203E)];

#[test]
fn every_field_that_counts_is_written() {
    for tag in [ROOT_TAG, GUEST_TAG] {
        let (vmcs, features) = new(tag, 1 << 5 | 1 << 20 | 1 << 27);
        // SAFETY: nothing of a processor is touched in a test.
        unsafe { host(&vmcs, &HostState { cr3: 0x1000, cr4: 0x20, bases: [0; 3], rip: 0 }) };
        let written = written();
        let mut missing: Vec<u64> = REQUIRED.concat();
        let secondary =
            if tag == ROOT_TAG { features.controls.secondary } else { features.controls.guest_secondary() };
        missing.extend(BY_CONTROL.iter().filter(|(bit, _)| secondary & bit != 0).map(|(_, field)| *field));
        missing.retain(|field| !written.contains(field));
        assert!(missing.is_empty(), "VM {tag}: {missing:x?} are not written");
    }
}
