//! What became of the predecessor's calls: every one of its Mk#1 specification, and what does its work here.

use crate::abi::Call;

/// A call of the predecessor.
#[derive(Clone, Copy, Debug)]
pub struct Predecessor {
    /// Its opcode and index.
    pub number: (u8, u8),
    /// Its name, without `bf_`.
    pub name: &'static str,
    /// What does its work; empty where nothing has to.
    pub calls: &'static [Call],
    /// What is different, or why there is nothing.
    pub text: &'static str,
}

const fn call(
    number: (u8, u8),
    name: &'static str,
    calls: &'static [Call],
    text: &'static str,
) -> Predecessor {
    Predecessor { number, name, calls, text }
}

/// All 47 calls, in the order of their numbers.
pub const PREDECESSOR: &[Predecessor] = &[
    call((0, 0), "control_op_exit", &[Call::ControlExit], ""),
    call((0, 1), "control_op_wait", &[Call::ControlWait], ""),
    call((0, 2), "control_op_again", &[Call::ControlAgain], ""),
    call((1, 0), "handle_op_open_handle", &[Call::HandleOpen], "The handle is random, not the constant 0."),
    call((1, 1), "handle_op_close_handle", &[Call::HandleClose], ""),
    call((2, 0), "debug_op_out", &[Call::DebugOut], ""),
    call((2, 1), "debug_op_dump_vm", &[Call::DebugDumpVm], ""),
    call((2, 2), "debug_op_dump_vp", &[Call::DebugDumpVp], ""),
    call((2, 3), "debug_op_dump_vs", &[Call::DebugDumpVs], ""),
    call(
        (2, 4),
        "debug_op_dump_vmexit_log",
        &[Call::DebugDumpExits, Call::DebugExitCount],
        "Counts by class, always, instead of the last five exits of a debug build.",
    ),
    call(
        (2, 5),
        "debug_op_write_c",
        &[Call::DebugWrite],
        "A line at a time; a character at a time tears lines of several PPs apart.",
    ),
    call(
        (2, 6),
        "debug_op_write_str",
        &[Call::DebugWrite],
        "A bad pointer is an error, not a crash of the kernel.",
    ),
    call((2, 7), "debug_op_dump_ext", &[Call::DebugDumpExtension], ""),
    call((2, 8), "debug_op_dump_page_pool", &[Call::DebugDumpPool, Call::MemQuery], ""),
    call((2, 9), "debug_op_dump_huge_pool", &[Call::DebugDumpPool, Call::MemQuery], "There is one pool."),
    call((3, 0), "callback_op_register_bootstrap", &[Call::CallbackRegisterBootstrap], ""),
    call((3, 1), "callback_op_register_vmexit", &[Call::CallbackRegisterVmexit], ""),
    call((3, 2), "callback_op_register_fail", &[Call::CallbackRegisterFail], ""),
    call((4, 0), "vm_op_create_vm", &[Call::VmCreate], ""),
    call((4, 1), "vm_op_destroy_vm", &[Call::VmDestroy], ""),
    call(
        (4, 2),
        "vm_op_map_direct",
        &[Call::VmReadMemory, Call::VmWriteMemory, Call::MemAllocatePage],
        "An extension never maps memory that is not its own: it copies, or gives its own pages to a VM and uses them in place.",
    ),
    call((4, 3), "vm_op_unmap_direct", &[Call::VmUnmap], "As for `map_direct`."),
    call(
        (4, 4),
        "vm_op_unmap_direct_broadcast",
        &[Call::VmUnmap],
        "Always on every PP. The predecessor never implemented it.",
    ),
    call((4, 5), "vm_op_tlb_flush", &[Call::VmFlush], "On every PP."),
    call((5, 0), "vp_op_create_vp", &[Call::VpCreate], ""),
    call((5, 1), "vp_op_destroy_vp", &[Call::VpDestroy], ""),
    call((6, 0), "vs_op_create_vs", &[Call::VsCreate], ""),
    call((6, 1), "vs_op_destroy_vs", &[Call::VsDestroy], ""),
    call((6, 2), "vs_op_init_as_root", &[Call::VsInitAsRoot], "The id need not be the PP's number."),
    call((6, 3), "vs_op_read", &[Call::VsRead], "One number for a register, whatever the vendor."),
    call(
        (6, 4),
        "vs_op_write",
        &[Call::VsWrite],
        "Control fields are the kernel's; there are calls for what they were for.",
    ),
    call((6, 5), "vs_op_run", &[Call::VsRun], "VM and VP follow from the VS."),
    call((6, 6), "vs_op_run_current", &[Call::VsRunCurrent], ""),
    call((6, 7), "vs_op_advance_ip_and_run", &[Call::VsAdvanceAndRun], "VM and VP follow from the VS."),
    call((6, 8), "vs_op_advance_ip_and_run_current", &[Call::VsAdvanceAndRunCurrent], ""),
    call((6, 9), "vs_op_promote", &[Call::VsPromote], ""),
    call(
        (6, 10),
        "vs_op_clear",
        &[],
        "Caching of a VS's state in the processor is the kernel's business: `VsMigrate` clears what has to be.",
    ),
    call((6, 11), "vs_op_migrate", &[Call::VsMigrate], ""),
    call((6, 12), "vs_op_set_active", &[Call::VsActivate], "VM and VP follow from the VS."),
    call((6, 13), "vs_op_advance_ip_and_set_active", &[Call::VsAdvance, Call::VsActivate], ""),
    call((6, 14), "vs_op_tlb_flush", &[Call::VsFlush], "All of the VS's addresses."),
    call((7, 0), "intrinsic_op_rdmsr", &[Call::IntrinsicRead], "Denied unless listed."),
    call((7, 1), "intrinsic_op_wrmsr", &[Call::IntrinsicWrite], "Denied unless listed."),
    call(
        (8, 0),
        "mem_op_alloc_page",
        &[Call::MemAllocatePage],
        "Without the system-physical address, which is the kernel's business.",
    ),
    call((8, 1), "mem_op_free_page", &[Call::MemFreePage], "The predecessor never implemented it."),
    call((8, 2), "mem_op_alloc_huge", &[Call::MemAllocateHuge], "From the one pool, up to 1 GiB."),
    call((8, 3), "mem_op_free_huge", &[Call::MemFreeHuge], "The predecessor never implemented it."),
];
