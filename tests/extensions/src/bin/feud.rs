//! The short form of a feud between two PPs: see `plinth_test_extensions::hostile::feud`.

#![no_std]
#![no_main]

use plinth_extension_api::extension;
use plinth_test_extensions::hostile::feud::Feuding;

extension!(Feuding = Feuding(10_000));
