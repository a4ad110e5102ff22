/* The ABI between Plinth's kernel and an extension, for C.
 *
 * Made by `cargo xtask abi` from extension-api/src/abi. Change it there.
 *
 * C11, freestanding; gcc or clang, x86-64 or AArch64. An extension uses no floating point and no SIMD:
 * compile it with -mgeneral-regs-only. docs/abi/ is the specification.
 */
#ifndef PLINTH_H
#define PLINTH_H

#include <stddef.h>
#include <stdint.h>

/* The outcome of a call: 0, or 0xDEAD in bits 63:48, the arguments at fault in 47:16, the error in 15:0. */
typedef uint64_t plinth_status;

/* The error of a status, a PLINTH_ERROR_ number; 0 for success. */
static inline unsigned plinth_error(plinth_status status)
{
    return (unsigned)(status & 0xffff);
}

/* The first argument at fault: 0 for REG0; -1 if none is. */
static inline int plinth_argument(plinth_status status)
{
    for (int argument = 0; argument < 6; argument++) {
        if (status >> (16 + argument) & 1) {
            return argument;
        }
    }
    return -1;
}

/* The newest version of the ABI. */
#define PLINTH_VERSION 2u

/* Limits and ids. */
/* PPs. */
#define PLINTH_MAX_PPS UINT64_C(0x40)
/* VMs, with the root VM. */
#define PLINTH_MAX_VMS UINT64_C(0x10)
/* VPs of all VMs. */
#define PLINTH_MAX_VPS UINT64_C(0x80)
/* VSs of all VPs. */
#define PLINTH_MAX_VSS UINT64_C(0x80)
/* Views of a VM besides its own tables. */
#define PLINTH_MAX_VIEWS UINT64_C(0x7)
/* Declared answers of a VM. */
#define PLINTH_MAX_ID_ANSWERS UINT64_C(0x40)
/* Bytes of text that one `DebugWrite` takes. */
#define PLINTH_MAX_WRITE UINT64_C(0x100)
/* Bytes of one `VmMap`, `VmUnmap` or `VmProtect`. */
#define PLINTH_MAX_RANGE UINT64_C(0x40000000)
/* `TimerSet`: at no time. */
#define PLINTH_TIMER_OFF UINT64_C(0xffffffffffffffff)
/* Registers or ports of one intercept call. */
#define PLINTH_MAX_INTERCEPTS UINT64_C(0x10000)
/* Entries of one `VsReadMany` or `VsWriteMany`. */
#define PLINTH_MAX_REGISTERS UINT64_C(0x40)
/* Bytes of one `VmReadMemory` or `VmWriteMemory`. */
#define PLINTH_MAX_COPY UINT64_C(0x1000)
/* The root VM's id: it is there from the start. */
#define PLINTH_ROOT_VM UINT64_C(0x0)
/* An id (VM, VP or VS) that names nothing. */
#define PLINTH_INVALID_ID UINT64_C(0xffffffffffffffff)

/* Bits of arguments. */
/* `VmMap`, `VmProtect`, `VmQuery`: the guest may read. */
#define PLINTH_PERMISSION_READ UINT64_C(0x1)
/* The guest may write. */
#define PLINTH_PERMISSION_WRITE UINT64_C(0x2)
/* The guest may execute. */
#define PLINTH_PERMISSION_EXECUTE UINT64_C(0x4)
/* `VmMap`, `VmQuery`: ordinary memory. Bits 10:8 are the memory type. */
#define PLINTH_MEMORY_TYPE_WRITE_BACK UINT64_C(0x0)
/* Device registers: no caching, no reordering. */
#define PLINTH_MEMORY_TYPE_UNCACHED UINT64_C(0x100)
/* Frame buffers: no caching, writes are gathered. */
#define PLINTH_MEMORY_TYPE_WRITE_COMBINING UINT64_C(0x200)
/* Reads are cached, writes go through. */
#define PLINTH_MEMORY_TYPE_WRITE_THROUGH UINT64_C(0x300)
/* Reads are cached, writes go out and drop the line. */
#define PLINTH_MEMORY_TYPE_WRITE_PROTECTED UINT64_C(0x400)
/* All bits of the memory type. */
#define PLINTH_MEMORY_TYPES UINT64_C(0x700)
/* `VmInterceptRegisters`: reads exit. */
#define PLINTH_INTERCEPT_READS UINT64_C(0x1)
/* `VmInterceptRegisters`: writes exit. */
#define PLINTH_INTERCEPT_WRITES UINT64_C(0x2)

/* Events for plinth_vs_inject. */
/* Type: a non-maskable interrupt; the vector does not matter. */
#define PLINTH_EVENT_NMI UINT64_C(0x200)
/* Type: an exception; x86 vectors 0 to 31 without 2, Arm exception classes. */
#define PLINTH_EVENT_EXCEPTION UINT64_C(0x300)
/* Type: an interrupt, for a VM other than the root VM; x86 vectors 32 to 255, Arm 0 for the IRQ and 1 for the FIQ. */
#define PLINTH_EVENT_INTERRUPT UINT64_C(0x400)
/* Type: takes such an interrupt back, if it waits. */
#define PLINTH_EVENT_WITHDRAW UINT64_C(0x500)
/* Bits 63:32 are an error code. */
#define PLINTH_EVENT_ERROR_CODE UINT64_C(0x800)

/* How a guest accessed memory: detail of a memory exit. */
/* It wrote. Neither write nor execute: it read. */
#define PLINTH_MEMORY_WRITE UINT64_C(0x1)
/* It fetched an instruction. */
#define PLINTH_MEMORY_EXECUTE UINT64_C(0x2)
/* The access was made by the guest's own page walk. */
#define PLINTH_MEMORY_PAGE_WALK UINT64_C(0x4)

/* Manifests. */
/* Type of the ELF note. */
#define PLINTH_MANIFEST_KIND UINT64_C(0x1)
/* The VM group. */
#define PLINTH_GROUP_VM UINT64_C(0x10)
/* The VP group. */
#define PLINTH_GROUP_VP UINT64_C(0x20)
/* The VS group. */
#define PLINTH_GROUP_VS UINT64_C(0x40)
/* The intrinsic group. */
#define PLINTH_GROUP_INTRINSIC UINT64_C(0x80)
/* The memory group. */
#define PLINTH_GROUP_MEMORY UINT64_C(0x100)
/* The time group. */
#define PLINTH_GROUP_TIME UINT64_C(0x200)
/* The PP group. */
#define PLINTH_GROUP_PP UINT64_C(0x400)
/* Allowed whatever a manifest says: control, handle, debug, callback. */
#define PLINTH_GROUPS_ALWAYS UINT64_C(0xf)
/* What a file without a manifest may call: all but the intrinsic group. */
#define PLINTH_GROUPS_WITHOUT_MANIFEST UINT64_C(0x77f)

/* Hypercalls. */
/* Gives all processors back to the OS, or none. Result 0: they run on the bare machine. The OS's kernel alone may. */
#define PLINTH_HYPERCALL_STOP UINT64_C(0x504c000000010001)
/* AArch64, argument 1 of `HYPERCALL_STOP`, from firmware that launched at EL2 and runs at EL1 now: it can go on at EL2 behind the call, with its own tables, vectors and stack. It is the level's number. Without it such firmware is not given back. */
#define PLINTH_HYPERCALL_STOP_AT_EL2 UINT64_C(0x2)
/* Writes the exit counts of every processor to the log. The OS's kernel alone may. */
#define PLINTH_HYPERCALL_REPORT UINT64_C(0x504c000000010002)
/* How many exits the calling processor has had, of all classes, this one included. The OS's kernel alone may. */
#define PLINTH_HYPERCALL_COUNT UINT64_C(0x504c000000010003)
/* Writes a `MachineStatus` into the page at argument 1. Served by the kernel. */
#define PLINTH_HYPERCALL_STATUS UINT64_C(0x504c000000020001)
/* Writes a `PpStatus` of the PP with the number in argument 2 into the page at argument 1. Served by the kernel. */
#define PLINTH_HYPERCALL_PP_STATUS UINT64_C(0x504c000000020002)
/* Writes whole `LogRecord`s with their texts, from the cursor in argument 2 on, into the page at argument 1. Results: 1 bytes written, 2 the first one's cursor (a later one than was asked for where the log holds that no more), 3 the cursor to go on with, 4 the log's end. Served by the kernel. */
#define PLINTH_HYPERCALL_LOG UINT64_C(0x504c000000020003)
/* Says which classes of the root VM's exits are traced from now on, a bit for each in argument 1; 0 for none. Results: 1 the classes before, 2 how many records each PP keeps. Served by the kernel. */
#define PLINTH_HYPERCALL_TRACE UINT64_C(0x504c000000020004)
/* Writes `TraceRecord`s of the PP with the number in argument 2, from the cursor in argument 3 on, into the page at argument 1. Results: 1 records written, 2 the first one's cursor (a later one where that is overwritten), 3 the cursor to go on with, 4 the trace's end. Served by the kernel. */
#define PLINTH_HYPERCALL_TRACE_READ UINT64_C(0x504c000000020005)
/* The result of a hypercall that is not known or not allowed; on AArch64 also SMCCC's NOT_SUPPORTED. */
#define PLINTH_HYPERCALL_REFUSED UINT64_C(0xffffffffffffffff)

/* What the kernel tells about itself. */
/* No processor's: the kernel is under test. */
#define PLINTH_BACKEND_SIMULATED UINT64_C(0x0)
/* AMD SVM. */
#define PLINTH_BACKEND_SVM UINT64_C(0x1)
/* Intel VMX. */
#define PLINTH_BACKEND_VMX UINT64_C(0x2)
/* ARMv8 EL2. */
#define PLINTH_BACKEND_EL2 UINT64_C(0x3)
/* Who may stop the hypervisor: the root VM's kernel, whatever the extension says. */
#define PLINTH_MAY_STOP_ALWAYS UINT64_C(0x0)
/* Who may stop the hypervisor: the extension, and the root VM's kernel where it is gone. */
#define PLINTH_MAY_STOP_EXTENSION UINT64_C(0x1)
/* Who may stop the hypervisor: nobody. */
#define PLINTH_MAY_STOP_NEVER UINT64_C(0x2)
/* The extension's start has not ended. */
#define PLINTH_EXTENSION_STARTING UINT64_C(0x0)
/* The extension runs. */
#define PLINTH_EXTENSION_RUNNING UINT64_C(0x1)
/* The extension is gone: it faulted. */
#define PLINTH_EXTENSION_FAULTED UINT64_C(0x2)
/* The extension is gone: it asked to exit. */
#define PLINTH_EXTENSION_EXITED UINT64_C(0x3)
/* The extension is gone: it did not return in time. */
#define PLINTH_EXTENSION_OVERDUE UINT64_C(0x4)
/* The extension is gone: it left a callback in a way that it may not. */
#define PLINTH_EXTENSION_MISUSED UINT64_C(0x5)
/* The PP is not there, or has left the hypervisor. */
#define PLINTH_PP_OUTSIDE UINT64_C(0x0)
/* The machine has the PP, and the root VM has not started it yet. */
#define PLINTH_PP_COLD UINT64_C(0x1)
/* The root VM has started the PP; it is on its way. */
#define PLINTH_PP_STARTING UINT64_C(0x2)
/* The PP runs under the hypervisor. */
#define PLINTH_PP_LAUNCHED UINT64_C(0x3)
/* The PP has stopped for good. */
#define PLINTH_PP_FAILED UINT64_C(0x4)
/* Where the ring of the log's copy begins, in bytes. */
#define PLINTH_LOG_COPY_RING UINT64_C(0x1000)
/* Bytes of the log's ring, in the kernel and in the copy. */
#define PLINTH_LOG_CAPACITY UINT64_C(0x10000)
/* The most bytes of a record's text. */
#define PLINTH_LOG_TEXT UINT64_C(0x190)
/* The PP of a record that none has written. */
#define PLINTH_LOG_NO_PP UINT64_C(0xffff)

/* What CPUID shows to the root VM, on x86: may differ from version to version. */
/* The basic leaves, a bit each: the others are zeros. Of leaf 7 these are the sub-leaves 0, 1 and 2. */
#define PLINTH_CPUID_SHOWN_BASIC UINT64_C(0x191efe5aeff)
/* The extended leaves, a bit each. */
#define PLINTH_CPUID_SHOWN_EXTENDED UINT64_C(0xcfe60001ff)
/* Leaf 1 ECX. */
#define PLINTH_CPUID_SHOWN_1_ECX UINT64_C(0xfffeff8b)
/* Leaf 1 EDX. */
#define PLINTH_CPUID_SHOWN_1_EDX UINT64_C(0xbfcffbff)
/* Leaf 6 EAX. */
#define PLINTH_CPUID_SHOWN_6_EAX UINT64_C(0x57eff7)
/* Leaf 6 ECX; EDX is 0. */
#define PLINTH_CPUID_SHOWN_6_ECX UINT64_C(0x9)
/* Leaf 7 sub-leaf 0 EBX. */
#define PLINTH_CPUID_SHOWN_7_EBX UINT64_C(0xfdbfffff)
/* Leaf 7 sub-leaf 0 ECX. */
#define PLINTH_CPUID_SHOWN_7_ECX UINT64_C(0xfbff7fff)
/* Leaf 7 sub-leaf 0 EDX. */
#define PLINTH_CPUID_SHOWN_7_EDX UINT64_C(0xffd5ef3e)
/* Leaf 7 sub-leaf 1 EAX. */
#define PLINTH_CPUID_SHOWN_7_1_EAX UINT64_C(0xc4ec1cff)
/* Leaf 7 sub-leaf 1 EBX. */
#define PLINTH_CPUID_SHOWN_7_1_EBX UINT64_C(0x9)
/* Leaf 7 sub-leaf 1 ECX. */
#define PLINTH_CPUID_SHOWN_7_1_ECX UINT64_C(0x3)
/* Leaf 7 sub-leaf 1 EDX. */
#define PLINTH_CPUID_SHOWN_7_1_EDX UINT64_C(0xe4530)
/* Leaf 7 sub-leaf 2 EDX; its other words are 0. */
#define PLINTH_CPUID_SHOWN_7_2_EDX UINT64_C(0xff)
/* Leaf DH sub-leaf 0 EAX, XCR0: sub-leaves from 2 on are zeros unless their bit is here or in `CPUID_SHOWN_D_1_ECX`; EDX is 0. */
#define PLINTH_CPUID_SHOWN_D_EAX UINT64_C(0x602ff)
/* Leaf DH sub-leaf 1 EAX. */
#define PLINTH_CPUID_SHOWN_D_1_EAX UINT64_C(0x1f)
/* Leaf DH sub-leaf 1 ECX, IA32_XSS; EDX is 0. */
#define PLINTH_CPUID_SHOWN_D_1_ECX UINT64_C(0x17c00)
/* Leaf 80000001H ECX. */
#define PLINTH_CPUID_SHOWN_80000001_ECX UINT64_C(0x7deb2bfb)
/* Leaf 80000001H EDX. */
#define PLINTH_CPUID_SHOWN_80000001_EDX UINT64_C(0xefdbfbff)
/* Leaf 80000007H EBX. */
#define PLINTH_CPUID_SHOWN_80000007_EBX UINT64_C(0x3f)
/* Leaf 80000007H EDX. */
#define PLINTH_CPUID_SHOWN_80000007_EDX UINT64_C(0xffff)
/* Leaf 80000008H EBX; bit 3, INVLPGB, only where leaf 8000000AH EDX bit 24 says that a guest can execute it. */
#define PLINTH_CPUID_SHOWN_80000008_EBX UINT64_C(0x7fbff35f)
/* Leaf 8000001FH EAX; ECX and EDX are 0. */
#define PLINTH_CPUID_SHOWN_8000001F_EAX UINT64_C(0x401)
/* Leaf 80000021H EAX. */
#define PLINTH_CPUID_SHOWN_80000021_EAX UINT64_C(0xf875bfef)
/* Leaf 80000021H ECX. */
#define PLINTH_CPUID_SHOWN_80000021_ECX UINT64_C(0x6)
/* Leaf 80000022H EAX. */
#define PLINTH_CPUID_SHOWN_80000022_EAX UINT64_C(0x1)

/* Registers of a VS besides the general ones, 0 to 31. */
/* Address of the next instruction: x86 RIP, Arm PC. */
#define PLINTH_REGISTER_INSTRUCTION_POINTER UINT64_C(0x100)
/* x86 RFLAGS, Arm PSTATE in its SPSR form. */
#define PLINTH_REGISTER_FLAGS UINT64_C(0x101)
/* AArch64 system registers: this plus Op0 15:14, Op1 13:11, CRn 10:7, CRm 6:3, Op2 2:0, the encoding in MRS. */
#define PLINTH_REGISTER_ARM_SYSTEM UINT64_C(0x20000)
/* x86 CR0. */
#define PLINTH_REGISTER_X86_CR0 UINT64_C(0x1000)
/* x86 CR2. */
#define PLINTH_REGISTER_X86_CR2 UINT64_C(0x1002)
/* x86 CR3. */
#define PLINTH_REGISTER_X86_CR3 UINT64_C(0x1003)
/* x86 CR4. */
#define PLINTH_REGISTER_X86_CR4 UINT64_C(0x1004)
/* x86 EFER as the guest sees it. */
#define PLINTH_REGISTER_X86_EFER UINT64_C(0x1005)
/* x86 DR6. */
#define PLINTH_REGISTER_X86_DR6 UINT64_C(0x1006)
/* x86 DR7. */
#define PLINTH_REGISTER_X86_DR7 UINT64_C(0x1007)
/* x86 PAT. */
#define PLINTH_REGISTER_X86_PAT UINT64_C(0x1008)
/* x86 STAR. */
#define PLINTH_REGISTER_X86_STAR UINT64_C(0x1010)
/* x86 LSTAR. */
#define PLINTH_REGISTER_X86_LSTAR UINT64_C(0x1011)
/* x86 CSTAR. */
#define PLINTH_REGISTER_X86_CSTAR UINT64_C(0x1012)
/* x86 SFMASK. */
#define PLINTH_REGISTER_X86_SFMASK UINT64_C(0x1013)
/* x86 KERNEL_GS_BASE. */
#define PLINTH_REGISTER_X86_KERNEL_GS_BASE UINT64_C(0x1014)
/* x86 SYSENTER_CS. */
#define PLINTH_REGISTER_X86_SYSENTER_CS UINT64_C(0x1015)
/* x86 SYSENTER_ESP. */
#define PLINTH_REGISTER_X86_SYSENTER_ESP UINT64_C(0x1016)
/* x86 SYSENTER_EIP. */
#define PLINTH_REGISTER_X86_SYSENTER_EIP UINT64_C(0x1017)
/* x86 ES selector; base, limit and attributes follow at +1, +2, +3; CS, SS, DS, FS, GS, LDTR, TR each 4 on. */
#define PLINTH_REGISTER_X86_ES UINT64_C(0x1100)
/* x86 CS selector. */
#define PLINTH_REGISTER_X86_CS UINT64_C(0x1104)
/* x86 SS selector. */
#define PLINTH_REGISTER_X86_SS UINT64_C(0x1108)
/* x86 DS selector. */
#define PLINTH_REGISTER_X86_DS UINT64_C(0x110c)
/* x86 FS selector. */
#define PLINTH_REGISTER_X86_FS UINT64_C(0x1110)
/* x86 GS selector. */
#define PLINTH_REGISTER_X86_GS UINT64_C(0x1114)
/* x86 LDTR selector. */
#define PLINTH_REGISTER_X86_LDTR UINT64_C(0x1118)
/* x86 TR selector. */
#define PLINTH_REGISTER_X86_TR UINT64_C(0x111c)
/* x86 GDTR base; the limit follows at +1. */
#define PLINTH_REGISTER_X86_GDTR UINT64_C(0x1120)
/* x86 IDTR base; the limit follows at +1. */
#define PLINTH_REGISTER_X86_IDTR UINT64_C(0x1122)

/* Errors: bits 15:0 of a status. */
/* No such call, or a foreign signature. */
#define PLINTH_ERROR_UNKNOWN_CALL 1u
/* The handle is not the one this extension opened. */
#define PLINTH_ERROR_INVALID_HANDLE 2u
/* An argument has a value that it may never have; the status says which. */
#define PLINTH_ERROR_INVALID_ARGUMENT 3u
/* The object of that id was destroyed, or never was. */
#define PLINTH_ERROR_STALE_ID 4u
/* The object is in use (it has children, or runs on some PP). */
#define PLINTH_ERROR_BUSY 5u
/* The call is not allowed in this callback or at this time. */
#define PLINTH_ERROR_WRONG_STATE 6u
/* Policy forbids it (a register outside the allow list, somebody else's memory, a group outside the manifest). */
#define PLINTH_ERROR_DENIED 7u
/* The pool is empty. */
#define PLINTH_ERROR_OUT_OF_MEMORY 8u
/* An address range is already mapped. */
#define PLINTH_ERROR_ALREADY_MAPPED 9u
/* An address range is not mapped. */
#define PLINTH_ERROR_NOT_MAPPED 10u
/* This machine cannot do it. */
#define PLINTH_ERROR_UNSUPPORTED 11u
/* The hardware faulted on it. */
#define PLINTH_ERROR_HARDWARE_FAULT 12u
/* All objects of that kind are taken. */
#define PLINTH_ERROR_OUT_OF_OBJECTS 13u
/* Another PP has not answered in time; what it may still reach stays taken. */
#define PLINTH_ERROR_UNRESPONSIVE 14u

/* Exit classes. */
/* Something with no portable meaning: see `code` and `info`. */
#define PLINTH_EXIT_OTHER 0u
/* CPUID or an ID register. */
#define PLINTH_EXIT_ID_READ 1u
/* A read of an MSR or system register: `number`. */
#define PLINTH_EXIT_REGISTER_READ 2u
/* A write of an MSR or system register: `number`. */
#define PLINTH_EXIT_REGISTER_WRITE 3u
/* A read from a port: `number`, `detail` bytes. */
#define PLINTH_EXIT_PORT_READ 4u
/* A write to a port: `number`, `detail` bytes. */
#define PLINTH_EXIT_PORT_WRITE 5u
/* An access that nested paging refused: guest-physical address `number`, kind `detail`. */
#define PLINTH_EXIT_MEMORY 6u
/* A call to the hypervisor; see `privilege` before believing it. */
#define PLINTH_EXIT_HYPERCALL 7u
/* An instruction of the virtualization extension, which the guest is not supposed to have. */
#define PLINTH_EXIT_VIRTUALIZATION 8u
/* A non-maskable interrupt that was not for the kernel. */
#define PLINTH_EXIT_NMI 9u
/* The VP cannot go on: triple fault. */
#define PLINTH_EXIT_SHUTDOWN 10u
/* The hardware refused to enter the VS. */
#define PLINTH_EXIT_ENTRY_REFUSED 11u
/* Served by the kernel: another PP asked for attention. */
#define PLINTH_EXIT_KICK 12u
/* Served by the kernel: the guest starts, stops or signals another processor. */
#define PLINTH_EXIT_PROCESSOR 13u
/* Served by the kernel: cache maintenance that must not reach the hypervisor's own data, a change of memory types. */
#define PLINTH_EXIT_CACHE 14u
/* Served by the kernel: a write to the hypervisor's reservation, which vanishes. */
#define PLINTH_EXIT_RESERVED 15u
/* Served by the kernel from a declared answer, or on Arm by the firmware that the root VM asks. */
#define PLINTH_EXIT_DECLARED 16u
/* One instruction was executed, as `VsStep` asked. */
#define PLINTH_EXIT_STEP 17u
/* `PpKick` was called for this PP. */
#define PLINTH_EXIT_ATTENTION 18u
/* The time of `TimerSet` has come. */
#define PLINTH_EXIT_TIMER 19u
/* An interrupt of the machine's, or the root VM's stop or start of this PP, came while another VM ran: the root VM takes it when it runs next. */
#define PLINTH_EXIT_INTERRUPT 20u
/* A VM other than the root VM waits for an interrupt: HLT, WFI. */
#define PLINTH_EXIT_WAIT 21u

/* What the kernel leaves for the extension at every exit of the PP's active VS. `registers` are the live general registers: what stands there when the VS runs on is what it sees. All else is a copy; writing it changes nothing. */
struct plinth_exit_page {
    /* General registers by their architectural number (x86-64: RAX 0, RCX 1, RDX 2, RBX 3, RSP 4, RBP 5, RSI 6, RDI 7, R8…R15; AArch64: x0 to x30). */
    uint64_t registers[32];
    /* The hardware's own exit code (SVM EXITCODE, VMX exit reason, ESR_EL2). */
    uint64_t code;
    /* The hardware's own qualification (SVM EXITINFO1 and EXITINFO2, VMX exit qualification). */
    uint64_t info[2];
    /* The event that was being delivered (SVM EXITINTINFO), 0 for none. */
    uint64_t event;
    /* Address of the instruction that exited. */
    uint64_t instruction_pointer;
    /* RFLAGS or SPSR. */
    uint64_t flags;
    /* Privilege level of the code that exited: x86 CPL, Arm EL. */
    uint64_t privilege;
    /* By class: the MSR or system register, the port, the guest-physical address. */
    uint64_t number;
    /* By class: access size in bytes for ports, access bits for memory; on AArch64, for registers and ID reads, the number of the general register that is read or written, 31 for XZR. */
    uint64_t detail;
    /* This PP. */
    uint64_t pp;
    /* The active VM. */
    uint64_t vm;
    /* The active VP. */
    uint64_t vp;
    /* The active VS. */
    uint64_t vs;
};
_Static_assert(sizeof(struct plinth_exit_page) == 360, "size of plinth_exit_page");
_Static_assert(offsetof(struct plinth_exit_page, registers) == 0, "offset of registers");
_Static_assert(offsetof(struct plinth_exit_page, code) == 256, "offset of code");
_Static_assert(offsetof(struct plinth_exit_page, info) == 264, "offset of info");
_Static_assert(offsetof(struct plinth_exit_page, event) == 280, "offset of event");
_Static_assert(offsetof(struct plinth_exit_page, instruction_pointer) == 288, "offset of instruction_pointer");
_Static_assert(offsetof(struct plinth_exit_page, flags) == 296, "offset of flags");
_Static_assert(offsetof(struct plinth_exit_page, privilege) == 304, "offset of privilege");
_Static_assert(offsetof(struct plinth_exit_page, number) == 312, "offset of number");
_Static_assert(offsetof(struct plinth_exit_page, detail) == 320, "offset of detail");
_Static_assert(offsetof(struct plinth_exit_page, pp) == 328, "offset of pp");
_Static_assert(offsetof(struct plinth_exit_page, vm) == 336, "offset of vm");
_Static_assert(offsetof(struct plinth_exit_page, vp) == 344, "offset of vp");
_Static_assert(offsetof(struct plinth_exit_page, vs) == 352, "offset of vs");

/* A declared answer to an ID read, which the kernel gives without entering the extension. For each of the four result registers: `(the machine's own answer & keep) | set`. */
struct plinth_id_answer {
    /* x86: CPUID leaf (EAX). */
    uint32_t leaf;
    /* x86: CPUID sub-leaf (ECX); 0xFFFF_FFFF for all. */
    uint32_t subleaf;
    /* Bits that come from the machine: EAX, EBX, ECX, EDX. */
    uint32_t keep[4];
    /* Bits that are set on top. */
    uint32_t set[4];
};
_Static_assert(sizeof(struct plinth_id_answer) == 40, "size of plinth_id_answer");
_Static_assert(offsetof(struct plinth_id_answer, leaf) == 0, "offset of leaf");
_Static_assert(offsetof(struct plinth_id_answer, subleaf) == 4, "offset of subleaf");
_Static_assert(offsetof(struct plinth_id_answer, keep) == 8, "offset of keep");
_Static_assert(offsetof(struct plinth_id_answer, set) == 24, "offset of set");

/* A register of a VS in a list, for `VsReadMany` and `VsWriteMany`. */
struct plinth_register_access {
    /* Its number. */
    uint64_t number;
    /* The bits that are read or written; the others read as 0 and stay as they are. */
    uint64_t mask;
    /* What those bits hold. */
    uint64_t value;
};
_Static_assert(sizeof(struct plinth_register_access) == 24, "size of plinth_register_access");
_Static_assert(offsetof(struct plinth_register_access, number) == 0, "offset of number");
_Static_assert(offsetof(struct plinth_register_access, mask) == 8, "offset of mask");
_Static_assert(offsetof(struct plinth_register_access, value) == 16, "offset of value");

/* A manifest: an ELF note (`PT_NOTE`) of alignment 4, of which a file has at most one. A call of a group that it does not name is `Denied`. */
struct plinth_manifest {
    /* Bytes of `owner` up to its zero: 7. */
    uint32_t owner_size;
    /* Bytes of `groups`: 8. */
    uint32_t groups_size;
    /* 1, `MANIFEST_KIND`. */
    uint32_t kind;
    /* The text `Plinth`, filled up with zeroes. */
    uint8_t owner[8];
    /* Bit n stands for group n: bits 31:0, then 63:32. */
    uint32_t groups[2];
};
_Static_assert(sizeof(struct plinth_manifest) == 28, "size of plinth_manifest");
_Static_assert(offsetof(struct plinth_manifest, owner_size) == 0, "offset of owner_size");
_Static_assert(offsetof(struct plinth_manifest, groups_size) == 4, "offset of groups_size");
_Static_assert(offsetof(struct plinth_manifest, kind) == 8, "offset of kind");
_Static_assert(offsetof(struct plinth_manifest, owner) == 12, "offset of owner");
_Static_assert(offsetof(struct plinth_manifest, groups) == 20, "offset of groups");

/* What `HYPERCALL_STATUS`(super::HYPERCALL_STATUS) writes: the hypervisor as a whole. */
struct plinth_machine_status {
    /* Bytes of this structure. */
    uint32_t size;
    /* The newest version of the ABI that the kernel serves. */
    uint32_t abi_version;
    /* The kernel's release: UTF-8, filled up with zeroes. */
    uint8_t release[16];
    /* `BACKEND_SVM` and the like. */
    uint32_t backend;
    /* `MAY_STOP_ALWAYS` and the like. */
    uint32_t may_stop;
    /* How many numbers of PPs there are, from 0 on; of some there may be no processor. */
    uint32_t pps;
    /* How many PPs run under the hypervisor. */
    uint32_t launched;
    /* The machine's counter now, which each record of the log and of a trace tells too. */
    uint64_t counter;
    /* The counter when the first PP was launched. */
    uint64_t launched_at;
    /* The counter's ticks per second; 0 where the machine does not say. */
    uint64_t frequency;
    /* Bytes of the pool that the kernel hands out. */
    uint64_t pool;
    /* Bytes of it that are free. */
    uint64_t pool_free;
    /* VMs that there are, the root VM included. */
    uint32_t vms;
    /* VPs that there are. */
    uint32_t vps;
    /* VSs that there are. */
    uint32_t vss;
    /* `EXTENSION_RUNNING` and the like. */
    uint32_t extension;
    /* Bytes of the extension's file. */
    uint64_t extension_size;
    /* The SHA-256 of the extension's file. */
    uint8_t extension_hash[32];
    /* Why the extension is gone, where it is: UTF-8, filled up with zeroes. */
    uint8_t extension_end[128];
    /* The cursor of the oldest record of the log. */
    uint64_t log_oldest;
    /* The cursor of the next record of the log. */
    uint64_t log_newest;
    /* The classes of exits that are traced, a bit for each; 0 while nothing is. */
    uint64_t traced;
    /* How many records of its trace each PP keeps; 0 before the first trace. */
    uint64_t trace_records;
};
_Static_assert(sizeof(struct plinth_machine_status) == 296, "size of plinth_machine_status");
_Static_assert(offsetof(struct plinth_machine_status, size) == 0, "offset of size");
_Static_assert(offsetof(struct plinth_machine_status, abi_version) == 4, "offset of abi_version");
_Static_assert(offsetof(struct plinth_machine_status, release) == 8, "offset of release");
_Static_assert(offsetof(struct plinth_machine_status, backend) == 24, "offset of backend");
_Static_assert(offsetof(struct plinth_machine_status, may_stop) == 28, "offset of may_stop");
_Static_assert(offsetof(struct plinth_machine_status, pps) == 32, "offset of pps");
_Static_assert(offsetof(struct plinth_machine_status, launched) == 36, "offset of launched");
_Static_assert(offsetof(struct plinth_machine_status, counter) == 40, "offset of counter");
_Static_assert(offsetof(struct plinth_machine_status, launched_at) == 48, "offset of launched_at");
_Static_assert(offsetof(struct plinth_machine_status, frequency) == 56, "offset of frequency");
_Static_assert(offsetof(struct plinth_machine_status, pool) == 64, "offset of pool");
_Static_assert(offsetof(struct plinth_machine_status, pool_free) == 72, "offset of pool_free");
_Static_assert(offsetof(struct plinth_machine_status, vms) == 80, "offset of vms");
_Static_assert(offsetof(struct plinth_machine_status, vps) == 84, "offset of vps");
_Static_assert(offsetof(struct plinth_machine_status, vss) == 88, "offset of vss");
_Static_assert(offsetof(struct plinth_machine_status, extension) == 92, "offset of extension");
_Static_assert(offsetof(struct plinth_machine_status, extension_size) == 96, "offset of extension_size");
_Static_assert(offsetof(struct plinth_machine_status, extension_hash) == 104, "offset of extension_hash");
_Static_assert(offsetof(struct plinth_machine_status, extension_end) == 136, "offset of extension_end");
_Static_assert(offsetof(struct plinth_machine_status, log_oldest) == 264, "offset of log_oldest");
_Static_assert(offsetof(struct plinth_machine_status, log_newest) == 272, "offset of log_newest");
_Static_assert(offsetof(struct plinth_machine_status, traced) == 280, "offset of traced");
_Static_assert(offsetof(struct plinth_machine_status, trace_records) == 288, "offset of trace_records");

/* What `HYPERCALL_PP_STATUS`(super::HYPERCALL_PP_STATUS) writes: one PP. */
struct plinth_pp_status {
    /* Bytes of this structure. */
    uint32_t size;
    /* The PP's number. */
    uint32_t pp;
    /* `PP_LAUNCHED` and the like. */
    uint32_t standing;
    /* The interrupt controller's id of it: APIC id, MPIDR affinity; `0xFFFF_FFFF` while nobody has told. */
    uint32_t hardware_id;
    /* 1 where it has not answered another PP in time, and has not been heard of since. */
    uint32_t is_lost;
    /* How many of `exits` count. */
    uint32_t exit_classes;
    /* Exits of each class. */
    uint64_t exits[32];
    /* The cursor of the oldest record of its trace. */
    uint64_t trace_oldest;
    /* The cursor of the next record of its trace. */
    uint64_t trace_newest;
};
_Static_assert(sizeof(struct plinth_pp_status) == 296, "size of plinth_pp_status");
_Static_assert(offsetof(struct plinth_pp_status, size) == 0, "offset of size");
_Static_assert(offsetof(struct plinth_pp_status, pp) == 4, "offset of pp");
_Static_assert(offsetof(struct plinth_pp_status, standing) == 8, "offset of standing");
_Static_assert(offsetof(struct plinth_pp_status, hardware_id) == 12, "offset of hardware_id");
_Static_assert(offsetof(struct plinth_pp_status, is_lost) == 16, "offset of is_lost");
_Static_assert(offsetof(struct plinth_pp_status, exit_classes) == 20, "offset of exit_classes");
_Static_assert(offsetof(struct plinth_pp_status, exits) == 24, "offset of exits");
_Static_assert(offsetof(struct plinth_pp_status, trace_oldest) == 280, "offset of trace_oldest");
_Static_assert(offsetof(struct plinth_pp_status, trace_newest) == 288, "offset of trace_newest");

/* What stands before the text of each record of the log. The text is UTF-8 without a line's end, and filled up with zeroes to a multiple of 8 bytes. A record's cursor counts the bytes of all before it, back to the launch. */
struct plinth_log_record {
    /* The machine's counter. */
    uint64_t counter;
    /* The PP that has written it; `0xFFFF` for a processor that is none yet. */
    uint16_t pp;
    /* 1 error, 2 warning, 3 information, 4 debug, 5 trace. */
    uint16_t level;
    /* Bytes of the text, without the zeroes behind it. */
    uint32_t length;
};
_Static_assert(sizeof(struct plinth_log_record) == 16, "size of plinth_log_record");
_Static_assert(offsetof(struct plinth_log_record, counter) == 0, "offset of counter");
_Static_assert(offsetof(struct plinth_log_record, pp) == 8, "offset of pp");
_Static_assert(offsetof(struct plinth_log_record, level) == 10, "offset of level");
_Static_assert(offsetof(struct plinth_log_record, length) == 12, "offset of length");

/* The first bytes of the log's copy in the OS's own memory, which the kernel keeps up where the launch contract names some. The ring begins 4096 bytes behind the first of these; the byte that a cursor counts is at the cursor modulo `capacity` in it. Whoever reads takes `newest`, then `oldest`, copies what is between, and takes `oldest` again: what is older by then may be overwritten. That holds while the hypervisor runs, after a crash and when it is gone. */
struct plinth_log_copy {
    /* The text `PLINTHLG`; written last. */
    uint8_t magic[8];
    /* Bytes of the ring. */
    uint64_t capacity;
    /* The cursor of the oldest record that is whole. */
    uint64_t oldest;
    /* The cursor of the next record. */
    uint64_t newest;
};
_Static_assert(sizeof(struct plinth_log_copy) == 32, "size of plinth_log_copy");
_Static_assert(offsetof(struct plinth_log_copy, magic) == 0, "offset of magic");
_Static_assert(offsetof(struct plinth_log_copy, capacity) == 8, "offset of capacity");
_Static_assert(offsetof(struct plinth_log_copy, oldest) == 16, "offset of oldest");
_Static_assert(offsetof(struct plinth_log_copy, newest) == 24, "offset of newest");

/* An exit of the root VM's. A record's cursor is its number: the PP's first is 0. */
struct plinth_trace_record {
    /* The machine's counter when the VS had exited. */
    uint64_t counter;
    /* As in the exit page; of an ID read or a hypercall the first general register (x86: RAX, the CPUID leaf). */
    uint64_t number;
    /* Address of the instruction that exited. */
    uint64_t instruction_pointer;
    /* Ticks of the counter from then until a VS was about to run again; the most that fits where it took longer. */
    uint32_t duration;
    /* As in the exit page, as much of it as fits. */
    uint16_t detail;
    /* The exit's class. */
    uint16_t class;
};
_Static_assert(sizeof(struct plinth_trace_record) == 32, "size of plinth_trace_record");
_Static_assert(offsetof(struct plinth_trace_record, counter) == 0, "offset of counter");
_Static_assert(offsetof(struct plinth_trace_record, number) == 8, "offset of number");
_Static_assert(offsetof(struct plinth_trace_record, instruction_pointer) == 16, "offset of instruction_pointer");
_Static_assert(offsetof(struct plinth_trace_record, duration) == 24, "offset of duration");
_Static_assert(offsetof(struct plinth_trace_record, detail) == 28, "offset of detail");
_Static_assert(offsetof(struct plinth_trace_record, class) == 30, "offset of class");

/* Call numbers. */
#define PLINTH_CALL_CONTROL_EXIT UINT64_C(0x504c000000000000)
#define PLINTH_CALL_CONTROL_WAIT UINT64_C(0x504c000000000001)
#define PLINTH_CALL_CONTROL_AGAIN UINT64_C(0x504c000000000002)
#define PLINTH_CALL_HANDLE_OPEN UINT64_C(0x504c000000010000)
#define PLINTH_CALL_HANDLE_CLOSE UINT64_C(0x504c000000010001)
#define PLINTH_CALL_DEBUG_OUT UINT64_C(0x504c000000020000)
#define PLINTH_CALL_DEBUG_DUMP_VM UINT64_C(0x504c000000020001)
#define PLINTH_CALL_DEBUG_DUMP_VP UINT64_C(0x504c000000020002)
#define PLINTH_CALL_DEBUG_DUMP_VS UINT64_C(0x504c000000020003)
#define PLINTH_CALL_DEBUG_DUMP_EXITS UINT64_C(0x504c000000020004)
#define PLINTH_CALL_DEBUG_WRITE UINT64_C(0x504c000000020006)
#define PLINTH_CALL_DEBUG_DUMP_EXTENSION UINT64_C(0x504c000000020007)
#define PLINTH_CALL_DEBUG_DUMP_POOL UINT64_C(0x504c000000020008)
#define PLINTH_CALL_DEBUG_EXIT_COUNT UINT64_C(0x504c00000002000a)
#define PLINTH_CALL_CALLBACK_REGISTER_BOOTSTRAP UINT64_C(0x504c000000030000)
#define PLINTH_CALL_CALLBACK_REGISTER_VMEXIT UINT64_C(0x504c000000030001)
#define PLINTH_CALL_CALLBACK_REGISTER_FAIL UINT64_C(0x504c000000030002)
#define PLINTH_CALL_VM_CREATE UINT64_C(0x504c000000040000)
#define PLINTH_CALL_VM_DESTROY UINT64_C(0x504c000000040001)
#define PLINTH_CALL_VM_FLUSH UINT64_C(0x504c000000040005)
#define PLINTH_CALL_VM_MAP UINT64_C(0x504c000000040010)
#define PLINTH_CALL_VM_UNMAP UINT64_C(0x504c000000040011)
#define PLINTH_CALL_VM_PROTECT UINT64_C(0x504c000000040012)
#define PLINTH_CALL_VM_QUERY UINT64_C(0x504c000000040013)
#define PLINTH_CALL_VM_DECLARE_IDS UINT64_C(0x504c000000040020)
#define PLINTH_CALL_VM_INTERCEPT_REGISTERS UINT64_C(0x504c000000040021)
#define PLINTH_CALL_VM_INTERCEPT_PORTS UINT64_C(0x504c000000040022)
#define PLINTH_CALL_VM_VIEW_CREATE UINT64_C(0x504c000000040030)
#define PLINTH_CALL_VM_VIEW_DESTROY UINT64_C(0x504c000000040031)
#define PLINTH_CALL_VM_VIEW_PROTECT UINT64_C(0x504c000000040032)
#define PLINTH_CALL_VM_VIEW_QUERY UINT64_C(0x504c000000040033)
#define PLINTH_CALL_VM_READ_MEMORY UINT64_C(0x504c000000040040)
#define PLINTH_CALL_VM_WRITE_MEMORY UINT64_C(0x504c000000040041)
#define PLINTH_CALL_VP_CREATE UINT64_C(0x504c000000050000)
#define PLINTH_CALL_VP_DESTROY UINT64_C(0x504c000000050001)
#define PLINTH_CALL_VS_CREATE UINT64_C(0x504c000000060000)
#define PLINTH_CALL_VS_DESTROY UINT64_C(0x504c000000060001)
#define PLINTH_CALL_VS_INIT_AS_ROOT UINT64_C(0x504c000000060002)
#define PLINTH_CALL_VS_READ UINT64_C(0x504c000000060003)
#define PLINTH_CALL_VS_WRITE UINT64_C(0x504c000000060004)
#define PLINTH_CALL_VS_RUN UINT64_C(0x504c000000060005)
#define PLINTH_CALL_VS_RUN_CURRENT UINT64_C(0x504c000000060006)
#define PLINTH_CALL_VS_ADVANCE_AND_RUN UINT64_C(0x504c000000060007)
#define PLINTH_CALL_VS_ADVANCE_AND_RUN_CURRENT UINT64_C(0x504c000000060008)
#define PLINTH_CALL_VS_PROMOTE UINT64_C(0x504c000000060009)
#define PLINTH_CALL_VS_MIGRATE UINT64_C(0x504c00000006000b)
#define PLINTH_CALL_VS_ACTIVATE UINT64_C(0x504c00000006000c)
#define PLINTH_CALL_VS_ADVANCE UINT64_C(0x504c00000006000d)
#define PLINTH_CALL_VS_FLUSH UINT64_C(0x504c00000006000e)
#define PLINTH_CALL_VS_INJECT UINT64_C(0x504c000000060010)
#define PLINTH_CALL_VS_SET_VIEW UINT64_C(0x504c000000060020)
#define PLINTH_CALL_VS_STEP UINT64_C(0x504c000000060021)
#define PLINTH_CALL_VS_READ_MANY UINT64_C(0x504c000000060022)
#define PLINTH_CALL_VS_WRITE_MANY UINT64_C(0x504c000000060023)
#define PLINTH_CALL_VS_TRANSLATE UINT64_C(0x504c000000060024)
#define PLINTH_CALL_INTRINSIC_READ UINT64_C(0x504c000000070000)
#define PLINTH_CALL_INTRINSIC_WRITE UINT64_C(0x504c000000070001)
#define PLINTH_CALL_INTRINSIC_RESET UINT64_C(0x504c000000070002)
#define PLINTH_CALL_MEM_ALLOCATE_PAGE UINT64_C(0x504c000000080000)
#define PLINTH_CALL_MEM_FREE_PAGE UINT64_C(0x504c000000080001)
#define PLINTH_CALL_MEM_ALLOCATE_HUGE UINT64_C(0x504c000000080002)
#define PLINTH_CALL_MEM_FREE_HUGE UINT64_C(0x504c000000080003)
#define PLINTH_CALL_MEM_QUERY UINT64_C(0x504c000000080010)
#define PLINTH_CALL_TIME_READ UINT64_C(0x504c000000090000)
#define PLINTH_CALL_TIMER_SET UINT64_C(0x504c000000090001)
#define PLINTH_CALL_PP_QUERY UINT64_C(0x504c0000000a0000)
#define PLINTH_CALL_PP_KICK UINT64_C(0x504c0000000a0001)

/* What a call leaves behind. */
struct plinth_result {
    plinth_status status;
    uint64_t output[2];
};

/* Makes a call by its number. */
static inline struct plinth_result plinth_call(uint64_t number, uint64_t reg0, uint64_t reg1, uint64_t reg2,
                                               uint64_t reg3, uint64_t reg4, uint64_t reg5)
{
    struct plinth_result result;
#if defined(__x86_64__)
    register uint64_t r10 __asm__("r10") = reg3;
    register uint64_t r8 __asm__("r8") = reg4;
    register uint64_t r9 __asm__("r9") = reg5;
    __asm__ volatile("syscall"
                     : "+a"(number), "+D"(reg0), "+S"(reg1), "+d"(reg2), "+r"(r10), "+r"(r8), "+r"(r9)
                     :
                     : "rcx", "r11", "memory", "cc");
    result.status = number;
    result.output[0] = reg0;
    result.output[1] = reg1;
#elif defined(__aarch64__)
    register uint64_t x8 __asm__("x8") = number;
    register uint64_t x0 __asm__("x0") = reg0;
    register uint64_t x1 __asm__("x1") = reg1;
    register uint64_t x2 __asm__("x2") = reg2;
    register uint64_t x3 __asm__("x3") = reg3;
    register uint64_t x4 __asm__("x4") = reg4;
    register uint64_t x5 __asm__("x5") = reg5;
    __asm__ volatile("svc #0"
                     : "+r"(x8), "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5)
                     :
                     : "memory", "cc");
    result.status = x8;
    result.output[0] = x0;
    result.output[1] = x1;
#else
#error "Plinth runs on x86-64 and AArch64"
#endif
    return result;
}

/* Gives up: the extension has failed. Never comes back. Since version 1.
 */
static inline plinth_status plinth_control_exit(void)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_CONTROL_EXIT, 0, 0, 0, 0, 0, 0);
    return result.status;
}

/* Ends `_start` once the callbacks are registered. Never comes back. Since version 1.
 */
static inline plinth_status plinth_control_wait(void)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_CONTROL_WAIT, 0, 0, 0, 0, 0, 0);
    return result.status;
}

/* From the fail callback: goes on where the fault was. Comes back only if it fails. Since version 1.
 * Errors: WrongState
 */
static inline plinth_status plinth_control_again(void)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_CONTROL_AGAIN, 0, 0, 0, 0, 0, 0);
    return result.status;
}

/* Opens the ABI in a version. Since version 1.
 * version: the version of the ABI that the extension was built for
 * out_handle: what REG0 of most calls must be
 * Errors: Unsupported(0), Busy
 */
static inline plinth_status plinth_handle_open(uint64_t version, uint64_t *out_handle)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_HANDLE_OPEN, version, 0, 0, 0, 0, 0);
    if (result.status == 0 && out_handle != 0) {
        *out_handle = result.output[0];
    }
    return result.status;
}

/* Closes the handle; the value is worth nothing from then on. Since version 1.
 */
static inline plinth_status plinth_handle_close(uint64_t handle)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_HANDLE_CLOSE, handle, 0, 0, 0, 0, 0);
    return result.status;
}

/* Writes two values to the log. Since version 1.
 * first: any value
 * second: any value
 */
static inline plinth_status plinth_debug_out(uint64_t first, uint64_t second)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_DEBUG_OUT, first, second, 0, 0, 0, 0);
    return result.status;
}

/* Writes what a VM has to the log. Since version 2.
 * vm: the VM
 * Errors: StaleId(0)
 */
static inline plinth_status plinth_debug_dump_vm(uint64_t vm)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_DEBUG_DUMP_VM, vm, 0, 0, 0, 0, 0);
    return result.status;
}

/* Writes what a VP is to the log. Since version 2.
 * vp: the VP
 * Errors: StaleId(0)
 */
static inline plinth_status plinth_debug_dump_vp(uint64_t vp)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_DEBUG_DUMP_VP, vp, 0, 0, 0, 0, 0);
    return result.status;
}

/* Writes a VS's registers to the log. Since version 1.
 * vs: the VS
 * Errors: StaleId(0), Busy(0)
 */
static inline plinth_status plinth_debug_dump_vs(uint64_t vs)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_DEBUG_DUMP_VS, vs, 0, 0, 0, 0, 0);
    return result.status;
}

/* Writes a PP's exit counts, by class, to the log. Since version 2.
 * pp: the PP
 * Errors: InvalidArgument(0)
 */
static inline plinth_status plinth_debug_dump_exits(uint64_t pp)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_DEBUG_DUMP_EXITS, pp, 0, 0, 0, 0, 0);
    return result.status;
}

/* Writes a line of text to the log. Since version 1.
 * text: UTF-8 text
 * bytes: its length, at most 256
 * level: 1 error, 2 warning, 3 information, 4 debug, 5 trace
 * Errors: InvalidArgument(0), InvalidArgument(0), InvalidArgument(1), InvalidArgument(2)
 */
static inline plinth_status plinth_debug_write(uint64_t text, uint64_t bytes, uint64_t level)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_DEBUG_WRITE, text, bytes, level, 0, 0, 0);
    return result.status;
}

/* Writes what the kernel knows of the extension to the log. Since version 2.
 */
static inline plinth_status plinth_debug_dump_extension(void)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_DEBUG_DUMP_EXTENSION, 0, 0, 0, 0, 0, 0);
    return result.status;
}

/* Writes how much of the pool is used to the log. Since version 2.
 */
static inline plinth_status plinth_debug_dump_pool(void)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_DEBUG_DUMP_POOL, 0, 0, 0, 0, 0, 0);
    return result.status;
}

/* Says how many exits of a class a PP has had. Since version 1.
 * pp: the PP
 * class: the exit class
 * out_exits: exits of that class on that PP since launch
 * Errors: InvalidArgument(0), InvalidArgument(1)
 */
static inline plinth_status plinth_debug_exit_count(uint64_t pp, uint64_t class, uint64_t *out_exits)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_DEBUG_EXIT_COUNT, pp, class, 0, 0, 0, 0);
    if (result.status == 0 && out_exits != 0) {
        *out_exits = result.output[0];
    }
    return result.status;
}

/* Registers the callback that each PP enters when it is launched. Since version 1.
 * entry: where the callback begins, in the extension's image
 * Errors: WrongState, InvalidArgument(1), Busy
 */
static inline plinth_status plinth_callback_register_bootstrap(uint64_t handle, uint64_t entry)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_CALLBACK_REGISTER_BOOTSTRAP, handle, entry, 0, 0, 0, 0);
    return result.status;
}

/* Registers the callback for exits. Since version 1.
 * entry: where the callback begins, in the extension's image
 * Errors: WrongState, InvalidArgument(1), Busy
 */
static inline plinth_status plinth_callback_register_vmexit(uint64_t handle, uint64_t entry)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_CALLBACK_REGISTER_VMEXIT, handle, entry, 0, 0, 0, 0);
    return result.status;
}

/* Registers the callback for failures of the extension. Since version 1.
 * entry: where the callback begins, in the extension's image
 * Errors: WrongState, InvalidArgument(1), Busy
 */
static inline plinth_status plinth_callback_register_fail(uint64_t handle, uint64_t entry)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_CALLBACK_REGISTER_FAIL, handle, entry, 0, 0, 0, 0);
    return result.status;
}

/* Makes a VM without memory, in which every MSR, system register and port exits. Since version 1.
 * out_vm: the new VM
 * Errors: OutOfMemory, OutOfObjects
 */
static inline plinth_status plinth_vm_create(uint64_t handle, uint64_t *out_vm)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_CREATE, handle, 0, 0, 0, 0, 0);
    if (result.status == 0 && out_vm != 0) {
        *out_vm = result.output[0];
    }
    return result.status;
}

/* Removes a VM that has neither VPs nor memory. Since version 1.
 * vm: the VM
 * Errors: StaleId(1), Denied(1), Busy(1), Busy(1)
 */
static inline plinth_status plinth_vm_destroy(uint64_t handle, uint64_t vm)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_DESTROY, handle, vm, 0, 0, 0, 0);
    return result.status;
}

/* Makes every PP forget what it has cached of a VM's memory. Since version 2.
 * vm: the VM
 * Errors: StaleId(1)
 */
static inline plinth_status plinth_vm_flush(uint64_t handle, uint64_t vm)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_FLUSH, handle, vm, 0, 0, 0, 0);
    return result.status;
}

/* Maps memory of the extension into a VM. Since version 1.
 * vm: the VM
 * gpa: where, a multiple of 4096
 * from: memory of the extension's, a multiple of 4096
 * bytes: how much, a multiple of 4096, at most 1 GiB
 * attributes: 1 read, 2 write, 4 execute; from ABI 2 on the memory type in bits 10:8
 * Errors: StaleId(1), Denied(1), InvalidArgument(2), InvalidArgument(3), InvalidArgument(4), InvalidArgument(5), NotMapped(3), Denied(3), Busy(3), AlreadyMapped(2), Unsupported, OutOfMemory
 */
static inline plinth_status plinth_vm_map(uint64_t handle, uint64_t vm, uint64_t gpa, uint64_t from, uint64_t bytes, uint64_t attributes)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_MAP, handle, vm, gpa, from, bytes, attributes);
    return result.status;
}

/* Takes mapped memory out of a VM again, on every PP. Since version 1.
 * vm: the VM
 * gpa: where, a multiple of 4096
 * bytes: how much, a multiple of 4096, at most 1 GiB
 * Errors: StaleId(1), Denied(1), InvalidArgument(2), InvalidArgument(3), NotMapped(2), OutOfMemory
 */
static inline plinth_status plinth_vm_unmap(uint64_t handle, uint64_t vm, uint64_t gpa, uint64_t bytes)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_UNMAP, handle, vm, gpa, bytes, 0, 0);
    return result.status;
}

/* Changes what a VM may do with memory that it has. Since version 1.
 * vm: the VM
 * gpa: where, a multiple of 4096
 * bytes: how much, a multiple of 4096, at most 1 GiB
 * permissions: 1 read, 2 write, 4 execute
 * Errors: StaleId(1), InvalidArgument(2), InvalidArgument(3), InvalidArgument(4), NotMapped(2), Denied(2), Unsupported, OutOfMemory
 */
static inline plinth_status plinth_vm_protect(uint64_t handle, uint64_t vm, uint64_t gpa, uint64_t bytes, uint64_t permissions)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_PROTECT, handle, vm, gpa, bytes, permissions, 0);
    return result.status;
}

/* Says what a VM may do at an address. Since version 1.
 * vm: the VM
 * gpa: any address
 * out_attributes: 1 read, 2 write, 4 execute; from ABI 2 on the memory type in bits 10:8
 * out_leaf: what one entry of the nested tables maps there
 * Errors: StaleId(1), NotMapped(2)
 */
static inline plinth_status plinth_vm_query(uint64_t handle, uint64_t vm, uint64_t gpa, uint64_t *out_attributes, uint64_t *out_leaf)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_QUERY, handle, vm, gpa, 0, 0, 0);
    if (result.status == 0 && out_attributes != 0) {
        *out_attributes = result.output[0];
    }
    if (result.status == 0 && out_leaf != 0) {
        *out_leaf = result.output[1];
    }
    return result.status;
}

/* Declares answers to ID reads, which the kernel gives without entering the extension. Since version 1.
 * vm: the VM
 * answers: an array of `plinth_id_answer`
 * count: how many, at most 64
 * Errors: StaleId(1), InvalidArgument(2), InvalidArgument(3), OutOfObjects(3)
 */
static inline plinth_status plinth_vm_declare_ids(uint64_t handle, uint64_t vm, uint64_t answers, uint64_t count)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_DECLARE_IDS, handle, vm, answers, count, 0, 0);
    return result.status;
}

/* Sets which accesses to MSRs or system registers exit. Since version 1.
 * vm: the VM
 * first: the first MSR or system register
 * count: how many, at most 65536
 * accesses: 1 reads, 2 writes; the others do not exit
 * Errors: StaleId(1), InvalidArgument(2), Denied(2), InvalidArgument(3), InvalidArgument(4)
 */
static inline plinth_status plinth_vm_intercept_registers(uint64_t handle, uint64_t vm, uint64_t first, uint64_t count, uint64_t accesses)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_INTERCEPT_REGISTERS, handle, vm, first, count, accesses, 0);
    return result.status;
}

/* Sets which accesses to ports exit. Since version 1.
 * vm: the VM
 * first: the first port
 * count: how many, at most 65536
 * exit: 1 to intercept, 0 not to
 * Errors: StaleId(1), InvalidArgument(2), Denied(2), InvalidArgument(3), InvalidArgument(4)
 */
static inline plinth_status plinth_vm_intercept_ports(uint64_t handle, uint64_t vm, uint64_t first, uint64_t count, uint64_t exit)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_INTERCEPT_PORTS, handle, vm, first, count, exit, 0);
    return result.status;
}

/* Makes a view of a VM: a further set of permissions for its memory, which starts as a copy of its own. Since version 2.
 * vm: the VM
 * out_view: the new view, which is not 0
 * Errors: StaleId(1), OutOfMemory, OutOfObjects
 */
static inline plinth_status plinth_vm_view_create(uint64_t handle, uint64_t vm, uint64_t *out_view)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_VIEW_CREATE, handle, vm, 0, 0, 0, 0);
    if (result.status == 0 && out_view != 0) {
        *out_view = result.output[0];
    }
    return result.status;
}

/* Removes a view that no VS uses. Since version 2.
 * vm: the VM
 * view: the view
 * Errors: StaleId(1), StaleId(2), Denied(2), Busy(2)
 */
static inline plinth_status plinth_vm_view_destroy(uint64_t handle, uint64_t vm, uint64_t view)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_VIEW_DESTROY, handle, vm, view, 0, 0, 0);
    return result.status;
}

/* Changes what VSs that use a view may do with memory. Since version 2.
 * vm: the VM
 * view: the view
 * gpa: where, a multiple of 4096
 * bytes: how much, a multiple of 4096, at most 1 GiB
 * permissions: 1 read, 2 write, 4 execute
 * Errors: StaleId(1), StaleId(2), Denied(2), InvalidArgument(3), InvalidArgument(4), InvalidArgument(5), NotMapped(3), Denied(3), Unsupported, OutOfMemory
 */
static inline plinth_status plinth_vm_view_protect(uint64_t handle, uint64_t vm, uint64_t view, uint64_t gpa, uint64_t bytes, uint64_t permissions)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_VIEW_PROTECT, handle, vm, view, gpa, bytes, permissions);
    return result.status;
}

/* Says what VSs that use a view may do at an address. Since version 2.
 * vm: the VM
 * view: the view
 * gpa: any address
 * out_attributes: 1 read, 2 write, 4 execute; from ABI 2 on the memory type in bits 10:8
 * out_leaf: what one entry of the nested tables maps there
 * Errors: StaleId(1), StaleId(2), Denied(2), NotMapped(3)
 */
static inline plinth_status plinth_vm_view_query(uint64_t handle, uint64_t vm, uint64_t view, uint64_t gpa, uint64_t *out_attributes, uint64_t *out_leaf)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_VIEW_QUERY, handle, vm, view, gpa, 0, 0);
    if (result.status == 0 && out_attributes != 0) {
        *out_attributes = result.output[0];
    }
    if (result.status == 0 && out_leaf != 0) {
        *out_leaf = result.output[1];
    }
    return result.status;
}

/* Copies from a VM's memory to the extension's. Since version 2.
 * vm: the VM
 * gpa: where in the VM
 * address: where in the extension
 * bytes: how much, at most 4096
 * Errors: StaleId(1), InvalidArgument(2), NotMapped(2), InvalidArgument(3), InvalidArgument(4)
 */
static inline plinth_status plinth_vm_read_memory(uint64_t handle, uint64_t vm, uint64_t gpa, uint64_t address, uint64_t bytes)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_READ_MEMORY, handle, vm, gpa, address, bytes, 0);
    return result.status;
}

/* Copies from the extension's memory to a VM's. Since version 2.
 * vm: the VM
 * gpa: where in the VM
 * address: where in the extension
 * bytes: how much, at most 4096
 * Errors: StaleId(1), InvalidArgument(2), NotMapped(2), Denied(2), InvalidArgument(3), InvalidArgument(4)
 */
static inline plinth_status plinth_vm_write_memory(uint64_t handle, uint64_t vm, uint64_t gpa, uint64_t address, uint64_t bytes)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VM_WRITE_MEMORY, handle, vm, gpa, address, bytes, 0);
    return result.status;
}

/* Makes a VP of a VM. Since version 1.
 * vm: the VM
 * out_vp: the new VP
 * Errors: StaleId(1), OutOfObjects
 */
static inline plinth_status plinth_vp_create(uint64_t handle, uint64_t vm, uint64_t *out_vp)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VP_CREATE, handle, vm, 0, 0, 0, 0);
    if (result.status == 0 && out_vp != 0) {
        *out_vp = result.output[0];
    }
    return result.status;
}

/* Removes a VP that has no VS. Since version 1.
 * vp: the VP
 * Errors: StaleId(1), Busy(1)
 */
static inline plinth_status plinth_vp_destroy(uint64_t handle, uint64_t vp)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VP_DESTROY, handle, vp, 0, 0, 0, 0);
    return result.status;
}

/* Makes a VS of a VP, in the machine's reset state, to run on one PP. Since version 1.
 * vp: the VP
 * pp: where it is going to run
 * out_vs: the new VS
 * Errors: StaleId(1), InvalidArgument(2), OutOfMemory, OutOfObjects
 */
static inline plinth_status plinth_vs_create(uint64_t handle, uint64_t vp, uint64_t pp, uint64_t *out_vs)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_CREATE, handle, vp, pp, 0, 0, 0);
    if (result.status == 0 && out_vs != 0) {
        *out_vs = result.output[0];
    }
    return result.status;
}

/* Removes a VS that is not active. Since version 1.
 * vs: the VS
 * Errors: StaleId(1), Busy(1), Denied(1)
 */
static inline plinth_status plinth_vs_destroy(uint64_t handle, uint64_t vs)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_DESTROY, handle, vs, 0, 0, 0, 0);
    return result.status;
}

/* Gives a VS the state of the OS that was running on this PP. Since version 1.
 * vs: the VS
 * Errors: WrongState, StaleId(1), Busy(1), Denied(1)
 */
static inline plinth_status plinth_vs_init_as_root(uint64_t handle, uint64_t vs)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_INIT_AS_ROOT, handle, vs, 0, 0, 0, 0);
    return result.status;
}

/* Reads a register of a VS. Since version 1.
 * vs: the VS
 * number: see Registers
 * out_value: what it holds
 * Errors: StaleId(1), Busy(1), InvalidArgument(2)
 */
static inline plinth_status plinth_vs_read(uint64_t handle, uint64_t vs, uint64_t number, uint64_t *out_value)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_READ, handle, vs, number, 0, 0, 0);
    if (result.status == 0 && out_value != 0) {
        *out_value = result.output[0];
    }
    return result.status;
}

/* Writes a register of a VS. Since version 1.
 * vs: the VS
 * number: see Registers
 * value: what it is to hold
 * Errors: StaleId(1), Busy(1), InvalidArgument(2)
 */
static inline plinth_status plinth_vs_write(uint64_t handle, uint64_t vs, uint64_t number, uint64_t value)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_WRITE, handle, vs, number, value, 0, 0);
    return result.status;
}

/* Makes a VS the active one and runs it. Comes back only if it fails. Since version 1.
 * vs: the VS
 * Errors: StaleId(1), Busy(1), Denied(1), WrongState
 */
static inline plinth_status plinth_vs_run(uint64_t handle, uint64_t vs)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_RUN, handle, vs, 0, 0, 0, 0);
    return result.status;
}

/* Runs the active VS. Comes back only if it fails. Since version 1.
 * Errors: WrongState
 */
static inline plinth_status plinth_vs_run_current(uint64_t handle)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_RUN_CURRENT, handle, 0, 0, 0, 0, 0);
    return result.status;
}

/* Skips the instruction at which the active VS exited, makes a VS the active one and runs it. Comes back only if it fails. Since version 2.
 * vs: the VS
 * Errors: StaleId(1), Busy(1), Denied(1), WrongState, Denied
 */
static inline plinth_status plinth_vs_advance_and_run(uint64_t handle, uint64_t vs)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_ADVANCE_AND_RUN, handle, vs, 0, 0, 0, 0);
    return result.status;
}

/* Skips the instruction that exited and runs the active VS. Comes back only if it fails. Since version 1.
 * Errors: WrongState, Denied
 */
static inline plinth_status plinth_vs_advance_and_run_current(uint64_t handle)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_ADVANCE_AND_RUN_CURRENT, handle, 0, 0, 0, 0, 0);
    return result.status;
}

/* Gives the bare PP back to its root VS, after the instruction that exited. Comes back only if it fails. Since version 1.
 * vs: the VS
 * Errors: WrongState, StaleId(1), Busy(1), Denied(1), Denied(1), Busy, Unresponsive
 */
static inline plinth_status plinth_vs_promote(uint64_t handle, uint64_t vs)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_PROMOTE, handle, vs, 0, 0, 0, 0);
    return result.status;
}

/* Moves a VS that is not active to another PP. Since version 2.
 * vs: the VS
 * pp: where it is going to run
 * Errors: StaleId(1), Busy(1), Denied(1), InvalidArgument(2)
 */
static inline plinth_status plinth_vs_migrate(uint64_t handle, uint64_t vs, uint64_t pp)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_MIGRATE, handle, vs, pp, 0, 0, 0);
    return result.status;
}

/* Makes a VS the active one, without running it: its general registers are in the exit page. Since version 2.
 * vs: the VS
 * Errors: StaleId(1), Busy(1), Denied(1)
 */
static inline plinth_status plinth_vs_activate(uint64_t handle, uint64_t vs)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_ACTIVATE, handle, vs, 0, 0, 0, 0);
    return result.status;
}

/* Skips the instruction at which the active VS exited, without running it. Since version 2.
 * Errors: WrongState, Denied
 */
static inline plinth_status plinth_vs_advance(uint64_t handle)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_ADVANCE, handle, 0, 0, 0, 0, 0);
    return result.status;
}

/* Forgets what the TLB holds of a VS's memory, before it runs next. Since version 2.
 * vs: the VS
 * Errors: StaleId(1), Busy(1)
 */
static inline plinth_status plinth_vs_flush(uint64_t handle, uint64_t vs)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_FLUSH, handle, vs, 0, 0, 0, 0);
    return result.status;
}

/* Delivers an event to a VS when it runs next. Since version 1.
 * vs: the VS
 * event: see Events
 * Errors: StaleId(1), Busy(1), Denied(1), InvalidArgument(2), Busy(2)
 */
static inline plinth_status plinth_vs_inject(uint64_t handle, uint64_t vs, uint64_t event)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_INJECT, handle, vs, event, 0, 0, 0);
    return result.status;
}

/* Makes a VS see its VM's memory by a view. Since version 2.
 * vs: the VS
 * view: a view of its VM, 0 for the VM's own tables
 * Errors: StaleId(1), Busy(1), StaleId(2)
 */
static inline plinth_status plinth_vs_set_view(uint64_t handle, uint64_t vs, uint64_t view)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_SET_VIEW, handle, vs, view, 0, 0, 0);
    return result.status;
}

/* Makes a VS exit after each instruction that it executes, or no longer. Since version 2.
 * vs: the VS
 * on: 1 on, 0 off
 * Errors: StaleId(1), Busy(1), InvalidArgument(2)
 */
static inline plinth_status plinth_vs_step(uint64_t handle, uint64_t vs, uint64_t on)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_STEP, handle, vs, on, 0, 0, 0);
    return result.status;
}

/* Reads many registers of a VS. Since version 2.
 * vs: the VS
 * list: an array of `plinth_register_access`
 * count: how many, at most 64
 * Errors: StaleId(1), Busy(1), InvalidArgument(2), InvalidArgument(2), InvalidArgument(3)
 */
static inline plinth_status plinth_vs_read_many(uint64_t handle, uint64_t vs, uint64_t list, uint64_t count)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_READ_MANY, handle, vs, list, count, 0, 0);
    return result.status;
}

/* Writes many registers of a VS, of each the bits in a mask. Since version 2.
 * vs: the VS
 * list: an array of `plinth_register_access`
 * count: how many, at most 64
 * Errors: StaleId(1), Busy(1), InvalidArgument(2), InvalidArgument(2), InvalidArgument(3)
 */
static inline plinth_status plinth_vs_write_many(uint64_t handle, uint64_t vs, uint64_t list, uint64_t count)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_WRITE_MANY, handle, vs, list, count, 0, 0);
    return result.status;
}

/* Translates a guest-virtual address by the guest's own page tables. Since version 2.
 * vs: the VS
 * gva: the address
 * access: 0 read, 1 write, 2 execute, by the guest's kernel
 * out_gpa: where it leads
 * Errors: StaleId(1), Busy(1), NotMapped(2), InvalidArgument(3), Unsupported
 */
static inline plinth_status plinth_vs_translate(uint64_t handle, uint64_t vs, uint64_t gva, uint64_t access, uint64_t *out_gpa)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_VS_TRANSLATE, handle, vs, gva, access, 0, 0);
    if (result.status == 0 && out_gpa != 0) {
        *out_gpa = result.output[0];
    }
    return result.status;
}

/* Reads an MSR or system register of the machine. Since version 1.
 * number: an MSR or system register
 * out_value: what it holds
 * Errors: Denied(1), HardwareFault(1)
 */
static inline plinth_status plinth_intrinsic_read(uint64_t handle, uint64_t number, uint64_t *out_value)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_INTRINSIC_READ, handle, number, 0, 0, 0, 0);
    if (result.status == 0 && out_value != 0) {
        *out_value = result.output[0];
    }
    return result.status;
}

/* Writes an MSR or system register of the machine. Since version 1.
 * number: an MSR or system register
 * value: what it is to hold
 * Errors: Denied(1), HardwareFault(2)
 */
static inline plinth_status plinth_intrinsic_write(uint64_t handle, uint64_t number, uint64_t value)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_INTRINSIC_WRITE, handle, number, value, 0, 0, 0);
    return result.status;
}

/* Restarts the machine. Comes back only if it fails. Since version 1.
 * Errors: Unsupported
 */
static inline plinth_status plinth_intrinsic_reset(uint64_t handle)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_INTRINSIC_RESET, handle, 0, 0, 0, 0, 0);
    return result.status;
}

/* Gives the extension a zeroed page: readable, writable, not executable. Since version 1.
 * out_address: the page
 * Errors: OutOfMemory
 */
static inline plinth_status plinth_mem_allocate_page(uint64_t handle, uint64_t *out_address)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_MEM_ALLOCATE_PAGE, handle, 0, 0, 0, 0, 0);
    if (result.status == 0 && out_address != 0) {
        *out_address = result.output[0];
    }
    return result.status;
}

/* Takes such a page back. Since version 1.
 * address: the page
 * Errors: InvalidArgument(1), NotMapped(1), Denied(1), Busy(1)
 */
static inline plinth_status plinth_mem_free_page(uint64_t handle, uint64_t address)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_MEM_FREE_PAGE, handle, address, 0, 0, 0, 0);
    return result.status;
}

/* Gives the extension zeroed pages that lie side by side, in its own and in physical memory. Since version 2.
 * bytes: how much, a multiple of 4096, at most 1 GiB
 * out_address: the first page
 * Errors: InvalidArgument(1), OutOfMemory
 */
static inline plinth_status plinth_mem_allocate_huge(uint64_t handle, uint64_t bytes, uint64_t *out_address)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_MEM_ALLOCATE_HUGE, handle, bytes, 0, 0, 0, 0);
    if (result.status == 0 && out_address != 0) {
        *out_address = result.output[0];
    }
    return result.status;
}

/* Takes pages back that lie side by side, however they were allocated. Since version 2.
 * address: the first page
 * bytes: how much, a multiple of 4096, at most 1 GiB
 * Errors: InvalidArgument(1), NotMapped(1), Denied(1), Busy(1), InvalidArgument(2)
 */
static inline plinth_status plinth_mem_free_huge(uint64_t handle, uint64_t address, uint64_t bytes)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_MEM_FREE_HUGE, handle, address, bytes, 0, 0, 0);
    return result.status;
}

/* Says how much memory there is still to be had. Since version 2.
 * out_free: what is left of the pool, which the kernel's tables come from too
 */
static inline plinth_status plinth_mem_query(uint64_t handle, uint64_t *out_free)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_MEM_QUERY, handle, 0, 0, 0, 0, 0);
    if (result.status == 0 && out_free != 0) {
        *out_free = result.output[0];
    }
    return result.status;
}

/* Reads the machine's monotonic counter. Since version 2.
 * out_ticks: the counter
 * out_frequency: ticks per second; 0 where the machine does not say
 */
static inline plinth_status plinth_time_read(uint64_t handle, uint64_t *out_ticks, uint64_t *out_frequency)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_TIME_READ, handle, 0, 0, 0, 0, 0);
    if (result.status == 0 && out_ticks != 0) {
        *out_ticks = result.output[0];
    }
    if (result.status == 0 && out_frequency != 0) {
        *out_frequency = result.output[1];
    }
    return result.status;
}

/* Sets when this PP's active VS exits to the extension, whatever it does. Since version 2.
 * deadline: when, by the counter that `TimeRead` reads; `TIMER_OFF` for never
 */
static inline plinth_status plinth_timer_set(uint64_t handle, uint64_t deadline)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_TIMER_SET, handle, deadline, 0, 0, 0, 0);
    return result.status;
}

/* Says on which PP this is, and how many there are. Since version 2.
 * out_pp: this PP
 * out_count: launched PPs
 */
static inline plinth_status plinth_pp_query(uint64_t handle, uint64_t *out_pp, uint64_t *out_count)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_PP_QUERY, handle, 0, 0, 0, 0, 0);
    if (result.status == 0 && out_pp != 0) {
        *out_pp = result.output[0];
    }
    if (result.status == 0 && out_count != 0) {
        *out_count = result.output[1];
    }
    return result.status;
}

/* Makes a PP's active VS exit to the extension. Since version 2.
 * pp: the PP
 * Errors: InvalidArgument(1)
 */
static inline plinth_status plinth_pp_kick(uint64_t handle, uint64_t pp)
{
    struct plinth_result result = plinth_call(PLINTH_CALL_PP_KICK, handle, pp, 0, 0, 0, 0);
    return result.status;
}

#endif
