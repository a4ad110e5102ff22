//! The ordinary extension: it passes everything through. Tests replace the piece that they are about.

use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::abi::{
    Call, ExitClass, ExitPage, Failure, HYPERCALL_REFUSED, HYPERCALL_STOP, ROOT_VM,
};
use plinth_extension_api::abi::{EVENT_EXCEPTION, EVENT_NMI, VERSION};

use crate::extension::{Extension, Slot, User};
use crate::machine::{FEATURE_LEAF, Machine, VIRTUALIZATION};

/// What the extension remembers.
#[derive(Debug, Default)]
pub struct Standard {
    handle: AtomicU64,
    /// Registers a fail callback too.
    with_fail: bool,
}

/// An exit as the callback got it.
#[derive(Clone, Copy, Debug)]
pub struct ExitInfo {
    /// Where the exit page is mapped.
    pub page: u64,
    /// The VS that exited.
    pub vs: u64,
    /// Its class.
    pub class: ExitClass,
}

impl ExitInfo {
    /// From a vmexit callback's arguments.
    pub fn new([page, vs, class]: [u64; 3]) -> Self {
        Self { page, vs, class: ExitClass::from_raw(class).unwrap_or(ExitClass::Other) }
    }

    /// A field of the exit page, by its offset.
    pub fn field(&self, user: &User, offset: usize) -> u64 {
        user.load(self.page + offset as u64)
    }

    /// The exit's number.
    pub fn number(&self, user: &User) -> u64 {
        self.field(user, offset_of!(ExitPage, number))
    }

    /// A general register of the VS.
    pub fn register(&self, user: &User, register: u64) -> u64 {
        user.load(self.page + register * 8)
    }

    /// Sets a general register of the VS.
    pub fn set_register(&self, user: &User, register: u64, value: u64) {
        user.store(self.page + register * 8, value);
    }
}

impl Standard {
    /// Without a fail callback.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// With a fail callback, which [`Standard::extension`] leaves to the caller.
    pub fn with_fail() -> Arc<Self> {
        Arc::new(Self { with_fail: true, ..Self::default() })
    }

    /// The extension with the ordinary callbacks.
    pub fn extension(self: &Arc<Self>) -> Extension {
        let (start, bootstrap, vmexit) = (self.clone(), self.clone(), self.clone());
        Extension::new()
            .on(Slot::Start, move |user, _| start.start(user))
            .on(Slot::Bootstrap, move |user, [pp, ..]| bootstrap.bootstrap_on(user, pp))
            .on(Slot::Vmexit, move |user, exit| vmexit.vmexit(user, ExitInfo::new(exit)))
    }

    /// The open handle.
    pub fn handle(&self) -> u64 {
        self.handle.load(Ordering::SeqCst)
    }

    /// A call with the handle in REG0.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn call(&self, user: &User, call: Call, arguments: &[u64]) -> Result<[u64; 2], Failure> {
        user.call(call, &[&[self.handle()], arguments].concat())
    }

    /// A call that has to work, for its first output.
    pub fn expect(&self, user: &User, call: Call, arguments: &[u64]) -> u64 {
        match self.call(user, call, arguments) {
            Ok([first, _]) => first,
            Err(failure) => panic!("{call:?}{arguments:x?}: {failure}"),
        }
    }

    /// Opens the handle.
    pub fn open(&self, user: &User) {
        let opened = user.call(Call::HandleOpen, &[VERSION]).expect("the first handle is to be had");
        self.handle.store(opened[0], Ordering::SeqCst);
    }

    /// `_start`: registers the callbacks and waits.
    pub fn start(&self, user: &User) {
        self.register(user);
        let _ = user.call(Call::ControlWait, &[]);
    }

    /// Opens the handle and registers the callbacks, from `_start`.
    pub fn register(&self, user: &User) {
        self.open(user);
        for (call, slot) in [
            (Call::CallbackRegisterBootstrap, Slot::Bootstrap),
            (Call::CallbackRegisterVmexit, Slot::Vmexit),
            (Call::CallbackRegisterFail, Slot::Fail),
        ] {
            if slot != Slot::Fail || self.with_fail {
                self.expect(user, call, &[user.address_of(Slot::Start, slot)]);
            }
        }
    }

    /// Makes the root VS of a processor, from the bootstrap callback.
    pub fn root_vs(&self, user: &User, pp: u64) -> u64 {
        let vp = self.expect(user, Call::VpCreate, &[ROOT_VM]);
        let vs = self.expect(user, Call::VsCreate, &[vp, pp]);
        self.expect(user, Call::VsInitAsRoot, &[vs]);
        vs
    }

    /// Bootstrap: makes the OS on this processor the root VM and runs it.
    pub fn bootstrap_on(&self, user: &User, pp: u64) {
        let vs = self.root_vs(user, pp);
        self.expect(user, Call::VsRun, &[vs]);
    }

    /// Answers an exit as the bare machine would.
    pub fn vmexit(&self, user: &User, exit: ExitInfo) {
        match exit.class {
            ExitClass::IdRead => self.id_read(user, exit),
            ExitClass::Hypercall => self.hypercall(user, exit),
            // Whoever ran goes on.
            ExitClass::Attention | ExitClass::Interrupt | ExitClass::Timer => return self.run(user),
            ExitClass::Nmi => return self.inject_and_run(user, exit, EVENT_NMI),
            ExitClass::RegisterRead => {
                let value = self.call(user, Call::IntrinsicRead, &[exit.number(user)]);
                exit.set_register(user, 0, value.map_or(0, |value| value[0]));
            }
            ExitClass::PortRead => exit.set_register(user, 0, 0xEE),
            ExitClass::RegisterWrite | ExitClass::PortWrite => {}
            _ => return self.inject_and_run(user, exit, EVENT_EXCEPTION | 6),
        }
        self.advance_and_run(user);
    }

    fn id_read(&self, user: &User, exit: ExitInfo) {
        let leaf = exit.register(user, 0) as u32;
        let mut answer = Machine::id_answer(leaf, exit.register(user, 1) as u32);
        if leaf == FEATURE_LEAF {
            answer[0] &= !VIRTUALIZATION;
        }
        for (register, value) in [0, 3, 1, 2].into_iter().zip(answer) {
            exit.set_register(user, register, value.into());
        }
    }

    fn hypercall(&self, user: &User, exit: ExitInfo) {
        if exit.register(user, 0) == HYPERCALL_STOP {
            let _ = self.call(user, Call::VsPromote, &[exit.vs]);
        }
        exit.set_register(user, 0, HYPERCALL_REFUSED);
    }

    /// Delivers an event and runs on. Does not come back.
    pub fn inject_and_run(&self, user: &User, exit: ExitInfo, event: u64) {
        self.expect(user, Call::VsInject, &[exit.vs, event]);
        self.run(user);
    }

    /// Runs the active VS; does not come back.
    pub fn run(&self, user: &User) {
        self.expect(user, Call::VsRunCurrent, &[]);
    }

    /// Skips the instruction and runs the active VS; does not come back.
    pub fn advance_and_run(&self, user: &User) {
        self.expect(user, Call::VsAdvanceAndRunCurrent, &[]);
    }
}
