// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Checks what a caller passed before anything is done with it. */
#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/stddef.h>
#else
#include <errno.h>
#include <stddef.h>
#endif

#include "request.h"

#define LARGE_PAGE (2ull << 20)
#define SMALL_PAGE 4096ull
#define RESERVATION_MAX (1ull << 30)
#define LOG_MAX (4ull << 20)

/* A part of a structure that has to be 0 when it comes: results and reserved words. */
struct zero {
	__u32 offset;
	__u32 size;
};

/* The part from one field to another, which is left out; and the part from one field to the end. */
#define BETWEEN(type, from, to) { offsetof(struct type, from), offsetof(struct type, to) - offsetof(struct type, from) }
#define REST(type, from) { offsetof(struct type, from), sizeof(struct type) - offsetof(struct type, from) }

struct form {
	unsigned int number;
	__u32 size;
	struct zero zeroes[3];
};

static const struct form forms[] = {
	{ PLINTH_IOC_INFO, sizeof(struct plinth_info), { REST(plinth_info, state) } },
	{ PLINTH_IOC_RESERVE, sizeof(struct plinth_reserve), { REST(plinth_reserve, reservation) } },
	{ PLINTH_IOC_LAUNCH, sizeof(struct plinth_launch), { REST(plinth_launch, padding) } },
	{ PLINTH_IOC_STOP, sizeof(struct plinth_stop), { REST(plinth_stop, padding) } },
	{ PLINTH_IOC_CALL, sizeof(struct plinth_call),
	  { BETWEEN(plinth_call, results, buffer), REST(plinth_call, padding) } },
};

/* A request's form. The size that is coded into the number does not count: it is checked with the structure's head. */
static const struct form *form_of(unsigned int number)
{
	const unsigned int size = _IOC_SIZEMASK << _IOC_SIZESHIFT;
	unsigned int i;

	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if ((forms[i].number & ~size) == (number & ~size))
			return &forms[i];
	return NULL;
}

__u32 plinth_request_size(unsigned int number)
{
	const struct form *form = form_of(number);

	return form ? form->size : 0;
}

static int is_zero(const union plinth_request *request, const struct zero *part)
{
	const unsigned char *bytes = (const unsigned char *)request + part->offset;
	unsigned char any = 0;
	__u32 i;

	for (i = 0; i < part->size; i++)
		any |= bytes[i];
	return any == 0;
}

static int is_reserve(const struct plinth_reserve *reserve)
{
	return reserve->size && reserve->size <= RESERVATION_MAX && reserve->size % LARGE_PAGE == 0 &&
	       (!reserve->below || reserve->below >= reserve->size) &&
	       reserve->log_size <= LOG_MAX && reserve->log_size % SMALL_PAGE == 0;
}

static int is_allowed_call(__u64 number)
{
	return number == PLINTH_HYPERCALL_REPORT || number == PLINTH_HYPERCALL_COUNT ||
	       number - PLINTH_HYPERCALL_KERNEL(0) < PLINTH_KERNEL_CALLS;
}

static int is_call(const struct plinth_call *call)
{
	int wants_page = call->buffer_argument != 0;

	return is_allowed_call(call->number) && call->cpu < PLINTH_CPUS &&
	       call->buffer_argument <= 4 && call->buffer_size <= PLINTH_BUFFER_MAX &&
	       (call->buffer_size == 0 || (wants_page && call->buffer != 0));
}

int plinth_check(unsigned int number, const union plinth_request *request)
{
	const struct form *form = form_of(number);
	int i, right;

	if (!form || request->head.version != PLINTH_API_VERSION)
		return -EINVAL;
	if (request->head.size != form->size || number != form->number)
		return -E2BIG;
	for (i = 0; i < 3; i++)
		if (!is_zero(request, &form->zeroes[i]))
			return -EINVAL;
	switch (form->number) {
	case PLINTH_IOC_RESERVE:
		right = is_reserve(&request->reserve);
		break;
	case PLINTH_IOC_LAUNCH:
		right = (request->launch.flags & ~PLINTH_LAUNCH_NESTED) == 0;
		break;
	case PLINTH_IOC_STOP:
		right = (request->stop.flags & ~PLINTH_STOP_FORCE) == 0;
		break;
	case PLINTH_IOC_CALL:
		right = is_call(&request->call);
		break;
	default:
		right = 1;
	}
	return right ? 0 : -EINVAL;
}

int plinth_contains(const struct plinth_range *range, __u64 address, __u64 size)
{
	return address >= range->start && size <= range->size && address - range->start <= range->size - size;
}
