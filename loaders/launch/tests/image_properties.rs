//! Hostile files: whatever the bytes, the answer is an image that loads or a typed error.

mod builder;

use builder::{Elf, Header, PT_NOTE};
use plinth_launch::image::{Image, ImageError, Machine};
use plinth_launch::{LaunchError, LaunchStatus};
use proptest::prelude::*;

/// Does with an accepted image all that a loader and the kernel do.
fn exercise(bytes: &[u8]) -> Result<(), ImageError> {
    let image = Image::parse(bytes, Machine::X86_64)?;
    let _ = image.number_in_note("Plinth", 1);
    let span = image.span();
    let mut page = [0; 4096];
    for segment in image.segments() {
        assert!(!(segment.write && segment.execute));
        for vaddr in [segment.pages().start, segment.pages().start + segment.pages().size - 4096] {
            assert!(image.fill_page(vaddr, &mut page, 0x1000).is_some());
        }
    }
    assert!(image.relocations().all(|word| image.segment_at(word.vaddr & !4095).is_some_and(|s| s.write)));
    if span.size < 1 << 24 {
        image.load_into(&mut vec![0; span.size as usize], 0x1000)?;
    }
    Ok(())
}

/// Where a change hurts most: the headers, the tables; else anywhere.
fn place(length: usize) -> impl Strategy<Value = usize> {
    prop_oneof![0..64_usize, 64..64 + 4 * 56_usize, 0..length]
}

/// Values that arithmetic trips over, beside any.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), Just(1 << 63), Just((1 << 47) - 1), 0..0x10000_u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn changed_words_never_panic(changes in prop::collection::vec((place(1283), value()), 1..6)) {
        let mut bytes = Elf::valid().bytes();
        for (at, value) in changes {
            let end = (at + 8).min(bytes.len());
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        let _ = exercise(&bytes);
    }

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((place(1283), any::<u8>()), 1..12)) {
        let mut bytes = Elf::valid().bytes();
        changes.into_iter().for_each(|(at, value)| bytes[at] = value);
        let _ = exercise(&bytes);
    }

    #[test]
    fn noise_behind_a_header_never_panics(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut bytes = Elf::valid().bytes();
        bytes.truncate(64);
        bytes.extend(noise);
        let _ = exercise(&bytes);
    }

    #[test]
    fn relr_tables_never_panic(table in prop::collection::vec(value(), 2)) {
        let mut elf = Elf::valid();
        elf.headers[0].data[0x200..0x210].copy_from_slice(&builder::words(&table));
        let _ = exercise(&elf.bytes());
    }

    #[test]
    fn notes_never_panic(words in prop::collection::vec(prop_oneof![any::<u32>(), 0..16_u32], 0..20), align in value()) {
        let data = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let note = Header { align, ..Header::of_kind(PT_NOTE, data) };
        exercise(&Elf::with(note).bytes()).unwrap();
    }

    #[test]
    fn an_error_survives_a_launch_status(number in 1_u64..30, value in any::<u32>()) {
        let Some(error) = ImageError::from_raw(number | u64::from(value) << 16) else { return Ok(()) };
        prop_assert_eq!(ImageError::from_raw(error.raw()), Some(error));
        let status = LaunchStatus::failed(LaunchError::BadExtension, error.raw());
        prop_assert_eq!(LaunchStatus::from_raw(status.raw()).image_error(), Some(error));
        let text = status.to_string();
        prop_assert!(text.ends_with(&error.to_string()), "{}", text);
    }
}

#[test]
fn every_error_has_a_remedy() {
    for error in (1..=24).filter_map(ImageError::from_raw) {
        assert!(error.to_string().contains([',', ';', ':']), "{error}");
    }
    assert_eq!(ImageError::from_raw(25), None);
}
