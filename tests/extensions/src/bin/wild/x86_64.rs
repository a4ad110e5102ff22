//! Random guests on x86: in real mode, whose interrupt vectors skip what has faulted, or in 64-bit mode, which the first fault
//! ends.

use plinth_extension_api::abi::register::{
    FLAGS, INSTRUCTION_POINTER, X86_CR0, X86_CR3, X86_CR4, X86_CS, X86_DS, X86_EFER, X86_GDTR, X86_IDTR,
    X86_KERNEL_GS_BASE, X86_SS, X86_TR,
};
use plinth_extension_api::{Exit, ExitClass, Failure, Plinth, VmId, VsId};
use plinth_test_extensions::random::Random;

use super::guest::{Memory, PAGE, PAGES};

/// Where its code begins.
const ENTRY: usize = 0x500;
/// Real mode: all interrupt vectors lead there. It skips a byte.
const HANDLER: usize = 0x400;
const SKIP: [u8; 9] = [
    0x55, // push bp
    0x8B, 0xEC, // mov bp, sp
    0xFF, 0x46, 0x02, // inc word [bp + 2]
    0x5D, // pop bp
    0xCF, // iret
    0xF4,
];
/// 64-bit mode: code, data, TSS.
const GDT: [u64; 5] = [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x0000_8B00_0200_0067, 0];
/// The first page's tables: each leads to the next; the last maps 2 MiB to themselves.
const TABLES: [u64; 3] = [0x2003, 0x3003, 0x83];

/// MSRs that a hypervisor has to do with, of both vendors.
const MSRS: &[u32] = &[
    0x10,
    0x1B,
    0x3A,
    0x48,
    0x49,
    0x79,
    0xC1,
    0x10A,
    0x140,
    0x174,
    0x175,
    0x176,
    0x186,
    0x1A0,
    0x1D9,
    0x1F2,
    0x200,
    0x250,
    0x277,
    0x2FF,
    0x400,
    0x480,
    0x570,
    0x600,
    0x6A0,
    0x6E0,
    0x800,
    0x830,
    0x835,
    0xDA0,
    0xC000_0080,
    0xC000_0081,
    0xC000_0082,
    0xC000_0083,
    0xC000_0084,
    0xC000_0100,
    0xC000_0101,
    0xC000_0102,
    0xC000_0103,
    0xC000_0104,
    0xC001_0010,
    0xC001_0015,
    0xC001_0058,
    0xC001_0114,
    0xC001_0117,
];
/// Those of them that the guest has for itself: the VS's own.
const OPENED: &[(u64, u64)] = &[(0x174, 3), (0x277, 1), (0xC000_0081, 4), (0xC000_0100, 3), (0xC000_0103, 1)];
/// Instructions without operands, or with those that registers hold, and bytes that make of the next one another.
const INSTRUCTIONS: &[&[u8]] = &[
    &[0x0F, 0xA2],             // cpuid
    &[0x0F, 0x01, 0xC1],       // vmcall
    &[0x0F, 0x01, 0xD9],       // vmmcall
    &[0x0F, 0x01, 0xD8],       // vmrun
    &[0x0F, 0x01, 0xDA],       // vmload
    &[0x0F, 0x01, 0xDB],       // vmsave
    &[0x0F, 0x01, 0xDC],       // stgi
    &[0x0F, 0x01, 0xDD],       // clgi
    &[0x0F, 0x01, 0xDF],       // invlpga
    &[0x0F, 0x01, 0xC2],       // vmlaunch
    &[0x0F, 0x01, 0xC4],       // vmxoff
    &[0x0F, 0x01, 0xD1],       // xsetbv
    &[0x0F, 0x01, 0xD0],       // xgetbv
    &[0x0F, 0x01, 0xF8],       // swapgs
    &[0x0F, 0x01, 0xF9],       // rdtscp
    &[0x0F, 0x01, 0xC8],       // monitor
    &[0x0F, 0x01, 0xC9],       // mwait
    &[0x0F, 0x06],             // clts
    &[0x0F, 0x08],             // invd
    &[0x0F, 0x09],             // wbinvd
    &[0x0F, 0x31],             // rdtsc
    &[0x0F, 0x33],             // rdpmc
    &[0x0F, 0x05],             // syscall
    &[0x0F, 0x07],             // sysret
    &[0x0F, 0x34],             // sysenter
    &[0x0F, 0xAA],             // rsm
    &[0xF4],                   // hlt
    &[0xFA],                   // cli
    &[0xFB],                   // sti
    &[0xCC],                   // int3
    &[0xCD, 0x80],             // int 0x80
    &[0xCF],                   // iret
    &[0x9D],                   // popf
    &[0xDB, 0xE3],             // fninit
    &[0xD9, 0xE8],             // fld1
    &[0xD9, 0xEB],             // fldpi
    &[0x0F, 0x77],             // emms
    &[0x66, 0x0F, 0x76, 0xC0], // pcmpeqd xmm0, xmm0
    &[0x66, 0x0F, 0x76, 0xFF], // pcmpeqd xmm7, xmm7
    &[0x0F, 0x57, 0xC9],       // xorps xmm1, xmm1
    &[0xEC],                   // in al, dx
    &[0xED],                   // in eax, dx
    &[0xEE],                   // out dx, al
    &[0xEF],                   // out dx, eax
    &[0xF3, 0x6E],             // rep outsb
    &[0xF3, 0x6C],             // rep insb
    &[0xF3, 0xA4],             // rep movsb
    &[0x67],
    &[0x2E],
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Real,
    Long,
}

impl Kind {
    pub(super) fn pick(random: &mut Random) -> Self {
        if random.below(3) == 0 { Self::Long } else { Self::Real }
    }
}

/// Opens to the guest what a VS has of its own.
pub(super) fn open(plinth: Plinth, vm: VmId) -> Result<(), Failure> {
    const PAT: u64 = 0x277;
    OPENED
        .iter()
        .filter(|(first, _)| *first != PAT || !is_amd())
        .try_for_each(|&(first, count)| plinth.vm_intercept_registers(vm, first, count, false, false))
}

pub(super) fn fill(memory: &mut Memory, kind: Kind, random: &mut Random) {
    let bytes = memory.as_flattened_mut();
    let mut at = ENTRY;
    while at < bytes.len() - LONGEST {
        at += write_instructions(&mut bytes[at..], kind, random);
    }
    match kind {
        Kind::Real => {
            bytes[..HANDLER].chunks_exact_mut(4).for_each(|vector| vector.copy_from_slice(&[0, 4, 0, 0]));
            bytes[HANDLER..][..SKIP.len()].copy_from_slice(&SKIP);
        }
        Kind::Long => {
            for (place, word) in bytes.chunks_exact_mut(8).zip(GDT) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            for (page, entry) in memory[1..].iter_mut().zip(TABLES) {
                page.fill(0);
                page[..8].copy_from_slice(&entry.to_le_bytes());
            }
        }
    }
}

/// Bytes that [`write_instructions`] writes at the most.
const LONGEST: usize = 24;

/// Writes one instruction, or a few that belong together. Returns how many bytes.
fn write_instructions(place: &mut [u8], kind: Kind, random: &mut Random) -> usize {
    let mut code = Code { place, length: 0, is_real: kind == Kind::Real };
    let any = random.next();
    match random.below(12) {
        // RDMSR or WRMSR.
        0..3 => {
            let listed = MSRS[any as usize % MSRS.len()];
            code.load(1, if random.below(8) == 0 { random.next() as u32 } else { listed });
            code.load(0, random.next() as u32 >> random.below(32));
            code.load(2, random.next() as u32 >> random.below(32));
            code.bytes(&[0x0F, if any >> 32 & 1 == 0 { 0x30 } else { 0x32 }]);
        }
        // IN or OUT.
        3 => {
            code.load(2, any as u32 & 0xFFFF);
            code.bytes(&[0xEC | (any >> 32) as u8 & 3]);
        }
        // MOV to and from control and debug registers.
        4 | 5 => {
            code.load(0, random.next() as u32 >> random.below(32));
            let (opcode, register) = (0x20 | any as u8 & 3, (any >> 8) as u8 & 0x38);
            let opcode = if opcode == WRITE_DR && is_amd() { READ_DR } else { opcode };
            code.bytes(&[0x0F, opcode, 0xC0 | register]);
        }
        // Groups 6 and 7 with any operand: LLDT, LTR, LGDT, LIDT, LMSW, INVLPG.
        6 => code.bytes(&[0x0F, any as u8 & 1, (any >> 8) as u8]),
        // CPUID.
        7 => {
            code.load(0, any as u32 & 0xC000_00FF);
            code.bytes(&[0x0F, 0xA2]);
        }
        8..11 => code.bytes(INSTRUCTIONS[any as usize % INSTRUCTIONS.len()]),
        _ => code.bytes(&any.to_le_bytes()),
    }
    code.length
}

/// MOV from and to a debug register.
const READ_DR: u8 = 0x21;
const WRITE_DR: u8 = 0x23;

/// QEMU has SVM on AMD's processors alone. There it does not switch the debug registers' meaning and the PAT between a guest and the
/// host: see docs/emulators.md.
fn is_amd() -> bool {
    const AUTH: u32 = u32::from_le_bytes(*b"Auth");
    core::arch::x86_64::__cpuid(0).ebx == AUTH
}

struct Code<'a> {
    place: &'a mut [u8],
    length: usize,
    is_real: bool,
}

impl Code<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.place[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// MOV of a number to a general register.
    fn load(&mut self, register: u8, value: u32) {
        if self.is_real {
            self.bytes(&[0x66]);
        }
        self.bytes(&[0xB8 | register]);
        self.bytes(&value.to_le_bytes());
    }
}

/// Gives a new VS its first instruction, and numbers.
pub(super) fn start(plinth: Plinth, vs: VsId, kind: Kind, random: &mut Random) -> Result<(), Failure> {
    const RSP: u64 = 4;
    for register in (0..16).filter(|register| *register != RSP) {
        let value = if random.below(2) == 0 { random.below((PAGE * PAGES) as u64) } else { random.next() };
        plinth.vs_write(vs, register, value)?;
    }
    // Below bit 47, and so canonical.
    plinth.vs_write(vs, X86_KERNEL_GS_BASE, random.next() >> 17)?;
    plinth.vs_write(vs, RSP, (PAGE * PAGES) as u64)?;
    match kind {
        Kind::Real => [(X86_CS, 0), (X86_CS + 1, 0)]
            .into_iter()
            .try_for_each(|(register, value)| plinth.vs_write(vs, register, value))?,
        Kind::Long => enter_long_mode(plinth, vs)?,
    }
    plinth.vs_write(vs, INSTRUCTION_POINTER, ENTRY as u64)
}

/// Gives a VS the registers of a kernel in 64-bit mode, without an interrupt table.
fn enter_long_mode(plinth: Plinth, vs: VsId) -> Result<(), Failure> {
    const CODE: [u64; 4] = [8, 0, 0xFFFF_FFFF, 0xA9B];
    const DATA: [u64; 4] = [0x10, 0, 0xFFFF_FFFF, 0xC93];
    const TASK: [u64; 4] = [0x18, 0x200, 0x67, 0x8B];
    for (segment, parts) in [(X86_CS, CODE), (X86_SS, DATA), (X86_DS, DATA), (X86_TR, TASK)] {
        for (number, value) in (segment..).zip(parts) {
            plinth.vs_write(vs, number, value)?;
        }
    }
    let tables = [(X86_GDTR, 0), (X86_GDTR + 1, 0x27), (X86_IDTR, 0), (X86_IDTR + 1, 0)];
    let control =
        [(X86_CR3, 0x1000), (X86_CR4, 0x620), (X86_EFER, 0x500), (X86_CR0, 0x8000_0031), (FLAGS, 2)];
    tables.into_iter().chain(control).try_for_each(|(register, value)| plinth.vs_write(vs, register, value))
}

/// Where it goes on: a few bytes on, or anywhere.
pub(super) fn after(exit: &Exit<'_>, random: &mut Random) -> u64 {
    let next = exit.instruction_pointer().wrapping_add(1 + random.below(4));
    let lies_there = (ENTRY as u64..PAGE as u64).contains(&next);
    if lies_there && exit.class() != ExitClass::Memory && random.below(16) != 0 {
        return next;
    }
    ENTRY as u64 + random.below((PAGE - ENTRY) as u64)
}
