/* The answers of the bare machine, so that an extension need handle only what it cares about: what the Rust API's
 * `passthrough` does, in its shortest form. */

#include "plinth_runtime.h"

#if defined(__x86_64__)

/* The MSR, its bits, and CR4 (AMD64 APM vol. 2, 3.1.3 and 3.1.7). */
#define EFER 0xC0000080u
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_SVME (UINT64_C(1) << 12)
#define CR4_OSXSAVE (UINT64_C(1) << 18)
#define CR4_PKE (UINT64_C(1) << 22)

struct words {
    uint32_t eax, ebx, ecx, edx;
};

static struct words cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct words words;
    __asm__ volatile("cpuid"
                     : "=a"(words.eax), "=b"(words.ebx), "=c"(words.ecx), "=d"(words.edx)
                     : "a"(leaf), "c"(subleaf));
    return words;
}

static uint64_t vs_register(uint64_t vs, uint64_t number)
{
    uint64_t value = 0;
    (void)plinth_vs_read(plinth_handle, vs, number, &value);
    return value;
}

static uint32_t mirror(uint32_t word, uint32_t bit, uint64_t set)
{
    return set ? word | bit : word & ~bit;
}

/* CPUID here sees the host's CR4, so bits that mirror it are put right. */
static void id_read(struct plinth_exit_page *exit)
{
    uint32_t leaf = (uint32_t)exit->registers[0], subleaf = (uint32_t)exit->registers[1];
    struct words words = cpuid(leaf, subleaf);
    if (leaf == 1) {
        /* No VMX; a hypervisor. */
        words.ecx = (words.ecx & ~(1u << 5)) | 1u << 31;
        words.ecx = mirror(words.ecx, 1u << 27, vs_register(exit->vs, PLINTH_REGISTER_X86_CR4) & CR4_OSXSAVE);
    } else if (leaf == 7 && subleaf == 0) {
        words.ecx = mirror(words.ecx, 1u << 4, vs_register(exit->vs, PLINTH_REGISTER_X86_CR4) & CR4_PKE);
    } else if (leaf == 0x80000001) {
        /* No SVM, no SKINIT. */
        words.ecx &= ~(1u << 2 | 1u << 12);
    } else if (leaf == 0x40000000) {
        /* "PlinthPlinth" */
        words = (struct words){0x40000001, 0x6e696c50, 0x6c506874, 0x68746e69};
    } else if (leaf == 0x8000000A || (leaf & ~0xffu) == 0x40000000) {
        words = (struct words){0, 0, 0, 0};
    }
    exit->registers[0] = words.eax;
    exit->registers[3] = words.ebx;
    exit->registers[1] = words.ecx;
    exit->registers[2] = words.edx;
}

/* The bits of EFER that this processor has: bit, leaf, its EDX or else ECX, feature bit (APM vol. 3, appendix E). */
static uint64_t efer_bits(void)
{
    struct words words = cpuid(0x80000001, 0);
    uint64_t bits = EFER_LME | EFER_LMA;
    bits |= words.edx >> 11 & 1;                        /* SCE */
    bits |= (uint64_t)(words.edx >> 20 & 1) << 11;      /* NXE */
    bits |= (uint64_t)(words.edx >> 25 & 1) << 14;      /* FFXSR */
    bits |= (uint64_t)(words.ecx >> 17 & 1) << 15;      /* TCE */
    if (cpuid(0x80000000, 0).eax >= 0x80000021) {
        bits |= (uint64_t)(cpuid(0x80000021, 0).eax >> 8 & 1) << 21; /* automatic IBRS */
    }
    return bits;
}

static enum plinth_resume register_read(struct plinth_exit_page *exit)
{
    if (exit->number != EFER) {
        return PLINTH_INJECT_REFUSED;
    }
    uint64_t value = vs_register(exit->vs, PLINTH_REGISTER_X86_EFER) & ~EFER_SVME;
    exit->registers[0] = value & 0xffffffff;
    exit->registers[2] = value >> 32;
    return PLINTH_ADVANCE;
}

static enum plinth_resume register_write(struct plinth_exit_page *exit)
{
    uint64_t value = exit->registers[2] << 32 | (exit->registers[0] & 0xffffffff);
    uint64_t old = vs_register(exit->vs, PLINTH_REGISTER_X86_EFER);
    uint64_t paging = vs_register(exit->vs, PLINTH_REGISTER_X86_CR0) >> 31 & 1;
    if (exit->number != EFER || value & ~efer_bits() || (paging && (value ^ old) & EFER_LME)) {
        return PLINTH_INJECT_REFUSED;
    }
    value = (value & ~EFER_LMA) | (old & EFER_LMA);
    plinth_status status = plinth_vs_write(plinth_handle, exit->vs, PLINTH_REGISTER_X86_EFER, value);
    return status == 0 ? PLINTH_ADVANCE : PLINTH_INJECT_REFUSED;
}

#define KERNEL_PRIVILEGE 0u

#else

/* The number of XZR, which takes no value. */
#define ZERO_REGISTER 31u
#define KERNEL_PRIVILEGE 1u

/* The machine's own value comes with the exit. */
static void id_read(struct plinth_exit_page *exit)
{
    if (exit->detail < ZERO_REGISTER) {
        exit->registers[exit->detail] = exit->info[1];
    }
}

static enum plinth_resume register_read(struct plinth_exit_page *exit)
{
    (void)exit;
    return PLINTH_INJECT_UNDEFINED;
}

/* A register of the guest's own takes the value. */
static enum plinth_resume register_write(struct plinth_exit_page *exit)
{
    uint64_t value = exit->detail < ZERO_REGISTER ? exit->registers[exit->detail] : 0;
    uint64_t number = PLINTH_REGISTER_ARM_SYSTEM + exit->number;
    plinth_status status = plinth_vs_write(plinth_handle, exit->vs, number, value);
    return status == 0 ? PLINTH_ADVANCE : PLINTH_INJECT_UNDEFINED;
}

#endif

enum plinth_resume plinth_passthrough(struct plinth_exit_page *exit, uint64_t exit_class)
{
    switch (exit_class) {
    case PLINTH_EXIT_ID_READ:
        id_read(exit);
        return PLINTH_ADVANCE;
    case PLINTH_EXIT_REGISTER_READ:
        return register_read(exit);
    case PLINTH_EXIT_REGISTER_WRITE:
        return register_write(exit);
    case PLINTH_EXIT_HYPERCALL:
        if (exit->privilege == KERNEL_PRIVILEGE && exit->registers[0] == PLINTH_HYPERCALL_STOP) {
            return PLINTH_PROMOTE;
        }
        return PLINTH_INJECT_UNDEFINED;
    case PLINTH_EXIT_VIRTUALIZATION:
        return PLINTH_INJECT_UNDEFINED;
    case PLINTH_EXIT_NMI:
        return PLINTH_INJECT_NMI;
    case PLINTH_EXIT_MEMORY:
    case PLINTH_EXIT_PROCESSOR:
        return PLINTH_INJECT_REFUSED;
    case PLINTH_EXIT_SHUTDOWN:
        (void)plinth_intrinsic_reset(plinth_handle);
        return PLINTH_GIVE_UP;
    default:
        plinth_log("an exit that nothing here asked for");
        return PLINTH_GIVE_UP;
    }
}
