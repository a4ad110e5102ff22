//! The exit page: one page for each PP, mapped in the extension, in which it finds why a VS exited and
//! reads and writes its general registers without a system call.

use super::table::{constants, layout};

/// General registers in the exit page. x86-64 uses 16, AArch64 x0 to x30.
pub const GENERAL_REGISTERS: usize = 32;

layout! {
    /// What the kernel leaves for the extension at every exit of the PP's active VS.
    ///
    /// `registers` are the live general registers: what stands there when the VS runs on is what it sees. All
    /// else is a copy; writing it changes nothing.
    #[derive(Debug)]
    ExitPage as EXIT_PAGE {
        /// General registers by their architectural number (x86-64: RAX 0, RCX 1, RDX 2, RBX 3, RSP 4, RBP 5, RSI 6, RDI 7, R8…R15; AArch64: x0 to x30).
        registers: [u64; GENERAL_REGISTERS],
        /// The hardware's own exit code (SVM EXITCODE, VMX exit reason, ESR_EL2).
        code: u64,
        /// The hardware's own qualification (SVM EXITINFO1 and EXITINFO2, VMX exit qualification).
        info: [u64; 2],
        /// The event that was being delivered (SVM EXITINTINFO), 0 for none.
        event: u64,
        /// Address of the instruction that exited.
        instruction_pointer: u64,
        /// RFLAGS or SPSR.
        flags: u64,
        /// Privilege level of the code that exited: x86 CPL, Arm EL.
        privilege: u64,
        /// By class: the MSR or system register, the port, the guest-physical address.
        number: u64,
        /// By class: access size in bytes for ports, access bits for memory; on AArch64, for registers and ID reads, the number of the general register that is read or written, 31 for XZR.
        detail: u64,
        /// This PP.
        pp: u64,
        /// The active VM.
        vm: u64,
        /// The active VP.
        vp: u64,
        /// The active VS.
        vs: u64,
    }
}

macro_rules! classes {
    ($(#[doc = $doc:literal] $name:ident = $value:literal, $text:literal;)*) => {
        /// What kind of exit it is, the same on every machine.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ExitClass {
            $(#[doc = $doc] $name = $value,)*
        }

        impl ExitClass {
            /// Every class, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What the log calls it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Its name in Rust, C and the specification.
            pub const fn identifier(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it means.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }

            /// The class of this number, if there is one.
            #[inline]
            pub const fn from_raw(raw: u64) -> Option<Self> {
                match raw { $($value => Some(Self::$name),)* _ => None }
            }
        }
    };
}

classes! {
    /// Something with no portable meaning: see `code` and `info`.
    Other = 0, "other";
    /// CPUID or an ID register.
    IdRead = 1, "id read";
    /// A read of an MSR or system register: `number`.
    RegisterRead = 2, "register read";
    /// A write of an MSR or system register: `number`.
    RegisterWrite = 3, "register write";
    /// A read from a port: `number`, `detail` bytes.
    PortRead = 4, "port read";
    /// A write to a port: `number`, `detail` bytes.
    PortWrite = 5, "port write";
    /// An access that nested paging refused: guest-physical address `number`, kind `detail`.
    Memory = 6, "memory";
    /// A call to the hypervisor; see `privilege` before believing it.
    Hypercall = 7, "hypercall";
    /// An instruction of the virtualization extension, which the guest is not supposed to have.
    Virtualization = 8, "virtualization instruction";
    /// A non-maskable interrupt that was not for the kernel.
    Nmi = 9, "nmi";
    /// The VP cannot go on: triple fault.
    Shutdown = 10, "shutdown";
    /// The hardware refused to enter the VS.
    EntryRefused = 11, "entry refused";
    /// Served by the kernel: another PP asked for attention.
    Kick = 12, "kick";
    /// Served by the kernel: the guest starts, stops or signals another processor.
    Processor = 13, "processor control";
    /// Served by the kernel: cache maintenance that must not reach the hypervisor's own data, a change of memory types.
    Cache = 14, "cache maintenance";
    /// Served by the kernel: a write to the hypervisor's reservation, which vanishes.
    Reserved = 15, "reserved memory";
    /// Served by the kernel from a declared answer, or on Arm by the firmware that the root VM asks.
    Declared = 16, "declared answer";
    /// One instruction was executed, as `VsStep` asked.
    Step = 17, "single step";
    /// `PpKick` was called for this PP.
    Attention = 18, "attention";
    /// The time of `TimerSet` has come.
    Timer = 19, "timer";
    /// An interrupt of the machine's, or the root VM's stop or start of this PP, came while another VM ran: the root VM takes it when it runs next.
    Interrupt = 20, "interrupt";
    /// A VM other than the root VM waits for an interrupt: HLT, WFI.
    Wait = 21, "wait";
}

/// One more than the last class's number.
pub const EXIT_CLASSES: usize = ExitClass::ALL[ExitClass::ALL.len() - 1] as usize + 1;

constants! {
    /// How the guest accessed memory: `detail` of a [`ExitClass::Memory`] exit.
    MEMORY_ACCESS:
    /// It wrote. Neither write nor execute: it read.
    MEMORY_WRITE = 1 << 0;
    /// It fetched an instruction.
    MEMORY_EXECUTE = 1 << 1;
    /// The access was made by the guest's own page walk.
    MEMORY_PAGE_WALK = 1 << 2;
}

bitflags::bitflags! {
    /// How the guest accessed memory, in `detail` of an [`ExitClass::Memory`] exit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MemoryAccess: u64 {
        /// It wrote. Neither write nor execute: it read.
        const WRITE = MEMORY_WRITE;
        /// It fetched an instruction.
        const EXECUTE = MEMORY_EXECUTE;
        /// The access was made by the guest's own page walk.
        const PAGE_WALK = MEMORY_PAGE_WALK;
    }
}
