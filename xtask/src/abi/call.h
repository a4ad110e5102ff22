
/* What a call leaves behind. */
struct plinth_result {
    plinth_status status;
    uint64_t output[2];
};

/* Makes a call by its number. */
static inline struct plinth_result plinth_call(uint64_t number, uint64_t reg0, uint64_t reg1, uint64_t reg2,
                                               uint64_t reg3, uint64_t reg4, uint64_t reg5)
{
    struct plinth_result result;
#if defined(__x86_64__)
    register uint64_t r10 __asm__("r10") = reg3;
    register uint64_t r8 __asm__("r8") = reg4;
    register uint64_t r9 __asm__("r9") = reg5;
    __asm__ volatile("syscall"
                     : "+a"(number), "+D"(reg0), "+S"(reg1), "+d"(reg2), "+r"(r10), "+r"(r8), "+r"(r9)
                     :
                     : "rcx", "r11", "memory", "cc");
    result.status = number;
    result.output[0] = reg0;
    result.output[1] = reg1;
#elif defined(__aarch64__)
    register uint64_t x8 __asm__("x8") = number;
    register uint64_t x0 __asm__("x0") = reg0;
    register uint64_t x1 __asm__("x1") = reg1;
    register uint64_t x2 __asm__("x2") = reg2;
    register uint64_t x3 __asm__("x3") = reg3;
    register uint64_t x4 __asm__("x4") = reg4;
    register uint64_t x5 __asm__("x5") = reg5;
    __asm__ volatile("svc #0"
                     : "+r"(x8), "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5)
                     :
                     : "memory", "cc");
    result.status = x8;
    result.output[0] = x0;
    result.output[1] = x1;
#else
#error "Plinth runs on x86-64 and AArch64"
#endif
    return result;
}
