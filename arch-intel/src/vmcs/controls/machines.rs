//! The choice of controls on every real processor whose capability MSRs are on record.

extern crate std;

use std::vec::Vec;

use plinth_machines::Processor;

use super::*;

/// The capability MSRs of a processor, if its record has those that the choice looks at.
fn capabilities(processor: &Processor) -> Option<impl Fn(u32) -> u64> {
    let basic = processor.msr(BASIC)?;
    let read = |register| processor.msr(register).unwrap_or(0);
    let offset = true_offset(basic);
    let needed = [PIN, PROCESSOR, EXIT, ENTRY].map(|register| register + offset);
    let more = if has_secondary(&read) { [SECONDARY, EPT_VPID] } else { [MISCELLANEOUS; 2] };
    needed.iter().chain(&more).try_for_each(|register| processor.msr(*register).map(|_| ()))?;
    Some(read)
}

/// Whether there are secondary controls.
fn has_secondary(read: &impl Fn(u32) -> u64) -> bool {
    Capability::from_msr(read(PROCESSOR + true_offset(read(BASIC)))).offers(ACTIVATE_SECONDARY)
}

#[test]
fn every_processor_with_nested_paging_is_launched() {
    let processors = plinth_machines::processors();
    let recorded: Vec<_> =
        processors.iter().filter_map(|processor| Some((processor, capabilities(processor)?))).collect();
    for (processor, read) in &recorded {
        let offered = if has_secondary(read) { (read(SECONDARY) >> 32) as u32 } else { 0 };
        let expected = if offered & EPT == 0 {
            Err(refused(LaunchError::NoNestedPaging))
        } else if offered & UNRESTRICTED == 0 {
            Err(LaunchStatus::failed(LaunchError::MissingFeature, UNRESTRICTED.into()))
        } else {
            Ok(())
        };
        assert_eq!(choose(read).map(|_| ()), expected, "{}", processor.name);
    }
    let launched = recorded.iter().filter(|(_, read)| choose(read).is_ok()).count();
    std::println!("{launched} of {} real processors are launched", recorded.len());
    assert!(processors.is_empty() || launched >= 147, "a processor is lost");
}
