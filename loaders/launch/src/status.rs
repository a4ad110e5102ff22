//! What the kernel's entry answers, and what a person is told about it.

use crate::image::ImageError;
use core::fmt;

/// The raw result of the kernel's entry: 0 when the caller was launched, else why it was not.
///
/// Bits 15:0 are the [`LaunchError`], bits 63:16 a detail whose meaning belongs to the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct LaunchStatus(u64);

macro_rules! launch_errors {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// Why a processor was not launched. Each one's text says what to do about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum LaunchError {
            $($(#[$doc])* $name = $value,)*
        }

        impl LaunchError {
            /// Every error there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What happened, why, and what to do next.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

launch_errors! {
    /// The structure is not one this kernel understands.
    BadContract = 1, "the loader and the kernel disagree on the launch contract; use both from one build";
    /// Neither VMX nor SVM nor EL2.
    NoVirtualization = 2, "this processor has no virtualization extension that Plinth supports (AMD SVM, Intel VMX)";
    /// SVM is disabled by VM_CR.SVMDIS, or VMX by a locked IA32_FEATURE_CONTROL.
    DisabledByFirmware = 3, "virtualization is switched off by the firmware; enable SVM (AMD-V) or VT-x in its setup and start again";
    /// A hypervisor is there and hides the virtualization extension.
    HiddenByHypervisor = 4, "a hypervisor is already running and hides virtualization; enable nested virtualization in it, or start on the bare machine";
    /// EFER.SVME or CR4.VMXE was already set.
    AlreadyInUse = 5, "virtualization is already in use on this processor; stop the other hypervisor first";
    /// The processor has no nested paging.
    NoNestedPaging = 6, "this processor has no nested paging (NPT, EPT), which Plinth needs; use a newer one";
    /// The pool cannot hold what a launch needs.
    TooLittleMemory = 7, "the memory reserved for the hypervisor is too small; raise the loader's `memory` option";
    /// More processors than the kernel was built for.
    TooManyProcessors = 8, "this machine has more processors than this kernel was built for; raise MAX_PPS and rebuild";
    /// The extension's ELF file is refused; the detail is [`ImageError::raw`].
    BadExtension = 9, "the extension's ELF file is refused; build it as a static or static-PIE ELF for this machine";
    /// The extension faulted before any root VM ran; the detail is the exception vector.
    ExtensionFaulted = 10, "the extension faulted while starting; the kernel's log names the address";
    /// The extension said that it cannot go on.
    ExtensionExited = 11, "the extension exited while starting; its own log lines say why";
    /// The extension ended its start without a bootstrap and a vmexit callback.
    ExtensionUnregistered = 12, "the extension waits without having registered its bootstrap and vmexit callbacks";
    /// The hardware refused the root VM's state.
    EntryRefused = 13, "the processor refused the root VM's state; the kernel's log names it. Please report this";
    /// The processor lacks something the kernel relies on.
    MissingFeature = 14, "this processor lacks a feature that Plinth needs (long mode, NX, 1 TiB of address space or less; on Intel unrestricted guests and virtual NMIs)";
    /// A processor was launched twice.
    AlreadyLaunched = 15, "this processor already runs under this Plinth";
    /// The first processor's launch did not finish.
    NotPrepared = 16, "the boot processor was not launched first; launch it and start again";
    /// The extension did not return from `_start` or its bootstrap callback in time.
    ExtensionOverdue = 17, "the extension did not return while starting; the kernel's log says from where. Give it more time with the kernel's option `watchdog`";
    /// CR4.LA57 is not what it is on the processor that launched first; the detail is what it is here.
    OtherPaging = 18, "this processor's page tables have another number of levels than the first one's (CR4.LA57); have the firmware start all processors alike";
    /// x86: a register that puts the machine to sleep is no port; the detail is its address.
    SleepOutOfReach = 19, "the OS could put this machine to sleep and wake outside Plinth: a register of ACPI's for that is not an I/O port. The detail is its address";
    /// x86: another processor is being launched at this moment.
    LaunchesOverlap = 20, "another processor is being launched at this moment; call the entry point on one processor after the other";
    /// x86: CR4.FRED is set.
    FredInUse = 21, "the OS takes exceptions and interrupts by FRED, which Plinth cannot deliver them by; boot the OS without it (Linux: fred=off)";
    /// AMD: CR3 has the bit of encrypted memory.
    MemoryEncrypted = 22, "the OS has its memory encrypted (AMD SME), which Plinth's page tables would read as it lies there; boot the OS without it (Linux: mem_encrypt=off)";
    /// AArch64: entered at another exception level than EL2; the detail is the level.
    WrongExceptionLevel = 32, "Plinth has to be entered at EL2 and was not; have the firmware start it there (QEMU: -machine virtualization=on)";
    /// AArch64: a processor is started in a way that the kernel does not know, so that the OS could start it outside Plinth;
    /// the detail is its affinity.
    UnknownStartup = 33, "a processor could be started outside Plinth: the machine's tables name no PSCI and no spin table for it; have the firmware start processors by PSCI. The detail is the processor's affinity";
    /// AArch64: a processor stayed where the OS could start it outside Plinth; the detail is its affinity.
    StaysInSpinTable = 34, "a processor did not leave its spin table in time, or the table's address is not in memory, and it could be started outside Plinth; correct its cpu-release-addr. The detail is the processor's affinity";
}

impl LaunchStatus {
    /// The caller is the root VM now.
    pub const LAUNCHED: Self = Self(0);

    /// A failure with its detail; bits above 47 of the detail are lost.
    pub const fn failed(error: LaunchError, detail: u64) -> Self {
        Self(error as u64 | detail << 16)
    }

    /// Reads back what an entry returned.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The value an entry returns.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Whether the caller is the root VM now.
    pub const fn is_launched(self) -> bool {
        self.0 == 0
    }

    /// The error, if it is one this version knows.
    pub fn error(self) -> Option<LaunchError> {
        LaunchError::ALL.iter().copied().find(|error| *error as u64 == self.0 & 0xffff)
    }

    /// What is wrong with the image, where the error is about one.
    pub fn image_error(self) -> Option<ImageError> {
        matches!(self.error(), Some(LaunchError::BadExtension))
            .then(|| ImageError::from_raw(self.detail()))?
    }

    /// The error's detail.
    pub const fn detail(self) -> u64 {
        self.0 >> 16
    }
}

impl fmt::Display for LaunchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_launched() {
            return f.write_str("launched");
        }
        match (self.error(), self.image_error()) {
            (_, Some(error)) => return write!(f, "the extension's ELF file is refused: {error}"),
            (Some(error), _) => f.write_str(error.text())?,
            (None, _) => {
                write!(f, "unknown launch error {}; use loader and kernel from one build", self.0 & 0xffff)?;
            }
        }
        if self.detail() != 0 { write!(f, " (detail {:#x})", self.detail()) } else { Ok(()) }
    }
}
