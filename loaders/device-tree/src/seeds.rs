//! The random bytes that firmware leaves for an OS.

use dtoolkit::{Node, Property};

use crate::Tree;

/// Where they are in `/chosen` (Linux, Documentation/devicetree/bindings, "chosen").
const NAMES: [&str; 2] = ["rng-seed", "kaslr-seed"];

impl<'a> Tree<'a> {
    /// What there is.
    pub fn seeds(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let fdt = self.fdt;
        let seed = move |name| fdt.find_node("/chosen")?.property(name)?.value_as::<&'a [u8]>().ok();
        NAMES.into_iter().filter_map(seed)
    }
}
