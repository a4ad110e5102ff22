//! Contracts of the extension's own life: groups control, handle and callback.

use super::{CALL, Contract, Ending, ErrorCase, HANDLE, Parameter, Reach, Type, about, value, whole};
use crate::abi::Error;

/// A call without handle that never returns.
const LAST: Contract = Contract { ending: Ending::Never, inputs: &[], ..CALL };

pub(crate) const EXIT: Contract = Contract {
    why: "A program that cannot go on says so instead of looping.",
    details: "What follows is what follows a fault: see Callbacks.",
    works: Reach::Elsewhere("board tests `exits-in-*`; arch-sim `bootstrap`"),
    ..LAST
};

pub(crate) const WAIT: Contract = Contract {
    why: "`_start` ends here, and only here.",
    details: "Outside `_start`, or without a bootstrap and a vmexit callback, the extension has failed.",
    works: Reach::Elsewhere("every extension that starts; arch-sim `bootstrap`"),
    ..LAST
};

pub(crate) const AGAIN: Contract = Contract {
    ending: Ending::Resumes,
    inputs: &[],
    errors: &[whole(Error::WrongState, "nothing was interrupted")],
    why: "A fail callback that has repaired the cause goes on where the fault was.",
    works: Reach::Elsewhere("arch-sim `crash`"),
    ..CALL
};

pub(crate) const OPEN: Contract = Contract {
    inputs: &[value("version", Type::Value, "the version of the ABI that the extension was built for")],
    outputs: &[value("handle", Type::Handle, "what REG0 of most calls must be")],
    errors: &[
        about(0, Error::Unsupported, "this kernel does not serve the version"),
        whole(Error::Busy, "a handle is open"),
    ],
    why: "The extension says for which version it was built; the kernel serves every version that was released.",
    details: "The handle is a random number: a jump into the middle of somebody's system call does not get far \
              without it.",
    ..CALL
};

pub(crate) const CLOSE: Contract = Contract { why: "The counterpart of `HandleOpen`.", ..CALL };

const CALLBACK: Contract = Contract {
    inputs: &[HANDLE, ENTRY],
    errors: &[NOT_IN_START, NOT_CODE, REGISTERED],
    works: Reach::Start,
    ..CALL
};

const ENTRY: Parameter = value("entry", Type::Address, "where the callback begins, in the extension's image");

const NOT_IN_START: ErrorCase = whole(Error::WrongState, "outside `_start`");

const NOT_CODE: ErrorCase =
    about(1, Error::InvalidArgument, "not in the extension's image").reached(Reach::Start);

const REGISTERED: ErrorCase = whole(Error::Busy, "there is one already").reached(Reach::Start);

pub(crate) const REGISTER_BOOTSTRAP: Contract =
    Contract { why: "Each PP's OS must be made the root VM by the extension's will.", ..CALLBACK };

pub(crate) const REGISTER_VMEXIT: Contract =
    Contract { why: "Exits are the extension's to decide.", ..CALLBACK };

pub(crate) const REGISTER_FAIL: Contract = Contract {
    why: "An extension that can repair itself, or wants to say what happened, gets the chance.",
    details: "Optional: without it the kernel's pass-through takes over at once.",
    ..CALLBACK
};
