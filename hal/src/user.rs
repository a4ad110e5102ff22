//! The registers of the extension at the system-call boundary, and the reasons why the extension stops
//! running.

use crate::addr::UserVa;

/// The saved registers of the extension on one PP.
pub trait UserContext: Default + Send {
    /// Prepares an upcall: the next entry starts at `entry` with the stack pointer at `stack`, where an empty
    /// stack ends, and with up to three arguments. Clears every other register, so that no older value
    /// reaches the callback.
    fn prepare_upcall(&mut self, entry: UserVa, stack: UserVa, arguments: [u64; 3]);

    /// The value of the id register at the system call: opcode and flags.
    fn call_number(&self) -> u64;

    /// The value of REG0 to REG5 at the system call.
    fn argument(&self, register: usize) -> u64;

    /// Sets `status`, which the system call returns in the id register at the next entry.
    fn set_status(&mut self, status: u64);

    /// Sets one of REG0 to REG5 for the return from the system call.
    fn set_output(&mut self, register: usize, value: u64);
}

/// Why the extension stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserExit {
    /// The extension made a system call.
    Call,
    /// The extension caused an exception.
    Fault(UserFault),
    /// A kick arrived, or an event that cannot be told from a kick. The context is intact: the next entry
    /// resumes the extension.
    Kick,
    /// The preemption timer of [`crate::HostCpu::end_turn_after`] may have expired, or an interrupt of the
    /// root VM arrived, which [`crate::HostCpu::return_interrupts`] gives back. The context is intact.
    Clock,
}

/// The exception that the extension caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserFault {
    /// The number of the exception: x86 vector, Arm exception class.
    pub vector: u64,
    /// The details of the exception: x86 error code, Arm syndrome (ESR).
    pub error: u64,
    /// The faulting address, for memory faults.
    pub address: u64,
    /// The address of the faulting instruction.
    pub instruction_pointer: u64,
}
