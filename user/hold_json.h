/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Questions and answers as JSON: for `pending`, and for events of the kinds hold and review. */
#ifndef REPRIEVE_HOLD_JSON_H
#define REPRIEVE_HOLD_JSON_H

#include <sys/types.h>

#include "hold.h"

/* Who decides. Texts are borrowed; NULL: not learned. */
struct reviewer {
	pid_t pid; /* 0: no process of this machine; the user tells who, and from where */
	uid_t uid;
	const char *user, *comm;
	const char *session_id, *session_name; /* of a session that it belongs to, and may not decide for that */
};

/*
 * The facts of a question, from the event of its first call (one line of JSON): who, with the arguments of the whole
 * ancestry, and what. A new reference, or NULL without memory.
 */
json_t *hold_facts(const char *line, size_t length, const struct process *process);

/* One question. Times are what `clock` makes of those since boot. A new reference, or NULL. */
json_t *hold_json(const struct hold *hold, const struct clock *clock, uint64_t now);

/* What somebody decided on a question, or tried to: `error` says why not. Texts may be NULL. */
json_t *review_json(const struct hold *hold, uint32_t number, const struct hold_decision *decision,
		    const struct reviewer *by, const char *reason, const char *error, uint64_t now);

/* "allow", "deny" and "kill" as people decide: approve, deny, kill. */
const char *decision_name(enum verdict verdict);
const char *grant_scope_name(enum grant_scope scope);

#endif
