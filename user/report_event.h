/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an operation's event says came of it, by the same measure as a session's totals (session_count). */
#ifndef REPRIEVE_REPORT_EVENT_H
#define REPRIEVE_REPORT_EVENT_H

#include <jansson.h>

#include "types.h"
#include "util.h"

enum fate {
	FATE_DONE = 0, /* the call succeeded; a statement or a program was let through */
	FATE_FAILED = 1, /* it failed by itself */
	FATE_STOPPED = 2, /* refused, or its process killed, before it */
	FATE_HELD = 3, /* stands stopped at this moment: what came of it, a later event or the hold's end says */
	FATE_UNKNOWN = 4, /* let through, and its result was not learned */
	FATE_COUNT = 5,
};

/* Texts are the event's. */
struct told_op {
	const char *op, *verdict, *rule, *tier, *enforced; /* NULL: not said */
	enum fate fate;
	bool again; /* a call that was held before ran again: the operation was counted then */
	int64_t hold; /* 0: none */
	bool loses_file, loses_directory; /* if it is done */
	bool size_known;
	uint64_t bytes; /* that are lost with it */
	const json_t *lost; /* the inode: `target`, or what a rename replaced; NULL: none is known */
	const char *lost_path; /* which member of `target` names it */
};

const char *fate_name(enum fate fate);

/* False: the event is of another kind. */
bool told_op(const json_t *event, struct told_op *ret_op);

/* Members of an event; NULL and false where there is none of that type. */
const char *told_text(const json_t *object, const char *key);
bool told_number(const json_t *object, const char *key, int64_t *ret_number);
bool told_word(const json_t *event, const char *array, const char *word); /* is `word` in the array? */

#endif
