//! What the root VM's kernel asks of the example `page-hook`: hypercalls, with the argument in RBX or X1.

#![no_std]

use plinth_extension_api::abi::SIGNATURE;

/// Hooks the page at this guest-physical address. Bits 2:0 say what may still be done with it unseen: 1 read, 2 write,
/// 4 execute. Result 0, or all ones where the machine has no such pages. One page at a time.
pub const HOOK: u64 = SIGNATURE << 48 | 0x0004_0001;

/// Gives the page back. Result: how often it was hit.
pub const UNHOOK: u64 = SIGNATURE << 48 | 0x0004_0002;

/// Result: the address of the instruction that hit it last.
pub const WHERE: u64 = SIGNATURE << 48 | 0x0004_0003;

/// The result of a refused [`HOOK`].
pub const REFUSED: u64 = u64::MAX;
