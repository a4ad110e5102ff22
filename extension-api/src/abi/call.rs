//! The system calls and their numbers.

use super::SIGNATURE;

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $group:literal . $index:literal;)*) => {
        /// A system call. The discriminant holds the opcode group in bits 31:16 and the index in bits 15:0.
        ///
        /// Inputs are in REG0 to REG5, outputs from REG0 on; REG0 of every call but [`Call::HandleOpen`] and
        /// the debug and control groups is the handle.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Call {
            $($(#[$doc])* $name = $group << 16 | $index,)*
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
        }
    };
}

#[allow(non_upper_case_globals, reason = "see the macro")]
mod list {
    use super::SIGNATURE;

    calls! {
        /// Gives up: the extension fails. No inputs; never returns.
        ControlExit = 0 . 0;
        /// Ends `_start` once the callbacks are registered. No inputs; never returns.
        ControlWait = 0 . 1;
        /// From the fail callback: goes on where the fault was. No inputs; never returns.
        ControlAgain = 0 . 2;
        /// REG0 ABI version. Out: REG0 handle.
        HandleOpen = 1 . 0;
        /// REG0 handle.
        HandleClose = 1 . 1;
        /// REG0, REG1: two values for the log.
        DebugOut = 2 . 0;
        /// REG0 VS: writes its registers to the log.
        DebugDumpVs = 2 . 3;
        /// REG0 address, REG1 length in bytes (at most [`super::super::MAX_WRITE`]), REG2 level 1 (error) to 5 (trace): a line for the log.
        DebugWrite = 2 . 6;
        /// REG0 PP, REG1 exit class. Out: REG0 exits of that class on that PP.
        DebugExitCount = 2 . 10;
        /// REG0 handle, REG1 address of `fn(pp, exit page)`.
        CallbackRegisterBootstrap = 3 . 0;
        /// REG0 handle, REG1 address of `fn(exit page, VS, class)`.
        CallbackRegisterVmexit = 3 . 1;
        /// REG0 handle, REG1 address of `fn(exit page, vector, address)`.
        CallbackRegisterFail = 3 . 2;
        /// REG0 handle. Out: REG0 VM.
        VmCreate = 4 . 0;
        /// REG0 handle, REG1 VM.
        VmDestroy = 4 . 1;
        /// REG0 handle, REG1 VM, REG2 guest-physical address, REG3 extension address of memory it owns, REG4 bytes, REG5 permissions.
        VmMap = 4 . 16;
        /// REG0 handle, REG1 VM, REG2 guest-physical address, REG3 bytes.
        VmUnmap = 4 . 17;
        /// REG0 handle, REG1 VM, REG2 guest-physical address, REG3 bytes, REG4 permissions.
        VmProtect = 4 . 18;
        /// REG0 handle, REG1 VM, REG2 guest-physical address. Out: REG0 permissions, REG1 leaf size in bytes.
        VmQuery = 4 . 19;
        /// REG0 handle, REG1 VM, REG2 address of [`super::super::IdAnswer`]s, REG3 their number.
        VmDeclareIds = 4 . 32;
        /// REG0 handle, REG1 VM, REG2 first MSR or system register, REG3 number of them, REG4 1 reads | 2 writes to intercept.
        VmInterceptRegisters = 4 . 33;
        /// REG0 handle, REG1 VM, REG2 first port, REG3 number of them, REG4 1 to intercept, 0 to pass through.
        VmInterceptPorts = 4 . 34;
        /// REG0 handle, REG1 VM. Out: REG0 VP.
        VpCreate = 5 . 0;
        /// REG0 handle, REG1 VP.
        VpDestroy = 5 . 1;
        /// REG0 handle, REG1 VP, REG2 PP. Out: REG0 VS.
        VsCreate = 6 . 0;
        /// REG0 handle, REG1 VS.
        VsDestroy = 6 . 1;
        /// REG0 handle, REG1 VS: takes the state of the OS that was running on this PP.
        VsInitAsRoot = 6 . 2;
        /// REG0 handle, REG1 VS, REG2 register. Out: REG0 value.
        VsRead = 6 . 3;
        /// REG0 handle, REG1 VS, REG2 register, REG3 value.
        VsWrite = 6 . 4;
        /// REG0 handle, REG1 VS: runs it. Returns only on an error.
        VsRun = 6 . 5;
        /// REG0 handle: runs the active VS. Returns only on an error.
        VsRunCurrent = 6 . 6;
        /// REG0 handle: skips the instruction that exited, then runs the active VS. Returns only on an error.
        VsAdvanceAndRunCurrent = 6 . 8;
        /// REG0 handle, REG1 VS: gives its PP back to it. Returns only on an error.
        VsPromote = 6 . 9;
        /// REG0 handle, REG1 VS, REG2 1 to inject an exception or NMI: vector 7:0, type 10:8, error code valid 11, error code 63:32.
        VsInject = 6 . 16;
        /// REG0 handle, REG1 MSR or system register. Out: REG0 value.
        IntrinsicRead = 7 . 0;
        /// REG0 handle, REG1 MSR or system register, REG2 value.
        IntrinsicWrite = 7 . 1;
        /// REG0 handle: restarts the machine. Never returns.
        IntrinsicReset = 7 . 2;
        /// REG0 handle. Out: REG0 address of a zeroed page that belongs to the extension.
        MemAllocatePage = 8 . 0;
        /// REG0 handle, REG1 address of such a page.
        MemFreePage = 8 . 1;
    }

    impl Call {
        /// The number that goes into the id register: signature, no flags, group and index.
        pub const fn number(self) -> u64 {
            SIGNATURE << 48 | self as u64
        }
    }
}

pub use list::Call;
