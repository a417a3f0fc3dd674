/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What test_decide.c and its program in the kernel share. */
#ifndef REPRIEVE_DECIDE_CASE_H
#define REPRIEVE_DECIDE_CASE_H

#include "decide.h"
#include "event.h"
#include "maps.h"

#define CASES_PER_RUN 64

enum case_kind {
	CASE_FACTS = 0, /* any facts at all, through match_path() and judge() */
	CASE_RECORD = 1, /* an operation with one name or two, through op_judge_name(), into a record */
};

/* A name and what a walk up its parents would have left behind. */
struct case_name {
	__u32 length;
	__u32 unknown; /* CASE_RECORD: could not be learned */
	__u32 ws_length; /* bytes of it that name the workspace, met by inode; 0: not met */
	__u32 low; /* shortest that it became while it was joined */
	char text[PATH_BYTES];
};

struct decide_case {
	/* in */
	__u32 kind; /* enum case_kind */
	__u32 policy; /* slot in the kernel's map */
	__u32 flags; /* CASE_RECORD: enum op_flag */
	__u32 ws_name_length;
	__u64 ws_ino; /* 0: the session has no workspace */
	char ws_name[WORKSPACE_BYTES];
	struct facts facts; /* CASE_RECORD: op and agent only */
	struct case_name name[2];
	/* out */
	__s32 error; /* of the functions under test */
	struct decision decision;
	struct facts judged; /* the facts with what the automata added */
	struct record_op record;
	char record_rest[RECORD_FIXED_BYTES -
			 sizeof(struct record_op)]; /* strings begin where they begin in the kernel's scratch */
	char record_text[2 * PATH_BYTES];
};

_Static_assert(sizeof(struct decide_case) % 8 == 0, "no padding at the end");

#endif
