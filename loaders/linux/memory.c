// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The reservation: one aligned piece of Linux's memory, taken by moving away what is in it. And the log's pages. */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>

#include "module.h"

/* From Linux 6.16 on the third argument is a set of flags; before, the kind of memory. */
#ifndef ACR_FLAGS_NONE
#define ACR_FLAGS_NONE MIGRATE_MOVABLE
#endif

static int later_end(struct resource *resource, void *end)
{
	*(u64 *)end = max_t(u64, *(u64 *)end, resource->end + 1);
	return 0;
}

u64 plinth_memory_end(void)
{
	u64 end = plinth_devices_end;

	walk_iomem_res_desc(IORES_DESC_NONE, IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY, 0, -1, &end, later_end);
	return end;
}

/* Whether it is all memory that Linux uses, in one zone, and not fixed for ever. Saves most attempts that cannot succeed. */
static bool may_be_free(unsigned long first, unsigned long count)
{
	struct page *page = pfn_to_online_page(first);
	struct zone *zone = page ? page_zone(page) : NULL;
	unsigned long pfn;

	for (pfn = first; pfn < first + count; pfn++) {
		page = pfn_to_online_page(pfn);
		if (!page || PageReserved(page) || page_zone(page) != zone)
			return false;
	}
	return true;
}

/* Takes `size` bytes between two addresses, as high as possible. Returns where they are, 0 or -EINTR. */
static s64 take_between(u64 low, u64 high, u64 size)
{
	u64 start;

	if (high < size || high - size < low)
		return 0;
	for (start = ALIGN_DOWN(high - size, SZ_2M); start >= max_t(u64, low, SZ_2M); start -= SZ_2M) {
		unsigned long first = PHYS_PFN(start), count = PHYS_PFN(size);

		if (signal_pending(current))
			return -EINTR;
		cond_resched();
		if (may_be_free(first, count) &&
		    !alloc_contig_range(first, first + count, ACR_FLAGS_NONE, GFP_KERNEL | __GFP_NOWARN))
			return start;
	}
	return 0;
}

void plinth_free_log(void)
{
	u64 at;

	for (at = 0; at < plinth.log.size; at += PAGE_SIZE)
		__free_page(pfn_to_page(PHYS_PFN(plinth.log.start + at)));
	plinth.log = (struct plinth_range){};
}

/* Pages for the log, each counted for itself: one that a program still maps lives on until it does not. */
static int renew_log(u64 size)
{
	void *pages;

	if (size == plinth.log.size)
		return 0;
	plinth_free_log();
	if (!size)
		return 0;
	pages = alloc_pages_exact(size, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
	if (!pages)
		return -ENOMEM;
	plinth.log = (struct plinth_range){ virt_to_phys(pages), size };
	return 0;
}

int plinth_reserve(struct file *file, struct plinth_reserve *reserve)
{
	u64 end = plinth_memory_end();
	s64 start;

	if (plinth.state != PLINTH_IDLE)
		return -EBUSY;
	if (reserve->below)
		end = min_t(u64, end, reserve->below);
	if (renew_log(reserve->log_size))
		return -ENOMEM;
	/* Below 4 GiB it is closer to what any kernel of Plinth's can use. */
	start = take_between(0, min_t(u64, end, SZ_4G), reserve->size);
	if (!start)
		start = take_between(SZ_4G, end, reserve->size);
	if (start <= 0)
		return start ? start : -ENOMEM;
	memset(phys_to_virt(start), 0, reserve->size);
	plinth.memory = (struct plinth_range){ start, reserve->size };
	plinth.owner = file;
	plinth.state = PLINTH_RESERVED;
	reserve->reservation = plinth.memory;
	reserve->log = plinth.log;
	return 0;
}

/* Gives the reservation back. A page that a program still has a hold on is freed when that ends. */
void plinth_free_memory(void)
{
	free_contig_range(PHYS_PFN(plinth.memory.start), PHYS_PFN(plinth.memory.size));
	plinth.memory = (struct plinth_range){};
	plinth.owner = NULL;
	plinth.state = PLINTH_IDLE;
}

/* Whether nobody but the module has a hold on a page of the reservation: no mapping, no transfer on its way. */
bool plinth_memory_is_unused(void)
{
	u64 at;

	for (at = 0; at < plinth.memory.size; at += PAGE_SIZE)
		if (page_count(pfn_to_page(PHYS_PFN(plinth.memory.start + at))) != 1)
			return false;
	return true;
}

/* The page at an offset of the device, with a hold on it; NULL where there is none for this file and access. */
struct page *plinth_page(struct file *file, u64 offset, bool write)
{
	bool is_log = offset >= PLINTH_MAP_LOG;
	const struct plinth_range *range = is_log ? &plinth.log : &plinth.memory;
	u64 at = is_log ? offset - PLINTH_MAP_LOG : offset;
	struct page *page;

	if (at >= range->size || (is_log && write))
		return NULL;
	if (!is_log && (plinth.state != PLINTH_RESERVED || plinth.owner != file))
		return NULL;
	page = pfn_to_page(PHYS_PFN(range->start + at));
	get_page(page);
	return page;
}
