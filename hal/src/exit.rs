//! Exits of a VS, the events that the kernel injects, and the requests that a guest makes about processors.

pub use plinth_extension_api::abi::ExitClass;

/// An exit of a VS, reduced to the fields that the kernel reads. The remaining fields stay in the VMCB, the
/// VMCS or the syndrome registers until [`crate::VsHw::describe`] writes them to the exit page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The kind of exit.
    pub class: ExitClass,
    /// By class: the number of an MSR or system register, a port, or a guest-physical address. For a kick:
    /// how many further events arrived with it that cannot be told from a kick.
    pub number: u64,
    /// By class: the size of a port access in bytes, or [`plinth_extension_api::abi::MemoryAccess`] bits. On
    /// Arm, for an access to a register: the number of the general register (Xt) that holds the value.
    pub detail: u64,
}

impl Exit {
    /// An exit of `class`, with number and detail 0.
    #[inline]
    pub const fn of(class: ExitClass) -> Self {
        Self { class, number: 0, detail: 0 }
    }
}

/// [`Exit::detail`] of a [`Cache`](ExitClass::Cache) exit of the root VM: the guest's write has changed the
/// memory types of the machine. The kernel has not skipped the instruction yet, so it can still refuse the
/// write with [`crate::VsHw::refuse_memory_types`].
pub const MEMORY_TYPES: u64 = 1;

/// An event to inject into a VS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A non-maskable interrupt.
    Nmi,
    /// The undefined-instruction exception (x86 #UD, Arm exception class 0).
    Undefined,
    /// An exception, by its number.
    Exception {
        /// The exception vector: 0 to 31 on x86.
        vector: u8,
        /// The error code, for vectors that push an error code.
        error_code: Option<u32>,
    },
}

/// The processors that a guest addresses with an INIT, a SIPI or a similar request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The processor with this hardware id (APIC id or MPIDR affinity).
    Id(u32),
    /// The processors of this logical destination (x86: logical APIC ids).
    Logical(u32),
    /// No processor.
    Nobody,
    /// Every processor except the sender.
    Others,
    /// Every processor, the sender included.
    All,
}

/// The effect on processors that a guest asked for by an exit of class [`ExitClass::Processor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessorEvent {
    /// None that the kernel has to produce: the backend has carried out the access.
    Done,
    /// As [`Self::Done`], but a kick that was pending for this PP may have been lost.
    KickLost,
    /// Stop the target processors until a start arrives (x86 INIT).
    Reset(Target),
    /// Start the target processors at `entry`, if they wait for a start (x86 SIPI).
    Start {
        /// The processors to start.
        target: Target,
        /// The start address in the architecture's own encoding (x86: the SIPI vector, a page number).
        entry: u64,
    },
}
