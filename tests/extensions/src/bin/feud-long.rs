//! The long form of `feud`.

#![no_std]
#![no_main]

use plinth_extension_api::extension;
use plinth_test_extensions::hostile::feud::Feuding;

extension!(Feuding = Feuding(100_000));
