/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which part of a journal is asked for: the filters that replay, report and export share.
 *
 * What a filter leaves out still goes through the pipeline, since later operations are judged by what came before.
 */
#ifndef REPRIEVE_REPLAY_FILTER_H
#define REPRIEVE_REPLAY_FILTER_H

#include <argp.h>

#include "decode.h"
#include "glob.h"
#include "session.h"

/* A moment: absolute, or so long after a journal's first record, or before its last one. */
struct replay_moment {
	enum { MOMENT_NONE = 0, MOMENT_ABSOLUTE = 1, MOMENT_AFTER_FIRST = 2, MOMENT_BEFORE_LAST = 3 } base;
	int64_t ns; /* since 1970, or the distance */
};

/* All zero: everything. Texts are borrowed. */
struct replay_filter {
	struct replay_moment since, until; /* `until` itself is left out */
	const char *session; /* its id or its name */
	uint32_t ops; /* mask of 1 << enum op; 0: all */
	enum verdict verdict; /* this one and stricter ones */
	struct nfa *path; /* a glob; NULL: any path */
	uint32_t path_root;
};

/* Rows for a command's own options; their keys are for replay_filter_option(). */
enum {
	OPTION_SINCE = 0x600,
	OPTION_UNTIL,
	OPTION_SESSION,
	OPTION_OP,
	OPTION_PATH,
	OPTION_VERDICT,
};

#define REPLAY_FILTER_ROWS                                                                                         \
	{"since",                                                                                                  \
	 OPTION_SINCE,                                                                                             \
	 "TIME",                                                                                                   \
	 0,                                                                                                        \
	 "From TIME on: 2026-11-22T07:00:00Z, '2026-11-22 07:00' (local time), +10m (after the journal's first "   \
	 "record) or -10m (before its last)",                                                                      \
	 1},                                                                                                       \
		{"until", OPTION_UNTIL, "TIME", 0, "Up to TIME", 1},                                               \
		{"session", OPTION_SESSION, "S", 0, "Only the session of this id or name", 1},                     \
		{"op", OPTION_OP, "OP", 0, "Only these operations, such as unlink,rename or delete", 1},           \
		{"path", OPTION_PATH, "GLOB", 0, "Only paths like GLOB, as in a policy", 1},                       \
	{                                                                                                          \
		"verdict", OPTION_VERDICT, "V", 0,                                                                 \
			"Only this verdict and stricter ones; from the mildest: allow, alert, hold, deny, kill", 1 \
	}

/* One option into the filter. ARGP_ERR_UNKNOWN: it is none of these. Wrong values end the program, as argp_error does. */
error_t replay_filter_option(int key, char *argument, struct argp_state *state, struct replay_filter *filter);
void replay_filter_done(struct replay_filter *filter);

/* "10m", "1h30m", "250ms", "2d"; without a unit seconds. -EINVAL. */
int replay_duration(const char *text, int64_t *ret_ns);
/* See OPTION_SINCE. -EINVAL. */
int replay_moment(const char *text, struct replay_moment *ret_moment);

/* Makes both moments absolute: first and last are those of the journal, nanoseconds since 1970. */
void replay_filter_anchor(struct replay_filter *filter, int64_t first, int64_t last);

/* Of an anchored filter. real_ns: since 1970. */
bool replay_filter_time(const struct replay_filter *filter, int64_t real_ns);
bool replay_filter_session(const struct replay_filter *filter, const struct session *session);
/* An operation: what it is, where, and any of two verdicts (the same twice where there is but one). */
bool replay_filter_op(const struct replay_filter *filter, const struct event *event, enum verdict one,
		      enum verdict other);
/* Does it ask for operations of some kind only? Then events of other kinds are left out. */
bool replay_filter_only_ops(const struct replay_filter *filter);

#endif
