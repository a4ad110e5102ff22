//! The system calls: number, one sentence of what each does, and where its contract stands.

use super::SIGNATURE;
use super::spec::{Contract, debug, life, machine, memory, vm, vs};

macro_rules! calls {
    ($(#[doc = $doc:literal] $name:ident = $group:literal . $index:literal since $since:literal, $contract:path;)*) => {
        /// A system call. The discriminant holds the opcode group in bits 31:16 and the index in bits 15:0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Call {
            $(#[doc = $doc] $name = $group << 16 | $index,)*
        }

        impl Call {
            /// Every call, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The call with this group and index, if there is one.
            #[inline]
            pub const fn from_opcode(opcode: u32) -> Option<Self> {
                $(const $name: u32 = $group << 16 | $index;)*
                #[allow(non_upper_case_globals, reason = "the constants are named after the calls they stand for")]
                match opcode {
                    $($name => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The call's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The first version of the ABI that has the call.
            pub const fn since(self) -> u64 {
                match self { $(Self::$name => $since,)* }
            }

            /// What the call does.
            pub const fn does(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }

            /// What the call takes, gives and refuses.
            pub const fn contract(self) -> &'static Contract {
                match self { $(Self::$name => &$contract,)* }
            }
        }
    };
}

#[allow(non_upper_case_globals, reason = "see the macro")]
mod list {
    use super::{Contract, SIGNATURE, debug, life, machine, memory, vm, vs};

    calls! {
        /// Gives up: the extension has failed.
        ControlExit = 0 . 0 since 1, life::EXIT;
        /// Ends `_start` once the callbacks are registered.
        ControlWait = 0 . 1 since 1, life::WAIT;
        /// From the fail callback: goes on where the fault was.
        ControlAgain = 0 . 2 since 1, life::AGAIN;
        /// Opens the ABI in a version.
        HandleOpen = 1 . 0 since 1, life::OPEN;
        /// Closes the handle; the value is worth nothing from then on.
        HandleClose = 1 . 1 since 1, life::CLOSE;
        /// Writes two values to the log.
        DebugOut = 2 . 0 since 1, debug::OUT;
        /// Writes what a VM has to the log.
        DebugDumpVm = 2 . 1 since 2, debug::DUMP_VM;
        /// Writes what a VP is to the log.
        DebugDumpVp = 2 . 2 since 2, debug::DUMP_VP;
        /// Writes a VS's registers to the log.
        DebugDumpVs = 2 . 3 since 1, debug::DUMP_VS;
        /// Writes a PP's exit counts, by class, to the log.
        DebugDumpExits = 2 . 4 since 2, debug::DUMP_EXITS;
        /// Writes a line of text to the log.
        DebugWrite = 2 . 6 since 1, debug::WRITE;
        /// Writes what the kernel knows of the extension to the log.
        DebugDumpExtension = 2 . 7 since 2, debug::DUMP_EXTENSION;
        /// Writes how much of the pool is used to the log.
        DebugDumpPool = 2 . 8 since 2, debug::DUMP_POOL;
        /// Says how many exits of a class a PP has had.
        DebugExitCount = 2 . 10 since 1, debug::EXIT_COUNT;
        /// Registers the callback that each PP enters when it is launched.
        CallbackRegisterBootstrap = 3 . 0 since 1, life::REGISTER_BOOTSTRAP;
        /// Registers the callback for exits.
        CallbackRegisterVmexit = 3 . 1 since 1, life::REGISTER_VMEXIT;
        /// Registers the callback for failures of the extension.
        CallbackRegisterFail = 3 . 2 since 1, life::REGISTER_FAIL;
        /// Makes a VM without memory, in which every MSR, system register and port exits.
        VmCreate = 4 . 0 since 1, vm::CREATE;
        /// Removes a VM that has neither VPs nor memory.
        VmDestroy = 4 . 1 since 1, vm::DESTROY;
        /// Makes every PP forget what it has cached of a VM's memory.
        VmFlush = 4 . 5 since 2, vm::FLUSH;
        /// Maps memory of the extension into a VM.
        VmMap = 4 . 16 since 1, memory::MAP;
        /// Takes mapped memory out of a VM again, on every PP.
        VmUnmap = 4 . 17 since 1, memory::UNMAP;
        /// Changes what a VM may do with memory that it has.
        VmProtect = 4 . 18 since 1, memory::PROTECT;
        /// Says what a VM may do at an address.
        VmQuery = 4 . 19 since 1, memory::QUERY;
        /// Declares answers to ID reads, which the kernel gives without entering the extension.
        VmDeclareIds = 4 . 32 since 1, vm::DECLARE_IDS;
        /// Sets which accesses to MSRs or system registers exit.
        VmInterceptRegisters = 4 . 33 since 1, vm::INTERCEPT_REGISTERS;
        /// Sets which accesses to ports exit.
        VmInterceptPorts = 4 . 34 since 1, vm::INTERCEPT_PORTS;
        /// Makes a view of a VM: a further set of permissions for its memory, which starts as a copy of its own.
        VmViewCreate = 4 . 48 since 2, memory::VIEW_CREATE;
        /// Removes a view that no VS uses.
        VmViewDestroy = 4 . 49 since 2, memory::VIEW_DESTROY;
        /// Changes what VSs that use a view may do with memory.
        VmViewProtect = 4 . 50 since 2, memory::VIEW_PROTECT;
        /// Says what VSs that use a view may do at an address.
        VmViewQuery = 4 . 51 since 2, memory::VIEW_QUERY;
        /// Copies from a VM's memory to the extension's.
        VmReadMemory = 4 . 64 since 2, memory::READ_MEMORY;
        /// Copies from the extension's memory to a VM's.
        VmWriteMemory = 4 . 65 since 2, memory::WRITE_MEMORY;
        /// Makes a VP of a VM.
        VpCreate = 5 . 0 since 1, vm::VP_CREATE;
        /// Removes a VP that has no VS.
        VpDestroy = 5 . 1 since 1, vm::VP_DESTROY;
        /// Makes a VS of a VP, in the machine's reset state, to run on one PP.
        VsCreate = 6 . 0 since 1, vs::CREATE;
        /// Removes a VS that is not active.
        VsDestroy = 6 . 1 since 1, vs::DESTROY;
        /// Gives a VS the state of the OS that was running on this PP.
        VsInitAsRoot = 6 . 2 since 1, vs::INIT_AS_ROOT;
        /// Reads a register of a VS.
        VsRead = 6 . 3 since 1, vs::READ;
        /// Writes a register of a VS.
        VsWrite = 6 . 4 since 1, vs::WRITE;
        /// Makes a VS the active one and runs it.
        VsRun = 6 . 5 since 1, vs::RUN;
        /// Runs the active VS.
        VsRunCurrent = 6 . 6 since 1, vs::RUN_CURRENT;
        /// Skips the instruction at which the active VS exited, makes a VS the active one and runs it.
        VsAdvanceAndRun = 6 . 7 since 2, vs::ADVANCE_AND_RUN;
        /// Skips the instruction that exited and runs the active VS.
        VsAdvanceAndRunCurrent = 6 . 8 since 1, vs::ADVANCE_AND_RUN_CURRENT;
        /// Gives the bare PP back to its root VS, after the instruction that exited.
        VsPromote = 6 . 9 since 1, vs::PROMOTE;
        /// Moves a VS that is not active to another PP.
        VsMigrate = 6 . 11 since 2, vs::MIGRATE;
        /// Makes a VS the active one, without running it: its general registers are in the exit page.
        VsActivate = 6 . 12 since 2, vs::ACTIVATE;
        /// Skips the instruction at which the active VS exited, without running it.
        VsAdvance = 6 . 13 since 2, vs::ADVANCE;
        /// Forgets what the TLB holds of a VS's memory, before it runs next.
        VsFlush = 6 . 14 since 2, vs::FLUSH;
        /// Delivers an event to a VS when it runs next.
        VsInject = 6 . 16 since 1, vs::INJECT;
        /// Makes a VS see its VM's memory by a view.
        VsSetView = 6 . 32 since 2, vs::SET_VIEW;
        /// Makes a VS exit after each instruction that it executes, or no longer.
        VsStep = 6 . 33 since 2, vs::STEP;
        /// Reads many registers of a VS.
        VsReadMany = 6 . 34 since 2, vs::READ_MANY;
        /// Writes many registers of a VS, of each the bits in a mask.
        VsWriteMany = 6 . 35 since 2, vs::WRITE_MANY;
        /// Translates a guest-virtual address by the guest's own page tables.
        VsTranslate = 6 . 36 since 2, vs::TRANSLATE;
        /// Reads an MSR or system register of the machine.
        IntrinsicRead = 7 . 0 since 1, machine::READ;
        /// Writes an MSR or system register of the machine.
        IntrinsicWrite = 7 . 1 since 1, machine::WRITE;
        /// Restarts the machine.
        IntrinsicReset = 7 . 2 since 1, machine::RESET;
        /// Gives the extension a zeroed page: readable, writable, not executable.
        MemAllocatePage = 8 . 0 since 1, memory::ALLOCATE_PAGE;
        /// Takes such a page back.
        MemFreePage = 8 . 1 since 1, memory::FREE_PAGE;
        /// Gives the extension zeroed pages that lie side by side, in its own and in physical memory.
        MemAllocateHuge = 8 . 2 since 2, memory::ALLOCATE_HUGE;
        /// Takes pages back that lie side by side, however they were allocated.
        MemFreeHuge = 8 . 3 since 2, memory::FREE_HUGE;
        /// Says how much memory there is still to be had.
        MemQuery = 8 . 16 since 2, memory::MEM_QUERY;
        /// Reads the machine's monotonic counter.
        TimeRead = 9 . 0 since 2, machine::TIME_READ;
        /// Sets when this PP's active VS exits to the extension, whatever it does.
        TimerSet = 9 . 1 since 2, machine::TIMER_SET;
        /// Says on which PP this is, and how many there are.
        PpQuery = 10 . 0 since 2, machine::PP_QUERY;
        /// Makes a PP's active VS exit to the extension.
        PpKick = 10 . 1 since 2, machine::PP_KICK;
    }

    impl Call {
        /// The number that goes into the id register: signature, no flags, group and index.
        pub const fn number(self) -> u64 {
            SIGNATURE << 48 | self as u64
        }

        /// The opcode group.
        pub const fn group(self) -> u16 {
            (self as u32 >> 16) as u16
        }
    }
}

pub use list::Call;

/// An opcode group: number, name, and what its calls have in common.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Bits 31:16 of the numbers of its calls.
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// What its calls have in common.
    pub text: &'static str,
}

const fn group(number: u16, name: &'static str, text: &'static str) -> Group {
    Group { number, name, text }
}

/// The groups, in the order of their numbers.
pub const GROUPS: &[Group] = &[
    group(0, "control", "The extension's own life. No handle."),
    group(1, "handle", "The open handle, which fixes the version."),
    group(2, "debug", "For people. No handle, and nothing changes: these work when all else is broken."),
    group(3, "callback", "Where the kernel enters the extension."),
    group(4, "VM", "Guest-physical address spaces, and what belongs to all VPs of a VM."),
    group(5, "VP", "Virtual processors."),
    group(6, "VS", "Register states of virtual processors, and running them."),
    group(7, "intrinsic", "The machine itself. Denied unless listed."),
    group(8, "memory", "Memory of the extension's own."),
    group(9, "time", "The machine's time."),
    group(10, "PP", "Physical processors."),
];
