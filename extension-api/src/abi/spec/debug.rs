//! Contracts of the debug group.

use super::{CALL, Contract, Type, about, value};
use crate::abi::Error;

pub(crate) const OUT: Contract = Contract {
    inputs: &[value("first", Type::Value, "any value"), value("second", Type::Value, "any value")],
    why: "A sign of life from a program that has no text yet.",
    ..CALL
};

pub(crate) const DUMP_VS: Contract = Contract {
    inputs: &[value("vs", Type::Vs, "the VS")],
    errors: &[
        about(0, Error::StaleId, "the id names nothing"),
        about(0, Error::Busy, "another PP runs it").reached(ANOTHER_PP),
    ],
    why: "For exits that nobody understands.",
    ..CALL
};

const FOR_PEOPLE: &str = "For a person who looks for a mistake.";

pub(crate) const DUMP_VM: Contract = Contract {
    inputs: &[value("vm", Type::Vm, "the VM")],
    errors: &[about(0, Error::StaleId, "the id names nothing")],
    why: FOR_PEOPLE,
    ..CALL
};

pub(crate) const DUMP_VP: Contract = Contract {
    inputs: &[value("vp", Type::Vp, "the VP")],
    errors: &[about(0, Error::StaleId, "the id names nothing")],
    why: FOR_PEOPLE,
    ..CALL
};

pub(crate) const DUMP_EXITS: Contract = Contract {
    inputs: &[value("pp", Type::Pp, "the PP")],
    errors: &[about(0, Error::InvalidArgument, "no such PP can exist")],
    why: FOR_PEOPLE,
    ..CALL
};

pub(crate) const DUMP_EXTENSION: Contract = Contract { inputs: &[], why: FOR_PEOPLE, ..CALL };

pub(crate) const DUMP_POOL: Contract = Contract { inputs: &[], why: FOR_PEOPLE, ..CALL };

/// The reason of checks that need a second PP at the right moment.
pub(super) const ANOTHER_PP: super::Reach =
    super::Reach::Elsewhere("needs a second PP that runs it meanwhile; arch-sim `processors`");

pub(crate) const WRITE: Contract = Contract {
    inputs: &[
        value("text", Type::Address, "UTF-8 text"),
        value("bytes", Type::Bytes, "its length, at most 256"),
        value("level", Type::Value, "1 error, 2 warning, 3 information, 4 debug, 5 trace"),
    ],
    errors: &[
        about(0, Error::InvalidArgument, "the address is not the extension's").tagged("unmapped"),
        about(0, Error::InvalidArgument, "the text is not UTF-8").tagged("not-utf-8"),
        about(1, Error::InvalidArgument, "more than 256 bytes"),
        about(2, Error::InvalidArgument, "no such level"),
    ],
    why: "One line of log.",
    details: "Control characters become `?`, so that no line can be forged.",
    ..CALL
};

pub(crate) const EXIT_COUNT: Contract = Contract {
    inputs: &[value("pp", Type::Pp, "the PP"), value("class", Type::Value, "the exit class")],
    outputs: &[value("exits", Type::Count, "exits of that class on that PP since launch")],
    errors: &[
        about(0, Error::InvalidArgument, "no such PP can exist"),
        about(1, Error::InvalidArgument, "no such class"),
    ],
    why: "So that a test, or a person, can say how many exits there were.",
    ..CALL
};
