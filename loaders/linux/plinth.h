/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What a program tells /dev/plinth, and what it hears: the interface of Plinth's Linux module.
 *
 * The module reserves memory, calls the hypervisor's entry on every CPU, and makes hypercalls. It knows no file format and
 * decides nothing: a program such as vmmctl fills the reserved memory by mmap.
 *
 * Every structure begins with its size and the interface's version. The device answers
 *   EINVAL  where the version or a flag is not known or a reserved word is not 0,
 *   E2BIG   where the size is not the structure's,
 *   ENOTTY  where the request is not known,
 *   EPERM   where the caller lacks CAP_SYS_ADMIN or the kernel is locked down,
 *   EFAULT  where the structure or a buffer is not in the caller's memory.
 * Nothing has changed then, and nothing is written back. With any other answer the structure is written back, and its
 * results are valid. Fields marked "in" are the caller's, "out" the device's; those marked out must be 0.
 */
#ifndef PLINTH_H
#define PLINTH_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The version of this interface. It changes with any structure. */
#define PLINTH_API_VERSION 1

/* How many CPUs a set has room for, a bit for each of Linux's CPU numbers. */
#define PLINTH_CPUS 1024
#define PLINTH_CPU_WORDS (PLINTH_CPUS / 64)

/* In a field for a CPU: there is none. */
#define PLINTH_NO_CPU 0xffffffffu

/* The states. */
#define PLINTH_IDLE 0     /* No memory is reserved. */
#define PLINTH_RESERVED 1 /* Memory is reserved, for the open file that asked for it. */
#define PLINTH_RUNNING 2  /* This module launched a hypervisor, on all CPUs. */
#define PLINTH_BROKEN 3   /* A CPU could not be taken back: the memory is kept and the module stays, until STOP succeeds. */

/* The kinds of machine. */
#define PLINTH_MACHINE_AMD 1   /* x86-64 with SVM: hypercalls by VMMCALL. */
#define PLINTH_MACHINE_INTEL 2 /* x86-64 with VMX: hypercalls by VMCALL. */
#define PLINTH_MACHINE_ARM64 3 /* AArch64: hypercalls by HVC #0. */

/* Why no hypervisor can be launched on this machine as it is: a set. */
#define PLINTH_NOT_LOCKED_DOWN (1ull << 0)     /* The kernel is locked down (Secure Boot): root may not own it. */
#define PLINTH_NOT_VIRTUALIZATION (1ull << 1)  /* The processor has none that Plinth knows, or a hypervisor hides it. */
#define PLINTH_NOT_FIRMWARE (1ull << 2)        /* x86: firmware has switched virtualization off and locked it. */
#define PLINTH_NOT_IN_USE (1ull << 3)          /* x86: EFER.SVME or CR4.VMXE is set: KVM or another hypervisor is loaded. */
#define PLINTH_NOT_BELOW (1ull << 4)           /* x86: a hypervisor runs below Linux; PLINTH_LAUNCH_NESTED goes on. */
#define PLINTH_NOT_ENCRYPTED (1ull << 5)       /* x86: memory encryption is active (SME, SEV, TDX). */
#define PLINTH_NOT_XEN (1ull << 6)             /* x86: Linux is a paravirtual guest of Xen. */
#define PLINTH_NOT_FRED (1ull << 7)            /* x86: Linux takes events by FRED. */
#define PLINTH_NOT_RUNNING (1ull << 8)         /* A Plinth runs already, whoever launched it. */
#define PLINTH_NOT_ONLINE (1ull << 9)          /* A CPU that is present did not come on line. */
#define PLINTH_NOT_TOO_MANY (1ull << 10)       /* There are more CPUs than PLINTH_CPUS. */
#define PLINTH_NOT_ARM_EL2_NONE (1ull << 16)   /* arm64: firmware started Linux at EL1, or there is no EL2. */
#define PLINTH_NOT_ARM_EL2_LINUX (1ull << 17)  /* arm64: Linux itself runs at EL2 (VHE). */
#define PLINTH_NOT_ARM_EL2_KVM (1ull << 18)    /* arm64: KVM holds EL2's vectors. */
#define PLINTH_NOT_ARM_CONDUIT (1ull << 19)    /* arm64: firmware is called by HVC, so that EL2 is not Linux's. */

/* Who stopped the hypervisor last. */
#define PLINTH_STOPPED_NEVER 0
#define PLINTH_STOPPED_BY_REQUEST 1 /* PLINTH_IOC_STOP. */
#define PLINTH_STOPPED_BY_SLEEP 2   /* The machine went to suspend or hibernate. */
#define PLINTH_STOPPED_BY_REBOOT 3  /* Reboot, power-off or kexec that did not come about. */
#define PLINTH_STOPPED_BY_LAUNCH 4  /* A CPU was refused, so that those launched before were taken back. */

/* The beginning of each structure. */
struct plinth_head {
	__u32 size;    /* in: the structure's size in bytes, this field included. */
	__u32 version; /* in: PLINTH_API_VERSION. */
};

/* A range of physical addresses. */
struct plinth_range {
	__u64 start; /* The first byte's address. */
	__u64 size;  /* The length in bytes; 0: there is no such range. */
};

/* PLINTH_IOC_INFO: what there is. Allowed in every state, and under lockdown. */
struct plinth_info {
	struct plinth_head head;
	__u32 state;                       /* out: PLINTH_IDLE, PLINTH_RESERVED, PLINTH_RUNNING or PLINTH_BROKEN. */
	__u32 machine;                     /* out: PLINTH_MACHINE_*; 0: none that Plinth knows. */
	__u64 not_now;                     /* out: why nothing can be launched, PLINTH_NOT_*; 0: something can. */
	__u32 not_now_cpu;                 /* out: a CPU to which not_now applies; PLINTH_NO_CPU where it is no CPU's. */
	__u32 stopped_by;                  /* out: PLINTH_STOPPED_*. */
	__u32 cpus_present;                /* out: how many CPUs there are: LaunchInfo's pp_count. */
	__u32 cpus_online;                 /* out: how many of them are on line. A launch brings the others on line. */
	__u32 cpus_launched;               /* out: how many this module launched. */
	__u32 padding;                     /* out: 0. */
	__u64 present[PLINTH_CPU_WORDS];   /* out: the CPUs that are present. Bit n of word m is CPU 64 m + n. */
	__u64 online[PLINTH_CPU_WORDS];    /* out: the CPUs that are on line. */
	__u64 launched[PLINTH_CPU_WORDS];  /* out: the CPUs that this module launched. The nth of them is the hypervisor's PP n. */
	struct plinth_range reservation;   /* out: the hypervisor's memory; mapped at offset PLINTH_MAP_RESERVATION. */
	struct plinth_range log;           /* out: pages for LaunchInfo's log, which outlive the hypervisor; at PLINTH_MAP_LOG. */
	__u64 memory_end;                  /* out: LaunchInfo's memory_end: where memory and devices end, in bytes. */
	char module_version[32];           /* out: the module's version, terminated by 0. */
	__u64 reserved[8];                 /* in, out: 0. */
};

/*
 * PLINTH_IOC_RESERVE: memory in one piece, 2 MiB aligned, zeroed, for this open file alone. In state idle; then the state is
 * reserved. Closing the file gives the memory back, unless a hypervisor runs in it.
 *   EBUSY   the state is not idle.
 *   ENOMEM  there is no piece of that size; free memory, or ask for less.
 *   EINVAL  size is 0, above 1 GiB or no multiple of 2 MiB, or log_size is above 4 MiB or no multiple of 4 KiB.
 */
struct plinth_reserve {
	struct plinth_head head;
	__u64 size;                      /* in: how many bytes. */
	__u64 below;                     /* in: where it must end at the latest; 0: anywhere. */
	__u64 log_size;                  /* in: bytes for the log; 0: none. A log of the same size is kept with its contents. */
	struct plinth_range reservation; /* out: the memory. */
	struct plinth_range log;         /* out: the log's pages. */
	__u64 reserved[4];               /* in, out: 0. */
};

/* Go on although a hypervisor below Linux says that it is there (CPUID 1, ECX bit 31). */
#define PLINTH_LAUNCH_NESTED (1u << 0)

/*
 * PLINTH_IOC_LAUNCH: calls the entry on every CPU, or gives back those called before one that was refused. In state reserved, by
 * the file that reserved; then the state is running. The program's mappings of the reservation end with the call.
 *   EBUSY       the state is not reserved, or another open file reserved.
 *   EINVAL      entry or info is not in the reservation, or tables is not where it has to be.
 *   ETXTBSY     a transfer still goes to the reservation, or another program maps a page of it.
 *   EAGAIN      a CPU went off line meanwhile.
 *   ENOMEM      there is no memory for the call's page tables.
 *   EOPNOTSUPP  not_now says why not.
 *   ECANCELED   the hypervisor refused a CPU: status and cpu say why. The state is reserved again; or, where cpus_left is not 0,
 *               broken.
 */
struct plinth_launch {
	struct plinth_head head;
	__u64 entry;         /* in: the physical address of the kernel image's entry, in the reservation. */
	__u64 info;          /* in: the physical address of its LaunchInfo, in the reservation. */
	__u64 tables;        /* in: arm64: LaunchInfo's tables, in the reservation; x86: 0. */
	__u32 flags;         /* in: PLINTH_LAUNCH_*. */
	__u32 padding;       /* in, out: 0. */
	__u64 status;        /* out: the entry's answer, a LaunchStatus; 0 where every CPU was launched or none was asked. */
	__u64 not_now;       /* out: why the module did not ask, PLINTH_NOT_*. */
	__u32 cpu;           /* out: the CPU that status or not_now is about; PLINTH_NO_CPU where it is none. */
	__u32 cpus_launched; /* out: how many CPUs were launched before. */
	__u32 cpus_left;     /* out: how many of these could not be taken back. */
	__u32 padding2;      /* in, out: 0. */
	__u64 reserved[4];   /* in, out: 0. */
};

/* Also stop a Plinth that another loader launched, where it lets itself be stopped. Its memory stays reserved until the next boot. */
#define PLINTH_STOP_FORCE (1u << 0)

/*
 * PLINTH_IOC_STOP: gives all CPUs back to Linux, or none. In state running or broken; then the state is idle.
 *   ESRCH      no hypervisor of this module runs, and with PLINTH_STOP_FORCE no Plinth at all.
 *   EBUSY      CPU cpu is off line and does not come on line, so that it cannot be taken back. Nothing was stopped.
 *   ECANCELED  the hypervisor refused: status is its answer. All goes on as before, or, where cpus_left is smaller than the number
 *              of CPUs launched, the state is broken.
 */
struct plinth_stop {
	struct plinth_head head;
	__u32 flags;       /* in: PLINTH_STOP_*. */
	__u32 padding;     /* in, out: 0. */
	__u64 status;      /* out: the answer to the stop hypercall; 0 where it succeeded. */
	__u32 cpu;         /* out: the CPU that the answer is about; PLINTH_NO_CPU where it is none. */
	__u32 cpus_left;   /* out: how many CPUs are still in the hypervisor. */
	__u64 reserved[4]; /* in, out: 0. */
};

/* A hypercall's number: the signature in bits 63:48. */
#define PLINTH_HYPERCALL(number) (0x504cull << 48 | (number))
/* Writes the exit counts to the log, and how many exits the calling CPU has had. The extension's answers. */
#define PLINTH_HYPERCALL_REPORT PLINTH_HYPERCALL(0x00010002ull)
#define PLINTH_HYPERCALL_COUNT PLINTH_HYPERCALL(0x00010003ull)
/* The kernel's own group, number 0 to 15: status, log, trace. */
#define PLINTH_HYPERCALL_KERNEL(number) PLINTH_HYPERCALL(0x00020000ull | (number))
#define PLINTH_KERNEL_CALLS 16
/* The one that any Plinth answers, whatever has become of its extension. */
#define PLINTH_HYPERCALL_STATUS PLINTH_HYPERCALL_KERNEL(1)

/* How many bytes a hypercall's buffer has at most: one page. */
#define PLINTH_BUFFER_MAX 4096

/*
 * PLINTH_IOC_CALL: one hypercall on one CPU. Also where another loader launched the Plinth that runs. Allowed are REPORT, COUNT and
 * the kernel's own group.
 *   EINVAL  number is none of these, buffer_argument is above 4, or buffer_size is above PLINTH_BUFFER_MAX.
 *   ESRCH   no Plinth runs.
 *   ENXIO   the CPU is not there or off line.
 */
struct plinth_call {
	struct plinth_head head;
	__u64 number;          /* in: PLINTH_HYPERCALL_*. */
	__u64 arguments[4];    /* in: RDI, RSI, RDX, R10; X1, X2, X3, X4. */
	__u64 results[5];      /* out: RAX, RDI, RSI, RDX, R10; X0, X1, X2, X3, X4. */
	__u64 buffer;          /* in: the address of the caller's buffer; 0: none. */
	__u32 buffer_size;     /* in: how many bytes are copied there from the page that the hypercall got; 0: none. */
	__u32 buffer_argument; /* in: which argument becomes the physical address of a cleared page, 1 to 4; 0: none. */
	__u32 cpu;             /* in: on which of Linux's CPUs. */
	__u32 padding;         /* in, out: 0. */
	__u64 reserved[4];     /* in, out: 0. */
};

/*
 * Offsets for mmap. The reservation may be mapped while the state is reserved, by the file that reserved, shared. The log may be
 * mapped at any time after it was reserved, read only. Both as a whole or from the start. A page that is gone gives SIGBUS.
 */
#define PLINTH_MAP_RESERVATION 0ull
#define PLINTH_MAP_LOG (1ull << 40)

#define PLINTH_IOC_INFO _IOWR(0xB5, 0x40, struct plinth_info)
#define PLINTH_IOC_RESERVE _IOWR(0xB5, 0x41, struct plinth_reserve)
#define PLINTH_IOC_LAUNCH _IOWR(0xB5, 0x42, struct plinth_launch)
#define PLINTH_IOC_STOP _IOWR(0xB5, 0x43, struct plinth_stop)
#define PLINTH_IOC_CALL _IOWR(0xB5, 0x44, struct plinth_call)

#endif
