# Builds an extension from C. A Makefile sets NAME and SOURCES and includes this.
#
#   make                     for x86-64, into build/x86_64/
#   make ARCH=aarch64        for AArch64, into build/aarch64/
#   make OUTPUT=somewhere    puts the program there
#   make CC=clang            with another compiler
#
# The host's own compiler builds for the host's machine; clang and lld build for any.

ARCH ?= x86_64
OUTPUT ?= build/$(ARCH)

SDK := $(dir $(lastword $(MAKEFILE_LIST)))
INCLUDE := $(SDK)../../extension-api/include

ifeq ($(origin CC), default)
ifeq ($(shell uname -m), $(ARCH))
CC := cc
else
CC := clang
endif
endif

ifneq ($(findstring clang, $(CC)),)
TARGET := --target=$(ARCH)-unknown-none-elf -fuse-ld=lld
endif

# A static, position-independent program: no library, no unwind tables, no FPU, whose registers are the guest's.
CFLAGS += -std=c11 -O2 -g -Wall -Wextra -Werror -ffreestanding -fpie -fno-stack-protector -mgeneral-regs-only \
    -fno-asynchronous-unwind-tables -ffunction-sections -fvisibility=hidden -I$(SDK) -I$(INCLUDE)
LDFLAGS += -nostdlib -static -Wl,-pie -Wl,--no-dynamic-linker -Wl,-e,_start -Wl,--gc-sections -Wl,--build-id=none \
    -Wl,-z,text -Wl,-z,noexecstack -Wl,-z,separate-code -Wl,-z,norelro -Wl,-z,max-page-size=4096

RUNTIME := $(SDK)runtime.c $(SDK)passthrough.c
HEADERS := $(SDK)plinth_runtime.h $(INCLUDE)/plinth.h

$(OUTPUT)/$(NAME): $(SOURCES) $(RUNTIME) $(HEADERS) $(MAKEFILE_LIST)
	@mkdir -p $(OUTPUT)
	$(CC) $(TARGET) $(CFLAGS) $(LDFLAGS) -o $@ $(SOURCES) $(RUNTIME)

.PHONY: clean
clean:
	rm -rf build
