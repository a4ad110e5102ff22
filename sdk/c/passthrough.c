/* The answers of the bare machine, so that an extension need handle only what it cares about: what the Rust API's
 * `passthrough` does, in its shortest form. */

#include "plinth_runtime.h"

#if defined(__x86_64__)

/* CR4 (AMD64 APM vol. 2, 3.1.3). */
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

/* Clears what the root VM does not get of the processor. */
static struct words visible(uint32_t leaf, uint32_t subleaf, struct words words)
{
    switch (leaf) {
    case 1:
        words.ecx &= ~(uint32_t)PLINTH_CPUID_HIDDEN_1_ECX;
        words.edx &= ~(uint32_t)PLINTH_CPUID_HIDDEN_1_EDX;
        break;
    case 6:
        words.eax &= ~(uint32_t)PLINTH_CPUID_HIDDEN_6_EAX;
        break;
    case 7:
        words.ebx &= subleaf == 0 ? ~(uint32_t)PLINTH_CPUID_HIDDEN_7_EBX : ~0u;
        words.edx &= subleaf == 0 ? ~(uint32_t)PLINTH_CPUID_HIDDEN_7_EDX : ~0u;
        words.eax &= subleaf == 1 ? ~(uint32_t)PLINTH_CPUID_HIDDEN_7_1_EAX : ~0u;
        words.ebx &= subleaf == 1 ? ~(uint32_t)PLINTH_CPUID_HIDDEN_7_1_EBX : ~0u;
        break;
    case 0xD:
        words.ecx &= subleaf == 1 ? ~(uint32_t)PLINTH_CPUID_HIDDEN_D_1_ECX : ~0u;
        return subleaf == 8 || subleaf == 15 ? (struct words){0, 0, 0, 0} : words;
    case 0x80000001:
        words.ecx &= ~(uint32_t)PLINTH_CPUID_HIDDEN_80000001_ECX;
        break;
    case 0x80000008:
        if (!(cpuid(0x8000000A, 0).edx & 1u << 24)) {
            words.ebx &= ~(uint32_t)PLINTH_CPUID_HIDDEN_80000008_EBX;
        }
        break;
    case 0x8000001F:
        words.eax &= ~(uint32_t)PLINTH_CPUID_HIDDEN_8000001F_EAX;
        words.ecx &= ~(uint32_t)PLINTH_CPUID_HIDDEN_8000001F_ECX;
        break;
    case 0x80000021:
        words.eax &= ~(uint32_t)PLINTH_CPUID_HIDDEN_80000021_EAX;
        break;
    case 0x80000022:
        words.eax &= ~(uint32_t)PLINTH_CPUID_HIDDEN_80000022_EAX;
        break;
    case 0x14: case 0x1C: case 0x23: case 0x8000000A: case 0x8000001B: case 0x8000001C: case 0x80000025:
        return (struct words){0, 0, 0, 0};
    default:
        break;
    }
    return words;
}

/* CPUID here sees the host's CR4, so bits that mirror it are put right. */
static void id_read(struct plinth_exit_page *exit)
{
    uint32_t leaf = (uint32_t)exit->registers[0], subleaf = (uint32_t)exit->registers[1];
    struct words words = visible(leaf, subleaf, cpuid(leaf, subleaf));
    if (leaf == 1) {
        /* A hypervisor. */
        words.ecx |= 1u << 31;
        words.ecx = mirror(words.ecx, 1u << 27, vs_register(exit->vs, PLINTH_REGISTER_X86_CR4) & CR4_OSXSAVE);
    } else if (leaf == 7 && subleaf == 0) {
        words.ecx = mirror(words.ecx, 1u << 4, vs_register(exit->vs, PLINTH_REGISTER_X86_CR4) & CR4_PKE);
    } else if (leaf == 0x40000000) {
        /* "PlinthPlinth" */
        words = (struct words){0x40000001, 0x6e696c50, 0x6c506874, 0x68746e69};
    } else if ((leaf & ~0xffu) == 0x40000000) {
        words = (struct words){0, 0, 0, 0};
    }
    exit->registers[0] = words.eax;
    exit->registers[3] = words.ebx;
    exit->registers[1] = words.ecx;
    exit->registers[2] = words.edx;
}

/* The kernel answers MSRs, but those that this extension asked to see. */
static enum plinth_resume register_read(struct plinth_exit_page *exit)
{
    (void)exit;
    return PLINTH_INJECT_REFUSED;
}

static enum plinth_resume register_write(struct plinth_exit_page *exit)
{
    (void)exit;
    return PLINTH_INJECT_REFUSED;
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
