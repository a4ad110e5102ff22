//! The node by which an OS finds that Plinth is below (Linux, Documentation/devicetree/bindings: `/hypervisor`).

use crate::editor::{EditError, Editor};

const NODE: &str = "hypervisor";
const PROPERTY: &str = "compatible";

/// Says that Plinth is below.
///
/// # Errors
/// [`EditError`].
pub fn name_hypervisor(editor: &mut Editor<'_>) -> Result<(), EditError> {
    editor.ensure_node(NODE)?;
    editor.set_property(&[NODE], PROPERTY, &[b"plinth\0"])
}

/// Takes it back from a tree that says so, with the node: Linux reads `compatible` of a node of that name, and panics where there is
/// none (arch/arm/xen/enlighten.c, `fdt_find_hyper_node`).
///
/// # Errors
/// [`EditError`].
pub fn forget_hypervisor(editor: &mut Editor<'_>) -> Result<(), EditError> {
    editor.remove_node(NODE)
}
