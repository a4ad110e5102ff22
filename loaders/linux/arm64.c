// SPDX-License-Identifier: GPL-2.0 OR MIT
/* arm64: the call by way of the stub that Linux leaves at EL2, hypercalls, and what makes a launch impossible. */
#define pr_fmt(format) "plinth: " format

#include <linux/acpi.h>
#include <linux/arm-smccc.h>
#include <linux/dcache.h>
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/io.h>
#include <linux/kmsg_dump.h>
#include <linux/kprobes.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/sizes.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <asm/ptrace.h>
#include <asm/sysreg.h>
#include <asm/virt.h>

#include "machine.h"

/* What a board has in this range is mapped as devices are; interrupt controllers above are named by the device tree. */
const u64 plinth_devices_end = SZ_4G;

/* A call that no stub knows. */
#define NO_CALL 0x99
/* LaunchStatus: virtualization is in use on this CPU. */
#define STATUS_IN_USE 5

/* Where firmware does not let EL1 make an HVC, it is an undefined instruction, which Linux does not survive. */
static bool started_at_el2;
module_param(started_at_el2, bool, 0400);
MODULE_PARM_DESC(started_at_el2, "Linux was started at EL2, though its log does not say so any more");

u32 plinth_machine_kind(void)
{
	return PLINTH_MACHINE_ARM64;
}

/* HVC #0 with X0 to X4. By the calling convention the callee may change X5 to X17 too. */
static void hvc(u64 words[5])
{
	register u64 x0 asm("x0") = words[0];
	register u64 x1 asm("x1") = words[1];
	register u64 x2 asm("x2") = words[2];
	register u64 x3 asm("x3") = words[3];
	register u64 x4 asm("x4") = words[4];

	asm volatile("hvc #0"
		     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4)
		     :
		     : "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "memory");
	words[0] = x0;
	words[1] = x1;
	words[2] = x2;
	words[3] = x3;
	words[4] = x4;
}

static u64 call_stub(u64 number)
{
	u64 words[5] = { number };

	hvc(words);
	return words[0];
}

/* Whether Linux's log says that all CPUs came from firmware at EL2. What was cleared or overwritten is not seen. */
static bool log_says_el2(void)
{
	struct kmsg_dump_iter iter;
	char line[160];
	size_t size;

	kmsg_dump_rewind(&iter);
	while (kmsg_dump_get_line(&iter, false, line, sizeof(line) - 1, &size)) {
		line[min(size, sizeof(line) - 1)] = 0;
		if (strstr(line, "CPU: All CPU(s) started at EL2"))
			return true;
	}
	return false;
}

/* Whether Linux's KVM is up, which below EL2 it is only where it has found EL2. */
static bool kvm_is_up(void)
{
	struct dentry *folder = debugfs_lookup("kvm", NULL);

	if (IS_ERR_OR_NULL(folder))
		return false;
	dput(folder);
	return true;
}

/*
 * Whether an HVC is defined: Linux runs at EL1, there is an EL2, and Linux came from there. Looked at once, since a hypervisor hides
 * its level.
 */
static bool has_el2(void)
{
	static int known;
	bool is_there;

	if (known)
		return known > 0;
	is_there = read_sysreg(CurrentEL) == CurrentEL_EL1 && (read_sysreg(id_aa64pfr0_el1) >> 8 & 15) != 0 &&
		   (started_at_el2 || kvm_is_up() || log_says_el2());
	known = is_there ? 1 : -1;
	return is_there;
}

/* Whether the firmware's tables name Plinth, as its loaders make them do: then an HVC is defined, though Linux came from EL1. */
static bool is_named(void)
{
	struct device_node *node = of_find_node_by_path("/hypervisor");
	bool named = node && of_device_is_compatible(node, "plinth");

	of_node_put(node);
#ifdef CONFIG_ACPI
	/* ACPI 6.0, 5.2.9: the hypervisor's vendor. */
	if (!acpi_disabled && !memcmp(&acpi_gbl_FADT.hypervisor_id, "Plinth\0", 8))
		named = true;
#endif
	return named && read_sysreg(CurrentEL) == CurrentEL_EL1;
}

/*
 * The stub resets its vectors, which are in place; a hypervisor that has put itself there knows no stub's call. One that ran before
 * Linux answers by name; for what it answers see plinth_machine_hypercall.
 */
bool plinth_machine_is_below(void)
{
	u64 words[5] = { PLINTH_HYPERCALL_STATUS };

	if (has_el2())
		return call_stub(NO_CALL) == HVC_STUB_ERR && call_stub(HVC_RESET_VECTORS) == HVC_STUB_ERR;
	return is_named() && plinth_machine_hypercall(words);
}

/* What is found on the CPUs. */
struct look {
	atomic_t not_now;
	atomic_t cpu;
};

static void look_here(void *data)
{
	struct look *look = data;

	if (call_stub(NO_CALL) == HVC_STUB_ERR)
		return;
	atomic_or(PLINTH_NOT_ARM_EL2_KVM, &look->not_now);
	atomic_set(&look->cpu, smp_processor_id());
}

u64 plinth_machine_not_now(bool nested, u32 *cpu)
{
	struct look look = { .cpu = ATOMIC_INIT(PLINTH_NO_CPU) };

	if (read_sysreg(CurrentEL) == CurrentEL_EL2)
		return PLINTH_NOT_ARM_EL2_LINUX;
	if (arm_smccc_1_1_get_conduit() == SMCCC_CONDUIT_HVC)
		return PLINTH_NOT_ARM_CONDUIT;
	if (!has_el2())
		return PLINTH_NOT_ARM_EL2_NONE;
	on_each_cpu(look_here, &look, true);
	*cpu = atomic_read(&look.cpu);
	return atomic_read(&look.not_now);
}

bool plinth_machine_tables_fit(u64 tables, const struct plinth_range *memory)
{
	return tables && !(tables & ~PAGE_MASK) && tables - memory->start < memory->size;
}

/* Before KVM looks at a request: one for a VM is refused. */
static int refuse_vm(struct kprobe *probe, struct pt_regs *registers)
{
	if (registers->regs[1] != KVM_CREATE_VM)
		return 0;
	pr_err_ratelimited("KVM makes no VM while Plinth runs; stop it first\n");
	regs_set_return_value(registers, -EBUSY);
	instruction_pointer_set(registers, registers->regs[30]);
	return 1;
}

static struct kprobe of_vms;
static bool refuses_vms;

/*
 * The hypervisor's own tables, and its first ones in the reservation, are all that a launch needs. KVM is no module that could be
 * refused, and would take EL2 for its own: it makes no VMs from now on. A Linux without KVM or probes has none to refuse.
 */
int plinth_machine_prepare(u64 end)
{
	if (refuses_vms)
		return 0;
	of_vms = (struct kprobe){ .symbol_name = "kvm_dev_ioctl", .pre_handler = refuse_vm };
	refuses_vms = !register_kprobe(&of_vms);
	return 0;
}

void plinth_machine_release(void)
{
	if (refuses_vms)
		unregister_kprobe(&of_vms);
	refuses_vms = false;
}

void plinth_machine_publish(const struct plinth_range *memory)
{
	char *at = phys_to_virt(memory->start), *end = at + memory->size;
	unsigned long line = 4ul << (read_sysreg(ctr_el0) >> 16 & 15);

	for (; at < end; at += line)
		asm volatile("dc civac, %0" : : "r"(at) : "memory");
	asm volatile("dsb sy\n\tic ialluis\n\tdsb sy\n\tisb" : : : "memory");
}

/* In arm64_call.S. */
u64 plinth_arm64_launch(u64 entry, u64 info, u64 pp);

u64 plinth_machine_launch(const struct plinth_launch *launch, u64 pp)
{
	/* By a VM that was being made when the refusals began. */
	if (call_stub(NO_CALL) != HVC_STUB_ERR)
		return STATUS_IN_USE;
	return plinth_arm64_launch(launch->entry, launch->info, pp);
}

/* The way back runs with the MMU of EL2 off: whatever EL1 has will do. */
void plinth_machine_enter(unsigned long *saved)
{
}

void plinth_machine_leave(unsigned long saved)
{
}

bool plinth_machine_hypercall(u64 words[5])
{
	hvc(words);
	/* What Linux's stub says to any number. */
	return words[0] != HVC_STUB_ERR;
}

/* Nothing that Linux knows of a CPU is lost. One that comes on line meanwhile was started at EL1, which Linux remembers. */
void plinth_machine_save_features(void)
{
}

void plinth_machine_restore_features(void)
{
}
