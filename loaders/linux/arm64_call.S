/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The call of the hypervisor's entry. */
#include <linux/linkage.h>
#include <asm/virt.h>

	.text

/*
 * u64 plinth_arm64_launch(u64 entry, u64 info, u64 pp): has Linux's stub branch to `entry`, at EL2 with the MMU off, with the other
 * two in X0 and X1. Comes back behind the HVC, as a guest or refused, with the answer in X0 and of the other registers only SP_EL1
 * as it was. X18 may be the stack of return addresses.
 */
SYM_FUNC_START(plinth_arm64_launch)
	stp	x29, x30, [sp, #-112]!
	mov	x29, sp
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	str	x18, [sp, #96]
	mov	x3, x2
	mov	x2, x1
	mov	x1, x0
	mov	x0, #HVC_SOFT_RESTART
	mov	x4, xzr
	hvc	#0
	ldr	x18, [sp, #96]
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	x29, x30, [sp], #112
	ret
SYM_FUNC_END(plinth_arm64_launch)
