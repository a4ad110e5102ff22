/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The call of the hypervisor's entry. */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>

	.text

/*
 * u64 plinth_x86_launch(u64 entry, u64 info, u64 pp, u64 cr3, u64 stack_top): calls entry(info, pp) with these tables, on this
 * stack, which they map to itself. Comes back as a guest or refused; either way tables and stack are the caller's again.
 */
SYM_FUNC_START(plinth_x86_launch)
	push	%rbp
	mov	%rsp, %rbp
	push	%rbx
	push	%r12
	mov	%cr3, %r12
	mov	%rsp, %rbx
	mov	%rcx, %cr3
	mov	%r8, %rsp
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	ANNOTATE_RETPOLINE_SAFE
	call	*%rax
	mov	%rbx, %rsp
	mov	%r12, %cr3
	pop	%r12
	pop	%rbx
	pop	%rbp
	RET
SYM_FUNC_END(plinth_x86_launch)
