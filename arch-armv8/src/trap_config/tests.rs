//! What EL2 holds, for processors that no emulator has.

use super::*;
use crate::id::facts::*;
use crate::id::register_table::Id;

const HOLDERS: [Who; 3] = [Who::Root, Who::Guest, Who::Extension];

fn features(facts: &Facts) -> Features {
    Features::of(facts, None)
}

fn regimes(features: &Features) -> [TrapConfig; 3] {
    [
        TrapConfig::of_vm(features, true, 1),
        TrapConfig::of_vm(features, false, 2),
        TrapConfig::user(features, Spa::new(0x4000)),
    ]
}

/// A processor of Armv8.0 with a GICv3 and a monitor with six counters: Cortex-A72.
fn plain() -> Facts {
    let mut facts =
        Facts::with(&[(PFR0, 0, 0x2222), (PFR0, 24, 1), (DFR0, 0, 6), (DFR0, 8, 1), (MMFR0, 0, 4)]);
    facts.details.monitor = 6 << 11;
    facts
}

#[test]
fn a_plain_processor_has_nothing_but_what_it_had() {
    let [root, guest, user] = regimes(&features(&plain()));
    // TSC, RW, SWIO, VM; besides FMO, IMO, AMO, TWI, TID3, TIDCP, TACR, TSW.
    assert_eq!(root.hcr, 1 | 1 << 1 | 1 << 19 | 1 << 31);
    assert_eq!(guest.hcr, root.hcr | 7 << 3 | 1 << 13 | 1 << 18 | 7 << 20);
    assert_eq!(user.hcr, 1 | 1 << 1 | 1 << 12 | 1 << 27 | 1 << 31);
    assert_eq!([root.cptr, guest.cptr, user.cptr], [0x33FF, 0x33FF, 0x37FF]);
    // All counters; TPM, TPMCR, TDA, TDOSA, TDRA and one counter; TDE besides. No bit of later versions.
    assert_eq!(root.mdcr, 6);
    assert_eq!(guest.mdcr, 1 | 3 << 5 | 7 << 9);
    assert_eq!(user.mdcr, guest.mdcr | 1 << 8);
}

/// 0 in MDCR_EL2.E2PB or E2TB gives the buffer to EL2: what EL1 records goes to an address that EL1 chose, by the tables of the
/// kernel.
#[test]
fn no_buffer_is_ever_written_by_the_kernels_translation() {
    for version in 1..6 {
        for shared in [false, true] {
            let facts = Facts::with(&[(DFR0, 32, version), (DFR0, 44, 1), (DFR0, 40, 1)]);
            let features = Features { shared_regime: shared, ..features(&facts) };
            let [root, guest, user] = regimes(&features)
                .map(|trap_config| [trap_config.mdcr >> 12 & 3, trap_config.mdcr >> 24 & 3]);
            assert_eq!([root, guest, user], [[3; 2], [2; 2], [2; 2]]);
        }
    }
    // Without the features the bits are reserved.
    assert!(
        regimes(&features(&plain())).iter().all(|trap_config| trap_config.mdcr & (3 << 12 | 3 << 24) == 0)
    );
}

#[test]
fn nothing_of_el2_is_recorded() {
    for who in HOLDERS {
        let controls = Controls::new(features(&Facts::all()).present, who);
        // PMSCR_EL2.E0HSPE and E2SPE, BRBCR_EL2.E0HBRE and E2BRE.
        assert_eq!([controls.get(El2::Pmscr) & 3, controls.get(El2::Brbcr) & 3], [0; 2]);
    }
}

#[test]
fn the_monitor_counts_the_root_vms_events_alone() {
    let with = |version, lowest| {
        let mut facts = Facts::with(&[(DFR0, 8, version), (DFR0, 60, lowest)]);
        facts.details.monitor = 6 << 11;
        regimes(&features(&facts)).map(|trap_config| trap_config.mdcr & (0x1F | MDCR_HPMD | MDCR_HCCD))
    };
    assert_eq!(with(1, 0), [6, 1, 1], "HPMN 0 is unpredictable");
    assert_eq!(with(4, 0), [6, 1, 1].map(|counters| counters | MDCR_HPMD));
    assert_eq!(with(6, 1), [6, 0, 0].map(|counters| counters | MDCR_HPMD | MDCR_HCCD));
    assert_eq!(with(0xF, 0), [0; 3], "an implementation's own");
}

/// Bits by their names, the ID field that promises what they open, the register, the bits.
type Expected = (&'static str, &'static [(IdRegister, u32, u64)], El2, u64);

/// What Linux's `init_el2_state` opens for an OS at EL1, feature by feature (arch/arm64/include/asm/el2_setup.h).
#[test]
fn the_root_vm_has_what_an_os_at_el1_expects() {
    let expected: &[Expected] = &[
        ("MSCEn", &[(ISAR2, 16, 1)], El2::Hcrx, 1 << 11),
        ("TCR2En", &[(MMFR3, 0, 1)], El2::Hcrx, 1 << 14),
        ("SCTLR2En", &[(MMFR3, 4, 1)], El2::Hcrx, 1 << 15),
        ("EnFPM", &[(PFR2, 32, 1)], El2::Hcrx, 1 << 23),
        ("GCSEn", &[(PFR1, 44, 1)], El2::Hcrx, 1 << 22),
        ("EnALS, EnASR", &[(ISAR1, 60, 2)], El2::Hcrx, 3 << 1),
        ("EnAS0", &[(ISAR1, 60, 3)], El2::Hcrx, 7),
        ("nSMPRI_EL1, nTPIDR2_EL0", &[(PFR1, 24, 1)], El2::Hfgrtr, 3 << 54),
        ("nPIRE0_EL1, nPIR_EL1", &[(MMFR3, 8, 1)], El2::Hfgwtr, 3 << 57),
        ("nPOR_EL0, nPOR_EL1", &[(MMFR3, 16, 1)], El2::Hfgwtr, 3 << 59),
        ("nGCS_EL0, nGCS_EL1", &[(PFR1, 44, 1)], El2::Hfgrtr, 3 << 52),
        ("nBRBINJ, nBRBIALL", &[(DFR0, 52, 1)], El2::Hfgitr, 3 << 55),
        ("nBRBIDR, nBRBCTL, nBRBDATA", &[(DFR0, 52, 1)], El2::Hdfgrtr, 7 << 59),
        ("nBRBCTL, nBRBDATA", &[(DFR0, 52, 1)], El2::Hdfgwtr, 3 << 60),
        ("CC, MPRED", &[(DFR0, 52, 1)], El2::Brbcr, 3 << 3),
        ("nPMSNEVFR_EL1", &[(DFR0, 32, 3)], El2::Hdfgrtr, 1 << 62),
        ("PCT, PA", &[(DFR0, 32, 1)], El2::Pmscr, 1 << 6 | 1 << 4),
        ("E2PB", &[(DFR0, 32, 1)], El2::Mdcr, 3 << 12),
        ("E2TB", &[(DFR0, 44, 1)], El2::Mdcr, 3 << 24),
        ("nPMUACR_EL1, nPMICFILTR_EL0, nPMICNTR_EL0", &[(DFR0, 8, 9)], El2::Hdfgrtr2, 7 << 2),
        ("EnMPAMSM", &[(PFR0, 40, 1)], El2::Mpam2, 1 << 50),
        ("SRE, DFB, DIB, Enable", &[(PFR0, 24, 1)], El2::IccSre, 0xF),
        ("APK, API", &[(ISAR1, 4, 1)], El2::Hcr, 3 << 40),
        ("ATA", &[(PFR1, 8, 2)], El2::Hcr, 1 << 56),
        ("EnSCXT", &[(PFR0, 56, 2)], El2::Hcr, 1 << 53),
        ("EZT0", &[(PFR1, 24, 2)], El2::Smcr, 1 << 30),
    ];
    for (name, fields, register, bits) in expected {
        let root = Controls::new(features(&Facts::with(fields)).present, Who::Root);
        assert_eq!(root.get(*register) & bits, *bits, "{name}");
        let without = Controls::new(features(&Facts::with(&[(DFR0, 36, 0xF)])).present, Who::Root);
        // A GICv3 may be there though the field does not say so.
        assert!(*register == El2::IccSre || without.get(*register) & bits == 0, "{name} without the feature");
    }
    // And traps nothing: the bits that trap where they are 1.
    let root = Controls::new(features(&Facts::all()).present, Who::Root);
    const TERR_TLOR: u64 = 3 << 35;
    const TTRF_TPMS: u64 = 1 << 19 | 1 << 14;
    assert_eq!(root.get(El2::Hcr) & (TERR_TLOR | 7 << 20 | 1 << 58), 0);
    assert_eq!(root.get(El2::Mdcr) & (TTRF_TPMS | 3 << 5 | 7 << 9), 0);
    assert_eq!(
        [root.get(El2::Cptr) & 1 << 30, root.get(El2::Mpam2) & 3 << 48, root.get(El2::Mpamhcr)],
        [0; 3]
    );
}

#[test]
fn a_guest_vm_reaches_none_of_the_machine() {
    for shared in [false, true] {
        let features = Features { shared_regime: shared, ..features(&Facts::all()) };
        let (guest, controls) =
            (TrapConfig::of_vm(&features, false, 2), Controls::new(features.present, Who::Guest));
        // TERR, TLOR, TID5, TIDCP, TACR, TSW, TID3 on; EnSCXT, FIEN, ATA off.
        let on = 1 << 36 | 1 << 35 | 1 << 58 | 7 << 20 | 1 << 18;
        assert_eq!(guest.hcr & (on | 1 << 53 | 1 << 47 | 1 << 56), on);
        // TPMS, TTRF, TPM, TPMCR, TDA, TDOSA, TDRA on; EnSPM off.
        let on = 1 << 14 | 1 << 19 | 3 << 5 | 7 << 9;
        assert_eq!(guest.mdcr & (on | 1 << 15), on);
        // TAM, TTA; TZ and TSM, or ZEN and SMEN.
        let closed = if shared {
            (1 << 30 | 1 << 28, 3 << 16 | 3 << 24)
        } else {
            (1 << 30 | 1 << 20 | 1 << 8 | 1 << 12, 0)
        };
        assert_eq!(guest.cptr & (closed.0 | closed.1), closed.0);
        // Copies alone; TALLINT.
        assert_eq!(controls.get(El2::Hcrx), 1 << 11 | 1 << 6);
        // nSMPRI_EL1 and nTPIDR2_EL0, which are each VS's own.
        assert_eq!([controls.get(El2::Hfgrtr), controls.get(El2::Hfgwtr)], [3 << 54; 2]);
        let closed = [
            El2::Hfgitr,
            El2::Hdfgrtr,
            El2::Hdfgwtr,
            El2::Hfgrtr2,
            El2::Hfgwtr2,
            El2::Hfgitr2,
            El2::Hdfgrtr2,
        ];
        assert!(closed.into_iter().chain([El2::Hdfgwtr2]).all(|register| controls.get(register) == 0));
        assert_eq!(controls.get(El2::Mpam2), 3 << 48);
        assert_eq!([controls.get(El2::Mpamhcr), controls.get(El2::IccSre)], [1 << 31, 7]);
    }
}

#[test]
fn the_extension_reaches_nothing_either() {
    let [.., user] = regimes(&Features { shared_regime: true, ..features(&Facts::all()) });
    // FPEN, ZEN, SMEN: closed to EL0 under the kernel; TTA, TAM.
    assert_eq!(user.cptr, 1 << 20 | 1 << 28 | 1 << 30);
    let [.., user] = regimes(&features(&Facts::with(&[(PFR0, 32, 1), (PFR1, 24, 1)])));
    assert_eq!(user.cptr, 0x37FF);
}

/// In the EL2&0 regime one value of CPTR_EL2's fields serves both: what is open to EL1 is closed to EL0 under the kernel.
#[test]
fn what_cptr_opens_in_the_shared_regime_it_opens_to_el1_alone() {
    let features =
        Features { shared_regime: true, ..features(&Facts::with(&[(PFR0, 32, 1), (PFR1, 24, 1)])) };
    assert_eq!(TrapConfig::of_vm(&features, true, 1).cptr, 1 << 20 | 1 << 16 | 1 << 24);
}

#[test]
fn id_registers_are_trapped_where_they_hide_something() {
    let traps = |facts: &Facts| TrapConfig::of_vm(&features(facts), true, 1).hcr & HCR_TID3 != 0;
    assert!(!traps(&plain()));
    assert!(traps(&Facts::with(&[(MMFR3, 32, 1)])), "tables of 128 bits");
    assert!(traps(&Facts::with(&[(PFR1, 20, 1)])), "what nobody knows yet");
}

#[test]
fn a_buffer_that_the_firmware_keeps_is_not_touched() {
    let mut facts = Facts::with(&[(DFR0, 32, 1), (DFR0, 44, 1)]);
    let usable = features(&facts);
    (facts.details.profiling, facts.details.trace) = (1 << 4, 1 << 4);
    let kept = features(&facts);
    assert_eq!(
        [usable.profiling, usable.trace_buffer, kept.profiling, kept.trace_buffer],
        [true, true, false, false]
    );
    assert!(kept.present.has(Id::Profiling) && kept.present.has(Id::TraceBuffer));
}
