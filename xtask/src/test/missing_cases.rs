//! Why a case of the board tests is missing on a backend: the explanations of `cargo xtask test --matrix`.

use super::matrix::Backend::{self, Amd, Arm, Intel};

/// A reason, with the holes that it explains.
pub(super) struct Hole {
    /// The cases; `x*` is every case that begins with `x`.
    pub(super) cases: &'static [&'static str],
    /// The backends that lack them.
    pub(super) on: &'static [Backend],
    /// The test could be written, and is not yet.
    pub(super) open: bool,
    /// The reason.
    pub(super) why: &'static str,
}

/// The case does not exist there.
const fn none(on: &'static [Backend], cases: &'static [&'static str], why: &'static str) -> Hole {
    Hole { cases, on, open: false, why }
}

/// The test is still to be written.
const fn open(on: &'static [Backend], cases: &'static [&'static str], why: &'static str) -> Hole {
    Hole { cases, on, open: true, why }
}

/// All of them; the first that fits counts.
pub(super) const HOLES: &[Hole] = &[
    none(
        &[Intel, Arm],
        &[
            "config-*",
            "extension-*",
            "kernel-corrupted",
            "kernel-missing",
            "kernel-truncated",
            "kernel-not-named",
            "memory-too-*",
            "payload-*",
            "two-kernels",
            "unknown-option",
            "unknown-role",
        ],
        "a loader's checks of its files do not depend on the processor's vendor: AMD stands for x86, and the arm64 Image has cases of its own",
    ),
    none(
        &[Amd, Intel],
        &[
            "entered-at-el1",
            "extension-is-cut",
            "kernel-is-no-elf",
            "linux-named-in-chosen",
            "payload-is-no-image",
            "payload-nowhere",
            "payload-truncated-header",
            "reservation-does-not-fit",
            "tree-*",
            "unknown-uart",
        ],
        "what the arm64 Image's loader checks: the device tree, the bundle in its file, the exception level",
    ),
    none(
        &[Amd, Intel],
        &[
            "psci-*",
            "spin-table-*",
            "unknown-startup",
            "starts-after-crash",
            "firmware-*",
            "takeover",
            "storm",
        ],
        "PSCI, spin tables and EL2's owner are Arm's; `cpus`, `crash`, `ipi-storm` and `stop` are what x86 has of it",
    ),
    none(
        &[Amd, Intel],
        &["late-efi", "late-el1-refused", "late-kvm", "late-kvm-refused", "late-newer", "late-vhe-refused"],
        "who owns EL2 under a running Linux, and how it was started; on x86 `late-modules` has KVM",
    ),
    none(
        &[Amd, Intel],
        &["lock", "offsets", "ppi", "late", "linux-ticks"],
        "Arm's debug locks, interrupt controllers and the hypervisor's own timer interrupt, which x86 does not have",
    ),
    none(
        &[Arm],
        &[
            "cpus",
            "cpus-bare",
            "escape",
            "half-out",
            "init-resets",
            "init-resets-bare",
            "ipi-storm",
            "kick-modes",
            "sleeps",
        ],
        "INIT, startup IPIs, the local APIC and sleep by I/O ports are x86's; `storm`, `takeover` and `exits` have PSCI's calls",
    ),
    none(
        &[Arm],
        &["nested-nmi", "nested-nmi-bare", "stop-nmi", "triple-fault", "traced-calls", "forbidden-umip"],
        "NMIs, triple faults, the trap flag and UMIP are x86's",
    ),
    none(
        &[Arm],
        &[
            "forbidden-separate",
            "forbidden-shared",
            "hardening-separate",
            "linux-separate",
            "linux-shared",
            "loops-separate",
            "reads-kernel-separate",
            "reads-kernel-shared",
            "stop-separate",
        ],
        "whether the extension has page tables of its own is VHE or not on Arm: the machines of each case are both",
    ),
    none(
        &[Intel],
        &["forbidden-separate", "hardening-separate", "linux-separate", "loops-separate", "stop-separate"],
        "on Bochs' processors, which leak, tables of the extension's own are the usual ones: the cases without the word run with them",
    ),
    none(
        &[Amd],
        &["forbidden-shared", "linux-shared"],
        "on QEMU's AMD processor, which does not leak, shared tables are the usual ones: the cases without the word run with them",
    ),
    open(&[Intel], &["reads-kernel-shared"], "a kernel mapped beside the extension is read on AMD alone"),
    none(
        &[Intel, Arm],
        &["no-hypervisor-bit", "no-svm", "other-vendor", "registers-smca", "svm-in-use"],
        "SVM's own refusals, and AMD's machine-check banks",
    ),
    none(
        &[Amd, Arm],
        &["broken-entry*", "mtrr", "no-ept", "no-unrestricted-guest", "no-vmx", "vmx-in-use", "vmx-locked"],
        "VMX's own refusals, EPT's misconfigurations, and memory types that nested tables have to hold on Intel alone",
    ),
    open(
        &[Intel],
        &["five-levels*", "late-five-levels"],
        "page tables of five levels are tried on AMD alone",
    ),
    none(&[Arm], &["five-levels*", "late-five-levels"], "five levels of page tables are x86's"),
    none(
        &[Intel],
        &[
            "linux-bare",
            "exits-bare",
            "example-cpuid-spoof-bare",
            "cpus-bare",
            "init-resets-bare",
            "nested-nmi-bare",
        ],
        "what holds on the bare machine is shown where it is quick: the guest program is the same",
    ),
    open(
        &[Arm],
        &["debian"],
        "the Debian package is installed on AMD alone; the late-launch cases use the same files from a RAM disk",
    ),
    none(
        &[Intel],
        &[
            "debian",
            "late-crash",
            "late-cycles",
            "late-edges",
            "late-kdump",
            "late-kexec",
            "late-modules",
            "late-newer-cycles",
            "late-reboot",
            "late-refusals",
            "late-seen",
            "late-sleep",
            "linux-crash",
            "linux-dmesg",
            "linux-forged-hypercalls",
            "linux-sleep",
            "linux-slow",
            "linux-stop",
            "vmmctl",
            "example-hello-c-smoke",
            "abi-2-linux-hostile",
            "abi-2-example-cpuid-spoof",
            "abi-2-example-msr-guard",
        ],
        "a Linux under Bochs takes ten minutes: few cases boot one there (`linux`, `late-hotplug`, `late-cycles-modules`), the others' code is the kernel's or the module's",
    ),
    none(
        &[Amd],
        &["late-cycles-modules", "late-rest"],
        "one slow boot of Intel's for what AMD has in several cases: `late-cycles`, `late-modules`, `vmmctl`",
    ),
    none(
        &[Arm],
        &["late-newer-cycles"],
        "Linux 6.12 leaves EL2 alone only where it is told to: `late-newer`",
    ),
    none(
        &[Arm],
        &["late-cycles-modules", "late-rest", "late-edges", "late-modules"],
        "Arm has `late-cycles`, `late-hotplug` and `late-kvm` of its own",
    ),
    open(
        &[Arm],
        &["late-kdump", "late-reboot"],
        "a crash kernel and a reset below a running Plinth are tried on AMD alone",
    ),
    open(
        &[Arm],
        &["linux-crash", "linux-slow", "ticks", "crash-in-fail"],
        "an extension that crashes or idles while Linux boots, or in its fail callback, is tried on x86 alone",
    ),
    open(
        &[Arm],
        &[
            "exits-in-*",
            "faults-in-bootstrap",
            "faults-in-start",
            "no-callbacks",
            "returns-from-*",
            "forged",
            "opens",
            "guest-attacks",
            "stop",
            "report",
            "reads-kernel",
            "uses-fpu",
        ],
        "the kernel's part is the same code as on x86, and arch-sim runs it; Arm's own entry and exit of EL0 would be tried by it too",
    ),
    open(
        &[Intel],
        &["exits-in-*", "faults-in-*", "no-callbacks", "returns-from-*", "report", "served-crashed"],
        "the kernel's part is the same code as on AMD, and arch-sim runs it; VMX's own way back from a launch that fails would be tried by it too",
    ),
    none(&[Amd], &["served-arm-crashed"], "it is `served-crashed` there"),
    none(&[Intel], &["served-arm-crashed"], "`served` runs with a crashed extension there"),
    none(&[Arm], &["served-crashed"], "it is `served-arm-crashed` there"),
    none(
        &[Amd, Intel],
        &["holes-lying-tree*"],
        "only a device tree can call memory what is none; x86's bus answers everywhere",
    ),
    open(&[Amd], &["wild"], "random guests beside Linux run on Intel and Arm; QEMU's SVM would be a third"),
    open(&[Amd, Intel], &["wild-long"], "two minutes of random guests beside Linux, where they are quick"),
    open(
        &[Amd, Intel],
        &["beside*", "promised*", "states*"],
        "a guest VM that tries every system register, and every promise of the ID registers, is Arm's; x86 has `registers`",
    ),
    open(
        &[Amd, Intel],
        &["slices", "abi-2-slices"],
        "a timer that ends the run of a guest VM is tried on Arm; x86's `timer` ends the root VM's",
    ),
    open(&[Arm], &["linux-sleep", "late-sleep"], "a Linux that sleeps by PSCI's call is tried on no board"),
    none(&[Amd, Intel], &["guest-vm"], "it is `example-guest-vm` with VHE, and with a GICv2"),
];
