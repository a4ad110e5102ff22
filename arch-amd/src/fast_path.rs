//! What is served between an exit and the next entry, with most of the guest's registers still in place.
//!
//! This is the shortest way there is: a declared answer costs no more than looking it up.

use core::arch::x86_64::__cpuid_count;

use plinth_arch_x86::exit_registers::ExitPage;
use plinth_arch_x86::exit_registers::number::{RBX, RCX, RDX};
use plinth_arch_x86::stopped_guest::StoppedGuest;
use plinth_extension_api::abi::IdAnswer;
use plinth_hal::{GuestMemory, IdPolicy};

use crate::vmcb::{Control, EVENT_VALID, clean, exit_code};
use crate::vs::SvmVs;
use crate::{next_rip, switch};

/// What is at hand when the guest exits.
pub(crate) struct FastPath<'a, G> {
    pub(crate) vs: &'a mut SvmVs,
    pub(crate) exit_page: ExitPage,
    pub(crate) policy: &'a IdPolicy,
    pub(crate) guest: &'a G,
    pub(crate) declared: &'a mut u64,
}

impl<G: GuestMemory> FastPath<'_, G> {
    /// Runs the guest until an exit is left to the caller.
    ///
    /// # Safety
    /// The guest's hidden state is loaded, and all else is as [`switch::run`] wants it.
    #[inline]
    pub(crate) unsafe fn run(&mut self) {
        let (vmcb, registers) = (self.vs.physical(), self.exit_page.world_switch_words().as_ptr() as u64);
        // SAFETY: a VS's VMCB is set up from its creation on; `serve` gets the `FastPath` that it takes, which nothing else
        // uses meanwhile. The rest is the caller's promise.
        unsafe { switch::run(vmcb, registers, serve::<G>, (&raw mut *self).cast()) };
    }

    #[inline]
    fn try_handle(&mut self) -> bool {
        let control = &mut self.vs.vmcb().control;
        control.tlb_control = 0;
        control.clean = clean::ALL;
        redeliver(control);
        if control.exit_code as u32 != exit_code::CPUID {
            return false;
        }
        let leaf = self.vs.view().save.rax as u32;
        let [subleaf] = self.exit_page.registers_once().take([RCX]).map(|register| register as u32);
        match self.policy.find(leaf, subleaf) {
            Some(answer) => self.give(answer, leaf, subleaf),
            None => false,
        }
    }

    /// Gives the guest a declared answer. Returns false, and changes nothing, where its instruction cannot be skipped.
    /// By itself, so that an exit without one does not save the registers that this needs.
    #[inline(never)]
    fn give(&mut self, answer: &IdAnswer, leaf: u32, subleaf: u32) -> bool {
        let Ok(next) = next_rip::next_rip(self.vs, self.guest) else { return false };
        self.vs.set_next(next);
        let [rax, rbx, rcx, rdx] = result(answer, leaf, subleaf);
        self.vs.vmcb().save.rax = rax;
        for (number, value) in [(RBX, rbx), (RCX, rcx), (RDX, rdx)] {
            self.exit_page.writer().set_general(number, value);
        }
        *self.declared = self.declared.wrapping_add(1);
        true
    }
}

/// The way from [`switch::run`] into [`FastPath::try_handle`].
///
/// # Safety
/// `context` points to a `FastPath<G>` that nothing else uses.
unsafe extern "sysv64" fn serve<G: GuestMemory>(context: *mut ()) -> bool {
    // SAFETY: forwarded to the caller.
    unsafe { &mut *context.cast::<FastPath<'_, G>>() }.try_handle()
}

/// An event whose delivery was cut off by the exit is delivered again (AMD APM vol. 2, 15.7.2), unless it was a
/// software interrupt or exception: the instruction runs again and raises it anew.
#[inline]
fn redeliver(control: &mut Control) {
    const KIND_EXCEPTION: u64 = 3;
    const KIND_SOFTWARE: u64 = 4;
    const BREAKPOINT: u64 = 3;
    const OVERFLOW: u64 = 4;
    let event = control.exit_interrupt_info;
    if event & EVENT_VALID == 0 {
        control.event_injection = 0;
        return;
    }
    let (kind, vector) = (event >> 8 & 7, event & 0xff);
    let software = kind == KIND_SOFTWARE || kind == KIND_EXCEPTION && matches!(vector, BREAKPOINT | OVERFLOW);
    control.event_injection = if software { 0 } else { event };
}

#[inline]
fn result(answer: &IdAnswer, leaf: u32, subleaf: u32) -> [u64; 4] {
    if answer.keep == [0; 4] {
        return answer.set.map(u64::from);
    }
    let native = __cpuid_count(leaf, subleaf);
    let native = [native.eax, native.ebx, native.ecx, native.edx];
    core::array::from_fn(|index| u64::from(native[index] & answer.keep[index] | answer.set[index]))
}
