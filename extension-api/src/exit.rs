//! Why a VS exited, and its general registers: the exit page, read and written in place.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::abi::{ExitClass, ExitPage, GENERAL_REGISTERS};
use crate::id::{VmId, VpId, VsId};
use crate::plinth::Plinth;
use crate::resume::Resume;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{Id, IdValue};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{Id, IdValue, Register};

/// The privilege level of an OS's kernel: x86 CPL 0, Arm EL1.
const KERNEL_PRIVILEGE: u64 = if cfg!(target_arch = "aarch64") { 1 } else { 0 };

/// This PP's exit page: the right to use it, which is not to be copied. One register wide.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Page(NonNull<ExitPage>);

/// An exit of the active VS.
///
/// Nothing here costs a system call. The kernel writes the same page during some calls, so each access is a
/// volatile one.
#[derive(Debug)]
pub struct Exit<'a> {
    page: Page,
    vs: VsId,
    class: ExitClass,
    borrow: PhantomData<&'a mut ExitPage>,
}

/// What the extension did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The machine's number for it: x86 exception vector, Arm exception class.
    pub vector: u64,
    /// The address it tried to reach, for memory faults.
    pub address: u64,
}

/// Reads a field of the page.
macro_rules! read {
    ($exit:expr, $($field:tt)+) => {
        // SAFETY: The page is mapped, aligned and this value's own as long as it lives (see `Exit::new`).
        unsafe { (&raw const (*$exit.page.0.as_ptr()).$($field)+).read_volatile() }
    };
}

impl Exit<'_> {
    /// # Safety
    /// `page` is an exit page, and for as long as this value lives only it and the kernel use the page.
    #[inline(always)]
    pub(crate) unsafe fn new(page: *mut ExitPage, vs: VsId, class: u64) -> Self {
        let class = ExitClass::from_raw(class).unwrap_or(ExitClass::Other);
        // SAFETY: A page that is in use is not at address 0.
        let page = Page(unsafe { NonNull::new_unchecked(page) });
        Self { page, vs, class, borrow: PhantomData }
    }

    /// The exit that was about a page; its class is not known any more.
    pub(crate) fn of_page(page: Page) -> Self {
        let mut exit = Self { page, vs: VsId::from_raw(0), class: ExitClass::Other, borrow: PhantomData };
        exit.vs = VsId::from_raw(read!(exit, vs));
        exit
    }

    /// The page alone.
    #[inline(always)]
    pub(crate) fn into_page(self) -> Page {
        self.page
    }

    /// The same exit, for code that is out of line: a copy, so that this one can stay in registers.
    #[inline(always)]
    pub(crate) fn reborrow(&mut self) -> Exit<'_> {
        Exit { page: Page(self.page.0), vs: self.vs, class: self.class, borrow: PhantomData }
    }

    /// The page itself. The kernel and, as every PP's page is mapped, other PPs may write it at any time.
    pub fn as_ptr(&self) -> *mut ExitPage {
        self.page.0.as_ptr()
    }

    /// What kind it is.
    #[inline]
    pub fn class(&self) -> ExitClass {
        self.class
    }

    /// The VS that exited.
    #[inline]
    pub fn vs(&self) -> VsId {
        self.vs
    }

    /// Its VP.
    #[inline]
    pub fn vp(&self) -> VpId {
        VpId::from_raw(read!(self, vp))
    }

    /// Its VM.
    #[inline]
    pub fn vm(&self) -> VmId {
        VmId::from_raw(read!(self, vm))
    }

    /// The number of the PP that it runs on.
    #[inline]
    pub fn pp(&self) -> u64 {
        read!(self, pp)
    }

    /// The hardware's own exit code: SVM EXITCODE, VMX exit reason, ESR_EL2.
    #[inline]
    pub fn code(&self) -> u64 {
        read!(self, code)
    }

    /// The hardware's own qualification: SVM EXITINFO1 and EXITINFO2, VMX exit qualification.
    #[inline]
    pub fn info(&self) -> [u64; 2] {
        [read!(self, info[0]), read!(self, info[1])]
    }

    /// The event that was being delivered; 0 for none.
    #[inline]
    pub fn event(&self) -> u64 {
        read!(self, event)
    }

    /// Address of the instruction that exited.
    #[inline]
    pub fn instruction_pointer(&self) -> u64 {
        read!(self, instruction_pointer)
    }

    /// RFLAGS or SPSR.
    #[inline]
    pub fn flags(&self) -> u64 {
        read!(self, flags)
    }

    /// Privilege level of the code that exited: x86 CPL (0 the highest), Arm EL.
    #[inline]
    pub fn privilege(&self) -> u64 {
        read!(self, privilege)
    }

    /// By class: the MSR or system register, the port, the guest-physical address.
    #[inline]
    pub fn number(&self) -> u64 {
        read!(self, number)
    }

    /// By class: access size in bytes for ports, [`crate::abi::MemoryAccess`] bits for memory; on AArch64, for registers and
    /// ID reads, the number of the general register that is read or written, 31 for XZR.
    #[inline]
    pub fn detail(&self) -> u64 {
        read!(self, detail)
    }

    /// A general register by its architectural number; 0 for one that is not there.
    #[inline]
    pub fn general(&self, number: usize) -> u64 {
        if number < GENERAL_REGISTERS { read!(self, registers[number]) } else { 0 }
    }

    /// Sets a general register; nothing happens for one that is not there.
    #[inline]
    pub fn set_general(&mut self, number: usize, value: u64) {
        if number < GENERAL_REGISTERS {
            // SAFETY: As for reading; the index is inside the array.
            unsafe { (&raw mut (*self.page.0.as_ptr()).registers[number]).write_volatile(value) }
        }
    }

    /// Whether it is hypercall `number`, made by an OS's kernel and not by one of its programs.
    #[inline]
    pub fn is_hypercall(&self, number: u64) -> bool {
        self.class() == ExitClass::Hypercall
            && self.privilege() == KERNEL_PRIVILEGE
            && self.general(0) == number
    }

    /// Answers a hypercall, and says how to go on.
    #[inline]
    pub fn answer_hypercall(&mut self, result: u64) -> Resume {
        self.set_general(0, result);
        Resume::AdvanceAndRun
    }

    /// The kernel.
    pub fn plinth(&self) -> Plinth {
        Plinth::opened()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An exit page of zeroes.
    pub(crate) fn page() -> ExitPage {
        ExitPage {
            registers: [0; GENERAL_REGISTERS],
            code: 0,
            info: [0; 2],
            event: 0,
            instruction_pointer: 0,
            flags: 0,
            privilege: 0,
            number: 0,
            detail: 0,
            pp: 0,
            vm: 0,
            vp: 0,
            vs: 0,
        }
    }

    /// An exit of `class` described by `page`.
    pub(crate) fn exit(page: &mut ExitPage, class: ExitClass) -> Exit<'_> {
        // SAFETY: The page is borrowed for as long as the exit lives.
        unsafe { Exit::new(page, VsId::from_raw(7), class as u64) }
    }

    #[test]
    fn an_exit_is_what_its_page_says() {
        let mut page = ExitPage { code: 0x72, info: [1, 2], number: 3, vs: 9, pp: 4, ..page() };
        let mut exit = exit(&mut page, ExitClass::IdRead);
        assert_eq!((exit.class(), exit.code(), exit.info()), (ExitClass::IdRead, 0x72, [1, 2]));
        assert_eq!((exit.number(), exit.vs().raw(), exit.pp()), (3, 7, 4));
        exit.set_general(3, 5);
        exit.set_general(99, 5);
        assert_eq!((exit.general(3), exit.general(99)), (5, 0));
        assert_eq!(page.registers[3], 5);
    }

    #[test]
    fn an_unknown_class_is_other() {
        let mut page = page();
        // SAFETY: The page is borrowed for as long as the exit lives.
        let exit = unsafe { Exit::new(&mut page, VsId::from_raw(0), 999) };
        assert_eq!(exit.class(), ExitClass::Other);
    }
}
