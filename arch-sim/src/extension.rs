//! An extension of closures, and what its code can do.
//!
//! In memory its callbacks are words of its text segment ([`callback_word`]), so entering one needs that page
//! to be executable for the extension; everything that the closure does goes through its processor.

use std::sync::Arc;

use plinth_extension_api::abi::{Call, Failure, Status};

pub use crate::fiber::User;
use crate::fiber::{Reply, Request};

/// Code of the extension, entered with three arguments.
pub type Callback = Arc<dyn Fn(&User, [u64; 3]) + Send + Sync>;

/// Which callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The ELF entry point.
    Start,
    /// Once on each processor.
    Bootstrap,
    /// At every exit that is the extension's to decide.
    Vmexit,
    /// After a failure.
    Fail,
}

/// How many slots there are.
pub const SLOTS: usize = 4;

const CODE: u64 = 0xCA11_0000;

/// The word in the text segment that stands for a callback.
pub const fn callback_word(slot: usize) -> u64 {
    CODE | slot as u64
}

/// The extension's code.
#[derive(Clone)]
pub struct Extension([Callback; SLOTS]);

impl Default for Extension {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::new(|_: &User, _| {}) as Callback))
    }
}

impl Extension {
    /// An extension whose callbacks return at once, which is a fault.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces a callback.
    #[must_use]
    pub fn on(mut self, slot: Slot, code: impl Fn(&User, [u64; 3]) + Send + Sync + 'static) -> Self {
        self.0[slot as usize] = Arc::new(code);
        self
    }

    pub(crate) fn callback(&self, word: u64) -> Option<Callback> {
        self.0.get(usize::try_from(word ^ CODE).ok()?).cloned()
    }
}

impl User {
    /// The address of another callback, seen from this one, which was entered at `slot`.
    pub fn address_of(&self, own: Slot, other: Slot) -> u64 {
        self.entry() - own as u64 * 8 + other as u64 * 8
    }

    /// Any system call: what it leaves in the id register, REG0 and REG1.
    pub fn raw_call(&self, number: u64, arguments: [u64; 6]) -> (u64, [u64; 2]) {
        match self.ask(Request::Call { number, arguments }) {
            Reply::Status(status, outputs) => (status, outputs),
            Reply::Value(_) => unreachable!("a call is answered by a status"),
        }
    }

    /// A system call with the arguments from REG0 on.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn call(&self, call: Call, arguments: &[u64]) -> Result<[u64; 2], Failure> {
        let mut registers = [0; 6];
        registers[..arguments.len()].copy_from_slice(arguments);
        let (status, outputs) = self.raw_call(call.number(), registers);
        Status::from_raw(status).result().map(|()| outputs)
    }

    /// The word at `at`, if the extension can reach it; else the call does not return.
    pub fn load(&self, at: u64) -> u64 {
        match self.ask(Request::Load(at)) {
            Reply::Value(value) => value,
            Reply::Status(..) => unreachable!("a load is answered by a value"),
        }
    }

    /// Writes the word at `at`, if the extension can reach it; else the call does not return.
    pub fn store(&self, at: u64, value: u64) {
        self.ask(Request::Store(at, value));
    }
}
