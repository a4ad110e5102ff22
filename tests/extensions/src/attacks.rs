//! What the extension `guest-attacks` and the root VM say to each other, by the argument and the result of the test
//! hypercall.

/// Runs a new guest VM that sets CR0.CD, and looks whether it reads it back. It ends with 0 if it does.
pub const CACHES_OFF: u64 = 0;

/// Runs a new guest VM whose debug exceptions each raise the next one as they are delivered: a data breakpoint on the stack of
/// their handler. It ends with 1 where the processor lets the handler run.
pub const DEBUG_LOOP: u64 = 1;

/// Runs a new guest VM with a data breakpoint that is not on the stack of the debug exception's handler. It ends with
/// [`ONE_EXCEPTION`] if its handler ran once and returned, behind the store.
pub const DEBUG_ONCE: u64 = 4;

/// What [`DEBUG_ONCE`] ends with: in bits 3:0 how often the handler ran, in bit 4 that DR6 told the breakpoint, in bit 5 that
/// the exception came right behind the store.
pub const ONE_EXCEPTION: u64 = 0x31;

/// Runs a new guest VM at privilege level 3 whose alignment checks each raise the next one as they are delivered: its handler has
/// the same level and the same misaligned stack. It ends with 1 where the processor lets the handler run, with 2 where it
/// checks nothing.
pub const ALIGNMENT_LOOP: u64 = 5;

/// Runs a new guest VM in 32-bit mode with page tables of PAE. It ends with 0 if they translate.
pub const PAE: u64 = 6;

/// Runs on the guest VM that is there.
pub const GO_ON: u64 = 2;

/// Destroys the guest VM's VS.
pub const DESTROY: u64 = 3;

/// The result where the guest's turn is over, and it is not.
pub const RUNNING: u64 = 1 << 16;

/// The result where a guest VM could not be made, or did what nobody answers.
pub const FAILED: u64 = u64::MAX;
