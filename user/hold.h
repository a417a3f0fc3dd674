/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Holds: calls that stand stopped, put to people as questions.
 *
 * One question is for one process, while it runs one program, and one rule: the next files of a tree and other threads
 * join it. An answer is put in force (grants that the kernel reads, and the stopped process let go or made to fail)
 * and forgotten with the process. A question that nobody answered in time is answered by its rule, and stays open for
 * a while: an approval then lets the retry through.
 *
 * Nothing here reads a clock: every `now` is in nanoseconds since boot.
 */
#ifndef REPRIEVE_HOLD_H
#define REPRIEVE_HOLD_H

#include <jansson.h>

#include "maps.h"
#include "session.h"

#define HOLDS_TIMED_OUT_MAX 256 /* questions kept behind their deadline; the oldest goes first */

enum hold_state {
	HOLD_OPEN = 0,
	HOLD_TIMED_OUT = 1, /* answered by the rule; a late approval is for the retry */
	HOLD_APPROVED = 2,
	HOLD_DENIED = 3,
	HOLD_KILLED = 4,
	HOLD_GONE = 5, /* the process ended, or became another program */
	HOLD_EXPIRED = 6, /* timed out, and nobody answered during the lease either */
	HOLD_STATE_COUNT = 7,
};

/* What the rule that holds says of it; texts are copied. */
struct hold_terms {
	const char *rule; /* NULL: the policy's default */
	const char *message; /* may be NULL */
	uint64_t timeout, lease; /* nanoseconds */
	enum verdict on_timeout; /* VERDICT_ALLOW, VERDICT_DENY or VERDICT_KILL */
	uint32_t rule_key;
};

/* What is at stake, as far as it is known. */
struct hold_stake {
	uint64_t files, directories, bytes;
	bool known;
	bool at_least; /* cut: there may be more */
	const char *note; /* static; NULL: none */
};

/* One stopped thread. */
struct hold_call {
	struct hold_call *next;
	struct event event; /* its bytes are `record` */
	enum answer answer; /* given, and not yet carried out: another question of the process is open */
	char record[];
};

struct hold {
	struct hold *next; /* by number, ascending */
	uint32_t number;
	enum hold_state state;
	struct process *process; /* kept by process_hold */
	struct session_id session;
	uint32_t exec_id;
	enum op op;
	enum tier tier;
	struct hold_terms terms; /* its texts are owned */
	uint64_t since, deadline; /* nanoseconds since boot */
	uint64_t until; /* end of the lease, or of an answer for a session */
	uint64_t operations; /* calls that were stopped for it */
	struct hold_call *calls; /* that stand stopped now */
	enum grant_scope scope; /* of the answer */
	enum answer
		answer; /* in force for the process or session; ANSWER_NONE: for none but the calls it was given to */
	struct grant_key *objects; /* answers given once, in the kernel until the call runs again */
	size_t object_count;
	bool nudge; /* GONE: the process may stand stopped for nothing, until `until` */
	bool woken; /* a SIGCONT that was no answer has been told of */
	bool killed; /* the call could not be made to fail: the process was ended instead */
	json_t *facts; /* of the first call, for people; owned, may be NULL */
	struct hold_stake stake;
};

/* Who decided, and what. */
struct hold_decision {
	enum verdict verdict; /* VERDICT_ALLOW, VERDICT_DENY or VERDICT_KILL */
	enum grant_scope scope; /* with VERDICT_ALLOW */
	uint64_t duration; /* GRANT_SESSION: nanoseconds; 0: the rule's lease */
};

struct hold_actions {
	/* An answer for the kernel to read, and its end. */
	int (*grant)(const struct grant_key *key, const struct grant *grant, void *userdata);
	void (*revoke)(const struct grant_key *key, void *userdata);
	/* The thread will not run the same call again by itself. */
	void (*drop_held)(const struct actor *actor, void *userdata);
	/* Lets a stopped process go on; ends it; makes the call it stands at fail, and lets it go on.
	 * The last drops what the kernel keeps of the call, before the thread can be at its next one. */
	int (*resume)(const struct actor *actor, void *userdata);
	int (*kill)(const struct actor *actor, void *userdata);
	int (*refuse)(const struct event *event, void *userdata);
	/* A SIGCONT would let the call be made without an answer: keeps the process from that. */
	void (*secure)(const struct actor *actor, void *userdata);
	/* The process is about to go on with a refusal, or to be ended: the time to tell it why. */
	void (*tell)(const struct hold *hold, enum verdict verdict, void *userdata);
	/* The state of a question changed; it may be freed behind this call. */
	void (*changed)(const struct hold *hold, uint64_t now, void *userdata);
	/* A call that stood stopped will never be done, and no record will say so. */
	void (*spared)(const struct hold *hold, const struct event *event, void *userdata);
	void *userdata;
};

struct holds;

/* `sessions` is borrowed, for the processes that questions keep. -ENOMEM. */
int holds_new(const struct hold_actions *actions, struct sessions *sessions, struct holds **ret_holds);
/* Leaves whatever stands stopped as it is. NULL is fine. */
void holds_free(struct holds *holds);

/* Which program of the process a record is about: record_op.exec_id. */
uint32_t hold_exec_id(const struct event *event);

/*
 * holds_stopped - a call stands stopped for a verdict hold
 *
 * Joins the process's open question under that rule, or is answered at once where the answer was given, or begins a
 * question. Returns 0 and the question; *ret_new: it was begun, and `facts` is still to be set. -ENOMEM: nothing
 * changed, the call stands stopped and is the caller's to end.
 */
int holds_stopped(struct holds *holds, const struct event *event, struct process *process,
		  const struct hold_terms *terms, uint64_t now, struct hold **ret_hold, bool *ret_new);

/*
 * Does the process stand at a call that a SIGCONT would let through without an answer? Then nobody may let it go on,
 * whatever else it was stopped for: the answer will.
 */
bool holds_waits(const struct holds *holds, const struct process_id *process);

/* A call that was held has ended: its record says so. */
void holds_call_ended(struct holds *holds, const struct event *event);

/* The process ended, or runs another program: what was asked of it before is asked no more. */
void holds_process_ended(struct holds *holds, const struct process_id *process, uint64_t now);
void holds_process_exec(struct holds *holds, const struct process_id *process, uint64_t now);
/* The session ended: answers that were good for it are not kept. */
void holds_session_ended(struct holds *holds, const struct session_id *session);

/* Borrowed, until the next call; NULL: no such question, or it is closed. */
struct hold *holds_find(struct holds *holds, uint32_t number);
/* The same: the first open question of a process. */
struct hold *holds_of_process(struct holds *holds, uint32_t pid);

/*
 * holds_decide - answers a question that is open or timed out
 *
 * An approval of one that timed out is for the session, for the lease. -ENOENT: there is none of that number that
 * could be answered. A process that is gone meanwhile is no error.
 */
int holds_decide(struct holds *holds, uint32_t number, const struct hold_decision *decision, uint64_t now);

/* Answers every open question by its rule's on_timeout. Returns how many. */
size_t holds_release(struct holds *holds, uint64_t now);

/* What is due by now: deadlines, ends of leases. */
void holds_expire(struct holds *holds, uint64_t now);
/* When holds_expire has something to do next, nanoseconds since boot; UINT64_MAX: never. */
uint64_t holds_next(const struct holds *holds);

/* Questions that can be answered, by number. A callback that returns other than 0 ends the walk with that value. */
int holds_for_each(struct holds *holds, int (*each)(struct hold *hold, void *userdata), void *userdata);
size_t holds_open(const struct holds *holds); /* with a process that stands stopped */
/* All that is kept, answers in force included: for tests. */
size_t holds_kept(const struct holds *holds);

const char *hold_state_name(enum hold_state state);

#endif
