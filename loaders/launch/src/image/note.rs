//! Notes: what a file says of itself, by whoever made it (System V gABI, "Note Section").

use super::ImageError;
use elf::{ElfBytes, abi, endian::LittleEndian, note::Note, note::NoteIterator};

/// The number in the only note of that kind by that owner, if there is one. A note that contradicts the specification
/// ends its segment: it is nobody's.
pub(super) fn find(bytes: &[u8], owner: &str, kind: u32) -> Result<Option<u64>, ImageError> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(ImageError::from_parse)?;
    let headers = file.segments().ok_or(ImageError::NoSegments)?;
    let mut found = None;
    for header in headers.iter().filter(|header| header.p_type == abi::PT_NOTE) {
        for text in notes_of(&file, &header)?.filter_map(|note| text_of(&note, owner, kind)) {
            let number = <[u8; 8]>::try_from(text).map(u64::from_le_bytes);
            if found.replace(number.map_err(|_| ImageError::BadNote)?).is_some() {
                return Err(ImageError::BadNote);
            }
        }
    }
    Ok(found)
}

fn notes_of<'a>(
    file: &ElfBytes<'a, LittleEndian>,
    header: &elf::segment::ProgramHeader,
) -> Result<NoteIterator<'a, LittleEndian>, ImageError> {
    file.segment_data_as_notes(header).map_err(ImageError::from_parse)
}

/// What a note holds, if it is the one asked for.
fn text_of<'a>(note: &Note<'a>, owner: &str, kind: u32) -> Option<&'a [u8]> {
    let Note::Unknown(note) = note else { return None };
    let owned = note.name.strip_suffix(b"\0") == Some(owner.as_bytes());
    (owned && note.n_type == u64::from(kind)).then_some(note.desc)
}
