//! Two files, their places, and the launch information that follows.

mod builder;

use builder::{EXECUTE, Elf, Header, note};
use plinth_launch::image::{ImageError, Machine};
use plinth_launch::prepare::{File, FileError, Files};
use plinth_launch::{LaunchInfo, Range, SEGMENT_EXECUTE, SEGMENT_WRITE};

const RESERVATION: Range = Range { start: 0x4000_0000, size: 4 << 20 };

#[test]
fn files_go_to_their_places_and_the_launch_information_names_them() {
    let (kernel, extension) = (Elf::valid().bytes(), Elf::valid().bytes());
    let files = Files::check(&kernel, &extension, Machine::X86_64).unwrap();
    let placement = files.place(RESERVATION, 3).unwrap();
    let mut memory = vec![0xAA; RESERVATION.size as usize];
    placement.load_into(&mut memory).unwrap();

    let info = placement.info();
    assert!(info.is_current());
    assert_eq!((info.reservation, info.pool), (RESERVATION, placement.layout().pool));
    assert_eq!(info.pool.start + info.pool.size, RESERVATION.start + RESERVATION.size);
    let at = |address: u64| (address - RESERVATION.start) as usize;
    assert_eq!(&memory[at(info.extension.start)..][..extension.len()], &extension[..]);
    assert_eq!(placement.loaded().size, info.pool.start - RESERVATION.start);
    assert!(placement.info_at() + size_of::<LaunchInfo>() as u64 <= info.pool.start);

    let segments = &info.kernel_segments[..info.kernel_segment_count as usize];
    let executable = segments.iter().find(|segment| segment.flags & SEGMENT_EXECUTE != 0).unwrap();
    assert!(
        (executable.range.start..executable.range.start + executable.range.size).contains(&placement.entry())
    );
    assert!(segments.iter().all(|segment| segment.flags != SEGMENT_EXECUTE | SEGMENT_WRITE));
    assert!(segments.iter().any(|segment| segment.flags == SEGMENT_WRITE));
}

#[test]
fn memory_that_is_too_short_is_refused() {
    let file = Elf::valid().bytes();
    let placement = Files::check(&file, &file, Machine::X86_64).unwrap().place(RESERVATION, 0).unwrap();
    for length in [0, 4096, placement.layout().extension.start - RESERVATION.start] {
        let refused = placement.load_into(&mut vec![0; length as usize]);
        assert_eq!(refused, Err(ImageError::DestinationTooSmall));
    }
}

#[test]
fn the_file_that_is_refused_is_named() {
    let good = Elf::valid().bytes();
    let check =
        |kernel: &[u8], extension: &[u8]| Files::check(kernel, extension, Machine::X86_64).unwrap_err();
    assert_eq!(check(b"\x7fEL", &good).file(), File::Kernel);
    assert_eq!(check(&good, b"").file(), File::Extension);
    let fixed = Elf { kind: 2, headers: vec![Header::load(0x1000, EXECUTE, vec![0x90; 64])], ..Elf::valid() };
    let fixed = fixed.bytes();
    assert_eq!(check(&fixed, &good), FileError::NotRelocatable);
    let extension = Elf::with(note(&0_u64.to_le_bytes())).bytes();
    assert_eq!(check(&extension, &good), FileError::NoKernel);
    assert!(Files::check(&good, &extension, Machine::X86_64).is_ok());
    assert!(Files::check(&good, &fixed, Machine::X86_64).is_ok(), "an extension may have a fixed address");
}
