//! What the image loader accepts, what it refuses and why, and that no file makes it panic.

mod builder;

use builder::{EXECUTE, Elf, Header, PT_INTERP, PT_TLS, WRITE, note, rela};
use plinth_launch::Range;
use plinth_launch::image::{Image, ImageError, Machine, Relocation};

const BIAS: u64 = 0x7_0000_0000;

fn parse(elf: &Elf) -> Result<(), ImageError> {
    Image::parse(&elf.bytes(), Machine::X86_64).map(drop)
}

fn refuses(elf: &Elf, error: ImageError) {
    assert_eq!(parse(elf), Err(error));
}

fn edited(edit: impl FnOnce(&mut Elf)) -> Elf {
    let mut elf = Elf::valid();
    edit(&mut elf);
    elf
}

fn word(memory: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(memory[at..at + 8].try_into().unwrap())
}

#[test]
fn a_valid_image_says_what_it_is() {
    let bytes = Elf::valid().bytes();
    let image = Image::parse(&bytes, Machine::X86_64).unwrap();
    assert_eq!(image.span(), Range { start: 0, size: 0x4000 });
    assert_eq!((image.entry(), image.alignment(), image.is_relocatable()), (0x1010, 4096, true));
    let segments: Vec<_> = image.segments().map(|s| (s.vaddr, s.memory_size, s.write, s.execute)).collect();
    assert_eq!(
        segments,
        [(0, 0x210, false, false), (0x1000, 0x123, false, true), (0x2008, 0x1800, true, false)]
    );
}

#[test]
fn relocations_come_from_both_tables() {
    let bytes = Elf::valid().bytes();
    let image = Image::parse(&bytes, Machine::X86_64).unwrap();
    let found: Vec<_> = image.relocations().map(|Relocation { vaddr, addend }| (vaddr, addend)).collect();
    // RELR: the address 0x2028, then a bitmap whose bit 2 (of 1..) stands for the second word after it.
    assert_eq!(found, [(0x2010, 0x1004), (0x2018, 0x2008), (0x2028, 0x55), (0x2038, 0x77)]);
}

#[test]
fn loading_copies_clears_and_relocates() {
    let bytes = Elf::valid().bytes();
    let image = Image::parse(&bytes, Machine::X86_64).unwrap();
    let mut memory = vec![0xcc; 0x5000];
    image.load_into(&mut memory, BIAS).unwrap();
    assert_eq!(memory[0x1000..0x1123], [0x90; 0x123]);
    assert_eq!(word(&memory, 0x2008), 0x11);
    assert_eq!(word(&memory, 0x2010), BIAS + 0x1004);
    assert_eq!(word(&memory, 0x2028), BIAS + 0x55);
    assert_eq!(word(&memory, 0x2030), 0x66);
    assert_eq!(word(&memory, 0x2038), BIAS + 0x77);
    assert!(memory[0x2048..0x4000].iter().all(|&byte| byte == 0));
    assert!(memory[0x4000..].iter().all(|&byte| byte == 0xcc), "nothing is written behind the span");
}

#[test]
fn pages_hold_what_loading_at_once_gives() {
    let bytes = Elf::valid().bytes();
    let image = Image::parse(&bytes, Machine::X86_64).unwrap();
    let mut whole = vec![0; 0x4000];
    image.load_into(&mut whole, BIAS).unwrap();
    for (index, expected) in whole.chunks_exact(4096).enumerate() {
        let mut page = [0xcc; 4096];
        let segment = image.fill_page(index as u64 * 4096, &mut page, BIAS).unwrap();
        assert_eq!((page.as_slice(), segment.write), (expected, index >= 2));
    }
    assert!(image.fill_page(0x4000, &mut [0; 4096], BIAS).is_none());
    assert!(image.fill_page(0x1008, &mut [0; 4096], BIAS).is_none());
}

#[test]
fn a_static_image_needs_no_dynamic_section() {
    let elf = edited(|elf| {
        elf.kind = 2;
        elf.headers.truncate(2);
    });
    let bytes = elf.bytes();
    let image = Image::parse(&bytes, Machine::X86_64).unwrap();
    assert!(!image.is_relocatable());
    assert_eq!(image.relocations().count(), 0);
}

#[test]
fn aarch64_has_its_own_relative_relocation() {
    let mut elf = Elf::with_rela(rela(0x2010, 1027, 4));
    elf.machine = 183;
    let bytes = elf.bytes();
    assert_eq!(Image::parse(&bytes, Machine::Aarch64).unwrap().relocations().count(), 1);
    let wrong = ImageError::WrongMachine { found: 183, expected: 62 };
    assert_eq!(Image::parse(&bytes, Machine::X86_64).unwrap_err(), wrong);
    let text = wrong.to_string();
    assert!(text.contains("AArch64") && text.contains("x86-64"), "{text}");
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"\x7fELF", b"MZ and more than sixteen bytes of it"] {
        assert_eq!(Image::parse(bytes, Machine::X86_64).unwrap_err(), ImageError::NotElf);
    }
    refuses(&edited(|elf| elf.class = 1), ImageError::WrongClass);
    refuses(&edited(|elf| elf.endianness = 2), ImageError::WrongEndianness);
    refuses(&edited(|elf| elf.kind = 1), ImageError::NotExecutable { kind: 1 });
    refuses(&edited(|elf| drop(elf.headers.drain(..3))), ImageError::NoSegments);
}

#[test]
fn cut_files_are_refused() {
    let bytes = Elf::valid().bytes();
    for length in 0..bytes.len() {
        let error = Image::parse(&bytes[..length], Machine::X86_64).unwrap_err();
        let expected = if length < 16 { ImageError::NotElf } else { ImageError::Truncated };
        assert_eq!(error, expected, "cut to {length} bytes");
    }
}

#[test]
fn bad_segments_are_refused() {
    let code = || Header::load(0x8000, EXECUTE, vec![0; 16]);
    let both = Header { flags: EXECUTE | WRITE, ..code() };
    refuses(&Elf::with(both), ImageError::WritableAndExecutable { segment: 4 });
    for vaddr in [0x2ff0, 0x3900, 0x0, 0x1ff8] {
        refuses(&Elf::with(Header { vaddr, ..code() }), ImageError::Overlap { segment: 4 });
    }
    for vaddr in [u64::MAX - 4, 1 << 63, (1 << 47) - 8] {
        refuses(&Elf::with(Header { vaddr, ..code() }), ImageError::OutsideLimits { segment: 4 });
    }
    for memory_size in [0, 8, u64::MAX] {
        refuses(&Elf::with(code().with_memory(memory_size)), ImageError::OutsideLimits { segment: 4 });
    }
    refuses(&Elf::with(code().with_memory(2 << 30)), ImageError::TooLarge);
    refuses(&Elf::with(Header { vaddr: 1 << 40, ..code() }), ImageError::TooLarge);
    for align in [3, 4 << 20, u64::MAX] {
        refuses(&Elf::with(Header { align, ..code() }), ImageError::BadAlignment { segment: 4 });
    }
    let many = edited(|elf| elf.headers.extend((8..20).map(|n| Header { vaddr: n << 12, ..code() })));
    refuses(&many, ImageError::TooManySegments);
}

#[test]
fn dynamically_linked_and_threaded_images_are_refused() {
    refuses(&Elf::with(Header::of_kind(PT_INTERP, b"/lib/ld.so\0".to_vec())), ImageError::NeedsDynamicLinker);
    refuses(&Elf::with_dynamic(&[1, 5, 0, 0]), ImageError::NeedsDynamicLinker);
    refuses(&Elf::with(Header::of_kind(PT_TLS, vec![0; 8])), ImageError::ThreadLocalStorage);
    refuses(&Elf::with_dynamic(&[2, 24, 0, 0]), ImageError::UnsupportedRelocation { kind: 7 });
}

#[test]
fn bad_relocations_are_refused() {
    refuses(&Elf::with_rela(rela(0x2010, 6, 0)), ImageError::UnsupportedRelocation { kind: 6 });
    refuses(&Elf::with_rela(rela(0x2014, 8, 0)), ImageError::RelocationUnaligned);
    refuses(&Elf::with_rela(rela(0x1000, 8, 0)), ImageError::RelocationReadOnly);
    for vaddr in [0x2000, 0x3808, 0x5000, u64::MAX - 7] {
        refuses(&Elf::with_rela(rela(vaddr, 8, 0)), ImageError::RelocationOutside);
    }
    parse(&Elf::with_rela(rela(0x3800, 8, 0))).unwrap();
    let bad_tables: [&[u64]; 4] = [
        &[7, 0x100, 8, 24, 9, 16, 0, 0],
        &[7, 0x100, 8, 25, 9, 24, 0, 0],
        &[7, 0x1f8, 8, 240, 9, 24, 0, 0],
        &[7, u64::MAX, 8, u64::MAX - 7, 9, 24, 0, 0],
    ];
    for tags in bad_tables {
        refuses(&Elf::with_dynamic(tags), ImageError::BadRelocationTable);
    }
}

#[test]
fn the_entry_must_be_code() {
    for entry in [0, 0x1123, 0x2008, u64::MAX] {
        refuses(&edited(|elf| elf.entry = entry), ImageError::EntryNotExecutable);
    }
}

#[test]
fn too_little_memory_is_an_error() {
    let bytes = Elf::valid().bytes();
    let image = Image::parse(&bytes, Machine::X86_64).unwrap();
    assert_eq!(image.load_into(&mut [0; 0x3fff], 0), Err(ImageError::DestinationTooSmall));
}

#[test]
fn a_note_is_found_by_owner_and_kind() {
    let number = |elf: &Elf, owner, kind| {
        Image::parse(&elf.bytes(), Machine::X86_64).unwrap().number_in_note(owner, kind)
    };
    assert_eq!(number(&Elf::valid(), "Plinth", 1), Ok(None));
    let noted = Elf::with(note(&0x1234_5678_9ABC_u64.to_le_bytes()));
    assert_eq!(number(&noted, "Plinth", 1), Ok(Some(0x1234_5678_9ABC)));
    for (owner, kind) in [("Plint", 1), ("Plinth\0", 1), ("", 1), ("Plinth", 2)] {
        assert_eq!(number(&noted, owner, kind), Ok(None));
    }
    for text in [&[][..], &[0; 4], &[0; 9]] {
        assert_eq!(number(&Elf::with(note(text)), "Plinth", 1), Err(ImageError::BadNote));
    }
    let twice = edited(|elf| elf.headers.extend([note(&[0; 8]), note(&[0; 8])]));
    assert_eq!(number(&twice, "Plinth", 1), Err(ImageError::BadNote));
}
