//! The dynamic section of a static-PIE image: it says where the relocations are, and betrays
//! an image that needs a dynamic linker.

use super::program::{Program, Segments};
use super::relocation::{RELA_SIZE, RELR_SIZE, Tables};
use super::{ImageError, Machine};
use elf::{abi, dynamic::Dyn, dynamic::DynamicTable, endian::LittleEndian, file::Class};

// System V gABI, "Dynamic Section": compact relative relocations, which `elf::abi` does not name.
const DT_RELRSZ: i64 = 35;
const DT_RELR: i64 = 36;
const DT_RELRENT: i64 = 37;

/// What `PT_DYNAMIC` says of one table of relocations.
#[derive(Clone, Copy, Default)]
struct Table {
    vaddr: u64,
    size: u64,
    entry_size: Option<u64>,
}

#[derive(Default)]
struct Dynamic {
    rela: Table,
    relr: Table,
}

/// Finds the relocation tables; both are empty in an image without a dynamic section.
pub(super) fn read_tables<'a>(program: &Program<'a>, machine: Machine) -> Result<Tables<'a>, ImageError> {
    let mut dynamic = Dynamic::default();
    let entries = DynamicTable::new(LittleEndian, Class::ELF64, program.dynamic);
    for entry in entries.iter().take_while(|entry| entry.d_tag != abi::DT_NULL) {
        dynamic.note(&entry, machine)?;
    }
    Ok(Tables {
        rela: table_bytes(&program.segments, dynamic.rela, RELA_SIZE)?,
        relr: table_bytes(&program.segments, dynamic.relr, RELR_SIZE)?,
    })
}

impl Dynamic {
    fn note(&mut self, entry: &Dyn, machine: Machine) -> Result<(), ImageError> {
        match entry.d_tag {
            abi::DT_NEEDED => return Err(ImageError::NeedsDynamicLinker),
            abi::DT_RELA => self.rela.vaddr = entry.d_ptr(),
            abi::DT_RELASZ => self.rela.size = entry.d_val(),
            abi::DT_RELAENT => self.rela.entry_size = Some(entry.d_val()),
            DT_RELR => self.relr.vaddr = entry.d_ptr(),
            DT_RELRSZ => self.relr.size = entry.d_val(),
            DT_RELRENT => self.relr.entry_size = Some(entry.d_val()),
            abi::DT_RELSZ | abi::DT_PLTRELSZ if entry.d_val() != 0 => return Err(lazy(machine)),
            _ => {}
        }
        Ok(())
    }
}

/// A table of jump slots, or of relocations without addends: none of them is relative.
const fn lazy(machine: Machine) -> ImageError {
    let kind = match machine {
        Machine::X86_64 => abi::R_X86_64_JUMP_SLOT,
        Machine::Aarch64 => abi::R_AARCH64_JUMP_SLOT,
    };
    ImageError::UnsupportedRelocation { kind }
}

fn table_bytes<'a>(segments: &Segments<'a>, table: Table, entry_size: u64) -> Result<&'a [u8], ImageError> {
    if table.size == 0 {
        return Ok(&[]);
    }
    let fits =
        table.entry_size.is_none_or(|size| size == entry_size) && table.size.is_multiple_of(entry_size);
    let bytes = segments.iter().find_map(|segment| {
        let start = usize::try_from(table.vaddr.checked_sub(segment.vaddr)?).ok()?;
        let end = start.checked_add(usize::try_from(table.size).ok()?)?;
        segment.data.get(start..end)
    });
    bytes.filter(|_| fits).ok_or(ImageError::BadRelocationTable)
}
