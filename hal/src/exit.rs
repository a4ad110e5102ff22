//! Why a VS stopped running.

pub use plinth_extension_api::abi::ExitClass;

/// An exit, as much of it as the kernel looks at. The rest stays with the hardware until
/// [`crate::VsHw::describe`] writes it into the exit page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// What kind it is.
    pub class: ExitClass,
    /// By class: MSR or system register, port, guest-physical address; of a kick, how many more came with it that look like one.
    pub number: u64,
    /// By class: access size or [`plinth_extension_api::abi::MemoryAccess`] bits.
    pub detail: u64,
}

impl Exit {
    /// An exit with nothing but its class.
    #[inline]
    pub const fn of(class: ExitClass) -> Self {
        Self { class, number: 0, detail: 0 }
    }
}

/// [`Exit::detail`] of a [`Cache`](ExitClass::Cache) exit of the root VM: the machine's memory types are other ones now. The
/// instruction that has changed them is not skipped yet: see [`crate::VsHw::refuse_memory_types`].
pub const MEMORY_TYPES: u64 = 1;

/// An event to deliver to a VS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A non-maskable interrupt.
    Nmi,
    /// The exception for an instruction that does not exist.
    Undefined,
    /// A processor exception.
    Exception {
        /// The vector: x86 0 to 31.
        vector: u8,
        /// The error code, for the vectors that have one.
        error_code: Option<u32>,
    },
}

/// Which processors a guest means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one with this hardware id (APIC id, MPIDR affinity).
    Id(u32),
    /// Those in this set, in the interrupt controller's logical terms.
    Logical(u32),
    /// No one at all.
    Nobody,
    /// Every one but itself.
    Others,
    /// Every one.
    All,
}

/// What a guest wants done to processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessorEvent {
    /// Nothing that the kernel has to see to; it was done.
    Done,
    /// The same, but a kick that was on its way to this PP may have got lost.
    KickLost,
    /// Stop and wait to be started (x86 INIT).
    Reset(Target),
    /// Start at `entry` if waiting for it (x86 SIPI: the page number).
    Start {
        /// Which.
        target: Target,
        /// Where, in the machine's own terms.
        entry: u64,
    },
}
