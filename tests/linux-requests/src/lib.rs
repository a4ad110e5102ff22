//! The checks of `loaders/linux/request.c`, which every request of a program passes before the module does anything, compiled for
//! the host: with hostile input they must say what this file says, which was written from the header alone.

#![cfg(test)]

use std::ffi::c_int;

use proptest::prelude::*;

const EINVAL: c_int = -22;
const E2BIG: c_int = -7;

/// More than the largest structure, in 32-bit words.
const WORDS: usize = 160;

#[repr(C)]
struct Range {
    start: u64,
    size: u64,
}

unsafe extern "C" {
    static probe_numbers: [u32; 5];
    static probe_sizes: [u32; 5];
    static probe_offsets: [u32; 5];
    safe fn plinth_request_size(number: u32) -> u32;
    fn plinth_check(number: u32, request: *const u64) -> c_int;
    fn plinth_contains(range: *const Range, address: u64, size: u64) -> c_int;
}

/// The five requests, by the header: number, size of the structure.
const REQUESTS: [(u32, u32); 5] =
    [(0xc238_b540, 568), (0xc060_b541, 96), (0xc068_b542, 104), (0xc040_b543, 64), (0xc090_b544, 144)];

/// A request's structure, aligned and with room for any.
#[derive(Clone, Debug)]
struct Structure([u64; WORDS / 2]);

impl Structure {
    fn new(words: &[(usize, u32)]) -> Self {
        let mut structure = Self([0; WORDS / 2]);
        for &(index, value) in words {
            structure.set(index, value);
        }
        structure
    }

    fn set(&mut self, index: usize, value: u32) {
        let shift = index % 2 * 32;
        let word = &mut self.0[index / 2];
        *word = *word & !(0xffff_ffff << shift) | u64::from(value) << shift;
    }

    fn half(&self, offset: usize) -> u32 {
        (self.0[offset / 8] >> (offset % 8 * 8)) as u32
    }

    fn word(&self, offset: usize) -> u64 {
        self.0[offset / 8]
    }

    fn is_zero(&self, from: usize, to: usize) -> bool {
        (from..to).step_by(4).all(|offset| self.half(offset) == 0)
    }
}

fn check(number: u32, structure: &Structure) -> c_int {
    // SAFETY: It reads as much as the largest structure, which is shorter than this one.
    unsafe { plinth_check(number, structure.0.as_ptr()) }
}

/// What the header says of a structure whose head is right.
fn is_right(request: usize, s: &Structure) -> bool {
    match request {
        0 => s.is_zero(8, 568),
        1 => {
            let (size, below, log) = (s.word(8), s.word(16), s.word(24));
            let sizes = size > 0 && size <= 1 << 30 && size.is_multiple_of(2 << 20);
            let place = below == 0 || below >= size;
            sizes && place && log <= 4 << 20 && log.is_multiple_of(4096) && s.is_zero(32, 96)
        }
        2 => s.half(32) <= 1 && s.is_zero(36, 104),
        3 => s.half(8) <= 1 && s.is_zero(12, 64),
        _ => {
            let number = s.word(8);
            let is_allowed = [0x504c_0000_0001_0002, 0x504c_0000_0001_0003].contains(&number)
                || (0x504c_0000_0002_0000..0x504c_0000_0002_0010).contains(&number);
            let (buffer, size, argument) = (s.word(88), s.half(96), s.half(100));
            let pages = argument <= 4 && size <= 4096 && (size == 0 || argument > 0 && buffer != 0);
            is_allowed && pages && s.half(104) < 1024 && s.is_zero(48, 88) && s.is_zero(108, 144)
        }
    }
}

/// The fields that a right request has beside its head.
fn right_fields(request: usize) -> &'static [(usize, u32)] {
    match request {
        1 => &[(2, 1 << 21)],
        4 => &[(2, 0x1_0003), (3, 0x504c_0000)],
        _ => &[],
    }
}

/// A structure with a right head, near a right one: some fields with likely values, then a few words with any.
fn structures(request: usize) -> impl Strategy<Value = Structure> {
    let likely: Vec<(usize, Vec<u32>)> = match request {
        1 => vec![
            (2, vec![0, 1 << 21, 32 << 20, 1 << 30, 1 << 31, 4096]),
            (3, vec![0, 0, 0, 1]),
            (4, vec![0, 0, 1 << 25, 1 << 20]),
            (5, vec![0, 1]),
            (6, vec![0, 4096, 4 << 20, 8 << 20, 12]),
        ],
        2 => vec![(2, vec![0, 7]), (4, vec![0, 9]), (6, vec![0, 3]), (8, vec![0, 1, 2])],
        3 => vec![(2, vec![0, 1, 2, u32::MAX])],
        4 => vec![
            (2, vec![0x1_0002, 0x1_0003, 0x1_0001, 0x2_0000, 0x2_000f, 0x2_0010]),
            (3, vec![0x504c_0000, 0x504c_0000, 0x504c_0001]),
            (22, vec![0, 4096]),
            (24, vec![0, 8, 4096, 4097]),
            (25, vec![0, 1, 4, 5]),
            (26, vec![0, 1, 1023, 1024]),
        ],
        _ => vec![],
    };
    let fields: Vec<_> = likely
        .into_iter()
        .map(|(index, values)| prop::sample::select(values).prop_map(move |value| (index, value)))
        .collect();
    // Half of them without any other word, so that many are right.
    let wild = prop_oneof![Just(vec![]), prop::collection::vec((2..WORDS, any::<u32>()), 1..3)];
    let head = vec![(0, REQUESTS[request].1), (1, 1)];
    (fields, wild).prop_map(move |(fields, wild)| Structure::new(&[head.clone(), fields, wild].concat()))
}

fn config() -> ProptestConfig {
    let calls = std::env::var("PLINTH_FUZZ_CALLS").ok().and_then(|text| text.parse().ok());
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(calls.unwrap_or(10_000) / 10) }
}

#[test]
fn numbers_and_layouts_are_the_headers() {
    // SAFETY: Constants of the probe.
    let (numbers, sizes, offsets) = unsafe { (probe_numbers, probe_sizes, probe_offsets) };
    assert_eq!(numbers.into_iter().zip(sizes).collect::<Vec<_>>(), REQUESTS);
    assert_eq!(offsets, [504, 64, 72, 32, 112]);
    assert!(REQUESTS.iter().all(|(number, size)| plinth_request_size(*number) == *size));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_accepted_is_what_the_header_says(
        (request, structure) in (0..5_usize).prop_flat_map(|request| (Just(request), structures(request))),
    ) {
        let (number, size) = REQUESTS[request];
        // Nothing behind the structure counts.
        let mut within = structure.clone();
        (size as usize / 4..WORDS).for_each(|index| within.set(index, 0));
        let expected = if is_right(request, &within) { 0 } else { EINVAL };
        prop_assert_eq!(check(number, &structure), expected);
    }

    #[test]
    fn a_head_is_right_or_refused(
        request in 0..5_usize,
        wrong_number in any::<u32>(),
        size in prop_oneof![Just(None), any::<u32>().prop_map(Some)],
        version in prop_oneof![Just(1_u32), any::<u32>()],
    ) {
        let (number, right) = REQUESTS[request];
        let size = size.unwrap_or(right);
        let with_head = |size, version| Structure::new(&[&[(0, size), (1, version)], right_fields(request)].concat());
        let structure = with_head(size, version);
        let expected = if version != 1 { EINVAL } else if size != right { E2BIG } else { 0 };
        prop_assert_eq!(check(number, &structure), expected);
        // A number that says another size is known, but its structure is not.
        let other = number ^ 0x0008_0000;
        prop_assert_eq!(plinth_request_size(other), right);
        prop_assert_eq!(check(other, &with_head(right, 1)), E2BIG);
        let known = REQUESTS.iter().any(|(number, _)| number & 0xc000_ffff == wrong_number & 0xc000_ffff);
        prop_assert_eq!(plinth_request_size(wrong_number) != 0, known);
        if !known {
            prop_assert_eq!(check(wrong_number, &structure), EINVAL);
        }
    }

    #[test]
    fn a_range_contains_what_is_all_inside(start: u64, size: u64, address: u64, length: u64, near in any::<bool>()) {
        let address = if near { start.wrapping_add(address % 16).wrapping_sub(8) } else { address };
        let length = if near { length % 32 } else { length };
        let range = Range { start, size: size.min(u64::MAX - start) };
        let (end, limit) = (u128::from(address) + u128::from(length), u128::from(start) + u128::from(range.size));
        // SAFETY: It reads the range.
        let contains = unsafe { plinth_contains(&raw const range, address, length) } != 0;
        prop_assert_eq!(contains, address >= start && end <= limit);
    }
}
