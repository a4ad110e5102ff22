//! Contracts of what reaches the machine itself.

use super::{CALL, Contract, ErrorCase, HANDLE, Machine, Note, Parameter, Reach, Type, about, value, whole};
use crate::abi::Error;

const REGISTER: Parameter = value("number", Type::Register, "an MSR or system register");
const UNLISTED: ErrorCase = about(1, Error::Denied, "it is not listed");

pub(crate) const READ: Contract = Contract {
    inputs: &[HANDLE, REGISTER],
    outputs: &[value("value", Type::Value, "what it holds")],
    errors: &[
        UNLISTED,
        about(1, Error::HardwareFault, "listed, but this machine lacks it")
            .reached(Reach::Elsewhere("depends on the processor; arch-sim `calls`")),
    ],
    why: "Denied by default: each backend lists what is harmless.",
    notes: &[Note {
        machine: Machine::Amd,
        unsupported: false,
        text: "Listed: TSC (0x10), MTRR capabilities (0xFE), PAT (0x277), MTRR default type (0x2FF), SYSCFG, HWCR, \
               TOP_MEM, TOP_MEM2.",
    }],
    ..CALL
};

pub(crate) const WRITE: Contract = Contract {
    inputs: &[HANDLE, REGISTER, value("value", Type::Value, "what it is to hold")],
    errors: &[
        UNLISTED,
        about(2, Error::HardwareFault, "the machine refuses the value")
            .reached(Reach::Elsewhere("depends on the processor; arch-sim `calls`")),
    ],
    why: "As `IntrinsicRead`.",
    notes: &[Note { machine: Machine::Amd, unsupported: false, text: "None is listed." }],
    works: Reach::Elsewhere("no machine but arch-sim lists one; arch-sim `calls`"),
    ..CALL
};

pub(crate) const RESET: Contract = Contract {
    errors: &[whole(Error::Unsupported, "the machine does not restart")
        .reached(Reach::Elsewhere("every board's machine restarts"))],
    why: "What a triple fault of the root VM means.",
    works: Reach::Elsewhere("nothing is left to say so; board test `triple-fault`"),
    ..RESETS
};

/// A call that ends the machine, and returns only if it cannot.
const RESETS: Contract = Contract { ending: super::Ending::Resumes, ..CALL };

pub(crate) const TIME_READ: Contract = Contract {
    outputs: &[
        value("ticks", Type::Ticks, "the counter"),
        value("frequency", Type::Value, "ticks per second; 0 where the machine does not say"),
    ],
    why: "Something to measure by that never goes back.",
    notes: &[
        Note {
            machine: Machine::Amd,
            unsupported: false,
            text: "The time-stamp counter, with the frequency of CPUID leaf 15H; older processors do not say. The root VM \
                   may write the counter, and is believed not to.",
        },
        Note { machine: Machine::Intel, unsupported: false, text: "As on SVM." },
        Note { machine: Machine::Arm, unsupported: false, text: "CNTPCT_EL0 and CNTFRQ_EL0." },
    ],
    ..CALL
};

pub(crate) const TIMER_SET: Contract = Contract {
    inputs: &[
        HANDLE,
        value("deadline", Type::Ticks, "when, by the counter that `TimeRead` reads; `TIMER_OFF` for never"),
    ],
    why: "Whoever divides a PP's time among VSs must get the PP back from one that does not exit by itself.",
    details: "The VS that is active then exits with class `Timer`, once: the timer is off again. A time that has passed when a VS \
              is about to run comes before its next instruction. There is one timer for each PP; setting it replaces the time \
              before. It does not wake a VS that waits for a start.",
    notes: &[
        Note {
            machine: Machine::Amd,
            unsupported: false,
            text: "There is no timer for this. The exit comes with the first exit of the VS, interrupt to it or return from one, at the \
                   time or later: a VS with interrupts disabled, or with none on their way, that does not exit is not reached.",
        },
        Note {
            machine: Machine::Intel,
            unsupported: false,
            text: "Exact while the processor is in a C-state up to C2, by the VMX-preemption timer. The timer stops in deeper ones, \
                into which the root VM goes by HLT and MWAIT without an exit: there, and on a processor without the timer, with the \
                first exit at the time or later.",
        },
        Note {
            machine: Machine::Arm,
            unsupported: false,
            text: "Exact for a guest VM, and with GICv3 for the root VM, by the hypervisor's timer. With GICv2 an interrupt of the root VM's \
                   own keeps it out until that VM exits or waits. Where the timer's interrupt cannot come (no GIC that is known, one with two \
                   security states under firmware that clears SCR_EL3.FIQ, a root VM that masks all priorities, uses the highest one or \
                   disables a group of interrupts meanwhile, or, with GICv2, the private ones), and for the root VM without a GIC, with \
                   the first exit at the time or later.",
        },
    ],
    ..CALL
};

pub(crate) const PP_QUERY: Contract = Contract {
    outputs: &[value("pp", Type::Pp, "this PP"), value("count", Type::Count, "launched PPs")],
    why: "So that code without an exit page knows where it is.",
    ..CALL
};

pub(crate) const PP_KICK: Contract = Contract {
    inputs: &[HANDLE, value("pp", Type::Pp, "the PP")],
    errors: &[about(1, Error::InvalidArgument, "no such PP is launched")],
    why: "What one PP decided may have to be done on another.",
    details: "The PP's active VS exits with class `Attention`, soon; at its next run, if the extension is at work there. \
              Several kicks may come to one exit.",
    notes: &[
        Note { machine: Machine::Amd, unsupported: false, text: "A VS that has halted is woken." },
        Note { machine: Machine::Intel, unsupported: false, text: "As on SVM." },
        Note {
            machine: Machine::Arm,
            unsupported: false,
            text: "A VS that sleeps in WFI exits when an interrupt wakes it, before it executes anything. One that runs \
                   exits before its next instruction.",
        },
    ],
    ..CALL
};
