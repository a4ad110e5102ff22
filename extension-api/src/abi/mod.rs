//! The ABI between the kernel and an extension: numbers, layouts and the contract of each call, each defined once.
//!
//! From here come the kernel's dispatch, the Rust API, the specification in `docs/abi/`, the C header
//! `include/plinth.h`, the list of conformance checks and the snapshot that guards what was released (`cargo xtask
//! abi` writes them). A number, once released, never changes its meaning.

mod call;
pub mod cpuid;
mod exit_page;
mod hypercall;
mod manifest;
pub mod register;
mod served;
pub mod spec;
mod status;
mod structures;
mod table;

pub use call::*;
pub use cpuid::CPUID_SHOWN;
pub use exit_page::*;
pub use hypercall::*;
pub use manifest::*;
pub use served::*;
pub use status::*;
pub use structures::*;
pub use table::{Constant, Field, Layout};

/// The newest version of this ABI: what an extension that wants all of it passes to [`Call::HandleOpen`].
pub const VERSION: u64 = 2;

/// The signature in bits 63:48 of every call number: `"PL"`.
pub const SIGNATURE: u64 = 0x504C;

/// Every structure that kernel and extension share.
pub const LAYOUTS: &[Layout] = &[
    EXIT_PAGE,
    ID_ANSWER,
    REGISTER_ACCESS,
    MANIFEST,
    MACHINE_STATUS,
    PP_STATUS,
    LOG_RECORD,
    LOG_COPY,
    TRACE_RECORD,
];
