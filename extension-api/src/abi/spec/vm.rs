//! Contracts of VMs and VPs: life, declared policy, intercepts.

use super::{
    CALL, Contract, HANDLE, Machine, NO_MEMORY, Note, Reach, STALE, Type, VM, VP, about, value, whole,
};
use crate::abi::Error;

/// What can be opened depends on the machine and on the manifest.
const OPENINGS: Reach = Reach::Elsewhere("depends on the machine; board test `denied`, arch-sim `calls`");

pub(crate) const CREATE: Contract = Contract {
    outputs: &[value("vm", Type::Vm, "the new VM")],
    errors: &[NO_MEMORY, whole(Error::OutOfObjects, "there are as many VMs as there can be")],
    why: "A guest gets what the extension gives it and nothing else.",
    ..CALL
};

pub(crate) const DESTROY: Contract = Contract {
    inputs: &[HANDLE, VM],
    errors: &[
        STALE,
        about(1, Error::Denied, "the root VM"),
        about(1, Error::Busy, "it has a VP").tagged("vp"),
        about(1, Error::Busy, "it has memory").tagged("memory"),
    ],
    why: "The counterpart of `VmCreate`.",
    ..CALL
};

pub(crate) const FLUSH: Contract = Contract {
    inputs: &[HANDLE, VM],
    errors: &[STALE],
    why: "The kernel flushes whenever it has to; this is for an extension that knows of another reason.",
    details: "Returns once every PP has. It may forget more than this VM's.",
    ..CALL
};

pub(crate) const DECLARE_IDS: Contract = Contract {
    inputs: &[
        HANDLE,
        VM,
        value("answers", Type::Address, "an array of `plinth_id_answer`"),
        value("count", Type::Count, "how many, at most 64"),
    ],
    errors: &[
        STALE,
        about(2, Error::InvalidArgument, "the array is not the extension's memory"),
        about(3, Error::InvalidArgument, "more than 64"),
        about(3, Error::OutOfObjects, "the VM would have more than 64"),
    ],
    why: "A declared answer costs a fraction of an upcall.",
    details: "All or none take effect; the call returns once no PP gives an old answer. A later answer for the same \
              leaf and sub-leaf replaces the earlier one.",
    ..CALL
};

pub(crate) const INTERCEPT_REGISTERS: Contract = Contract {
    inputs: &[
        HANDLE,
        VM,
        value("first", Type::Register, "the first MSR or system register"),
        value("count", Type::Count, "how many, at most 65536"),
        value("accesses", Type::Flags, "1 reads, 2 writes; the others do not exit"),
    ],
    errors: &[
        STALE,
        about(2, Error::InvalidArgument, "a register that the machine cannot be told about"),
        about(
            2,
            Error::Denied,
            "an access that the extension may not open to this VM, or that is the kernel's alone",
        )
        .reached(OPENINGS),
        about(3, Error::InvalidArgument, "more than 65536, or beyond the last number"),
        about(4, Error::InvalidArgument, "undefined bits"),
    ],
    why: "Only what the extension wants to see exits.",
    details: "Accesses of a guest VM that do not exit reach the machine. Which ones an extension may open is a closed table: \
              state that each VS has to itself is open to all, state of the processor needs the intrinsic group, and what \
              redirects memory or belongs to the hypervisor is never open. Accesses of the root VM that do not exit get \
              what the table says: the machine's register, the kernel's filtered answer, or a fault. After an error the \
              registers before the bad one are set.",
    notes: &[Note {
        machine: Machine::Arm,
        unsupported: false,
        text: "Reads of ID registers, all or none; writes of SCTLR, TTBR0, TTBR1, TCR, AFSR0, AFSR1, ESR, FAR, MAIR, \
               AMAIR and CONTEXTIDR_EL1.",
    }],
    ..CALL
};

pub(crate) const INTERCEPT_PORTS: Contract = Contract {
    inputs: &[
        HANDLE,
        VM,
        value("first", Type::Value, "the first port"),
        value("count", Type::Count, "how many, at most 65536"),
        value("exit", Type::Flags, "1 to intercept, 0 not to"),
    ],
    errors: &[
        STALE,
        about(2, Error::InvalidArgument, "beyond the last port, or a machine without ports"),
        about(2, Error::Denied, "a port that the extension may not open to this VM").reached(OPENINGS),
        about(3, Error::InvalidArgument, "more than 65536, or beyond the last number"),
        about(4, Error::InvalidArgument, "neither 0 nor 1"),
    ],
    why: "The same as `VmInterceptRegisters`, for ports.",
    details: "A port is a device of the machine: to open one to a guest VM takes the intrinsic group. Ports that reset the \
              machine, put it to sleep, enter system management mode, configure devices or move memory are never open. In the \
              root VM the ports that put the machine to sleep always exit, and the kernel looks at them first. After an error \
              the ports before the bad one are set.",
    notes: &[Note {
        machine: Machine::Arm,
        unsupported: false,
        text: "There are no ports: every port is `InvalidArgument(2)`.",
    }],
    ..CALL
};

pub(crate) const VP_CREATE: Contract = Contract {
    inputs: &[HANDLE, VM],
    outputs: &[value("vp", Type::Vp, "the new VP")],
    errors: &[STALE, whole(Error::OutOfObjects, "there are as many VPs as there can be")],
    why: "What several register states of one virtual processor have in common.",
    ..CALL
};

pub(crate) const VP_DESTROY: Contract = Contract {
    inputs: &[HANDLE, VP],
    errors: &[STALE, about(1, Error::Busy, "it has a VS")],
    why: "The counterpart of `VpCreate`.",
    works: Reach::Vmexit,
    ..CALL
};
