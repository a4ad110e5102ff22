//! The modifying operations. Each one checks all preconditions first, and then changes entries.

use super::editor::Editor;
use super::geometry::Geometry;
use super::{Attributes, Entry, MapError, PageTable, PtFormat, TableMemory, TlbSink};
use crate::addr::Spa;
use crate::memory::OutOfFrames;
use core::ops::Range;

impl<F: PtFormat> PageTable<F> {
    /// Maps `size` bytes from `at` to `spa`, with the largest leaves possible. Addresses and size are
    /// multiples of 4096 bytes. Invalidates no TLB: processors do not cache entries that are not present.
    ///
    /// # Errors
    ///
    /// Any [`MapError`] except `NotMapped`. The table is unchanged: if frames ran out, the engine has
    /// unmapped and invalidated what it had mapped by then.
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

    /// Unmaps `size` bytes from `at`, all of which must be mapped, and frees the tables that become empty.
    /// Splits leaves that cross an end of the range. Returns after the TLB invalidation.
    ///
    /// # Errors
    ///
    /// `NotMapped`, `Misaligned` or `OutOfRange`; `OutOfFrames` if a leaf cannot be split. Every translation
    /// is unchanged, and no more frames are in use.
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

    /// Does the part of [`unmap`](Self::unmap) that can fail, so that the unmap itself needs no frame.
    /// Translations are unchanged.
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

    /// Changes the attributes of `size` bytes from `at`, all of which must be mapped. Splits leaves that
    /// cross an end of the range or are too large for the attributes. Returns after the TLB invalidation.
    ///
    /// # Errors
    ///
    /// `NotMapped`, `Misaligned`, `OutOfRange` or `Unsupported`; `OutOfFrames` if a leaf cannot be split.
    /// Every translation is unchanged, and no more frames are in use.
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

    /// Does the part of [`protect`](Self::protect) that can fail, so that the change itself needs no frame.
    /// Translations are unchanged.
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

    /// Merges tables back into large leaves on the path to each address of the range, even if such a leaf
    /// reaches beyond the range. This frees the tables that a split for a smaller range allocated.
    /// Translations are unchanged. Returns after the TLB invalidation.
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

    /// Merges tables back into large leaves, if a table lies within `size` bytes from `at` and maps one
    /// contiguous range with the same attributes throughout. Translations are unchanged, and the tables are
    /// freed. Returns after the TLB invalidation.
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

    /// Runs `edit` on a range all of which must be mapped. Invalidates what changed, even if `edit` fails
    /// half-way.
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
