//! Contracts of memory: nested paging, and the extension's own pages.

use super::{
    CALL, Contract, ErrorCase, HANDLE, NO_MEMORY, Parameter, Reach, STALE, Type, VM, about, value, whole,
};
use crate::abi::Error;

const GPA: Parameter = value("gpa", Type::Gpa, "where, a multiple of 4096");
const BYTES: Parameter = value("bytes", Type::Bytes, "how much, a multiple of 4096, at most 1 GiB");
const PERMISSIONS: Parameter = value("permissions", Type::Flags, "1 read, 2 write, 4 execute");
const ATTRIBUTES: Parameter = value(
    "attributes",
    Type::Flags,
    "1 read, 2 write, 4 execute; from ABI 2 on the memory type in bits 10:8",
);

const BAD_GPA: ErrorCase =
    about(2, Error::InvalidArgument, "not a multiple of 4096, or beyond what the nested tables reach");
const NOT_ROOT: ErrorCase = about(1, Error::Denied, "the root VM");
const NOT_MAPPED: ErrorCase = about(2, Error::NotMapped, "not all of the range is mapped");
const NO_SUCH_PERMISSIONS: ErrorCase =
    whole(Error::Unsupported, "the machine has no such combination of permissions").reached(
        Reach::Elsewhere("which combinations there are differs by machine; unit tests of the formats"),
    );
const NO_TABLES: ErrorCase = whole(Error::OutOfMemory, "the pool has no page for a table");

pub(crate) const MAP: Contract = Contract {
    inputs: &[
        HANDLE,
        VM,
        GPA,
        value("from", Type::Address, "memory of the extension's, a multiple of 4096"),
        BYTES,
        ATTRIBUTES,
    ],
    errors: &[
        STALE,
        NOT_ROOT,
        BAD_GPA,
        about(3, Error::InvalidArgument, "not a multiple of 4096, or beyond the last address"),
        about(4, Error::InvalidArgument, "0, not a multiple of 4096, or more than 1 GiB"),
        about(5, Error::InvalidArgument, "undefined bits, or no memory type"),
        about(3, Error::NotMapped, "there is no memory of the extension's"),
        about(3, Error::Denied, "memory that the extension did not allocate"),
        about(3, Error::Busy, "the page is mapped as often as can be counted")
            .reached(Reach::Elsewhere("65535 mappings of one page; arch-sim `exhaustion`")),
        about(2, Error::AlreadyMapped, "something is mapped in the range"),
        NO_SUCH_PERMISSIONS,
        NO_TABLES,
    ],
    why: "The kernel owns the nested tables; a guest gets what the extension owns and nothing else.",
    details: "A failure undoes all of it. Leaves are as large as alignment and the machine allow. The guest's own tables can \
              make the memory less cached, not more. The extension's own accesses stay write-back.",
    ..CALL
};

pub(crate) const UNMAP: Contract = Contract {
    inputs: &[HANDLE, VM, GPA, BYTES],
    errors: &[
        STALE,
        NOT_ROOT,
        BAD_GPA,
        about(3, Error::InvalidArgument, "0, not a multiple of 4096, or more than 1 GiB"),
        NOT_MAPPED,
        whole(Error::OutOfMemory, "part of a large leaf is to go, and the pool has no page for a table"),
    ],
    why: "A guest's memory can be taken back, and used for something else.",
    details: "Returns once no PP can reach the pages any more. After an error nothing is unmapped.",
    ..CALL
};

pub(crate) const PROTECT: Contract = Contract {
    inputs: &[HANDLE, VM, GPA, BYTES, PERMISSIONS],
    errors: &[
        STALE,
        BAD_GPA,
        about(3, Error::InvalidArgument, "0, not a multiple of 4096, or more than 1 GiB"),
        about(4, Error::InvalidArgument, "undefined bits"),
        NOT_MAPPED,
        about(2, Error::Denied, "pages of the root VM that the kernel needs"),
        NO_SUCH_PERMISSIONS,
        NO_TABLES,
    ],
    why: "Watching memory: take a permission away, see the exit. The root VM's own memory too.",
    details: "Returns once every PP obeys. Views have permissions of their own, which stay as they are.",
    ..CALL
};

pub(crate) const QUERY: Contract = Contract {
    inputs: &[HANDLE, VM, value("gpa", Type::Gpa, "any address")],
    outputs: &[ATTRIBUTES, value("leaf", Type::Bytes, "what one entry of the nested tables maps there")],
    errors: &[STALE, about(2, Error::NotMapped, "nothing is mapped there")],
    why: "An extension need not keep books of its own.",
    ..CALL
};

const VIEW: Parameter = value("view", Type::View, "the view");
const STALE_VIEW: ErrorCase = about(2, Error::StaleId, "the VM has no such view");
const OWN_TABLES: ErrorCase =
    about(2, Error::Denied, "0, the VM's own tables: see `VmProtect` and `VmQuery`");

pub(crate) const VIEW_CREATE: Contract = Contract {
    inputs: &[HANDLE, VM],
    outputs: &[value("view", Type::View, "the new view, which is not 0")],
    errors: &[STALE, NO_TABLES, whole(Error::OutOfObjects, "the VM has as many views as it can have")],
    why: "Hooks: most VSs run with a page taken away, while the one that met it steps over the access with it.",
    details: "Permissions alone differ: what `VmMap` maps and `VmUnmap` unmaps, it does in every view.",
    ..CALL
};

pub(crate) const VIEW_DESTROY: Contract = Contract {
    inputs: &[HANDLE, VM, VIEW],
    errors: &[STALE, STALE_VIEW, OWN_TABLES, about(2, Error::Busy, "a VS uses it")],
    why: "The counterpart of `VmViewCreate`.",
    ..CALL
};

pub(crate) const VIEW_PROTECT: Contract = Contract {
    inputs: &[HANDLE, VM, VIEW, GPA, BYTES, PERMISSIONS],
    errors: &[
        STALE,
        STALE_VIEW,
        OWN_TABLES,
        about(3, Error::InvalidArgument, "not a multiple of 4096, or beyond what the nested tables reach"),
        about(4, Error::InvalidArgument, "0, not a multiple of 4096, or more than 1 GiB"),
        about(5, Error::InvalidArgument, "undefined bits"),
        about(3, Error::NotMapped, "not all of the range is mapped"),
        about(3, Error::Denied, "pages of the root VM that the kernel needs"),
        NO_SUCH_PERMISSIONS,
        NO_TABLES,
    ],
    why: "`VmProtect`, for a view.",
    details: "Returns once every PP obeys.",
    ..CALL
};

pub(crate) const VIEW_QUERY: Contract = Contract {
    inputs: &[HANDLE, VM, VIEW, value("gpa", Type::Gpa, "any address")],
    errors: &[STALE, STALE_VIEW, OWN_TABLES, about(3, Error::NotMapped, "nothing is mapped there")],
    why: "`VmQuery`, for a view.",
    ..QUERY
};

pub(crate) const ALLOCATE_PAGE: Contract = Contract {
    outputs: &[value("address", Type::Address, "the page")],
    errors: &[NO_MEMORY],
    why: "The only kind of memory, with `MemAllocateHuge`'s, that can go into VMs.",
    ..CALL
};

pub(crate) const FREE_PAGE: Contract = Contract {
    inputs: &[HANDLE, value("address", Type::Address, "the page")],
    errors: &[
        about(1, Error::InvalidArgument, "not a multiple of 4096"),
        about(1, Error::NotMapped, "there is no memory of the extension's"),
        about(1, Error::Denied, "memory of another kind"),
        about(1, Error::Busy, "a VM maps it"),
    ],
    why: "The counterpart of `MemAllocatePage`.",
    ..CALL
};

const COPY_GPA: Parameter = value("gpa", Type::Gpa, "where in the VM");
const COPY_ADDRESS: Parameter = value("address", Type::Address, "where in the extension");
const COPY_BYTES: Parameter = value("bytes", Type::Bytes, "how much, at most 4096");
const COPY_TOO_MUCH: ErrorCase = about(4, Error::InvalidArgument, "more than 4096");
const COPY_WRAPS: ErrorCase = about(2, Error::InvalidArgument, "beyond the last address");

pub(crate) const READ_MEMORY: Contract = Contract {
    inputs: &[HANDLE, VM, COPY_GPA, COPY_ADDRESS, COPY_BYTES],
    errors: &[
        STALE,
        COPY_WRAPS,
        about(2, Error::NotMapped, "the VM has no memory there"),
        about(3, Error::InvalidArgument, "not memory that the extension may write"),
        COPY_TOO_MUCH,
    ],
    why: "Looking at a guest, the root VM's OS first of all.",
    details: "Whatever the VM itself may do there. The hypervisor's own memory reads as zeroes. After an error, part may \
              have been copied. Of the root VM's addresses those are memory that the machine's description says so of. With \
              a device tree, holes, devices and what the firmware keeps for itself (`no-map`, disabled nodes) are \
              `NotMapped`, and so is memory that answers with a bus error. On x86 all addresses below the end of the \
              memory map count: where nothing answers, a read finds ones and a write vanishes; at a device's registers \
              it does what the device likes.",
    ..CALL
};

pub(crate) const WRITE_MEMORY: Contract = Contract {
    inputs: &[HANDLE, VM, COPY_GPA, COPY_ADDRESS, COPY_BYTES],
    errors: &[
        STALE,
        COPY_WRAPS,
        about(2, Error::NotMapped, "the VM has no memory there"),
        about(2, Error::Denied, "pages of the root VM that are the kernel's"),
        about(3, Error::InvalidArgument, "not the extension's memory"),
        COPY_TOO_MUCH,
    ],
    why: "The counterpart of `VmReadMemory`.",
    details: "Whatever the VM itself may do there. After an error, part may have been copied. What is memory of the root \
              VM is as for `VmReadMemory`. What was written is found by accesses that pass the caches by, and by \
              instruction fetches.",
    ..CALL
};

const RUN_BYTES: Parameter = value("bytes", Type::Bytes, "how much, a multiple of 4096, at most 1 GiB");

pub(crate) const ALLOCATE_HUGE: Contract = Contract {
    inputs: &[HANDLE, RUN_BYTES],
    outputs: &[value("address", Type::Address, "the first page")],
    errors: &[
        about(1, Error::InvalidArgument, "0, not a multiple of 4096, or more than 1 GiB"),
        whole(Error::OutOfMemory, "the pool has no such run of pages"),
    ],
    why: "Large leaves need it, and devices that are given memory.",
    details: "Aligned to its size in physical memory, where that is a power of two.",
    ..CALL
};

pub(crate) const FREE_HUGE: Contract = Contract {
    inputs: &[HANDLE, value("address", Type::Address, "the first page"), RUN_BYTES],
    errors: &[
        about(1, Error::InvalidArgument, "not a multiple of 4096"),
        about(1, Error::NotMapped, "not all of it is memory of the extension's"),
        about(1, Error::Denied, "memory of another kind"),
        about(1, Error::Busy, "a VM maps some of it"),
        about(2, Error::InvalidArgument, "0, not a multiple of 4096, or more than 1 GiB"),
    ],
    why: "The counterpart of `MemAllocateHuge`; all or nothing is freed.",
    ..CALL
};

pub(crate) const MEM_QUERY: Contract = Contract {
    outputs: &[value(
        "free",
        Type::Bytes,
        "what is left of the pool, which the kernel's tables come from too",
    )],
    why: "An extension can say in time that its memory ends.",
    ..CALL
};
