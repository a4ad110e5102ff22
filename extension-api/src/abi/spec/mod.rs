//! The contract of each call, as data: the one source from which the specification, the C header, the snapshot and
//! the list of conformance checks are made. A call's number and one sentence of what it does stand in
//! `abi/call.rs`; what it takes, gives and refuses, and why it exists, stand here.

mod checks;
pub(super) mod debug;
pub(super) mod life;
pub(super) mod machine;
pub(super) mod memory;
mod predecessor;
pub(super) mod vm;
pub(super) mod vs;

pub use checks::{Case, Check, checks};
pub use predecessor::{PREDECESSOR, Predecessor};

use super::Error;

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It returns to the caller.
    Returns,
    /// It runs something else, and returns only if it fails.
    Resumes,
    /// It never returns.
    Never,
}

/// What an input or output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// The open handle.
    Handle,
    /// Any number.
    Value,
    /// A number of bytes.
    Bytes,
    /// How many.
    Count,
    /// Bits with a meaning each.
    Flags,
    /// An address in the extension.
    Address,
    /// A guest-physical address.
    Gpa,
    /// A guest-virtual address.
    Gva,
    /// The number of a physical processor.
    Pp,
    /// The id of a VM.
    Vm,
    /// The id of a VP.
    Vp,
    /// The id of a VS.
    Vs,
    /// A view of a VM; 0 stands for the VM's own tables.
    View,
    /// The number of a register.
    Register,
    /// Ticks of the machine's counter.
    Ticks,
}

impl Type {
    /// What the specification calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handle => "handle",
            Self::Value => "value",
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Flags => "flags",
            Self::Address => "address",
            Self::Gpa => "GPA",
            Self::Gva => "GVA",
            Self::Pp => "PP",
            Self::Vm => "VM",
            Self::Vp => "VP",
            Self::Vs => "VS",
            Self::View => "view",
            Self::Register => "register",
            Self::Ticks => "ticks",
        }
    }
}

/// An input or output. Its register follows from its place: the first is in REG0.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name, as a C identifier.
    pub name: &'static str,
    /// What it is.
    pub kind: Type,
    /// What it means.
    pub text: &'static str,
}

/// Whether a conformance check can bring an error about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In any vmexit callback.
    Vmexit,
    /// In `_start` alone.
    Start,
    /// An extension cannot bring it about at will; says why, and what shows it instead.
    Elsewhere(&'static str),
}

/// One way to fail.
#[derive(Clone, Copy, Debug)]
pub struct ErrorCase {
    /// The error.
    pub error: Error,
    /// The argument at fault, 0 for REG0, if one is.
    pub argument: Option<u8>,
    /// Tells it from other cases of the same error and argument; may be empty.
    pub tag: &'static str,
    /// When it comes.
    pub when: &'static str,
    /// Who can bring it about.
    pub reach: Reach,
}

/// A machine, for what is different on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64 with SVM.
    Amd,
    /// x86-64 with VMX.
    Intel,
    /// AArch64 with EL2.
    Arm,
    /// The software machine of the tests.
    Sim,
}

impl Machine {
    /// What the specification calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amd => "SVM",
            Self::Intel => "VMX",
            Self::Arm => "EL2",
            Self::Sim => "arch-sim",
        }
    }
}

/// What a machine does differently.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// Where.
    pub machine: Machine,
    /// The call answers `Unsupported` there.
    pub unsupported: bool,
    /// What is different, or why it cannot be served.
    pub text: &'static str,
}

/// The contract of a call.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// How it ends.
    pub ending: Ending,
    /// Inputs from REG0 on.
    pub inputs: &'static [Parameter],
    /// Outputs from REG0 on.
    pub outputs: &'static [Parameter],
    /// Every way to fail, but for `UnknownCall`, a group outside the manifest and, where it takes the handle,
    /// `InvalidHandle(0)`.
    pub errors: &'static [ErrorCase],
    /// Why it exists.
    pub why: &'static str,
    /// More that a caller must know; may be empty.
    pub details: &'static str,
    /// What differs by machine.
    pub notes: &'static [Note],
    /// Where not in the conformance run, what shows that the call works.
    pub works: Reach,
}

impl Contract {
    /// Whether REG0 is the handle.
    pub const fn takes_handle(&self) -> bool {
        matches!(self.inputs.first(), Some(Parameter { kind: Type::Handle, .. }))
    }
}

/// A call that returns; what each contract starts from.
const CALL: Contract = Contract {
    ending: Ending::Returns,
    inputs: &[HANDLE],
    outputs: &[],
    errors: &[],
    why: "",
    details: "",
    notes: &[],
    works: Reach::Vmexit,
};

/// A call that resumes.
const RESUMES: Contract = Contract { ending: Ending::Resumes, ..CALL };

const HANDLE: Parameter = value("handle", Type::Handle, "the open handle");
const VM: Parameter = value("vm", Type::Vm, "the VM");
const VP: Parameter = value("vp", Type::Vp, "the VP");
const VS: Parameter = value("vs", Type::Vs, "the VS");

const fn value(name: &'static str, kind: Type, text: &'static str) -> Parameter {
    Parameter { name, kind, text }
}

/// An error about argument `argument`.
const fn about(argument: u8, error: Error, when: &'static str) -> ErrorCase {
    ErrorCase { error, argument: Some(argument), tag: "", when, reach: Reach::Vmexit }
}

/// An error about no argument.
const fn whole(error: Error, when: &'static str) -> ErrorCase {
    ErrorCase { error, argument: None, tag: "", when, reach: Reach::Vmexit }
}

impl ErrorCase {
    const fn tagged(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    const fn reached(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }
}

/// The error for an id that names nothing, in REG1.
const STALE: ErrorCase = about(1, Error::StaleId, "the id names nothing");
/// The error for a pool that is empty.
const NO_MEMORY: ErrorCase = whole(Error::OutOfMemory, "the pool is empty");

/// The specification's words about the calling convention, in Markdown.
pub const CONVENTION: &str = include_str!("convention.md");
/// Its words about ids and callbacks.
pub const CALLBACKS: &str = include_str!("callbacks.md");
/// Its words about what calls pass.
pub const DATA: &str = include_str!("data.md");

/// What a version brought.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// Its number.
    pub number: u64,
    /// Whether it was released: from then on nothing of it may change.
    pub released: bool,
    /// What it brought besides calls, a line each.
    pub changes: &'static [&'static str],
}

/// Every version, the oldest first.
pub const VERSIONS: &[Version] = &[
    Version {
        number: 1,
        released: false,
        changes: &[
            "The calling convention, the status, callbacks `_start`, bootstrap, vmexit and fail.",
            "The exit page, the portable exit classes, declared answers to ID reads.",
            "Hypercalls stop and report.",
        ],
    },
    Version {
        number: 2,
        released: false,
        changes: &[
            "Views of a VM's memory. Single-stepping: exit class `Step`. Kicks: exit class `Attention`.",
            "Memory types: `VmMap` takes one, `VmQuery` and `VmViewQuery` tell it.",
            "Interrupts for guest VMs: event types 4 and 5, exit classes `Interrupt` and `Wait`.",
            "Manifests. An extension without one may not call group 7, intrinsic.",
            "A timer for each PP: exit class `Timer`.",
        ],
    },
];
