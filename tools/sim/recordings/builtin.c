/* SPDX-License-Identifier: Apache-2.0 */
/* The recording that `pgweir-sim serve` plays when no file is named; CMakeLists.txt says which. */
#include "tools/sim/recording_data.h"

__asm__(".section .rodata\n.balign 16\n"
        ".globl recording_builtin_begin, recording_builtin_end\n"
        "recording_builtin_begin:\n.incbin \"" RECORDING_BUILTIN "\"\n"
        "recording_builtin_end:\n.byte 0\n.previous\n");
