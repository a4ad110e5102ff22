//! Structures and constants that calls pass.

/// The longest text one [`super::Call::DebugWrite`] takes, in bytes.
pub const MAX_WRITE: u64 = 256;

/// The most declared answers a VM holds.
pub const MAX_ID_ANSWERS: usize = 64;

/// An id (VM, VP or VS) that names nothing.
pub const INVALID_ID: u64 = u64::MAX;

/// The root VM's id: it is there from the start.
pub const ROOT_VM: u64 = 0;

/// A declared answer to an ID read, which the kernel gives without entering the extension.
///
/// For each of the four result registers: `(the machine's own answer & keep) | set`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct IdAnswer {
    /// x86: CPUID leaf (EAX).
    pub leaf: u32,
    /// x86: CPUID sub-leaf (ECX); [`ANY_SUBLEAF`] for all.
    pub subleaf: u32,
    /// Bits that come from the machine: EAX, EBX, ECX, EDX.
    pub keep: [u32; 4],
    /// Bits that are set on top.
    pub set: [u32; 4],
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

/// An [`IdAnswer`] for every sub-leaf.
pub const ANY_SUBLEAF: u32 = u32::MAX;

const _: () = assert!(core::mem::size_of::<IdAnswer>() == 40);

bitflags::bitflags! {
    /// What a guest may do with memory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Permissions: u64 {
        /// Read.
        const READ = 1 << 0;
        /// Write.
        const WRITE = 1 << 1;
        /// Execute.
        const EXECUTE = 1 << 2;
    }
}

/// [`super::Call::VmInterceptRegisters`]: reads exit.
pub const INTERCEPT_READS: u64 = 1;
/// [`super::Call::VmInterceptRegisters`]: writes exit.
pub const INTERCEPT_WRITES: u64 = 2;

/// [`super::Call::VsInject`]: an exception, in bits 10:8.
pub const EVENT_EXCEPTION: u64 = 3 << 8;
/// [`super::Call::VsInject`]: a non-maskable interrupt, in bits 10:8.
pub const EVENT_NMI: u64 = 2 << 8;
/// [`super::Call::VsInject`]: bits 63:32 are an error code.
pub const EVENT_ERROR_CODE: u64 = 1 << 11;
