//! Copying a tree: same leaves, own tables, so that the copy can change independently (used for views).

use super::geometry::Geometry;
use super::{Entry, PageTable, PtFormat, TableMemory};
use crate::OutOfFrames;
use crate::addr::Spa;

impl<F: PtFormat + Clone> PageTable<F> {
    /// Copies the tree: the same leaves in the same format, in tables of its own.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`]; nothing stays allocated.
    pub fn copy<M: TableMemory>(&self, memory: &mut M) -> Result<Self, OutOfFrames> {
        let copy = Self::new(memory, self.format.clone())?;
        let top = self.format.top();
        match copy_entries(&self.format, memory, self.root, copy.root, top) {
            Ok(()) => Ok(copy),
            Err(error) => {
                copy.destroy(memory);
                Err(error)
            }
        }
    }
}

/// Copies the entries of one table. Links a new child table before it fills the child, so that
/// [`PageTable::destroy`] finds every table of a copy that failed half-way.
fn copy_entries<F: PtFormat, M: TableMemory>(
    format: &F,
    memory: &mut M,
    from: Spa,
    to: Spa,
    level: u8,
) -> Result<(), OutOfFrames> {
    for index in 0..format.entries(level) {
        let entry = memory.read(from, index);
        match format.decode(entry, level) {
            Entry::Empty => {}
            Entry::Leaf { .. } => memory.write(to, index, entry),
            Entry::Table(child) => {
                let table = memory.allocate(1)?;
                memory.write(to, index, format.table(table));
                copy_entries(format, memory, child, table, level - 1)?;
            }
        }
    }
    Ok(())
}
