/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What a caller may pass. The checks call nothing of Linux's, so that a program on the host runs them with hostile input. */
#ifndef PLINTH_REQUEST_H
#define PLINTH_REQUEST_H

#include "plinth.h"

/* Any request's structure. */
union plinth_request {
	struct plinth_head head;
	struct plinth_info info;
	struct plinth_reserve reserve;
	struct plinth_launch launch;
	struct plinth_stop stop;
	struct plinth_call call;
};

/* The size of a request's structure in bytes; 0 for a request that is not known. */
__u32 plinth_request_size(unsigned int number);

/* Checks the structure of a request, as far as that takes no knowledge of the module's state: 0, -EINVAL or -E2BIG. */
int plinth_check(unsigned int number, const union plinth_request *request);

/* Whether all of `size` bytes from `address` on are in a range. */
int plinth_contains(const struct plinth_range *range, __u64 address, __u64 size);

#endif
