//! Reflection of #DB and #AC: both exceptions exit, and the kernel injects them into the guest as the
//! processor would have delivered them.
//!
//! A guest can arrange that the delivery of such an exception raises the same exception again: by a data
//! breakpoint on its stack, or by a misaligned stack at privilege level 3. The processor would then deliver
//! exceptions without end, and take neither interrupts nor NMIs (CVE-2015-8104, CVE-2015-5307). The exit in
//! each round gives the kernel control.

use crate::vmcb::{Control, EVENT_ERROR_CODE, EVENT_EXCEPTION, EVENT_VALID, exit_code};

const ALIGNMENT_CHECK: u32 = exit_code::EXCEPTION_AC - exit_code::EXCEPTION_DB + DEBUG;
const DEBUG: u32 = 1;

/// The exceptions that every VS intercepts.
pub(crate) const REFLECTED: u32 = 1 << DEBUG | 1 << ALIGNMENT_CHECK;

/// An event whose delivery the exception has interrupted, and that the guest would lose: nothing raises it
/// again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CutOff {
    /// None.
    Nothing,
    /// An interrupt, by its vector.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
}

/// Injects the exception that has just exited at the next entry, and returns the event whose delivery it has
/// interrupted. The processor has updated DR6 and DR7 before the exit (AMD APM vol. 2, 15.12.2).
pub(crate) fn reflect(control: &mut Control) -> CutOff {
    let cut_off = cut_off(control.exit_interrupt_info);
    let raised = match control.exit_code as u32 {
        exit_code::EXCEPTION_AC => EVENT_ERROR_CODE | u64::from(ALIGNMENT_CHECK) | control.exit_info[0] << 32,
        _ => u64::from(DEBUG),
    };
    control.event_injection = EVENT_VALID | EVENT_EXCEPTION | raised;
    // The guest's handler starts without an interrupt shadow.
    control.interrupt_shadow = 0;
    cut_off
}

fn cut_off(event: u64) -> CutOff {
    const INTERRUPT: u64 = 0;
    const NMI: u64 = 2;
    match event >> 8 & 7 {
        _ if event & EVENT_VALID == 0 => CutOff::Nothing,
        INTERRUPT => CutOff::Interrupt(event as u8),
        NMI => CutOff::Nmi,
        _ => CutOff::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is injected after an exit, and what has been cut off.
    fn reflected(code: u32, error_code: u64, under_way: u64) -> (u64, CutOff) {
        // SAFETY: all zeroes is a valid `Control`.
        let mut control: Control = unsafe { core::mem::zeroed() };
        (control.exit_code, control.exit_info[0]) = (code.into(), error_code);
        (control.exit_interrupt_info, control.event_injection) = (under_way, under_way);
        control.interrupt_shadow = 1;
        let cut_off = reflect(&mut control);
        assert_eq!(control.interrupt_shadow, 0);
        (control.event_injection, cut_off)
    }

    #[test]
    fn the_guest_gets_its_exception() {
        assert_eq!(reflected(0x41, 0, 0), (0x8000_0301, CutOff::Nothing));
        assert_eq!(reflected(0x51, 0, 0), (0x8000_0B11, CutOff::Nothing));
        assert_eq!(reflected(0x51, 1, 0), (0x1_8000_0B11, CutOff::Nothing));
    }

    #[test]
    fn what_it_cuts_off_is_not_lost() {
        assert_eq!(reflected(0x51, 0, 0x8000_0040), (0x8000_0B11, CutOff::Interrupt(0x40)));
        assert_eq!(reflected(0x51, 0, 0x8000_0202), (0x8000_0B11, CutOff::Nmi));
        assert_eq!(reflected(0x51, 0, 0x8000_0B0E), (0x8000_0B11, CutOff::Nothing), "raised anew");
    }
}
