//! What instructions do to memory, with the encodings that compilers make of device accesses.

use crate::decode::{
    CodeSize, DecodeError, Extension, MmioAccess, Operation, Operator, Outcome, Register, Source, Width,
    decode_mmio,
};
use proptest::prelude::*;

const fn register(number: u8, width: Width) -> Register {
    Register { number, width, high_byte: false }
}

const EAX: Register = register(0, Width::Double);
const ECX: Register = register(1, Width::Double);

fn long(bytes: &[u8]) -> Result<(u8, Width, Operation), DecodeError> {
    decode_mmio(CodeSize::Bits64, bytes).map(parts)
}

fn parts(access: MmioAccess) -> (u8, Width, Operation) {
    (access.length, access.width, access.operation)
}

fn store(register: Register) -> Operation {
    Operation::Store(Source::Register(register))
}

fn load(destination: Register, extension: Extension) -> Operation {
    Operation::Load { destination, extension }
}

#[test]
fn stores_of_registers() {
    // mov [rdi+0x300], eax; mov [abs 0xfee00300], eax as the kernel writes it; mov [r9], r10d
    assert_eq!(long(&[0x89, 0x87, 0, 3, 0, 0]), Ok((6, Width::Double, store(EAX))));
    assert_eq!(long(&[0x89, 0x04, 0x25, 0, 0xb3, 0x5f, 0xff]), Ok((7, Width::Double, store(EAX))));
    let r10d = register(10, Width::Double);
    assert_eq!(long(&[0x45, 0x89, 0x11]), Ok((3, Width::Double, store(r10d))));
    assert_eq!(long(&[0x48, 0x89, 0x08]), Ok((3, Width::Quad, store(register(1, Width::Quad)))));
    assert_eq!(long(&[0x66, 0x89, 0x08]), Ok((3, Width::Word, store(register(1, Width::Word)))));
}

#[test]
fn byte_registers() {
    let ah = Register { number: 0, width: Width::Byte, high_byte: true };
    assert_eq!(long(&[0x88, 0x27]), Ok((2, Width::Byte, store(ah))));
    let spl = register(4, Width::Byte);
    assert_eq!(long(&[0x40, 0x88, 0x27]), Ok((3, Width::Byte, store(spl))));
    assert_eq!(long(&[0x88, 0x0f]), Ok((2, Width::Byte, store(register(1, Width::Byte)))));
    assert_eq!(ah.read(0x1234), 0x12);
    assert_eq!(ah.write(0x1234, 0xff), 0xff34);
}

#[test]
fn stores_of_immediates() {
    let immediate = |value| Operation::Store(Source::Immediate(value));
    // mov dword [rax+0xb0], 0; mov qword [rax], -1; mov word [rax], 0x1234; mov byte [rax], 0x80
    let eoi = [0xc7, 0x80, 0xb0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(long(&eoi), Ok((10, Width::Double, immediate(0))));
    assert_eq!(long(&[0x48, 0xc7, 0, 0xff, 0xff, 0xff, 0xff]), Ok((7, Width::Quad, immediate(u64::MAX))));
    assert_eq!(long(&[0x66, 0xc7, 0, 0x34, 0x12]), Ok((5, Width::Word, immediate(0x1234))));
    let Ok((3, Width::Byte, Operation::Store(Source::Immediate(byte)))) = long(&[0xc6, 0, 0x80]) else {
        panic!("mov byte");
    };
    assert_eq!(byte & Width::Byte.mask(), 0x80);
}

#[test]
fn absolute_forms() {
    let bits32 = |bytes: &[u8]| decode_mmio(CodeSize::Bits32, bytes).map(parts);
    assert_eq!(bits32(&[0xa3, 0, 3, 0xe0, 0xfe]), Ok((5, Width::Double, store(EAX))));
    assert_eq!(bits32(&[0xa1, 0x20, 0, 0xe0, 0xfe]), Ok((5, Width::Double, load(EAX, Extension::Zero))));
    let wide = [0xa3, 0, 3, 0xe0, 0xfe, 0, 0, 0, 0];
    assert_eq!(long(&wide), Ok((9, Width::Double, store(EAX))));
}

#[test]
fn loads() {
    assert_eq!(long(&[0x8b, 0x0f]), Ok((2, Width::Double, load(ECX, Extension::Zero))));
    // movzx ecx, byte [rdi]; movsx rcx, word [rdi]; movsxd rcx, dword [rdi]
    assert_eq!(long(&[0x0f, 0xb6, 0x0f]), Ok((3, Width::Byte, load(ECX, Extension::Zero))));
    let rcx = register(1, Width::Quad);
    assert_eq!(long(&[0x48, 0x0f, 0xbf, 0x0f]), Ok((4, Width::Word, load(rcx, Extension::Sign))));
    assert_eq!(long(&[0x48, 0x63, 0x0f]), Ok((3, Width::Double, load(rcx, Extension::Sign))));
    assert_eq!(Extension::Sign.extend(0x8000, Width::Word), 0xffff_ffff_ffff_8000);
    assert_eq!(Extension::Zero.extend(0x1_8000, Width::Word), 0x8000);
    assert_eq!(ECX.write(u64::MAX, 0xffff_ffff_8000_0000), 0x8000_0000);
}

#[test]
fn read_modify_write() {
    assert_eq!(long(&[0x87, 0x0f]), Ok((2, Width::Double, Operation::Exchange(ECX))));
    let modify = |operator, source| Operation::Modify { operator, source };
    let or = modify(Operator::Or, Source::Register(ECX));
    assert_eq!(long(&[0x09, 0x0f]), Ok((2, Width::Double, or)));
    assert_eq!(long(&[0xf0, 0x09, 0x0f]), Ok((3, Width::Double, or)));
    // and dword [rdi], 0xfffffeff; sub dword [rdi], 1 (sign-extended byte)
    let Ok((6, Width::Double, Operation::Modify { operator: Operator::And, source })) =
        long(&[0x81, 0x27, 0xff, 0xfe, 0xff, 0xff])
    else {
        panic!("and");
    };
    assert_eq!(source.value(|_| 0) & 0xffff_ffff, 0xffff_feff);
    let sub = modify(Operator::Subtract, Source::Immediate(1));
    assert_eq!(long(&[0x83, 0x2f, 0x01]), Ok((3, Width::Double, sub)));
}

#[test]
fn sixteen_bit_code() {
    let bits16 = |bytes: &[u8]| decode_mmio(CodeSize::Bits16, bytes).map(parts);
    // mov [bx], ax; mov [ebx], eax (66 67); mov eax, [0x1234] (66)
    assert_eq!(bits16(&[0x89, 0x07]), Ok((2, Width::Word, store(register(0, Width::Word)))));
    assert_eq!(bits16(&[0x66, 0x67, 0x89, 0x03]), Ok((4, Width::Double, store(EAX))));
    assert_eq!(bits16(&[0x66, 0xa1, 0x34, 0x12]), Ok((4, Width::Double, load(EAX, Extension::Zero))));
}

#[test]
fn what_is_no_access_is_refused() {
    let cases: [(&[u8], DecodeError); 8] = [
        (&[0x89, 0xc8], DecodeError::Unsupported),
        (&[0x0f, 0xa2], DecodeError::Unsupported),
        (&[0xf3, 0xab], DecodeError::Unsupported),
        (&[0x8c, 0x18], DecodeError::Unsupported),
        (&[0x03, 0x0f], DecodeError::Unsupported),
        (&[0x0f, 0x29, 0x07], DecodeError::Unsupported),
        (&[0x89], DecodeError::Incomplete),
        (&[0x0f, 0x0b], DecodeError::Unsupported),
    ];
    for (bytes, error) in cases {
        assert_eq!(long(bytes), Err(error), "{bytes:x?}");
    }
    assert_eq!(long(&[0x66; 15]), Err(DecodeError::TooLong));
    assert_eq!(long(&[0x0f, 0x04]), Err(DecodeError::Invalid));
}

#[test]
fn arithmetic_sets_the_flags() {
    let flags = |operator: Operator, memory, value| operator.apply(Width::Byte, memory, value);
    let (carry, parity, adjust, zero, sign, overflow) = (1, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 11);
    assert_eq!(flags(Operator::Add, 0xff, 1), Outcome { value: 0, flags: carry | parity | adjust | zero });
    assert_eq!(flags(Operator::Add, 0x7f, 1), Outcome { value: 0x80, flags: adjust | sign | overflow });
    assert_eq!(
        flags(Operator::Subtract, 0, 1),
        Outcome { value: 0xff, flags: carry | parity | adjust | sign }
    );
    assert_eq!(flags(Operator::Subtract, 0x80, 1), Outcome { value: 0x7f, flags: adjust | overflow });
    assert_eq!(flags(Operator::And, 0xf0, 0x0f), Outcome { value: 0, flags: parity | zero });
    assert_eq!(flags(Operator::Xor, 0x81, 1), Outcome { value: 0x80, flags: sign });
    assert_eq!(flags(Operator::And, 0, 0).update(u64::MAX), !Outcome::FLAGS | parity | zero);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8192) })]

    #[test]
    fn any_bytes_have_an_answer(
        mode in prop::sample::select(&[CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64][..]),
        bytes in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        if let Ok(access) = decode_mmio(mode, &bytes) {
            prop_assert!(access.reads() || access.writes());
            prop_assert!(usize::from(access.length) <= bytes.len().min(15));
        }
    }
}
