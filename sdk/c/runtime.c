/* From the kernel's jump to the extension's function, and back by a resuming call. */

#include "plinth_runtime.h"

uint64_t plinth_handle;

/* The kernel enters with an empty, aligned stack. On x86-64 a call makes it what a C function expects (System V
 * ABI, 3.2.2); on AArch64 it is that already. */
#if defined(__x86_64__)
#define ENTRY(name, function) __asm__(".text\n.globl " name "\n" name ": call " function "\nud2\n")
#define UNDEFINED_VECTOR 6u
#define REFUSED (PLINTH_EVENT_EXCEPTION | PLINTH_EVENT_ERROR_CODE | 13u)
#else
#define ENTRY(name, function) __asm__(".text\n.globl " name "\n" name ": b " function "\n")
#define UNDEFINED_VECTOR 0u
#define REFUSED (PLINTH_EVENT_EXCEPTION | UNDEFINED_VECTOR)
#endif

ENTRY("_start", "runtime_start");
ENTRY("bootstrap_entry", "runtime_bootstrap");
ENTRY("vmexit_entry", "runtime_vmexit");

void bootstrap_entry(void);
void vmexit_entry(void);

void plinth_log(const char *text)
{
    uint64_t length = 0;
    while (text[length] != 0 && length < PLINTH_MAX_WRITE) {
        length++;
    }
    /* Level 3: info. There is nobody to tell of a failure. */
    (void)plinth_debug_write((uint64_t)text, length, 3);
}

/* Ends the extension unless all went well. */
static void require(plinth_status status, const char *what)
{
    if (status != 0) {
        plinth_log(what);
        plinth_control_exit();
    }
}

__attribute__((used)) void runtime_start(uint64_t version)
{
    require(version < PLINTH_VERSION, "the kernel's ABI is older than this extension");
    require(plinth_handle_open(PLINTH_VERSION, &plinth_handle), "HandleOpen failed");
    require(plinth_callback_register_bootstrap(plinth_handle, (uint64_t)bootstrap_entry), "bootstrap is refused");
    require(plinth_callback_register_vmexit(plinth_handle, (uint64_t)vmexit_entry), "vmexit is refused");
    require(plinth_start(), "plinth_start failed");
    plinth_control_wait();
}

/* Makes the OS that is running on this processor the root VM, and runs it. */
__attribute__((used)) void runtime_bootstrap(uint64_t pp)
{
    uint64_t vp = PLINTH_INVALID_ID, vs = PLINTH_INVALID_ID;
    require(plinth_vp_create(plinth_handle, PLINTH_ROOT_VM, &vp), "VpCreate failed");
    require(plinth_vs_create(plinth_handle, vp, pp, &vs), "VsCreate failed");
    require(plinth_vs_init_as_root(plinth_handle, vs), "VsInitAsRoot failed");
    require(plinth_vs_run(plinth_handle, vs), "VsRun failed");
}

static void inject(uint64_t vs, uint64_t event)
{
    require(plinth_vs_inject(plinth_handle, vs, event), "VsInject failed");
}

__attribute__((used)) void runtime_vmexit(struct plinth_exit_page *exit, uint64_t vs, uint64_t exit_class)
{
    switch (plinth_vmexit(exit, exit_class)) {
    case PLINTH_PROMOTE:
        plinth_vs_promote(plinth_handle, vs);
        /* The kernel refuses. */
        exit->registers[0] = PLINTH_HYPERCALL_REFUSED;
        /* fall through */
    case PLINTH_ADVANCE:
        plinth_vs_advance_and_run_current(plinth_handle);
        /* The guest has overwritten the instruction meanwhile. */
        /* fall through */
    case PLINTH_INJECT_UNDEFINED:
        inject(vs, PLINTH_EVENT_EXCEPTION | UNDEFINED_VECTOR);
        break;
    case PLINTH_INJECT_REFUSED:
        inject(vs, REFUSED);
        break;
    case PLINTH_INJECT_NMI:
        inject(vs, PLINTH_EVENT_NMI);
        break;
    case PLINTH_RUN:
        break;
    case PLINTH_GIVE_UP:
        plinth_control_exit();
    }
    require(plinth_vs_run_current(plinth_handle), "VsRunCurrent failed");
}

/* Compilers call these two by themselves. */
void *memset(void *to, int value, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        ((volatile unsigned char *)to)[at] = (unsigned char)value;
    }
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        ((volatile unsigned char *)to)[at] = ((const unsigned char *)from)[at];
    }
    return to;
}
