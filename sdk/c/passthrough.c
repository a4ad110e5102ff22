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

#define SHOWN(name) ((uint32_t)PLINTH_CPUID_SHOWN_##name)

static int is_among(uint64_t leaves, uint32_t leaf)
{
    return leaf < 64 && (leaves >> leaf & 1) != 0;
}

/* Whether the root VM gets anything of a leaf and sub-leaf. */
static int is_shown(uint32_t leaf, uint32_t subleaf)
{
    const uint64_t states = PLINTH_CPUID_SHOWN_D_EAX | PLINTH_CPUID_SHOWN_D_1_ECX;
    if (leaf & 0x80000000u) {
        return is_among(PLINTH_CPUID_SHOWN_EXTENDED, leaf & ~0x80000000u);
    }
    return is_among(PLINTH_CPUID_SHOWN_BASIC, leaf) && (leaf != 7 || subleaf <= 2) &&
           (leaf != 0xD || subleaf <= 1 || (subleaf < 32 && (states >> subleaf & 1) != 0));
}

static struct words features(uint32_t subleaf, struct words words)
{
    switch (subleaf) {
    case 0:
        return (struct words){words.eax < 2 ? words.eax : 2, words.ebx & SHOWN(7_EBX), words.ecx & SHOWN(7_ECX),
                              words.edx & SHOWN(7_EDX)};
    case 1:
        return (struct words){words.eax & SHOWN(7_1_EAX), words.ebx & SHOWN(7_1_EBX), words.ecx & SHOWN(7_1_ECX),
                              words.edx & SHOWN(7_1_EDX)};
    default:
        return (struct words){0, 0, 0, words.edx & SHOWN(7_2_EDX)};
    }
}

static struct words extended_state(uint32_t subleaf, struct words words)
{
    if (subleaf == 0) {
        return (struct words){words.eax & SHOWN(D_EAX), words.ebx, words.ecx, 0};
    }
    if (subleaf == 1) {
        return (struct words){words.eax & SHOWN(D_1_EAX), words.ebx, words.ecx & SHOWN(D_1_ECX), 0};
    }
    return words;
}

static struct words address_sizes(struct words words)
{
    words.ebx &= SHOWN(80000008_EBX);
    if (!(cpuid(0x8000000A, 0).edx & 1u << 24)) {
        /* INVLPGB. */
        words.ebx &= ~(1u << 3);
    }
    return words;
}

/* What the root VM gets of the processor: what the table of the Rust API shows, and nothing else. */
static struct words visible(uint32_t leaf, uint32_t subleaf, struct words words)
{
    if (!is_shown(leaf, subleaf)) {
        return (struct words){0, 0, 0, 0};
    }
    switch (leaf) {
    case 1:
        words.ecx &= SHOWN(1_ECX);
        words.edx &= SHOWN(1_EDX);
        break;
    case 6:
        return (struct words){words.eax & SHOWN(6_EAX), words.ebx, words.ecx & SHOWN(6_ECX), 0};
    case 7:
        return features(subleaf, words);
    case 0xD:
        return extended_state(subleaf, words);
    case 0x80000001:
        words.ecx &= SHOWN(80000001_ECX);
        words.edx &= SHOWN(80000001_EDX);
        break;
    case 0x80000007:
        words.ebx &= SHOWN(80000007_EBX);
        words.edx &= SHOWN(80000007_EDX);
        break;
    case 0x80000008:
        return address_sizes(words);
    case 0x8000001F:
        return (struct words){words.eax & SHOWN(8000001F_EAX), words.ebx, 0, 0};
    case 0x80000021:
        words.eax &= SHOWN(80000021_EAX);
        words.ecx &= SHOWN(80000021_ECX);
        break;
    case 0x80000022:
        words.eax &= SHOWN(80000022_EAX);
        break;
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
