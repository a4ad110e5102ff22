//! Why the module cannot launch on a machine, in words, and what to do about it.

/// One bit of `not_now`.
pub(crate) struct Reason {
    pub(crate) bit: u64,
    /// The requirement, as `check` names it.
    pub(crate) requirement: &'static str,
    /// What is wrong, and what to do.
    pub(crate) remedy: &'static str,
}

impl Reason {
    /// Whether it can be one on such a machine: bits 2 to 7 are x86's, bits 16 and up arm64's, the others everybody's.
    pub(crate) const fn is_of(&self, is_arm: bool) -> bool {
        match self.bit.trailing_zeros() {
            2..=7 => !is_arm,
            16.. => is_arm,
            _ => true,
        }
    }
}

const fn reason(bit: u32, requirement: &'static str, remedy: &'static str) -> Reason {
    Reason { bit: 1 << bit, requirement, remedy }
}

/// `PLINTH_NOT_LOCKED_DOWN`.
pub(crate) const LOCKED_DOWN: u64 = 1 << 0;

/// The bits of `plinth.h`, in its order.
pub(crate) const REASONS: &[Reason] = &[
    reason(
        0,
        "kernel not locked down",
        "the kernel is locked down, so that not even root may own it; switch Secure Boot off in the firmware's setup, or boot with lockdown=none where that is allowed",
    ),
    reason(
        1,
        "virtualization",
        "the processor has no virtualization that Plinth knows (AMD SVM, Intel VT-x, Armv8 EL2), or a hypervisor hides it; in a virtual machine, enable nested virtualization",
    ),
    reason(
        2,
        "virtualization allowed by the firmware",
        "the firmware has switched virtualization off and locked it; enable SVM (AMD-V) or VT-x in its setup",
    ),
    reason(
        3,
        "virtualization not in use",
        "another hypervisor uses the processor; end its virtual machines and unload it: `modprobe -r kvm_amd` or `modprobe -r kvm_intel`, `vboxdrv`, `vmmon`",
    ),
    reason(
        4,
        "no hypervisor below",
        "this Linux runs in a virtual machine, and Plinth cannot see what that one's Linux asks of it; start with --nested where it is known to work",
    ),
    reason(
        5,
        "memory not encrypted",
        "the processor encrypts memory (SME, SEV, TDX), which Plinth does not handle; boot with mem_encrypt=off",
    ),
    reason(6, "not a guest of Xen", "this Linux is a paravirtual guest of Xen; use the bare machine"),
    reason(
        7,
        "events without FRED",
        "Linux takes events by FRED, which Plinth does not handle; boot with fred=off",
    ),
    reason(
        8,
        "no Plinth runs",
        "a Plinth runs already; `vmmctl status` shows it, `vmmctl stop --force` stops it, whoever started it",
    ),
    reason(
        9,
        "every CPU on line",
        "a CPU that is present does not come on line; boot without nosmt and maxcpus, or look at `dmesg`",
    ),
    reason(
        10,
        "not too many CPUs",
        "the machine has more CPUs than the module has room for; boot with maxcpus=1024",
    ),
    reason(
        16,
        "EL2",
        "the firmware has started Linux at EL1, or the processor has no EL2; have the firmware start Linux at EL2. Where the boot's log had \"All CPU(s) started at EL2\", it does: load the module with started_at_el2=1",
    ),
    reason(
        17,
        "Linux at EL1",
        "Linux itself runs at EL2 (VHE); boot with kvm-arm.mode=nvhe, and from Linux 6.12 on with kvm.enable_virt_at_load=0 too, or launch Plinth by the EFI loader",
    ),
    reason(
        18,
        "EL2 not held by KVM",
        "KVM holds EL2; boot with kvm-arm.mode=none or kvm.enable_virt_at_load=0",
    ),
    reason(
        19,
        "firmware called by SMC",
        "the firmware is called by HVC, so that EL2 is not Linux's; have the firmware start Linux at EL2",
    ),
];

/// The remedies of every bit that is set; `cpu` is the one that they are about, where they are about one.
pub(crate) fn remedies(not_now: u64, cpu: Option<u32>) -> Vec<String> {
    let cpu = cpu.map(|cpu| format!(" (CPU {cpu})")).unwrap_or_default();
    let known = REASONS.iter().filter(|reason| not_now & reason.bit != 0);
    let mut lines: Vec<String> = known.map(|reason| format!("{}{cpu}", reason.remedy)).collect();
    let unknown = not_now & !REASONS.iter().fold(0, |all, reason| all | reason.bit);
    if unknown != 0 {
        lines.push(format!("the module has a reason that this vmmctl does not know ({unknown:#x}); install both from one package"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_bit_and_an_unknown_one_is_not_lost() {
        let all = REASONS.iter().fold(0, |all, reason| all | reason.bit);
        assert_eq!(all.count_ones() as usize, REASONS.len());
        assert_eq!(remedies(all, None).len(), REASONS.len());
        assert_eq!(remedies(1 << 63 | 1, None).len(), 2);
        assert!(remedies(1 << 9, Some(3)).concat().ends_with("(CPU 3)"));
    }
}
