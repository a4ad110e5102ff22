//! The firmware's interface as the root VM calls it: SMCCC function numbers and PSCI's meaning of them.
//!
//! Arm DEN 0022 (PSCI) and DEN 0028 (SMCCC).

/// SMCCC: a fast call.
const FAST: u32 = 1 << 31;
/// SMCCC: 64-bit arguments.
const WIDE: u32 = 1 << 30;
/// SMCCC: bits 29:24, whose service it is.
const OWNER_SHIFT: u32 = 24;
/// SMCCC 1.3: a hint in a fast call's function number, not part of it: the caller has no live SVE state (DEN 0028, 2.5).
const SVE_HINT: u64 = 1 << 16;
const OWNER_ARCHITECTURE: u32 = 0;
const OWNER_STANDARD: u32 = 4;

/// NOT_SUPPORTED of PSCI and SMCCC: the function is not implemented.
pub(crate) const NOT_SUPPORTED: i64 = -1;
/// SUCCESS.
pub(crate) const SUCCESS: i64 = 0;
/// INVALID_PARAMETERS: no CPU has this affinity.
pub(crate) const INVALID_PARAMETERS: i64 = -2;
/// ALREADY_ON: the CPU runs.
pub(crate) const ALREADY_ON: i64 = -4;
/// ON_PENDING: the CPU is being started.
pub(crate) const ON_PENDING: i64 = -5;
/// INTERNAL_FAILURE: the firmware could not start the CPU.
pub(crate) const INTERNAL_FAILURE: i64 = -6;

/// CPU_ON with 64-bit arguments: what the kernel itself calls.
pub(crate) const CPU_ON_64: u32 = 0xC400_0003;
/// CPU_OFF.
pub(crate) const CPU_OFF: u32 = 0x8400_0002;
/// AFFINITY_INFO with 64-bit arguments.
pub(crate) const AFFINITY_INFO_64: u32 = 0xC400_0004;
/// AFFINITY_INFO's answer for a CPU that is off.
pub(crate) const IS_OFF: i64 = 1;
/// SYSTEM_RESET.
pub(crate) const SYSTEM_RESET: u32 = 0x8400_0009;

/// A firmware call of the root VM, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Start the processor `target` (MPIDR affinity) at `entry` with `context` in its first register.
    CpuOn { target: u64, entry: u64, context: u64 },
    /// Stop the calling processor until it is started again.
    CpuOff,
    /// Sleep until an interrupt.
    CpuSuspend,
    /// Whether the processor `target` runs.
    AffinityInfo { target: u64 },
    /// PSCI_FEATURES: whether the function is implemented.
    Features { function: u32 },
    /// A call that concerns the machine alone: forwarded to the firmware.
    Forward,
    /// Anything else.
    Unknown,
}

/// Whether X0 of a hypercall holds an SMCCC function number of a firmware service.
pub(crate) const fn is_firmware_call(number: u64) -> bool {
    let number = number as u32;
    let owner = number >> OWNER_SHIFT & 0x3F;
    number & FAST != 0 && (owner == OWNER_ARCHITECTURE || owner == OWNER_STANDARD)
}

/// The registers of a call with the SVE hint removed: older firmware takes the hint for a part of the number.
#[inline]
pub(crate) const fn without_hint([number, first, second, third]: [u64; 4]) -> [u64; 4] {
    let hint = if number as u32 & FAST != 0 { SVE_HINT } else { 0 };
    [number & !hint, first, second, third]
}

/// Reads a request from X0 to X3.
pub(crate) fn decode([number, first, second, third]: [u64; 4]) -> Request {
    let number = number as u32;
    if number & FAST == 0 {
        return Request::Unknown;
    }
    let wide = number & WIDE != 0;
    let mask = if wide { u64::MAX } else { 0xFFFF_FFFF };
    match (number & !WIDE, wide) {
        (0x8400_0001, _) => Request::CpuSuspend,
        (CPU_OFF, false) => Request::CpuOff,
        (0x8400_0003, _) => {
            Request::CpuOn { target: first & mask, entry: second & mask, context: third & mask }
        }
        (0x8400_0004, _) => Request::AffinityInfo { target: first & mask },
        (0x8400_000A, false) => Request::Features { function: first as u32 },
        // VERSION, MIGRATE_INFO_TYPE, SYSTEM_OFF, SYSTEM_RESET, SYSTEM_RESET2.
        (0x8400_0000 | 0x8400_0006 | 0x8400_0008 | SYSTEM_RESET, false) | (0x8400_0012, _) => {
            Request::Forward
        }
        (other, _) if other >> OWNER_SHIFT & 0x3F == OWNER_ARCHITECTURE => Request::Forward,
        _ => Request::Unknown,
    }
}

/// Plinth's answers on a machine without PSCI firmware: it offers PSCI all the same, to start and stop CPUs.
pub(crate) const fn own([number, function, ..]: [u64; 4]) -> i64 {
    const VERSION: u32 = 0x8400_0000;
    const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    const FEATURES: u32 = 0x8400_000A;
    /// CPU_SUSPEND, CPU_OFF, CPU_ON, AFFINITY_INFO.
    const SERVED: u32 = 0b1_1110;
    match number as u32 {
        VERSION => 1 << 16 | 1,
        // Nothing has to be migrated.
        MIGRATE_INFO_TYPE => 2,
        FEATURES => match function as u32 & !WIDE {
            VERSION | MIGRATE_INFO_TYPE | FEATURES => SUCCESS,
            other if other >= VERSION && other - VERSION < 5 && SERVED >> (other - VERSION) & 1 != 0 => {
                SUCCESS
            }
            _ => NOT_SUPPORTED,
        },
        _ => NOT_SUPPORTED,
    }
}

/// Whether a call is a query that only the firmware can answer.
#[inline]
pub(crate) fn is_question([number, first, ..]: [u64; 4]) -> bool {
    const FEATURES: u32 = 0x8400_000A;
    const VERSION: u32 = 0x8400_0000;
    if number as u32 & FAST == 0 {
        return false;
    }
    match number as u32 {
        VERSION => true,
        FEATURES => is_offered(first as u32),
        other => other >> OWNER_SHIFT & 0x3F == OWNER_ARCHITECTURE,
    }
}

/// Whether [`Request::Features`] may say yes to a function: if the firmware has it and it is one of these.
pub(crate) fn is_offered(function: u32) -> bool {
    !matches!(decode([u64::from(function), 0, 0, 0]), Request::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_widths_are_understood() {
        let call = |number| decode([number, 0x1_0000_0001, 0x4020_0000, 7]);
        assert_eq!(
            call(0xC400_0003),
            Request::CpuOn { target: 0x1_0000_0001, entry: 0x4020_0000, context: 7 }
        );
        assert_eq!(call(0x8400_0003), Request::CpuOn { target: 1, entry: 0x4020_0000, context: 7 });
        assert_eq!(call(0xC400_0004), Request::AffinityInfo { target: 0x1_0000_0001 });
        assert_eq!(call(0x8400_0002), Request::CpuOff);
        assert_eq!(call(0xC400_0002), Request::Unknown, "CPU_OFF has no 64-bit form");
    }

    #[test]
    fn the_hint_is_no_part_of_the_number() {
        for number in [0x8400_0002, 0xC400_0003, 0xC400_0004, 0x8400_0008, 0x8400_000A, 0x8000_0001] {
            let hinted = without_hint([number | 1 << 16, 1, 0x4020_0000, 1 << 16]);
            assert_eq!(hinted, [number, 1, 0x4020_0000, 1 << 16], "{number:#x}: nothing else changes");
        }
        assert_eq!(without_hint([0x0401_0003, 0, 0, 0]), [0x0401_0003, 0, 0, 0], "a yielding call has none");
    }

    #[test]
    fn what_starts_a_processor_never_reaches_the_firmware() {
        for number in 0x8400_0000..0x8400_0020_u64 {
            for number in [number, number | 1 << 30] {
                let forwarded = decode([number, 0, 0, 0]) == Request::Forward;
                let harmless = matches!(number & 0x1f, 0 | 6 | 8 | 9 | 0x12);
                assert!(!forwarded || harmless, "{number:#x}");
            }
        }
    }

    #[test]
    fn other_services_are_unknown() {
        for number in [0, 0x8600_0000, 0xC600_FF01, 0x8200_0000, 0x3200_0000, 0x0400_0003] {
            assert_eq!(decode([number, 0, 0, 0]), Request::Unknown, "{number:#x}");
        }
        assert_eq!(decode([0x8000_0000, 0, 0, 0]), Request::Forward, "SMCCC_VERSION");
        assert!(is_firmware_call(0x8400_0000) && is_firmware_call(0x8000_8000));
        assert!(!is_firmware_call(0x504C_0000_0001_0001) && !is_firmware_call(0x8600_0000));
    }

    #[test]
    fn without_firmware_processors_can_be_started_but_not_the_machine_stopped() {
        let ask = |function| own([0x8400_000A, function, 0, 0]);
        assert_eq!(own([0x8400_0000, 0, 0, 0]), 0x1_0001);
        assert!([0x8400_0002, 0xC400_0003, 0xC400_0004, 0xC400_0001].map(ask) == [SUCCESS; 4]);
        assert!([0x8400_0008, 0x8400_0009, 0x8000_0000, 0x8400_0005].map(ask) == [NOT_SUPPORTED; 4]);
        assert_eq!(own([0x8400_0008, 0, 0, 0]), NOT_SUPPORTED);
    }

    #[test]
    fn questions_change_nothing() {
        for number in (0x8000_0000..0x8000_0010).chain(0x8400_0000..0x8400_0020) {
            let arguments = [number, 0x8400_0002, 0, 0];
            let harmless = number & 0xFF00_0000 == 0x8000_0000 || matches!(number & 0x1F, 0 | 0xA);
            assert_eq!(is_question(arguments), harmless, "{number:#x}");
        }
        assert!(!is_question([0x8400_000A, 0x8400_0005, 0, 0]), "what Plinth does not offer");
        assert!(!is_question([1, 0, 0, 0]), "a yielding call");
    }

    #[test]
    fn only_served_functions_are_offered() {
        assert!(is_offered(0x8400_0002) && is_offered(0xC400_0003) && is_offered(0x8000_0000));
        assert!(!is_offered(0x8400_0005) && !is_offered(0xC400_000E));
    }
}
