/* An extension in C: says hello, and hides the AES instructions from the root VM. */

#include "plinth_runtime.h"

/* ID_AA64ISAR0_EL1, and all ID registers that can be made to exit (Arm ARM, HCR_EL2.TID3). */
#define ID_AA64ISAR0_EL1 0xC030u
#define FIRST_ID_REGISTER 0xC008u
#define ID_REGISTERS 56u

PLINTH_MANIFEST(PLINTH_RUNTIME_GROUPS | PLINTH_GROUP_VM);

plinth_status plinth_start(void)
{
    plinth_log("hello-c: hello from C; hiding the AES instructions");
#if defined(__aarch64__)
    return plinth_vm_intercept_registers(plinth_handle, PLINTH_ROOT_VM, FIRST_ID_REGISTER, ID_REGISTERS,
                                         PLINTH_INTERCEPT_READS);
#else
    return 0;
#endif
}

enum plinth_resume plinth_vmexit(struct plinth_exit_page *exit, uint64_t exit_class)
{
    uint32_t leaf = (uint32_t)exit->registers[0];
    enum plinth_resume resume = plinth_passthrough(exit, exit_class);
    if (exit_class == PLINTH_EXIT_ID_READ) {
#if defined(__aarch64__)
        (void)leaf;
        if (exit->number == ID_AA64ISAR0_EL1 && exit->detail < 31) {
            exit->registers[exit->detail] &= ~UINT64_C(0xf0);
        }
#else
        /* CPUID leaf 1, ECX bit 25 (AMD64 APM vol. 3, E.3.2). */
        if (leaf == 1) {
            exit->registers[1] &= ~(UINT64_C(1) << 25);
        }
#endif
    }
    return resume;
}
