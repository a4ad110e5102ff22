/* The ABI between Plinth's kernel and an extension, for C.
 *
 * Made by `cargo xtask abi` from extension-api/src/abi. Change it there.
 *
 * C11, freestanding; gcc or clang, x86-64 or AArch64. An extension uses no floating point and no SIMD:
 * compile it with -mgeneral-regs-only. docs/abi/ is the specification.
 */
#ifndef PLINTH_H
#define PLINTH_H

#include <stddef.h>
#include <stdint.h>

/* The outcome of a call: 0, or 0xDEAD in bits 63:48, the arguments at fault in 47:16, the error in 15:0. */
typedef uint64_t plinth_status;

/* The error of a status, a PLINTH_ERROR_ number; 0 for success. */
static inline unsigned plinth_error(plinth_status status)
{
    return (unsigned)(status & 0xffff);
}

/* The first argument at fault: 0 for REG0; -1 if none is. */
static inline int plinth_argument(plinth_status status)
{
    for (int argument = 0; argument < 6; argument++) {
        if (status >> (16 + argument) & 1) {
            return argument;
        }
    }
    return -1;
}
