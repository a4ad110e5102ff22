//! The choice of controls on processors whose capability MSRs are on record.

use super::*;

/// The capability MSRs of a processor: 480h, the TRUE MSRs 48Dh to 490h, 485h, 48Bh, 48Ch.
#[derive(Clone, Copy)]
struct Processor {
    name: &'static str,
    basic: u64,
    pin: u64,
    processor: u64,
    exit: u64,
    entry: u64,
    miscellaneous: u64,
    secondary: u64,
    ept_vpid: u64,
}

impl Processor {
    fn read(&self, register: u32) -> u64 {
        match register {
            BASIC => self.basic,
            0x481 | 0x48D => self.pin,
            0x482 | 0x48E => self.processor,
            0x483 | 0x48F => self.exit,
            0x484 | 0x490 => self.entry,
            MISCELLANEOUS => self.miscellaneous,
            SECONDARY => self.secondary,
            EPT_VPID => self.ept_vpid,
            other => panic!("no capability MSR {other:#x}"),
        }
    }

    fn choose(&self) -> Result<Choice, LaunchStatus> {
        choose(|register| self.read(register))
    }
}

const SANDY_BRIDGE: Processor = Processor {
    name: "Sandy Bridge",
    basic: 0x00DA_0400_0000_0010,
    pin: 0x0000_007F_0000_0016,
    processor: 0xFFF9_FFFE_0400_6172,
    exit: 0x007F_FFFF_0003_6DFB,
    entry: 0x0000_FFFF_0000_11FB,
    miscellaneous: 0x0004_01E5,
    secondary: 0x0000_00FF_0000_0000,
    ept_vpid: 0x0000_0F01_0611_4141,
};

const BROADWELL: Processor = Processor {
    name: "Broadwell",
    secondary: 0x0005_7CFF_0000_0000,
    ept_vpid: 0x0000_0F01_0633_4141,
    ..SANDY_BRIDGE
};

/// Without the TRUE capability MSRs.
const OLD_STYLE: Processor = Processor {
    name: "without TRUE controls",
    basic: 0x005A_0400_0000_0010,
    processor: 0xFFF9_FFFE_0401_E172,
    exit: 0x007F_FFFF_0003_6DFF,
    entry: 0x0000_FFFF_0000_11FF,
    ..SANDY_BRIDGE
};

const ALL: [Processor; 3] = [SANDY_BRIDGE, BROADWELL, OLD_STYLE];

fn fits(value: u32, capability: u64) -> bool {
    let (must, may) = (capability as u32, (capability >> 32) as u32);
    value & must == must && value & !may == 0
}

#[test]
fn every_field_is_one_that_the_processor_takes() {
    for processor in ALL {
        let controls = processor.choose().expect(processor.name).controls;
        assert!(fits(controls.pin, processor.pin), "{}", processor.name);
        assert!(fits(controls.processor, processor.processor), "{}", processor.name);
        assert!(fits(controls.secondary, processor.secondary), "{}", processor.name);
        assert!(fits(controls.exit, processor.exit), "{}", processor.name);
        assert!(fits(controls.entry, processor.entry), "{}", processor.name);
    }
}

#[test]
fn with_true_capabilities_nothing_that_can_be_clear_is_set_without_need() {
    let controls = SANDY_BRIDGE.choose().unwrap().controls;
    assert_eq!(controls.pin, 0x16 | 0x28);
    assert_eq!(controls.processor, 0x0400_6172 | 0x9200_0000, "no CR3, INVLPG or HLT exits");
    assert_eq!(controls.secondary, 0xAA, "EPT, RDTSCP, VPID, unrestricted");
    assert_eq!(controls.exit, 0x0003_6DFB | 0x003C_0204);
    assert_eq!(controls.entry, 0x11FB | 0xC004);
}

#[test]
fn instructions_of_newer_processors_stay_the_guests() {
    assert_eq!(BROADWELL.choose().unwrap().controls.secondary, 0x10AA, "INVPCID");
    let skylake = Processor { secondary: 0x0C17_FCFF_0000_0000, ..BROADWELL };
    assert_eq!(skylake.choose().unwrap().controls.secondary, 0x0C10_10AA, "XSAVES, TPAUSE, PCONFIG");
}

#[test]
fn a_missing_control_is_named_by_its_bit() {
    let missing = |processor: Processor| processor.choose().map(|_| ()).unwrap_err();
    let without = |capability: u64, bit: u32| capability & !(1 << (32 + bit));
    let feature = |bit: u32| LaunchStatus::failed(LaunchError::MissingFeature, 1 << bit);
    let no_paging = LaunchStatus::failed(LaunchError::NoNestedPaging, 0);
    let it = SANDY_BRIDGE;
    assert_eq!(missing(Processor { secondary: without(it.secondary, 7), ..it }), feature(7));
    assert_eq!(missing(Processor { pin: without(it.pin, 5), ..it }), feature(5));
    assert_eq!(missing(Processor { processor: without(it.processor, 28), ..it }), feature(28));
    assert_eq!(missing(Processor { exit: without(it.exit, 21), ..it }), feature(21));
    assert_eq!(missing(Processor { entry: without(it.entry, 15), ..it }), feature(15));
    assert_eq!(missing(Processor { secondary: without(it.secondary, 1), ..it }), no_paging);
    assert_eq!(missing(Processor { processor: without(it.processor, 31), ..it }), no_paging);
    assert_eq!(missing(Processor { ept_vpid: it.ept_vpid & !(1 << 20), ..it }), no_paging);
    assert_eq!(missing(Processor { ept_vpid: it.ept_vpid & !(1 << 14), ..it }), no_paging);
}

#[test]
fn a_machine_whose_vmx_has_no_64_bit_hosts_is_refused() {
    let processor = Processor {
        exit: 0x007F_FDFF_0003_6DFB,
        entry: 0x0000_F3FF_0000_11FB,
        secondary: 0x0000_78FF_0000_0000,
        ept_vpid: 0x0000_0F01_0633_4041,
        ..SANDY_BRIDGE
    };
    let missing = LaunchStatus::failed(LaunchError::MissingFeature, 1 << 9);
    assert_eq!(processor.choose().map(|_| ()), Err(missing));
}

#[test]
fn vpids_are_used_only_where_they_can_be_forgotten() {
    assert!(SANDY_BRIDGE.choose().unwrap().vpid);
    for bit in [32, 41, 42] {
        let choice = Processor { ept_vpid: SANDY_BRIDGE.ept_vpid & !(1 << bit), ..SANDY_BRIDGE };
        let choice = choice.choose().unwrap();
        assert!(!choice.vpid && choice.controls.secondary & 1 << 5 == 0);
    }
}

#[test]
fn invept_forgets_what_it_can() {
    assert!(SANDY_BRIDGE.choose().unwrap().invept_single);
    let all = Processor { ept_vpid: SANDY_BRIDGE.ept_vpid & !(1 << 25), ..SANDY_BRIDGE };
    assert!(!all.choose().unwrap().invept_single);
    let none = Processor { ept_vpid: SANDY_BRIDGE.ept_vpid & !(3 << 25), ..SANDY_BRIDGE };
    assert!(none.choose().is_err());
}

#[test]
fn firmware_may_leave_vmx_open_allowed_or_denied() {
    assert_eq!(FeatureControl::from_msr(0), FeatureControl::Open(5));
    assert_eq!(FeatureControl::from_msr(0x2_0000), FeatureControl::Open(0x2_0005), "SGX stays as it is");
    assert_eq!(FeatureControl::from_msr(4), FeatureControl::Open(5));
    assert_eq!(FeatureControl::from_msr(5), FeatureControl::Allowed);
    assert_eq!(FeatureControl::from_msr(1), FeatureControl::Denied);
    assert_eq!(FeatureControl::from_msr(3), FeatureControl::Denied, "inside SMX only is not enough");
    let disabled = LaunchStatus::failed(LaunchError::DisabledByFirmware, 0);
    assert_eq!(FeatureControl::Denied.check(), Err(disabled));
    assert_eq!(FeatureControl::Allowed.check(), Ok(()));
    assert_eq!(FeatureControl::Open(5).check(), Ok(()));
}

#[test]
fn in_another_vm_what_reaches_the_processor_exits() {
    for processor in [SANDY_BRIDGE, BROADWELL, OLD_STYLE] {
        let controls = processor.choose().unwrap().controls;
        assert_eq!(controls.guest_pin & !controls.pin, PIN_INTERRUPTS, "{}", processor.name);
        assert_eq!(controls.guest_processor & !controls.processor, GUEST_EXITS, "{}", processor.name);
        assert_eq!(controls.guest_secondary() & 1 << 27, 0, "{}: PCONFIG", processor.name);
    }
}

#[test]
fn the_timer_is_taken_where_it_is_offered() {
    for processor in ALL {
        let choice = processor.choose().unwrap();
        assert_eq!(choice.timer_bit, Some(5), "{}", processor.name);
        assert_eq!(choice.controls.pin & PIN_TIMER, 0, "it is off until it is set");
        let without = Processor { pin: processor.pin & !(1 << (32 + 6)), ..processor };
        assert_eq!(without.choose().unwrap().timer_bit, None);
    }
}

/// The secondary controls that enable an instruction which CPUID shows (Intel SDM vol. 3C, "Secondary Processor-Based
/// VM-Execution Controls"): the control's bit; leaf, sub-leaf, word and bit of CPUID.
const ENABLED_BY_A_CONTROL: [(u32, u32, u32, usize, u32); 6] = [
    (3, 0x8000_0001, 0, 3, 27), // RDTSCP
    (3, 7, 0, 2, 22),           // RDPID
    (12, 7, 0, 1, 10),          // INVPCID
    (20, 0xD, 1, 0, 3),         // XSAVES
    (26, 7, 0, 2, 5),           // TPAUSE, UMONITOR, UMWAIT
    (27, 7, 0, 3, 18),          // PCONFIG
];

#[test]
fn an_instruction_that_cpuid_shows_is_enabled() {
    use plinth_extension_api::abi::cpuid::visible;
    let mut enabled = 0;
    for (control, leaf, subleaf, word, bit) in ENABLED_BY_A_CONTROL {
        let shown = visible(leaf, subleaf, |_, _| [u32::MAX; 4])[word] >> bit & 1 != 0;
        assert!(shown, "leaf {leaf:#x} bit {bit}");
        enabled |= 1 << control;
    }
    assert_eq!(enabled, INSTRUCTIONS);
}
