//! The ABI between the kernel and an extension: numbers and layouts, nothing else.
//!
//! The kernel, the Rust API and the documentation all take them from here. A number, once released,
//! never changes its meaning.

mod call;
mod exit_page;
mod hypercall;
pub mod register;
mod status;
mod structures;

pub use call::*;
pub use exit_page::*;
pub use hypercall::*;
pub use status::*;
pub use structures::*;

/// The version of this ABI: what an extension passes to [`Call::HandleOpen`].
pub const VERSION: u64 = 1;

/// The signature in bits 63:48 of every call number: `"PL"`.
pub const SIGNATURE: u64 = 0x504C;
