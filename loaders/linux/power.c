// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What Linux does to the machine meanwhile: CPUs that come, modules that want virtualization, sleep, reboot and kexec. */
#define pr_fmt(format) "plinth: " format

#include <linux/cpuhotplug.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/reboot.h>
#include <linux/string.h>
#include <linux/suspend.h>

#include "module.h"

/* Before Linux's own notifier, which lets no CPU come on line any more. */
#define EARLY 100

/* A CPU that the hypervisor has not launched could only start beside it. */
static int may_come(unsigned int cpu)
{
	if (cpumask_empty(&plinth.launched) || cpumask_test_cpu(cpu, &plinth.launched))
		return 0;
	pr_err("CPU %u was not there at the launch and cannot come on line; stop the hypervisor and start it again\n", cpu);
	return -EBUSY;
}

/* Those who would find virtualization switched off. */
static const char *const rivals[] = { "kvm_amd", "kvm_intel", "vboxdrv", "vmmon" };

static int on_module(struct notifier_block *block, unsigned long event, void *data)
{
	const struct module *module = data;
	int i;

	if (event != MODULE_STATE_COMING || cpumask_empty(&plinth.launched))
		return NOTIFY_DONE;
	for (i = 0; i < ARRAY_SIZE(rivals); i++) {
		if (strcmp(module->name, rivals[i]))
			continue;
		pr_err("%s cannot be loaded while Plinth runs; stop it first\n", module->name);
		return notifier_from_errno(-EBUSY);
	}
	return NOTIFY_DONE;
}

/* Stops what runs, before something that ends Linux or makes it forget. `close`: nothing is launched after. */
static int stop_before(u32 cause, const char *what)
{
	struct plinth_stop stop = {};
	int error = 0;

	mutex_lock(&plinth.lock);
	plinth.closed = true;
	if (plinth.state == PLINTH_RUNNING || plinth.state == PLINTH_BROKEN)
		error = plinth_stop(cause, &stop);
	if (error)
		pr_err("the hypervisor does not stop before %s (%d, %#llx)\n", what, error, stop.status);
	mutex_unlock(&plinth.lock);
	return error;
}

static void open_again(void)
{
	mutex_lock(&plinth.lock);
	plinth.closed = false;
	mutex_unlock(&plinth.lock);
	plinth_tell("PLINTH=woken");
}

/* The hypervisor does not survive sleep: firmware starts CPUs without it. */
static int on_sleep(struct notifier_block *block, unsigned long event, void *data)
{
	int error = 0;

	switch (event) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		error = stop_before(PLINTH_STOPPED_BY_SLEEP, "sleep");
		if (error)
			open_again();
		break;
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		open_again();
		break;
	}
	return notifier_from_errno(error);
}

/* The next kernel, by kexec, knows nothing of the reservation. */
static int on_reboot(struct notifier_block *block, unsigned long event, void *data)
{
	stop_before(PLINTH_STOPPED_BY_REBOOT, "reboot");
	return NOTIFY_DONE;
}

static struct notifier_block of_modules = { .notifier_call = on_module };
static struct notifier_block of_sleep = { .notifier_call = on_sleep, .priority = EARLY };
static struct notifier_block of_reboot = { .notifier_call = on_reboot, .priority = EARLY };
static int of_cpus;

int plinth_watch_power(void)
{
	of_cpus = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "plinth:prepare", may_come, NULL);
	if (of_cpus < 0)
		return of_cpus;
	register_module_notifier(&of_modules);
	register_pm_notifier(&of_sleep);
	register_reboot_notifier(&of_reboot);
	return 0;
}

void plinth_unwatch_power(void)
{
	unregister_reboot_notifier(&of_reboot);
	unregister_pm_notifier(&of_sleep);
	unregister_module_notifier(&of_modules);
	cpuhp_remove_state_nocalls(of_cpus);
}
