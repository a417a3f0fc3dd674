/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The built-in policy and signatures, as they lie in user/: found through the include path (-Iuser). */
#include "policy_internal.h"

#define EMBED(symbol, file)                                   \
	__asm__(".pushsection .rodata\n"                      \
		".global " #symbol "\n" #symbol ":\n"         \
		".incbin \"" file "\"\n"                      \
		".global " #symbol "_end\n" #symbol "_end:\n" \
		".byte 0\n"                                   \
		".popsection\n")

EMBED(builtin_policy, "builtin.yaml");
EMBED(builtin_agents, "agents.yaml");
