//! Builds small ELF files, right or wrong in exactly one way.
//!
//! Shared by several tests, of which none uses everything.

#![allow(dead_code, unreachable_pub, reason = "each test that has it as a module uses a part of it")]

pub const EXECUTE: u32 = 1;
pub const WRITE: u32 = 2;
pub const READ: u32 = 4;
pub const PT_LOAD: u32 = 1;
pub const PT_DYNAMIC: u32 = 2;
pub const PT_INTERP: u32 = 3;
pub const PT_NOTE: u32 = 4;
pub const PT_TLS: u32 = 7;

/// One program header and the bytes it names.
#[derive(Clone)]
pub struct Header {
    pub kind: u32,
    pub flags: u32,
    pub vaddr: u64,
    pub data: Vec<u8>,
    pub memory_size: u64,
    pub align: u64,
}

impl Header {
    pub fn load(vaddr: u64, flags: u32, data: Vec<u8>) -> Self {
        let memory_size = data.len() as u64;
        Self { kind: PT_LOAD, flags: flags | READ, vaddr, data, memory_size, align: 4096 }
    }

    pub fn of_kind(kind: u32, data: Vec<u8>) -> Self {
        Self { kind, ..Self::load(0, 0, data) }
    }

    pub fn with_memory(self, memory_size: u64) -> Self {
        Self { memory_size, ..self }
    }
}

/// An ELF file to be written out.
#[derive(Clone)]
pub struct Elf {
    pub class: u8,
    pub endianness: u8,
    pub kind: u16,
    pub machine: u16,
    pub entry: u64,
    pub headers: Vec<Header>,
}

impl Elf {
    /// A static-PIE x86-64 image: code at 0x1000, read-only tables at 0, data with bss at 0x2008.
    pub fn valid() -> Self {
        let rela = [rela(0x2010, 8, 0x1004), rela(0x2018, 8, 0x2008), rela(0x2020, 0, 0)].concat();
        let relr = words(&[0x2028, 0b101]);
        let dynamic = words(&[7, 0x100, 8, 72, 9, 24, 36, 0x200, 35, 16, 37, 8, 0, 0]);
        let mut tables = vec![0; 0x210];
        tables[0x100..0x100 + rela.len()].copy_from_slice(&rela);
        tables[0x200..].copy_from_slice(&relr);
        let data = (1..=8_u64).flat_map(|n| (n * 0x11).to_le_bytes()).collect();
        let headers = vec![
            Header::load(0, 0, tables),
            Header::load(0x1000, EXECUTE, vec![0x90; 0x123]),
            Header::load(0x2008, WRITE, data).with_memory(0x1800),
            Header::of_kind(PT_DYNAMIC, dynamic),
        ];
        Self { class: 2, endianness: 1, kind: 3, machine: 62, entry: 0x1010, headers }
    }

    /// The valid image with its dynamic section replaced by `tags`.
    pub fn with_dynamic(tags: &[u64]) -> Self {
        let mut elf = Self::valid();
        elf.headers[3].data = words(tags);
        elf
    }

    /// The valid image with one `Elf64_Rela` entry and nothing else to relocate.
    pub fn with_rela(entry: Vec<u8>) -> Self {
        let mut elf = Self::with_dynamic(&[7, 0x100, 8, 24, 9, 24, 0, 0]);
        elf.headers[0].data[0x100..0x118].copy_from_slice(&entry);
        elf
    }

    /// The valid image with another segment.
    pub fn with(header: Header) -> Self {
        let mut elf = Self::valid();
        elf.headers.push(header);
        elf
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut headers = Vec::new();
        let mut contents = Vec::new();
        let first = 64 + 56 * self.headers.len();
        for header in &self.headers {
            headers.extend(program_header(header, (first + contents.len()) as u64));
            contents.extend(&header.data);
        }
        [self.file_header(), headers, contents].concat()
    }

    fn file_header(&self) -> Vec<u8> {
        let mut out = vec![0x7f, b'E', b'L', b'F', self.class, self.endianness, 1];
        out.resize(16, 0);
        out.extend([self.kind.to_le_bytes(), self.machine.to_le_bytes()].concat());
        out.extend(1_u32.to_le_bytes());
        out.extend(words(&[self.entry, 64, 0]));
        out.extend(0_u32.to_le_bytes());
        let tail = [64, 56, self.headers.len() as u16, 64, 0, 0];
        out.extend(tail.iter().flat_map(|half| half.to_le_bytes()));
        out
    }
}

fn program_header(header: &Header, offset: u64) -> Vec<u8> {
    let mut out = [header.kind.to_le_bytes(), header.flags.to_le_bytes()].concat();
    let size = header.data.len() as u64;
    out.extend(words(&[offset, header.vaddr, header.vaddr, size, header.memory_size, header.align]));
    out
}

/// A note of kind 1 by "Plinth", as a segment.
pub fn note(text: &[u8]) -> Header {
    let head: Vec<u8> = [7, text.len() as u32, 1].into_iter().flat_map(u32::to_le_bytes).collect();
    let data = [&head[..], b"Plinth\0\0", text].concat();
    Header { align: 4, ..Header::of_kind(PT_NOTE, data) }
}

/// An `Elf64_Rela` without a symbol.
pub fn rela(offset: u64, kind: u32, addend: u64) -> Vec<u8> {
    words(&[offset, u64::from(kind), addend])
}

pub fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
