//! Debian's Linux as the root VM of a PC with a BIOS: GRUB and the multiboot2 loader, and what it is given that is wrong.

use super::{BARE_2, End, Fault, GOING_ON, GUEST_PASSED, LINUX, POWER_DOWN, Payload, SIGNATURE, Test};

/// Linux, started from a CD.
const BIOS: Test = Test { boards: &["qemu-q35-bios"], memory: 512, ..LINUX };

/// Plinth cannot be launched, the loader says why, and Linux boots without it.
const NOT_LAUNCHED: Test = Test { command_line: "plinth.test=bare", cpus: 2, ..BIOS };

/// A kernel of `tests/guests-bios` that starts and stops the second processor.
const CPUS: Test = Test {
    payload: Payload::Guest("cpus"),
    command_line: "",
    cpus: 2,
    expect: &["TEST cpus done "],
    end: End::Status(GUEST_PASSED),
    ..BIOS
};

/// One that attacks by interrupts, and by all else that a root VM has.
const IPI_STORM: Test = Test {
    payload: Payload::Guest("ipi-storm"),
    expect: &["ipi-storm: seed ", "ipi-storm: 60000 commands sent, ", "TEST ipi-storm done "],
    ..CPUS
};

/// One whose program in ring 3 forges what only a kernel may do.
const FORGED: Test = Test {
    payload: Payload::Guest("forged"),
    cpus: 1,
    expect: &["TEST forged in-ring-3 ok", "TEST forged plinth-is-there ok", "TEST forged done "],
    ..CPUS
};

/// There is nothing to boot, with Plinth or without.
const NOTHING: Test = Test { end: End::Seen, timeout: 60, ..BIOS };

/// The files on the CD.
const KERNEL: &str = "plinth";
const EXTENSION: &str = "extension";
const PAYLOAD: &str = "vmlinuz";
const CONFIGURATION: &str = "grub/grub.cfg";

/// Offsets in a bzImage: the magic, and the version of the boot protocol.
const MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;

/// A configuration with these modules before the payload's.
macro_rules! configuration {
    ($options:literal, $modules:literal) => {
        concat!(
            "set timeout=0\nserial --unit=0 --speed=115200\nterminal_output serial\nmenuentry \"Plinth\" {\n",
            "multiboot2 /boot/plinth-multiboot2 ",
            $options,
            "\n",
            $modules,
            "module2 /boot/vmlinuz payload console=ttyS0,115200 panic=-1 plinth.test=bare\n",
            "module2 /boot/initrd.img initrd\n}\n"
        )
        .as_bytes()
    };
}

const NO_KERNEL: &[u8] = configuration!("", "module2 /boot/extension extension\n");
const UNKNOWN_ROLE: &[u8] = configuration!(
    "",
    "module2 /boot/plinth kernel\nmodule2 /boot/extension extension\nmodule2 /boot/extension extention\n"
);
const TWO_KERNELS: &[u8] = configuration!(
    "",
    "module2 /boot/plinth kernel\nmodule2 /boot/plinth kernel\nmodule2 /boot/extension extension\n"
);
const UNKNOWN_OPTION: &[u8] =
    configuration!("quiet", "module2 /boot/plinth kernel\nmodule2 /boot/extension extension\n");
const NO_PAYLOAD: &[u8] = b"set timeout=0\nserial --unit=0 --speed=115200\nterminal_output serial\n\
    menuentry \"Plinth\" {\nmultiboot2 /boot/plinth-multiboot2\nmodule2 /boot/plinth kernel\n\
    module2 /boot/extension extension\n}\n";

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "cpus",
        proves: "INIT and startup IPIs, in every order, do to the second processor what the bare machine does",
        // Not what the kernel says of it on the second processor: the guest may be writing to the same port meanwhile.
        expect: &["TEST cpus second-sees-plinth ok", "TEST cpus done "],
        ..CPUS
    },
    Test {
        name: "ipi-storm-2",
        proves: "a root VM that sends every kind of interrupt to both CPUs, and attacks else what it can, harms only itself",
        ..IPI_STORM
    },
    Test {
        name: "forged",
        proves: "hypercalls and virtualization instructions of a program in ring 3 are refused, and Plinth stays",
        ..FORGED
    },
    Test {
        name: "cpus-bare",
        proves: "the guest's checks hold on the bare machine too, started by GRUB",
        bare: true,
        ..CPUS
    },
    Test {
        name: "linux-bare-2",
        proves: "the smoke test holds without Plinth, started by GRUB, on 2 CPUs",
        bare: true,
        cpus: 2,
        expect: &["TEST smoke cpus=2 ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "linux-1",
        proves: "Debian's Linux boots as the root VM, works and powers off, on 1 CPU",
        expect: &[SIGNATURE, "TEST smoke cpus=1 ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "linux-2",
        proves: "Linux starts the second CPU itself, under Plinth, and takes it off-line and back again and again",
        cpus: 2,
        expect: &["plinth: pp 1: started by the root VM", SIGNATURE, "TEST smoke cpus=2 ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "linux-4",
        proves: "Linux starts three more CPUs itself, under Plinth, and takes them off-line and back again and again",
        cpus: 4,
        expect: &["plinth: pp 3: started by the root VM", SIGNATURE, "TEST smoke cpus=4 ok", POWER_DOWN],
        ..BIOS
    },
    Test {
        name: "crash-2",
        proves: "the kernel starts the second CPU by itself once the extension has crashed",
        cpus: 2,
        extension: Some("crashes-later"),
        expect: &[
            "plinth: error: pp 0: the extension is gone",
            "smp: Bringing up secondary CPUs",
            "plinth: pp 1: started by the root VM",
            "TEST smoke cpus=2 ok",
            POWER_DOWN,
        ],
        ..BIOS
    },
    Test {
        name: "faults-in-second-bootstrap-2",
        proves: "a CPU that the extension cannot take over stays off, and Linux works on the other",
        cpus: 2,
        extension: Some("faults-in-second-bootstrap"),
        expect: &[
            "plinth: error: pp 1: the root VM has started it, but it stays off: the extension faulted while starting",
            "TEST smoke cpus=1 ok",
            POWER_DOWN,
        ],
        ..BIOS
    },
    Test {
        name: "no-svm",
        proves: "an AMD processor without SVM is refused with the reason",
        arguments: &["-cpu", "EPYC,-svm,-hypervisor"],
        expect: &[
            "plinth: not launched: this processor has no virtualization extension that Plinth supports",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "kernel-not-named",
        proves: "a configuration without a kernel is refused with the line that is missing",
        faults: &[Fault::Replaced(CONFIGURATION, NO_KERNEL)],
        expect: &[
            "plinth: not launched: no module is the kernel; add `module2 FILE kernel` to grub.cfg",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "unknown-role",
        proves: "a module that is for nothing is named, with what modules can be for",
        faults: &[Fault::Replaced(CONFIGURATION, UNKNOWN_ROLE)],
        expect: &[
            "plinth: not launched: a module is for `extention`, which is nothing that this loader knows",
            "kernel, extension, payload, initrd",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "two-kernels",
        proves: "two kernels are one too many",
        faults: &[Fault::Replaced(CONFIGURATION, TWO_KERNELS)],
        expect: &["plinth: not launched: two modules are the kernel", GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "unknown-option",
        proves: "an argument that the loader does not have is named",
        faults: &[Fault::Replaced(CONFIGURATION, UNKNOWN_OPTION)],
        expect: &["plinth: not launched: the loader has no argument `quiet`", GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "memory-too-small",
        proves: "a hypervisor with too little memory is not launched",
        settings: &["memory = 4"],
        expect: &["plinth: not launched: memory=4 is no number of MiB from 8", GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "memory-too-large",
        proves: "a hypervisor that wants more memory than there is is not launched",
        settings: &["memory = 1024"],
        expect: &[
            "plinth: not launched: there is no memory for the hypervisor",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "kernel-truncated",
        proves: "a kernel that is cut short is named",
        faults: &[Fault::Truncated(KERNEL, 5000)],
        expect: &["plinth: not launched: the kernel is refused: ", "cut short", GOING_ON, BARE_2, POWER_DOWN],
        ..NOT_LAUNCHED
    },
    Test {
        name: "extension-corrupted",
        proves: "an extension that is something else is named",
        faults: &[Fault::Replaced(EXTENSION, b"#!/bin/sh\n")],
        expect: &[
            "plinth: not launched: the extension is refused: not an ELF file",
            GOING_ON,
            BARE_2,
            POWER_DOWN,
        ],
        ..NOT_LAUNCHED
    },
    Test {
        name: "payload-not-named",
        proves: "a configuration without a payload is told so",
        faults: &[Fault::Replaced(CONFIGURATION, NO_PAYLOAD)],
        expect: &["plinth: nothing to start: no module is the payload"],
        ..NOTHING
    },
    Test {
        name: "payload-too-old",
        proves: "a Linux kernel without a 64-bit entry is refused with its boot protocol",
        faults: &[Fault::Patched(PAYLOAD, PROTOCOL, &[4, 2])],
        expect: &["plinth: nothing to start: the payload's boot protocol 0x204 is too old"],
        ..NOTHING
    },
    Test {
        name: "payload-corrupted",
        proves: "a payload that is no Linux kernel is refused",
        faults: &[Fault::Patched(PAYLOAD, MAGIC, b"????")],
        expect: &["plinth: nothing to start: the payload is no bzImage"],
        ..NOTHING
    },
];
