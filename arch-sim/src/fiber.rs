//! One callback of the extension at work: a thread that asks its processor for everything.
//!
//! A resuming system call never returns. Here that is a question that is never answered: the kernel
//! drops the context, the channel closes, and the thread unwinds.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::extension::Callback;

/// What the extension's code wants from its processor.
pub(crate) enum Request {
    /// A system call.
    Call { number: u64, arguments: [u64; 6] },
    /// A word of memory.
    Load(u64),
    /// A word into memory.
    Store(u64, u64),
    /// Nothing more: it returned from a callback that nobody called.
    Returned,
    /// The test failed inside.
    Panicked(Box<dyn Any + Send>),
}

/// The answer.
pub(crate) enum Reply {
    /// What the system call left in the id register, REG0 and REG1.
    Status(u64, [u64; 2]),
    /// The word, or anything once it was stored.
    Value(u64),
}

/// The unwinding of a callback that was left for good.
struct Left;

/// The processor's end.
pub(crate) struct Fiber {
    pub(crate) requests: Receiver<Request>,
    pub(crate) replies: Sender<Reply>,
}

/// The extension's end: its registers and memory, as its code sees them.
pub struct User {
    requests: Sender<Request>,
    replies: Receiver<Reply>,
    entry: u64,
}

impl Fiber {
    /// Starts a callback that was entered at `entry`.
    pub(crate) fn start(callback: Callback, entry: u64, arguments: [u64; 3]) -> Self {
        let (to_cpu, requests) = channel();
        let (replies, from_cpu) = channel();
        let user = User { requests: to_cpu, replies: from_cpu, entry };
        std::thread::spawn(move || user.run(&callback, arguments));
        Self { requests, replies }
    }
}

impl User {
    fn run(self, callback: &Callback, arguments: [u64; 3]) {
        let last = match catch_unwind(AssertUnwindSafe(|| callback(&self, arguments))) {
            Ok(()) => Request::Returned,
            Err(payload) if payload.is::<Left>() => return,
            Err(payload) => Request::Panicked(payload),
        };
        // A processor that is gone has seen the end already.
        let _ = self.requests.send(last);
    }

    /// Where the callback was entered.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Does nothing for ever: no call, no access, no return.
    pub fn hang(&self) -> ! {
        let _ = self.replies.recv();
        resume_unwind(Box::new(Left))
    }

    pub(crate) fn ask(&self, request: Request) -> Reply {
        let answer = self.requests.send(request).ok().and_then(|()| self.replies.recv().ok());
        answer.unwrap_or_else(|| resume_unwind(Box::new(Left)))
    }
}
