// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What a C compiler makes of the module's header: numbers of requests, and where fields are. */
#include <stddef.h>

#include "plinth.h"

const unsigned int probe_numbers[5] = {
	PLINTH_IOC_INFO, PLINTH_IOC_RESERVE, PLINTH_IOC_LAUNCH, PLINTH_IOC_STOP, PLINTH_IOC_CALL,
};

const unsigned int probe_sizes[5] = {
	sizeof(struct plinth_info), sizeof(struct plinth_reserve), sizeof(struct plinth_launch),
	sizeof(struct plinth_stop), sizeof(struct plinth_call),
};

/* The last fields before the reserved words: where they are fixes where all others are, as none leaves a gap. */
const unsigned int probe_offsets[5] = {
	offsetof(struct plinth_info, reserved), offsetof(struct plinth_reserve, reserved),
	offsetof(struct plinth_launch, reserved), offsetof(struct plinth_stop, reserved),
	offsetof(struct plinth_call, reserved),
};
