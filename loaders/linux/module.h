/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the module's files share. */
#ifndef PLINTH_MODULE_H
#define PLINTH_MODULE_H

#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/mutex.h>

#include "machine.h"
#include "plinth.h"

/*
 * The module's state. `lock` protects it, and no user memory is touched under it: the handler of page faults takes it. `launched`
 * changes only while CPUs cannot come or go, so that the hot-plug callback, which must not wait for `lock`, may read it.
 */
struct plinth {
	struct mutex lock;
	u32 state;                  /* PLINTH_IDLE and so on. */
	struct file *owner;         /* The open file that reserved, in state reserved. */
	struct plinth_range memory; /* The reservation. */
	struct plinth_range log;
	cpumask_t launched;
	cpumask_t woken; /* CPUs that were brought on line for a launch or a stop, to be taken off line again. */
	u32 stopped_by;  /* PLINTH_STOPPED_*. */
	bool closed;     /* The machine goes to sleep or down: nothing is launched. */
};

extern struct plinth plinth;

/* memory.c: each with the lock held. */
int plinth_reserve(struct file *file, struct plinth_reserve *reserve);
void plinth_free_memory(void);
void plinth_free_log(void);
bool plinth_memory_is_unused(void);
u64 plinth_memory_end(void);
struct page *plinth_page(struct file *file, u64 offset, bool write);

/* launch.c: each with the lock held. */
void plinth_info(struct plinth_info *info);
int plinth_launch(struct file *file, struct plinth_launch *launch);
int plinth_stop(u32 cause, struct plinth_stop *stop);
int plinth_call(struct plinth_call *call, u64 page);

/* main.c: programs that wait for changes hear of one. */
void plinth_tell(const char *what);

/* power.c */
int plinth_watch_power(void);
void plinth_unwatch_power(void);

#endif
