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
#include <linux/vmalloc.h>
#include <asm/alternative.h>
#include <asm/asm.h>
#include <asm/hypervisor.h>
#include <asm/msr.h>
#include <asm/processor.h>

#include "machine.h"

/* Local and I/O APIC are below. */
const u64 plinth_devices_end = SZ_4G;

/* What is not in every kernel's headers. */
#define CR4_FRED (1ul << 32)
#define VM_CR_SVMDIS (1u << 4)

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

static u32 read_low(u32 msr)
{
	u32 low = 0, high = 0;

	return rdmsr_safe(msr, &low, &high) ? 0 : low;
}

static u32 look_amd(void)
{
	if (cpuid_eax(0x80000000) < 0x8000000a || !(cpuid_ecx(0x80000001) & 1u << 2))
		return PLINTH_NOT_VIRTUALIZATION;
	if (read_low(MSR_VM_CR) & VM_CR_SVMDIS)
		return PLINTH_NOT_FIRMWARE;
	return read_low(MSR_EFER) & EFER_SVME ? PLINTH_NOT_IN_USE : 0;
}

static u32 look_intel(unsigned long cr4)
{
	u32 control;

	if (!(cpuid_ecx(1) & 1u << 5))
		return PLINTH_NOT_VIRTUALIZATION;
	control = read_low(MSR_IA32_FEAT_CTL);
	if ((control & FEAT_CTL_LOCKED) && !(control & FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX))
		return PLINTH_NOT_FIRMWARE;
	return cr4 & X86_CR4_VMXE ? PLINTH_NOT_IN_USE : 0;
}

static void look_here(void *found)
{
	unsigned long cr4 = native_read_cr4();

	*(u32 *)found = plinth_machine_kind() == PLINTH_MACHINE_AMD ? look_amd() : look_intel(cr4);
	if (cr4 & CR4_FRED)
		*(u32 *)found |= PLINTH_NOT_FRED;
}

u64 plinth_machine_not_now(bool nested, u32 *cpu)
{
	u64 not_now = 0;
	u32 each, found = 0;

	if (!plinth_machine_kind())
		return PLINTH_NOT_VIRTUALIZATION;
	if (hypervisor_is_type(X86_HYPER_XEN_PV))
		return PLINTH_NOT_XEN;
	if (sme_me_mask)
		not_now |= PLINTH_NOT_ENCRYPTED;
	/* One that has hypercalls of its own, which would not reach it any more. */
	if (!nested && !hypervisor_is_type(X86_HYPER_NATIVE))
		not_now |= PLINTH_NOT_BELOW;
	for_each_online_cpu(each) {
		smp_call_function_single(each, look_here, &found, true);
		if (found) {
			*cpu = each;
			break;
		}
	}
	return not_now | found;
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
#define PRESENT_TABLE 0x23ull /* Present, writable, accessed. */
#define PRESENT_LARGE 0xe3ull /* The same, dirty, 2 MiB; the kernel's own, executable. */
#define ENTRIES 512ull
#define HALF (ENTRIES / 2)

static u64 *root;
static u64 *tables; /* Those below the root: with five levels the one of the lower half; then those of 512 GiB, and of 1 GiB. */

/* Makes entries that lead to tables, one behind the other. */
static void lead_to(u64 *entries, u64 *first, u64 count)
{
	for (; count; count--, first += ENTRIES)
		*entries++ = PFN_PHYS(vmalloc_to_pfn(first)) | PRESENT_TABLE;
}

static int make_tables(u64 end)
{
	u64 fine = DIV_ROUND_UP_ULL(end, SZ_1G), coarse = DIV_ROUND_UP_ULL(fine, ENTRIES), i;
	u64 *of_512_gib, *of_1_gib;

	root = (u64 *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, 1);
	tables = vzalloc((1 + coarse + fine) * PAGE_SIZE);
	if (!root || !tables)
		return -ENOMEM;
	of_512_gib = tables + ENTRIES;
	of_1_gib = of_512_gib + coarse * ENTRIES;
	for (i = 0; i < fine * ENTRIES; i++)
		of_1_gib[i] = i * SZ_2M | PRESENT_LARGE;
	lead_to(of_512_gib, of_1_gib, fine);
	if (native_read_cr4() & X86_CR4_LA57) {
		lead_to(tables, of_512_gib, coarse);
		lead_to(root, tables, 1);
	} else {
		lead_to(root, of_512_gib, coarse);
	}
	return 0;
}

void plinth_machine_release(void)
{
	free_pages((unsigned long)root, 1);
	vfree(tables);
	root = tables = NULL;
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

/* The entry comes back as a guest or refused. It leaves less on this stack than the contract's 256 bytes. */
u64 plinth_machine_launch(const struct plinth_launch *launch, u64 pp)
{
	u64 (*entry)(u64 info, u64 pp) = (void *)launch->entry;
	unsigned long saved;
	u64 status;

	plinth_machine_enter(&saved);
	status = entry(launch->info, pp);
	plinth_machine_leave(saved);
	return status;
}

/* The instruction, AMD's or Intel's, is invalid where nobody answers: then `failed` stays as it is. */
bool plinth_machine_hypercall(u64 words[5])
{
	register u64 r10 asm("r10") = words[4];
	u64 failed = 1;

	asm volatile("1: " ALTERNATIVE("vmcall", "vmmcall", X86_FEATURE_VMMCALL) "\n"
		     "xor %k[failed], %k[failed]\n2:\n" _ASM_EXTABLE(1b, 2b)
		     : [failed] "+r"(failed), "+a"(words[0]), "+D"(words[1]), "+S"(words[2]), "+d"(words[3]), "+r"(r10)
		     :
		     : "memory", "cc");
	words[4] = r10;
	return !failed;
}

/*
 * A CPU that comes on line under a hypervisor is identified anew, and all CPUs lose what it hides: the features of virtualization.
 * None is lost otherwise once Linux runs. The hypervisor's own mark comes and goes with it.
 */
static struct cpuinfo_x86 known_of_all;
static DEFINE_PER_CPU(struct cpuinfo_x86, known);

static void restore(struct cpuinfo_x86 *to, const struct cpuinfo_x86 *from)
{
	int i;

	for (i = 0; i < NCAPINTS; i++)
		to->x86_capability[i] |= from->x86_capability[i];
	if (!cpu_has(from, X86_FEATURE_HYPERVISOR))
		clear_bit(X86_FEATURE_HYPERVISOR, (unsigned long *)to->x86_capability);
#ifdef CONFIG_X86_VMX_FEATURE_NAMES
	memcpy(to->vmx_capability, from->vmx_capability, sizeof(to->vmx_capability));
#endif
}

void plinth_machine_save_features(void)
{
	int cpu;

	known_of_all = boot_cpu_data;
	for_each_online_cpu(cpu)
		per_cpu(known, cpu) = cpu_data(cpu);
}

void plinth_machine_restore_features(void)
{
	int cpu;

	restore(&boot_cpu_data, &known_of_all);
	for_each_online_cpu(cpu)
		restore(&cpu_data(cpu), &per_cpu(known, cpu));
}
