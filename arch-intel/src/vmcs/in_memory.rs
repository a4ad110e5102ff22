//! VMREAD and VMWRITE for host tests: one VMCS for each thread, in memory. A field has a value once it is written, and none
//! before: a read of it then is a mistake.

extern crate std;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use crate::vmcs::current::Current;
use crate::vmcs::field::Field;

std::thread_local! {
    static FIELDS: RefCell<BTreeMap<u64, u64>> = const { RefCell::new(BTreeMap::new()) };
}

pub(crate) unsafe fn vmread(encoding: u64) -> u64 {
    let value = FIELDS.with_borrow(|fields| fields.get(&encoding).copied());
    value.unwrap_or_else(|| panic!("field {encoding:#x} is read, but was never written"))
}

pub(crate) unsafe fn vmwrite(encoding: u64, value: u64) {
    FIELDS.with_borrow_mut(|fields| fields.insert(encoding, value));
}

/// A VMCS without any value.
pub(crate) fn fresh() -> Current {
    FIELDS.with_borrow_mut(BTreeMap::clear);
    // SAFETY: nothing of a processor is touched in a test.
    unsafe { Current::assume() }
}

/// Has a field a value that the processor gave it.
pub(crate) fn found<W, K>(field: Field<W, K>, value: u64) {
    // SAFETY: as in `fresh`.
    unsafe { vmwrite(field.encoding, value) };
}

/// The fields that were written.
pub(crate) fn written() -> Vec<u64> {
    FIELDS.with_borrow(|fields| fields.keys().copied().collect())
}
