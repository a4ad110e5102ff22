//! The modifying operations: check everything, then change.

use super::editor::Editor;
use super::geometry::Geometry;
use super::{Attributes, Entry, MapError, PageTable, PtFormat, TableMemory, TlbSink};
use crate::addr::Spa;
use crate::memory::OutOfFrames;
use core::ops::Range;

impl<F: PtFormat> PageTable<F> {
    /// Maps `size` bytes from `at` on to `spa` and following, with the largest leaves possible. Addresses
    /// and size are multiples of 4096 bytes. Nothing is flushed: processors do not cache what is not mapped.
    ///
    /// # Errors
    ///
    /// Any [`MapError`] but `NotMapped`. The table is as it was; if frames ran out, what had been mapped
    /// by then is unmapped and flushed again.
    pub fn map<M: TableMemory, T: TlbSink<F::Input>>(
        &mut self,
        memory: &mut M,
        tlb: &mut T,
        at: F::Input,
        spa: Spa,
        size: u64,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let range = self.format.offsets(at, size)?;
        self.format.check_output(spa, size)?;
        self.check_attributes(attributes)?;
        let mut editor = Editor::new(self, memory, tlb);
        editor.check_free(range.clone())?;
        let result = editor.fill_or_clear(range, spa, attributes);
        editor.finish();
        result.map_err(MapError::from)
    }

    /// Unmaps `size` bytes from `at` on, all of which must be mapped, and frees the tables that become
    /// empty. Leaves that reach beyond the range are split. Returns when the TLBs are flushed.
    ///
    /// # Errors
    ///
    /// `NotMapped`, `Misaligned` or `OutOfRange`; `OutOfFrames` when a leaf can't be split. Every
    /// translation is as it was, and no more frames are used.
    pub fn unmap<M: TableMemory, T: TlbSink<F::Input>>(
        &mut self,
        memory: &mut M,
        tlb: &mut T,
        at: F::Input,
        size: u64,
    ) -> Result<(), MapError> {
        self.edit_mapped(memory, tlb, at, size, |editor, range| {
            editor.split(range.clone(), None)?;
            editor.clear(range);
            Ok(())
        })
    }

    /// Does of [`unmap`](Self::unmap) what can fail: afterwards that takes no frame. Translations stay as they are.
    ///
    /// # Errors
    ///
    /// As [`unmap`](Self::unmap).
    pub fn prepare_unmap<M: TableMemory, T: TlbSink<F::Input>>(
        &mut self,
        memory: &mut M,
        tlb: &mut T,
        at: F::Input,
        size: u64,
    ) -> Result<(), MapError> {
        self.edit_mapped(memory, tlb, at, size, |editor, range| editor.split(range, None))
    }

    /// Gives `size` bytes from `at` on, all of which must be mapped, other attributes. Leaves that reach
    /// beyond the range, or are too large for the attributes, are split. Returns when the TLBs are flushed.
    ///
    /// # Errors
    ///
    /// `NotMapped`, `Misaligned`, `OutOfRange` or `Unsupported`; `OutOfFrames` when a leaf can't be
    /// split. Every translation is as it was, and no more frames are used.
    pub fn protect<M: TableMemory, T: TlbSink<F::Input>>(
        &mut self,
        memory: &mut M,
        tlb: &mut T,
        at: F::Input,
        size: u64,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        self.check_attributes(attributes)?;
        self.edit_mapped(memory, tlb, at, size, |editor, range| editor.protect(range, attributes))
    }

    /// Does of [`protect`](Self::protect) what can fail: afterwards that takes no frame. Translations stay as they are.
    ///
    /// # Errors
    ///
    /// As [`protect`](Self::protect).
    pub fn prepare_protect<M: TableMemory, T: TlbSink<F::Input>>(
        &mut self,
        memory: &mut M,
        tlb: &mut T,
        at: F::Input,
        size: u64,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        self.check_attributes(attributes)?;
        self.edit_mapped(memory, tlb, at, size, |editor, range| {
            editor.prepare_protect(range, attributes).map(|_| ())
        })
    }

    /// Re-forms large leaves from the tables on the way to each address of the range, also where a leaf reaches beyond it: what
    /// splitting for a smaller range has used comes back. Translations stay as they are. Returns when the TLBs are flushed.
    ///
    /// # Errors
    ///
    /// `Misaligned` or `OutOfRange`.
    pub fn merge_along<M: TableMemory, T: TlbSink<F::Input>>(
        &mut self,
        memory: &mut M,
        tlb: &mut T,
        at: F::Input,
        size: u64,
    ) -> Result<(), MapError> {
        let range = self.format.offsets(at, size)?;
        let mut editor = Editor::new(self, memory, tlb);
        editor.merge_along(range);
        editor.finish();
        Ok(())
    }

    /// Re-forms large leaves from tables that lie within `size` bytes from `at` on and map one contiguous
    /// stretch with the same attributes throughout. Translations stay as they are; the tables are
    /// freed. Returns when the TLBs are flushed.
    ///
    /// # Errors
    ///
    /// `Misaligned` or `OutOfRange`.
    pub fn merge<M: TableMemory, T: TlbSink<F::Input>>(
        &mut self,
        memory: &mut M,
        tlb: &mut T,
        at: F::Input,
        size: u64,
    ) -> Result<(), MapError> {
        let range = self.format.offsets(at, size)?;
        let mut editor = Editor::new(self, memory, tlb);
        editor.merge(range);
        editor.finish();
        Ok(())
    }

    /// Edits a range all of which must be mapped, and flushes what it changed also where it fails half-way.
    fn edit_mapped<M: TableMemory, T: TlbSink<F::Input>>(
        &mut self,
        memory: &mut M,
        tlb: &mut T,
        at: F::Input,
        size: u64,
        edit: impl FnOnce(&mut Editor<'_, F, M, T>, Range<u64>) -> Result<(), OutOfFrames>,
    ) -> Result<(), MapError> {
        let range = self.format.offsets(at, size)?;
        let mut editor = Editor::new(self, memory, tlb);
        editor.check_mapped(range.clone())?;
        let result = edit(&mut editor, range);
        editor.finish();
        result.map_err(MapError::from)
    }

    fn check_attributes(&self, attributes: Attributes) -> Result<(), MapError> {
        if self.format.supports(attributes) { Ok(()) } else { Err(MapError::Unsupported(attributes)) }
    }
}

impl<F: PtFormat, M: TableMemory, T: TlbSink<F::Input>> Editor<'_, F, M, T> {
    fn check_free(&self, range: Range<u64>) -> Result<(), MapError> {
        let taken = self.view().find(range, |entry| entry != Entry::Empty);
        taken.map_or(Ok(()), |offset| Err(MapError::AlreadyMapped(self.format.address(offset))))
    }

    fn check_mapped(&self, range: Range<u64>) -> Result<(), MapError> {
        let hole = self.view().find(range, |entry| entry == Entry::Empty);
        hole.map_or(Ok(()), |offset| Err(MapError::NotMapped(self.format.address(offset))))
    }
}
