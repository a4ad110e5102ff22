/* What a C extension is written with, on top of the ABI in plinth.h.
 *
 * The extension defines plinth_start and plinth_vmexit; the runtime does the rest: entry point, callbacks, launch,
 * log. What an extension does not care about it leaves to plinth_passthrough.
 */
#ifndef PLINTH_RUNTIME_H
#define PLINTH_RUNTIME_H

#include "plinth.h"

/* How a callback ends. */
enum plinth_resume {
    /* The instruction that exited is skipped, the VS runs on. */
    PLINTH_ADVANCE,
    /* The VS runs on as it is. */
    PLINTH_RUN,
    /* The VS runs on and finds an undefined instruction: x86 #UD. */
    PLINTH_INJECT_UNDEFINED,
    /* The VS runs on and finds that the access is not allowed: x86 #GP(0), Arm an undefined instruction. */
    PLINTH_INJECT_REFUSED,
    /* The VS runs on and finds a non-maskable interrupt. */
    PLINTH_INJECT_NMI,
    /* The root VS gets the bare processor back. */
    PLINTH_PROMOTE,
    /* The extension cannot go on; the kernel keeps the root VM running without it. */
    PLINTH_GIVE_UP,
};

/* The manifest: which groups of calls the extension makes, as in PLINTH_MANIFEST(PLINTH_RUNTIME_GROUPS | PLINTH_GROUP_VM);
 * once, in one of its files. Without it pass-through cannot restart the machine. */
#define PLINTH_MANIFEST(groups)                                                                                \
    __attribute__((section(".note.plinth"), aligned(4), used)) static const struct plinth_manifest             \
        plinth_manifest = {sizeof("Plinth"), sizeof(uint64_t), PLINTH_MANIFEST_KIND, "Plinth",                 \
                           {(uint32_t)(groups), (uint32_t)((groups) >> 32)}}

/* What runtime and pass-through call. */
#define PLINTH_RUNTIME_GROUPS (PLINTH_GROUP_VP | PLINTH_GROUP_VS | PLINTH_GROUP_INTRINSIC)

/* Defined by the extension. Called once, before anything is virtualized; anything but 0 ends the launch. */
plinth_status plinth_start(void);

/* Defined by the extension. Called at every exit that the kernel does not serve by itself. May run on several
 * processors at once. */
enum plinth_resume plinth_vmexit(struct plinth_exit_page *exit, uint64_t exit_class);

/* The answer of the bare machine, without the virtualization extension. */
enum plinth_resume plinth_passthrough(struct plinth_exit_page *exit, uint64_t exit_class);

/* The open handle: the first argument of most calls. */
extern uint64_t plinth_handle;

/* A line for the kernel's log. */
void plinth_log(const char *text);

#endif
