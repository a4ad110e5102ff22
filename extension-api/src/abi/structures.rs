//! Structures and constants that calls pass.

use super::table::{constants, layout};

constants! {
    /// Limits, and ids and times that are there from the start.
    LIMITS:
    /// PPs.
    MAX_PPS = 64;
    /// VMs, with the root VM.
    MAX_VMS = 16;
    /// VPs of all VMs.
    MAX_VPS = 128;
    /// VSs of all VPs.
    MAX_VSS = 128;
    /// Views of a VM besides its own tables.
    MAX_VIEWS = 7;
    /// Declared answers of a VM.
    MAX_ID_ANSWERS = 64;
    /// Bytes of text that one `DebugWrite` takes.
    MAX_WRITE = 256;
    /// Bytes of one `VmMap`, `VmUnmap` or `VmProtect`.
    MAX_RANGE = 1 << 30;
    /// `TimerSet`: at no time.
    TIMER_OFF = u64::MAX;
    /// Registers or ports of one intercept call.
    MAX_INTERCEPTS = 0x1_0000;
    /// Entries of one `VsReadMany` or `VsWriteMany`.
    MAX_REGISTERS = 64;
    /// Bytes of one `VmReadMemory` or `VmWriteMemory`.
    MAX_COPY = 4096;
    /// The root VM's id: it is there from the start.
    ROOT_VM = 0;
    /// An id (VM, VP or VS) that names nothing.
    INVALID_ID = u64::MAX;
}

constants! {
    /// Bits of arguments.
    FLAGS:
    /// `VmMap`, `VmProtect`, `VmQuery`: the guest may read.
    PERMISSION_READ = 1 << 0;
    /// The guest may write.
    PERMISSION_WRITE = 1 << 1;
    /// The guest may execute.
    PERMISSION_EXECUTE = 1 << 2;
    /// `VmMap`, `VmQuery`: ordinary memory. Bits 10:8 are the memory type.
    MEMORY_TYPE_WRITE_BACK = 0 << 8;
    /// Device registers: no caching, no reordering.
    MEMORY_TYPE_UNCACHED = 1 << 8;
    /// Frame buffers: no caching, writes are gathered.
    MEMORY_TYPE_WRITE_COMBINING = 2 << 8;
    /// Reads are cached, writes go through.
    MEMORY_TYPE_WRITE_THROUGH = 3 << 8;
    /// Reads are cached, writes go out and drop the line.
    MEMORY_TYPE_WRITE_PROTECTED = 4 << 8;
    /// All bits of the memory type.
    MEMORY_TYPES = 7 << 8;
    /// `VmInterceptRegisters`: reads exit.
    INTERCEPT_READS = 1 << 0;
    /// `VmInterceptRegisters`: writes exit.
    INTERCEPT_WRITES = 1 << 1;
}

constants! {
    /// An event for `VsInject`: vector in bits 7:0, type in bits 10:8, error code in bits 63:32.
    EVENTS:
    /// Type: a non-maskable interrupt; the vector does not matter.
    EVENT_NMI = 2 << 8;
    /// Type: an exception; x86 vectors 0 to 31 without 2, Arm exception classes.
    EVENT_EXCEPTION = 3 << 8;
    /// Type: an interrupt, for a VM other than the root VM; x86 vectors 32 to 255, Arm 0 for the IRQ and 1 for the FIQ.
    EVENT_INTERRUPT = 4 << 8;
    /// Type: takes such an interrupt back, if it waits.
    EVENT_WITHDRAW = 5 << 8;
    /// Bits 63:32 are an error code.
    EVENT_ERROR_CODE = 1 << 11;
}

layout! {
    /// A declared answer to an ID read, which the kernel gives without entering the extension.
    ///
    /// For each of the four result registers: `(the machine's own answer & keep) | set`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    IdAnswer as ID_ANSWER {
        /// x86: CPUID leaf (EAX).
        leaf: u32,
        /// x86: CPUID sub-leaf (ECX); 0xFFFF_FFFF for all.
        subleaf: u32,
        /// Bits that come from the machine: EAX, EBX, ECX, EDX.
        keep: [u32; 4],
        /// Bits that are set on top.
        set: [u32; 4],
    }
}

layout! {
    /// A register of a VS in a list, for `VsReadMany` and `VsWriteMany`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    RegisterAccess as REGISTER_ACCESS {
        /// Its number.
        number: u64,
        /// The bits that are read or written; the others read as 0 and stay as they are.
        mask: u64,
        /// What those bits hold.
        value: u64,
    }
}

impl RegisterAccess {
    /// Reads an entry from the extension's memory, where any bytes may stand.
    pub fn from_bytes(bytes: &[u8; size_of::<Self>()]) -> Self {
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|byte| bytes[at + byte]));
        Self { number: word(0), mask: word(8), value: word(16) }
    }

    /// The entry as it stands in the extension's memory.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let words = [self.number, self.mask, self.value].map(u64::to_le_bytes);
        core::array::from_fn(|byte| words[byte / 8][byte % 8])
    }
}

impl IdAnswer {
    /// Reads an answer from the extension's memory, where any bytes may stand.
    pub fn from_bytes(bytes: &[u8; size_of::<Self>()]) -> Self {
        let word = |index: usize| {
            let at = index * 4;
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let four = |first: usize| [word(first), word(first + 1), word(first + 2), word(first + 3)];
        Self { leaf: word(0), subleaf: word(1), keep: four(2), set: four(6) }
    }
}

/// A sub-leaf of an [`IdAnswer`] that stands for all.
pub const ANY_SUBLEAF: u32 = u32::MAX;

/// How memory is cached, as far as the tables say; the guest's own tables can only make it less.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u64)]
pub enum MemoryType {
    /// Ordinary memory.
    #[default]
    WriteBack = MEMORY_TYPE_WRITE_BACK,
    /// Device registers: no caching, no reordering.
    Uncached = MEMORY_TYPE_UNCACHED,
    /// Frame buffers: no caching, writes are gathered.
    WriteCombining = MEMORY_TYPE_WRITE_COMBINING,
    /// Reads are cached, writes go through.
    WriteThrough = MEMORY_TYPE_WRITE_THROUGH,
    /// Reads are cached, writes go out and drop the line.
    WriteProtected = MEMORY_TYPE_WRITE_PROTECTED,
}

impl MemoryType {
    /// The type that bits 10:8 of `flags` name, if there is one.
    pub const fn of_flags(flags: u64) -> Option<Self> {
        match flags & MEMORY_TYPES {
            MEMORY_TYPE_WRITE_BACK => Some(Self::WriteBack),
            MEMORY_TYPE_UNCACHED => Some(Self::Uncached),
            MEMORY_TYPE_WRITE_COMBINING => Some(Self::WriteCombining),
            MEMORY_TYPE_WRITE_THROUGH => Some(Self::WriteThrough),
            MEMORY_TYPE_WRITE_PROTECTED => Some(Self::WriteProtected),
            _ => None,
        }
    }
}

bitflags::bitflags! {
    /// What a guest may do with memory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Permissions: u64 {
        /// Read.
        const READ = PERMISSION_READ;
        /// Write.
        const WRITE = PERMISSION_WRITE;
        /// Execute.
        const EXECUTE = PERMISSION_EXECUTE;
    }
}
