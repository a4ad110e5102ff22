// SPDX-License-Identifier: GPL-2.0 OR MIT
/* x86-64: page tables for the call of the hypervisor, hypercalls, and what makes a launch impossible. */
#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sizes.h>
#include <linux/smp.h>
#include <asm/asm.h>
#include <asm/hypervisor.h>
#include <asm/msr.h>
#include <asm/processor.h>

#include "machine.h"

/* Local and I/O APIC are below. */
const u64 plinth_devices_end = SZ_4G;

/* What is not in every kernel's headers. */
#define CR4_VMXE (1ul << 13)
#define CR4_LA57 (1ul << 12)
#define CR4_FRED (1ul << 32)
#define VM_CR 0xc0010114u
#define VM_CR_SVMDIS (1u << 4)
#define EFER_SVM_ENABLED (1u << 12)
#define FEATURE_CONTROL 0x3au
#define FEATURE_CONTROL_LOCKED (1u << 0)
#define FEATURE_CONTROL_VMX (1u << 2)

u32 plinth_machine_kind(void)
{
	if (boot_cpu_data.x86_vendor == X86_VENDOR_AMD)
		return PLINTH_MACHINE_AMD;
	return boot_cpu_data.x86_vendor == X86_VENDOR_INTEL ? PLINTH_MACHINE_INTEL : 0;
}

/* "PlinthPlinth" in the leaf where hypervisors have their names. */
bool plinth_machine_is_below(void)
{
	u32 eax, ebx, ecx, edx;

	if (!(cpuid_ecx(1) & 1u << 31))
		return false;
	cpuid(0x40000000, &eax, &ebx, &ecx, &edx);
	return ebx == 0x6e696c50 && ecx == 0x6c506874 && edx == 0x68746e69;
}

/* What is found on the CPUs. */
struct look {
	atomic_t not_now;
	atomic_t cpu;
};

static u32 read_low(u32 msr)
{
	u32 low = 0, high = 0;

	return rdmsr_safe(msr, &low, &high) ? 0 : low;
}

static u32 look_amd(void)
{
	if (cpuid_eax(0x80000000) < 0x8000000a || !(cpuid_ecx(0x80000001) & 1u << 2))
		return PLINTH_NOT_VIRTUALIZATION;
	if (read_low(VM_CR) & VM_CR_SVMDIS)
		return PLINTH_NOT_FIRMWARE;
	return read_low(MSR_EFER) & EFER_SVM_ENABLED ? PLINTH_NOT_IN_USE : 0;
}

static u32 look_intel(unsigned long cr4)
{
	u32 control;

	if (!(cpuid_ecx(1) & 1u << 5))
		return PLINTH_NOT_VIRTUALIZATION;
	control = read_low(FEATURE_CONTROL);
	if ((control & FEATURE_CONTROL_LOCKED) && !(control & FEATURE_CONTROL_VMX))
		return PLINTH_NOT_FIRMWARE;
	return cr4 & CR4_VMXE ? PLINTH_NOT_IN_USE : 0;
}

static void look_here(void *data)
{
	struct look *look = data;
	unsigned long cr4 = native_read_cr4();
	u32 found = plinth_machine_kind() == PLINTH_MACHINE_AMD ? look_amd() : look_intel(cr4);

	if (cr4 & CR4_FRED)
		found |= PLINTH_NOT_FRED;
	if (!found)
		return;
	atomic_or(found, &look->not_now);
	atomic_set(&look->cpu, smp_processor_id());
}

u64 plinth_machine_not_now(bool nested, u32 *cpu)
{
	struct look look = { .cpu = ATOMIC_INIT(PLINTH_NO_CPU) };
	u64 not_now = 0;

	if (!plinth_machine_kind())
		return PLINTH_NOT_VIRTUALIZATION;
	if (hypervisor_is_type(X86_HYPER_XEN_PV))
		return PLINTH_NOT_XEN;
	if (sme_me_mask)
		not_now |= PLINTH_NOT_ENCRYPTED;
	/* One that has hypercalls of its own, which would not reach it any more. */
	if (!nested && !hypervisor_is_type(X86_HYPER_NATIVE))
		not_now |= PLINTH_NOT_BELOW;
	on_each_cpu(look_here, &look, true);
	*cpu = atomic_read(&look.cpu);
	return not_now | atomic_read(&look.not_now);
}

bool plinth_machine_tables_fit(u64 tables, const struct plinth_range *memory)
{
	return tables == 0;
}

void plinth_machine_publish(const struct plinth_range *memory)
{
}

/*
 * The tables for the call. The upper half is Linux's, so that its code, stacks and exception handlers are there; the lower half maps
 * all memory to itself, as the launch contract wants. The root is aligned to 8 KiB: an NMI's handler takes bit 12 of CR3 for the
 * mark of a user's tables.
 */
#define PRESENT_TABLE 0x23ul /* Present, writable, accessed. */
#define PRESENT_LARGE 0xe3ul /* The same, dirty, 2 MiB; the kernel's own, executable. */
#define ENTRIES 512
#define HALF (ENTRIES / 2)
#define TABLE_MASK 0x000ffffffffff000ul

static u64 *root;
static u64 *lower; /* The 4-level table of the lower half: `root`, or with five levels the table in its first entry. */
static void *stack; /* A page for the call alone: the hypervisor goes on a stack of its own. */

/* The table that an entry points to, which is made if there is none; NULL without memory. */
static u64 *next_table(u64 *entry)
{
	if (!*entry) {
		void *table = (void *)get_zeroed_page(GFP_KERNEL);

		if (!table)
			return NULL;
		*entry = virt_to_phys(table) | PRESENT_TABLE;
	}
	return phys_to_virt(*entry & TABLE_MASK);
}

static int map_gibibyte(u64 at)
{
	u64 *upper = next_table(&lower[at >> 39]);
	u64 *table = upper ? next_table(&upper[at >> 30 & (ENTRIES - 1)]) : NULL;
	int i;

	if (!table)
		return -ENOMEM;
	for (i = 0; i < ENTRIES; i++)
		table[i] = (at + ((u64)i << 21)) | PRESENT_LARGE;
	return 0;
}

static int make_tables(u64 end)
{
	u64 at;

	root = (u64 *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, 1);
	stack = (void *)get_zeroed_page(GFP_KERNEL);
	if (!root || !stack)
		return -ENOMEM;
	lower = native_read_cr4() & CR4_LA57 ? next_table(root) : root;
	for (at = 0; lower && at < end; at += SZ_1G) {
		if (map_gibibyte(at))
			return -ENOMEM;
	}
	return lower ? 0 : -ENOMEM;
}

int plinth_machine_prepare(u64 end)
{
	u64 *linux_root = phys_to_virt(read_cr3_pa());

	if (!root && make_tables(end)) {
		plinth_machine_release();
		return -ENOMEM;
	}
	memcpy(root + HALF, linux_root + HALF, HALF * sizeof(*root));
	return 0;
}

/* Frees the tables below one of the lower half. */
static void free_below(u64 *table, int entries, int levels)
{
	int i;

	for (i = 0; i < entries; i++) {
		u64 *next = phys_to_virt(table[i] & TABLE_MASK);

		if (!table[i])
			continue;
		if (levels > 1)
			free_below(next, ENTRIES, levels - 1);
		free_page((unsigned long)next);
	}
}

void plinth_machine_release(void)
{
	if (root)
		free_below(root, HALF, lower == root ? 2 : 3);
	free_pages((unsigned long)root, 1);
	free_page((unsigned long)stack);
	root = lower = stack = NULL;
}

/* In x86_call.S. */
u64 plinth_x86_launch(u64 entry, u64 info, u64 pp, u64 cr3, u64 stack_top);

u64 plinth_machine_launch(const struct plinth_launch *launch, u64 pp)
{
	return plinth_x86_launch(launch->entry, launch->info, pp, virt_to_phys(root), virt_to_phys(stack) + PAGE_SIZE);
}

static void set_cr3(unsigned long value)
{
	asm volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

void plinth_machine_enter(unsigned long *saved)
{
	*saved = __read_cr3();
	set_cr3(virt_to_phys(root));
}

void plinth_machine_leave(unsigned long saved)
{
	set_cr3(saved);
}

/* The instruction is invalid where nobody answers: then `failed` stays as it is. */
#define HYPERCALL(instruction)                                                                            \
	asm volatile("1: " instruction "\n\txor %k[failed], %k[failed]\n2:\n" _ASM_EXTABLE(1b, 2b)            \
		     : [failed] "+r"(failed), "+a"(words[0]), "+D"(words[1]), "+S"(words[2]), "+d"(words[3]), "+r"(r10) \
		     :                                                                                    \
		     : "memory", "cc")

bool plinth_machine_hypercall(u64 words[5])
{
	register u64 r10 asm("r10") = words[4];
	u64 failed = 1;

	if (plinth_machine_kind() == PLINTH_MACHINE_AMD)
		HYPERCALL("vmmcall");
	else
		HYPERCALL("vmcall");
	words[4] = r10;
	return !failed;
}

/*
 * A CPU that comes on line under a hypervisor is identified anew, and all CPUs lose what it hides: the features of virtualization.
 * None is lost otherwise once Linux runs. The hypervisor's own mark comes and goes with it.
 */
struct features {
	u32 words[NCAPINTS];
#ifdef CONFIG_X86_VMX_FEATURE_NAMES
	u32 vmx[NVMXINTS];
#endif
};

static struct features boot_features;
static DEFINE_PER_CPU(struct features, cpu_features);

static void save(struct features *to, const struct cpuinfo_x86 *from)
{
	memcpy(to->words, from->x86_capability, sizeof(to->words));
#ifdef CONFIG_X86_VMX_FEATURE_NAMES
	memcpy(to->vmx, from->vmx_capability, sizeof(to->vmx));
#endif
}

static void restore(struct cpuinfo_x86 *to, const struct features *from)
{
	const int word = X86_FEATURE_HYPERVISOR / 32;
	const u32 mark = 1u << (X86_FEATURE_HYPERVISOR % 32);
	int i;

	for (i = 0; i < NCAPINTS; i++)
		to->x86_capability[i] |= from->words[i];
	to->x86_capability[word] &= ~mark | from->words[word];
#ifdef CONFIG_X86_VMX_FEATURE_NAMES
	memcpy(to->vmx_capability, from->vmx, sizeof(from->vmx));
#endif
}

void plinth_machine_save_features(void)
{
	int cpu;

	save(&boot_features, &boot_cpu_data);
	for_each_online_cpu(cpu)
		save(&per_cpu(cpu_features, cpu), &cpu_data(cpu));
}

void plinth_machine_restore_features(void)
{
	int cpu;

	restore(&boot_cpu_data, &boot_features);
	for_each_online_cpu(cpu)
		restore(&cpu_data(cpu), &per_cpu(cpu_features, cpu));
}
