// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Launch and stop, on all CPUs or none. */
#define pr_fmt(format) "plinth: " format

#include <linux/cpu.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/security.h>
#include <linux/smp.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>

#include "module.h"
#include "request.h"

/* The hypercall that gives all CPUs back; programs may not make it, as it takes all CPUs at once. */
#define HYPERCALL_STOP PLINTH_HYPERCALL(0x00010001ull)
#define HYPERCALL_REFUSED (~0ull)

/* How long CPUs wait for each other, in nanoseconds. The hypervisor's own limits are shorter. */
#define MEETING_LIMIT (5ull * NSEC_PER_SEC)

/* Brings the CPUs of a set on line, and notes which were not. On failure `cpu` is one that did not come. */
static int bring_on_line(const struct cpumask *cpus, u32 *cpu)
{
	unsigned int each;

	cpumask_clear(&plinth.woken);
	for_each_cpu(each, cpus) {
		if (cpu_online(each))
			continue;
		if (add_cpu(each)) {
			*cpu = each;
			return -EBUSY;
		}
		cpumask_set_cpu(each, &plinth.woken);
	}
	return 0;
}

/* Takes them off line again. One that stays on line does no harm. */
static void put_back(void)
{
	unsigned int each;

	for_each_cpu(each, &plinth.woken)
		remove_cpu(each);
}

static u64 why_not(bool nested, u32 *cpu)
{
	u64 not_now = security_locked_down(LOCKDOWN_DEV_MEM) ? PLINTH_NOT_LOCKED_DOWN : 0;

	*cpu = PLINTH_NO_CPU;
	if (nr_cpu_ids > PLINTH_CPUS)
		not_now |= PLINTH_NOT_TOO_MANY;
	if (plinth.state == PLINTH_RUNNING || plinth.state == PLINTH_BROKEN || plinth_machine_is_below())
		return not_now | PLINTH_NOT_RUNNING;
	return not_now | plinth_machine_not_now(nested, cpu);
}

/* All kernels that this is for have 64-bit words. */
static void copy_set(u64 *words, const struct cpumask *cpus)
{
	bitmap_copy((unsigned long *)words, cpumask_bits(cpus), min_t(u32, nr_cpu_ids, PLINTH_CPUS));
}

void plinth_info(struct plinth_info *info)
{
	info->state = plinth.state;
	info->machine = plinth_machine_kind();
	info->not_now = why_not(false, &info->not_now_cpu);
	info->stopped_by = plinth.stopped_by;
	info->cpus_present = num_present_cpus();
	info->cpus_online = num_online_cpus();
	info->cpus_launched = cpumask_weight(&plinth.launched);
	copy_set(info->present, cpu_present_mask);
	copy_set(info->online, cpu_online_mask);
	copy_set(info->launched, &plinth.launched);
	info->reservation = plinth.memory;
	info->log = plinth.log;
	info->memory_end = plinth_memory_end();
	strscpy(info->module_version, THIS_MODULE->version, sizeof(info->module_version));
}

/* The meeting of all CPUs to leave: each waits, in a state in which it can be given back, until one has asked for all. */
struct meeting {
	unsigned int cpu; /* The one that asks. */
	atomic_t here;    /* How many are there. */
	atomic_t left;    /* How many are still in the hypervisor afterwards. */
	u64 answer;       /* What the hypervisor said. */
	u32 absent;       /* A CPU that was launched and is off line, for which nobody can ask. */
	bool over;
};

/* Whether the calling CPU is under a Plinth, which shows its name or answers. Without its extension it has no name. */
static bool is_inside(void)
{
	u64 words[5] = { PLINTH_HYPERCALL_STATUS };

	return plinth_machine_is_below() ||
	       (cpumask_test_cpu(smp_processor_id(), &plinth.launched) && plinth_machine_hypercall(words));
}

static u64 ask(struct meeting *meeting, u64 deadline)
{
	u64 words[5] = { HYPERCALL_STOP };
	unsigned int cpu;

	for_each_cpu(cpu, &plinth.launched)
		if (!cpu_online(cpu))
			meeting->absent = cpu;
	while (atomic_read(&meeting->here) != num_online_cpus()) {
		if (ktime_get_mono_fast_ns() > deadline)
			return HYPERCALL_REFUSED;
		cpu_relax();
	}
	if (meeting->absent != PLINTH_NO_CPU)
		return HYPERCALL_REFUSED;
	if (plinth_machine_hypercall(words))
		return words[0];
	/* Nobody answers: it is gone already, or hides. */
	return is_inside() ? HYPERCALL_REFUSED : 0;
}

/* Runs on every CPU that is on line, with interrupts off. */
static int meet(void *data)
{
	struct meeting *meeting = data;
	u64 deadline = ktime_get_mono_fast_ns() + MEETING_LIMIT;
	unsigned long saved;

	plinth_machine_enter(&saved);
	atomic_inc(&meeting->here);
	if (smp_processor_id() == meeting->cpu) {
		meeting->answer = ask(meeting, deadline - MEETING_LIMIT / 2);
		smp_store_release(&meeting->over, true);
	}
	while (!smp_load_acquire(&meeting->over) && ktime_get_mono_fast_ns() < deadline)
		cpu_relax();
	plinth_machine_leave(saved);
	if (is_inside())
		atomic_inc(&meeting->left);
	return 0;
}

/* Gives all CPUs back, all that were launched being on line. */
static int take_back(struct plinth_stop *stop)
{
	struct meeting meeting = { .absent = PLINTH_NO_CPU, .answer = HYPERCALL_REFUSED };
	unsigned int launched = cpumask_weight(&plinth.launched);

	/* One that was launched; where another loader launched, any. */
	meeting.cpu = launched ? cpumask_first(&plinth.launched) : cpumask_first(cpu_online_mask);
	stop_machine(meet, &meeting, cpu_online_mask);
	stop->status = meeting.answer;
	/* Where it refuses all stay, whatever they show. */
	stop->cpus_left = meeting.answer && launched ? launched : atomic_read(&meeting.left);
	if (meeting.absent != PLINTH_NO_CPU) {
		stop->cpu = meeting.absent;
		return -EBUSY;
	}
	if (!meeting.answer && !stop->cpus_left)
		return 0;
	stop->cpu = meeting.cpu;
	return -ECANCELED;
}

/* Some CPUs are in the hypervisor, others are not: its memory and the module stay until a stop succeeds. */
static void mark_broken(void)
{
	if (plinth.state == PLINTH_BROKEN)
		return;
	plinth.state = PLINTH_BROKEN;
	__module_get(THIS_MODULE);
	pr_err("some CPUs are still in the hypervisor; its memory is kept. Try to stop it again\n");
}

/* No CPU is in the hypervisor any more. */
static void finish(u32 cause)
{
	if (plinth.state == PLINTH_BROKEN)
		module_put(THIS_MODULE);
	cpumask_clear(&plinth.launched);
	plinth_machine_restore_features();
	plinth.stopped_by = cause;
}

int plinth_stop(u32 cause, struct plinth_stop *stop)
{
	bool is_ours = plinth.state == PLINTH_RUNNING || plinth.state == PLINTH_BROKEN;
	bool is_anyones = (stop->flags & PLINTH_STOP_FORCE) && plinth_machine_is_below();
	unsigned int count;
	int error;

	stop->cpu = PLINTH_NO_CPU;
	if (!is_ours && !is_anyones)
		return -ESRCH;
	if (plinth_machine_prepare(plinth_memory_end()))
		return -ENOMEM;
	error = bring_on_line(is_ours ? &plinth.launched : cpu_present_mask, &stop->cpu);
	if (!error)
		error = take_back(stop);
	if (is_ours && error == -ECANCELED && stop->cpus_left != cpumask_weight(&plinth.launched))
		mark_broken();
	if (is_ours && !error) {
		finish(cause);
		plinth_free_memory();
	}
	count = num_online_cpus();
	put_back();
	if (!error) {
		plinth_machine_release();
		pr_info("stopped: %u CPUs run on the bare machine again\n", count);
		plinth_tell("PLINTH=stopped");
	}
	return error;
}

struct launch_call {
	const struct plinth_launch *launch;
	u64 pp;
	u64 status;
};

static void launch_here(void *data)
{
	struct launch_call *call = data;

	call->status = plinth_machine_launch(call->launch, call->pp);
}

/* Calls the entry on one CPU after the other. CPUs cannot come or go. */
static int launch_each(struct plinth_launch *launch)
{
	unsigned int cpu;

	for_each_online_cpu(cpu) {
		struct launch_call call = { .launch = launch, .pp = launch->cpus_launched };
		int error = smp_call_function_single(cpu, launch_here, &call, true);

		launch->cpu = cpu;
		launch->status = call.status;
		if (error || call.status)
			return error ? error : -ECANCELED;
		cpumask_set_cpu(cpu, &plinth.launched);
		launch->cpus_launched++;
	}
	launch->cpu = PLINTH_NO_CPU;
	return 0;
}

static int launch_all(struct plinth_launch *launch)
{
	int error;

	cpus_read_lock();
	if (cpumask_equal(cpu_present_mask, cpu_online_mask))
		error = launch_each(launch);
	else
		error = -EAGAIN;
	cpus_read_unlock();
	return error;
}

/* Takes back those CPUs that were launched before one was refused. */
static void undo(struct plinth_launch *launch)
{
	struct plinth_stop stop = {};

	if (!launch->cpus_launched)
		return;
	if (!take_back(&stop)) {
		finish(PLINTH_STOPPED_BY_LAUNCH);
		return;
	}
	launch->cpus_left = stop.cpus_left;
	mark_broken();
}

static int check_launch(struct file *file, const struct plinth_launch *launch)
{
	if (plinth.state != PLINTH_RESERVED || plinth.owner != file || plinth.closed)
		return -EBUSY;
	if (!plinth_contains(&plinth.memory, launch->entry, 1) || !plinth_contains(&plinth.memory, launch->info, PAGE_SIZE) ||
	    !plinth_machine_tables_fit(launch->tables, &plinth.memory))
		return -EINVAL;
	return 0;
}

static int prepare_launch(struct file *file, struct plinth_launch *launch)
{
	if (bring_on_line(cpu_present_mask, &launch->cpu)) {
		launch->not_now = PLINTH_NOT_ONLINE;
		return -EOPNOTSUPP;
	}
	launch->not_now = why_not(launch->flags & PLINTH_LAUNCH_NESTED, &launch->cpu);
	if (launch->not_now)
		return -EOPNOTSUPP;
	unmap_mapping_range(file->f_mapping, 0, plinth.memory.size, true);
	if (!plinth_memory_is_unused())
		return -ETXTBSY;
	plinth_machine_publish(&plinth.memory);
	plinth_machine_save_features();
	return plinth_machine_prepare(plinth_memory_end());
}

int plinth_launch(struct file *file, struct plinth_launch *launch)
{
	int error = check_launch(file, launch);

	launch->cpu = PLINTH_NO_CPU;
	if (error)
		return error;
	error = prepare_launch(file, launch);
	if (!error) {
		error = launch_all(launch);
		if (error)
			undo(launch);
		else
			plinth.state = PLINTH_RUNNING;
	}
	put_back();
	if (!error) {
		pr_info("launched on %u CPUs\n", launch->cpus_launched);
		plinth_tell("PLINTH=launched");
	} else if (plinth.state == PLINTH_RESERVED) {
		plinth_machine_release();
	}
	return error;
}

struct hypercall {
	u64 words[5];
	bool is_answered;
};

static void call_here(void *data)
{
	struct hypercall *call = data;
	/* A CPU that was launched need not be asked: each question is two exits, which a trace would show. */
	bool is_launched = cpumask_test_cpu(smp_processor_id(), &plinth.launched);

	call->is_answered = (is_launched || is_inside()) && plinth_machine_hypercall(call->words);
}

int plinth_call(struct plinth_call *call, u64 page)
{
	struct hypercall hypercall = { .words = { call->number } };
	int error;

	memcpy(&hypercall.words[1], call->arguments, sizeof(call->arguments));
	if (call->buffer_argument)
		hypercall.words[call->buffer_argument] = page;
	cpus_read_lock();
	error = call->cpu < nr_cpu_ids && cpu_online(call->cpu) ? 0 : -ENXIO;
	if (!error)
		error = smp_call_function_single(call->cpu, call_here, &hypercall, true);
	cpus_read_unlock();
	if (error)
		return error;
	memcpy(call->results, hypercall.words, sizeof(call->results));
	return hypercall.is_answered ? 0 : -ESRCH;
}
