/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The built-in policy and signatures, as they lie in user/. */
#include "embed.h"
#include "policy_internal.h"

EMBED(builtin_policy, "builtin.yaml");
EMBED(builtin_agents, "agents.yaml");
