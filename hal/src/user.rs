//! The system-call boundary.

use crate::addr::UserVa;

/// The registers of the extension on one PP.
pub trait UserContext: Default + Send {
    /// The next entry starts at `entry` on the empty stack that ends at `stack`, with up to three arguments
    /// and nothing else of the past in any register.
    fn prepare_upcall(&mut self, entry: UserVa, stack: UserVa, arguments: [u64; 3]);

    /// What the id register held at the system call.
    fn call_number(&self) -> u64;

    /// REG0 to REG5 at the system call.
    fn argument(&self, register: usize) -> u64;

    /// The next entry returns from the system call with `status` in the id register.
    fn set_status(&mut self, status: u64);

    /// Sets REG0 to REG5 for the return from the system call.
    fn set_output(&mut self, register: usize, value: u64);
}

/// Why the extension stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserExit {
    /// It made a system call.
    Call,
    /// It did what it must not.
    Fault(UserFault),
    /// A kick came, or what looks like one. The context is as it was: the next entry goes on with it.
    Kick,
    /// The time of [`crate::HostCpu::end_turn_after`] may be up, or an interrupt of the root VM's has come, which
    /// [`crate::HostCpu::return_interrupts`] gives back. The context is as it was.
    Clock,
}

/// What the extension did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserFault {
    /// The machine's number for it: x86 exception vector, Arm exception class.
    pub vector: u64,
    /// The machine's details: x86 error code, Arm syndrome.
    pub error: u64,
    /// The address it tried to reach, for memory faults.
    pub address: u64,
    /// The instruction at fault.
    pub instruction_pointer: u64,
}
