//! Putting an image's bytes where they belong: all at once into contiguous memory, or one page at a time.

use super::{Image, ImageError, LoadSegment, PAGE_SIZE};

/// One page of memory.
pub type Page = [u8; PAGE_SIZE as usize];

impl<'a> Image<'a> {
    /// Loads the whole image into `memory`, which stands for [`Image::span`]: every byte is written.
    ///
    /// `bias` is what to add, wrapping, to a link-time address to get the address it will run at; it must be a
    /// multiple of [`Image::alignment`], and 0 unless [`Image::is_relocatable`].
    ///
    /// # Errors
    /// [`ImageError::DestinationTooSmall`] if `memory` is smaller than the span.
    pub fn load_into(&self, memory: &mut [u8], bias: u64) -> Result<(), ImageError> {
        let span = self.span();
        let length = usize::try_from(span.size).map_err(|_| ImageError::TooLarge)?;
        let memory = memory.get_mut(..length).ok_or(ImageError::DestinationTooSmall)?;
        self.fill(memory, span.start, bias);
        Ok(())
    }

    /// Fills `page` with the final content of the page at link-time address `vaddr`, relocated by `bias`
    /// (see [`Image::load_into`]), and tells which segment it belongs to; `None`, and
    /// all zeroes, if `vaddr` is not page aligned or no segment owns that page.
    pub fn fill_page(&self, vaddr: u64, page: &mut Page, bias: u64) -> Option<&LoadSegment<'a>> {
        let segment = self.segment_at(vaddr).filter(|_| vaddr.is_multiple_of(PAGE_SIZE));
        match segment {
            Some(_) => self.fill(page, vaddr, bias),
            None => page.fill(0),
        }
        segment
    }

    /// Writes what the image holds from link-time address `start` on.
    fn fill(&self, memory: &mut [u8], start: u64, bias: u64) {
        memory.fill(0);
        self.segments().for_each(|segment| copy_overlap(memory, start, segment));
        for relocation in self.relocations() {
            put_word(memory, start, relocation.vaddr, bias.wrapping_add(relocation.addend));
        }
    }
}

/// Copies the file bytes of `segment` that fall into `memory`, which begins at `start`.
fn copy_overlap(memory: &mut [u8], start: u64, segment: &LoadSegment) {
    let (to, from) = match segment.vaddr.checked_sub(start) {
        Some(ahead) => (ahead, 0),
        None => (0, start - segment.vaddr),
    };
    let (Ok(to), Ok(from)) = (usize::try_from(to), usize::try_from(from)) else { return };
    let (Some(to), Some(from)) = (memory.get_mut(to..), segment.data.get(from..)) else { return };
    let length = to.len().min(from.len());
    to[..length].copy_from_slice(&from[..length]);
}

/// Writes the word at `vaddr` if `memory`, which begins at `start`, holds it.
fn put_word(memory: &mut [u8], start: u64, vaddr: u64, word: u64) {
    let offset = vaddr.checked_sub(start).and_then(|offset| usize::try_from(offset).ok());
    let target = offset.and_then(|offset| memory.get_mut(offset..)?.first_chunk_mut::<8>());
    if let Some(target) = target {
        *target = word.to_le_bytes();
    }
}
