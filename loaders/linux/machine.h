/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What differs from machine to machine: x86.c or arm64.c. */
#ifndef PLINTH_MACHINE_H
#define PLINTH_MACHINE_H

#include <linux/types.h>

#include "plinth.h"

/* Up to where devices are that the hypervisor needs, whatever the end of memory is, in bytes. */
extern const u64 plinth_devices_end;

/* PLINTH_MACHINE_*, or 0. */
u32 plinth_machine_kind(void);

/*
 * Why nothing can be launched, PLINTH_NOT_* of this machine. Looks at every CPU that is on line; one of those that it is about goes
 * to `cpu`. `nested`: a hypervisor below is no reason.
 */
u64 plinth_machine_not_now(bool nested, u32 *cpu);

/* Whether the calling CPU runs under a Plinth, by whichever loader. */
bool plinth_machine_is_below(void);

/* Whether an address for LAUNCH's `tables` is right. */
bool plinth_machine_tables_fit(u64 tables, const struct plinth_range *memory);

/*
 * Makes what launch and enter need, up to the address `end`: 0 or -ENOMEM. What it made stays until _release. To be called before
 * each launch or stop, since Linux's page tables may have grown.
 */
int plinth_machine_prepare(u64 end);
void plinth_machine_release(void);

/* Makes the reservation's contents visible to a CPU without caches, before a launch. */
void plinth_machine_publish(const struct plinth_range *memory);

/* Calls the hypervisor's entry on the calling CPU, with interrupts off. Returns the entry's LaunchStatus. */
u64 plinth_machine_launch(const struct plinth_launch *launch, u64 pp);

/* The state in which a CPU can be given back: from _enter to _leave, with interrupts off. */
void plinth_machine_enter(unsigned long *saved);
void plinth_machine_leave(unsigned long saved);

/*
 * A hypercall of the calling CPU: `words` has the number and four arguments, then the result and four more. Returns false where
 * nobody answers.
 */
bool plinth_machine_hypercall(u64 words[5]);

/* What Linux knows of its CPUs, which a hypervisor makes it forget when one comes on line. */
void plinth_machine_save_features(void);
void plinth_machine_restore_features(void);

#endif
