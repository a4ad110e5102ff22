//! Contracts of VSs: life, registers, running, events.

use super::debug::ANOTHER_PP;
use super::{
    CALL, Contract, ErrorCase, HANDLE, Machine, NO_MEMORY, Note, Parameter, RESUMES, Reach, STALE, Type, VP,
    VS, about, value, whole,
};
use crate::abi::Error;

const REGISTER: Parameter = value("number", Type::Register, "see Registers");
const RUNS_ELSEWHERE: ErrorCase = about(1, Error::Busy, "another PP runs it").reached(ANOTHER_PP);
const OTHER_PP: ErrorCase = about(1, Error::Denied, "a VS of another PP").tagged("other-pp");
const NONE_ACTIVE: ErrorCase = whole(Error::WrongState, "no VS is active").reached(Reach::Start);
const LAUNCHING: Reach = Reach::Elsewhere("would end the launch of the PP; arch-sim `bootstrap`");

pub(crate) const CREATE: Contract = Contract {
    inputs: &[HANDLE, VP, value("pp", Type::Pp, "where it is going to run")],
    outputs: &[value("vs", Type::Vs, "the new VS")],
    errors: &[
        STALE,
        about(2, Error::InvalidArgument, "no such PP can exist"),
        NO_MEMORY,
        whole(Error::OutOfObjects, "there are as many VSs as there can be"),
    ],
    why: "A VP may have several register states: nested guests, virtual trust levels.",
    ..CALL
};

pub(crate) const DESTROY: Contract = Contract {
    inputs: &[HANDLE, VS],
    errors: &[
        STALE,
        about(1, Error::Busy, "it is active on some PP"),
        about(1, Error::Denied, "a root VS that has run")
            .reached(Reach::Elsewhere("needs a PP whose root VS is not active; arch-sim `guest`")),
    ],
    why: "The counterpart of `VsCreate`.",
    ..CALL
};

pub(crate) const INIT_AS_ROOT: Contract = Contract {
    inputs: &[HANDLE, VS],
    errors: &[
        whole(Error::WrongState, "this PP is not being launched, or has a root VS"),
        STALE.reached(LAUNCHING),
        about(1, Error::Busy, "it runs on another PP").reached(LAUNCHING),
        about(1, Error::Denied, "a VS of another VM or PP").reached(LAUNCHING),
    ],
    why: "The OS goes on where it was, as the root VM.",
    details: "Once on each PP, from its bootstrap callback.",
    ..CALL
};

pub(crate) const READ: Contract = Contract {
    inputs: &[HANDLE, VS, REGISTER],
    outputs: &[value("value", Type::Value, "what it holds")],
    errors: &[STALE, RUNS_ELSEWHERE, about(2, Error::InvalidArgument, "this machine has no such register")],
    why: "The registers that are not in the exit page.",
    ..CALL
};

pub(crate) const WRITE: Contract = Contract {
    inputs: &[HANDLE, VS, REGISTER, value("value", Type::Value, "what it is to hold")],
    errors: &[
        STALE,
        RUNS_ELSEWHERE,
        about(2, Error::InvalidArgument, "this machine has no such register, or it cannot take the value"),
    ],
    why: "As `VsRead`.",
    details: "Bits that keep the kernel safe stay. A state that the hardware refuses is an `EntryRefused` exit.",
    ..CALL
};

pub(crate) const RUN: Contract = Contract {
    inputs: &[HANDLE, VS],
    errors: &[
        STALE,
        RUNS_ELSEWHERE,
        OTHER_PP,
        whole(Error::WrongState, "the first VS that a launching PP runs is not its root VS")
            .reached(LAUNCHING),
    ],
    why: "Choosing who runs is the extension's: the kernel has no scheduler.",
    works: Reach::Start,
    ..RESUMES
};

pub(crate) const RUN_CURRENT: Contract = Contract {
    errors: &[NONE_ACTIVE],
    why: "The usual end of a callback that changed the VS itself.",
    ..RESUMES
};

pub(crate) const ADVANCE_AND_RUN_CURRENT: Contract = Contract {
    errors: &[
        NONE_ACTIVE,
        whole(Error::Denied, "the instruction cannot be skipped")
            .reached(Reach::Elsewhere("needs a guest that overwrites its own instruction; arch-sim `exits`")),
    ],
    why: "The usual end of vmexit, in one call.",
    ..RESUMES
};

const CANNOT_SKIP: ErrorCase = whole(Error::Denied, "the instruction cannot be skipped")
    .reached(Reach::Elsewhere("needs a guest that overwrites its own instruction; arch-sim `exits`"));

pub(crate) const ADVANCE_AND_RUN: Contract = Contract {
    inputs: &[HANDLE, VS],
    errors: &[
        STALE,
        RUNS_ELSEWHERE,
        OTHER_PP,
        whole(Error::WrongState, "no VS is active").reached(LAUNCHING),
        CANNOT_SKIP,
    ],
    why: "`VsAdvance` and `VsRun` in one call: from one VS to another.",
    works: Reach::Elsewhere("needs a guest to change to; arch-sim `switching`"),
    ..RESUMES
};

pub(crate) const ADVANCE: Contract = Contract {
    errors: &[NONE_ACTIVE, CANNOT_SKIP],
    why: "The instruction was carried out, but the VS is not to run yet.",
    works: Reach::Elsewhere(
        "would skip an instruction of the root VM that was not carried out; arch-sim `switching`",
    ),
    ..CALL
};

pub(crate) const ACTIVATE: Contract = Contract {
    inputs: &[HANDLE, VS],
    errors: &[STALE, RUNS_ELSEWHERE, OTHER_PP],
    why: "Many general registers of a VS can be read and written in the exit page, before it runs.",
    ..CALL
};

pub(crate) const MIGRATE: Contract = Contract {
    inputs: &[HANDLE, VS, value("pp", Type::Pp, "where it is going to run")],
    errors: &[
        STALE,
        about(1, Error::Busy, "it is active on some PP"),
        about(1, Error::Denied, "a root VS: it belongs to its PP").reached(Reach::Elsewhere(
            "a root VS is active wherever a callback runs, until another VS is; arch-sim `switching`",
        )),
        about(2, Error::InvalidArgument, "no such PP can exist"),
    ],
    why: "Guests can be moved to where there is time for them.",
    ..CALL
};

pub(crate) const FLUSH: Contract = Contract {
    inputs: &[HANDLE, VS],
    errors: &[STALE, RUNS_ELSEWHERE],
    why: "After the guest's own tables were changed for it.",
    details: "It may forget more than this VS's.",
    ..CALL
};

const LIST: Parameter = value("list", Type::Address, "an array of `plinth_register_access`");
const LIST_COUNT: Parameter = value("count", Type::Count, "how many, at most 64");
const BAD_LIST: ErrorCase = about(2, Error::InvalidArgument, "not the extension's memory").tagged("list");
const BAD_ENTRY: ErrorCase =
    about(2, Error::InvalidArgument, "a register that this machine lacks, or a value that it cannot take")
        .tagged("entry");
const LIST_TOO_LONG: ErrorCase = about(3, Error::InvalidArgument, "more than 64");

pub(crate) const READ_MANY: Contract = Contract {
    inputs: &[HANDLE, VS, LIST, LIST_COUNT],
    errors: &[STALE, RUNS_ELSEWHERE, BAD_LIST, BAD_ENTRY, LIST_TOO_LONG],
    why: "One call instead of many.",
    details: "Each entry gets, in `value`, the bits of its register that its mask has. Entries before a bad one are read.",
    ..CALL
};

pub(crate) const WRITE_MANY: Contract = Contract {
    inputs: &[HANDLE, VS, LIST, LIST_COUNT],
    errors: &[STALE, RUNS_ELSEWHERE, BAD_LIST, BAD_ENTRY, LIST_TOO_LONG],
    why: "One call instead of many, and none to read what is to stay.",
    details: "Of each register the bits of the mask are written. Entries before a bad one are written.",
    ..CALL
};

pub(crate) const TRANSLATE: Contract = Contract {
    inputs: &[
        HANDLE,
        VS,
        value("gva", Type::Gva, "the address"),
        value("access", Type::Flags, "0 read, 1 write, 2 execute, by the guest's kernel"),
    ],
    outputs: &[value("gpa", Type::Gpa, "where it leads")],
    errors: &[
        STALE,
        RUNS_ELSEWHERE,
        about(
            2,
            Error::NotMapped,
            "the guest's tables do not map it, do not allow the access, or lie where it has no memory",
        )
        .reached(Reach::Elsewhere("the root VM's OS knows which addresses it maps; unit tests of the walks")),
        about(3, Error::InvalidArgument, "undefined bits, or more than one"),
        whole(Error::Unsupported, "tables of a form that the backend does not follow")
            .reached(Reach::Elsewhere("depends on the guest; unit tests of the walks")),
    ],
    why: "With `VmReadMemory` and `VmWriteMemory`: a guest's memory as the guest sees it.",
    details: "Accessed and dirty bits stay as they are. User pages count as reachable.",
    notes: &[Note {
        machine: Machine::Arm,
        unsupported: false,
        text: "Pages of 4 KiB; 16 and 64 KiB are `Unsupported`.",
    }],
    ..CALL
};

pub(crate) const PROMOTE: Contract = Contract {
    inputs: &[HANDLE, VS],
    errors: &[
        whole(Error::WrongState, "during a launch").reached(LAUNCHING),
        STALE,
        RUNS_ELSEWHERE,
        OTHER_PP,
        about(1, Error::Denied, "its page tables do not map what the last step runs on")
            .tagged("unmapped")
            .reached(Reach::Elsewhere("needs a guest whose page tables are bad")),
        whole(Error::Busy, "a PP is on its way, or another meeting ends")
            .reached(Reach::Elsewhere("needs a PP that starts")),
        whole(Error::Unresponsive, "another PP does not come in time")
            .reached(Reach::Elsewhere("needs a PP that does not answer")),
    ],
    why: "The way back to the bare machine.",
    details: "Skips the instruction that exited, sets general register 0 to 0, gives the bare PP to the VS. All other PPs go back \
              to their root VSs at the same time, wherever those are; where one cannot, none does. What the extension and its \
              VMs had is destroyed. `may-stop=never` at launch makes it `Denied`.",
    works: Reach::Elsewhere("nothing is left to say so; every test that stops the hypervisor"),
    ..RESUMES
};

pub(crate) const SET_VIEW: Contract = Contract {
    inputs: &[HANDLE, VS, value("view", Type::View, "a view of its VM, 0 for the VM's own tables")],
    errors: &[STALE, RUNS_ELSEWHERE, about(2, Error::StaleId, "its VM has no such view")],
    why: "Each VS may see the same memory with other permissions.",
    details: "From its next run on. Costs a flush of the TLB.",
    ..CALL
};

pub(crate) const STEP: Contract = Contract {
    inputs: &[HANDLE, VS, value("on", Type::Flags, "1 on, 0 off")],
    errors: &[STALE, RUNS_ELSEWHERE, about(2, Error::InvalidArgument, "neither 0 nor 1")],
    why: "What was taken away for a hook is given back for one instruction.",
    details: "The exit has class `Step`. An instruction that exits by itself exits as its own class, and one that the \
              kernel serves without asking is not counted. Interrupts are taken as ever: the next instruction may be the \
              first of a handler. A guest that looks at its flags may see the trap flag.",
    ..CALL
};

pub(crate) const INJECT: Contract = Contract {
    inputs: &[HANDLE, VS, value("event", Type::Flags, "see Events")],
    errors: &[
        STALE,
        RUNS_ELSEWHERE,
        about(1, Error::Denied, "an interrupt for a VS of the root VM").tagged("interrupt"),
        about(2, Error::InvalidArgument, "no such event"),
        about(2, Error::Busy, "an interrupt waits already"),
    ],
    why: "What the guest's own hardware would have signalled.",
    details: "A later NMI or exception replaces one that has not been delivered yet. An interrupt waits beside them.",
    ..CALL
};
