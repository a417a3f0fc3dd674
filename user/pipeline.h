/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one way from a record to everything that follows from it: decode, session, policy, action, sinks.
 *
 * What is done to other processes goes through struct pipeline_actions, so that a replay can run the same records with
 * actions that only tell.
 */
#ifndef REPRIEVE_PIPELINE_H
#define REPRIEVE_PIPELINE_H

#include "connection.h"
#include "event_json.h"
#include "hold_json.h"
#include "policy.h"
#include "session.h"
#include "sinks.h"
#include "sql.h"

struct pipeline;

/*
 * What became of one operation: for who keeps it, and for who compares it with what was kept. Pointers are good for the
 * length of a call.
 */
struct pipeline_judgement {
	const struct event *event; /* RECORD_OP or RECORD_SQL; its flags tell what was done, too */
	const struct process *process; /* NULL: not known */
	const struct policy *policy; /* that it was judged by; NULL: no longer at hand */
	struct decision recorded; /* the kernel's */
	struct decision here; /* the same facts judged here: the kernel's decision unless there is a defect */
	bool compared; /* false: the policy at hand did not decide, `here` says nothing */
	struct decision decision; /* that stands: with all that userspace has learned, and could do */
	const char *rule; /* whose decision that is; NULL: the default's, or the rule is not known */
	const struct event_sql *sql; /* RECORD_SQL; else NULL */
	const struct hold *question; /* that it stands stopped for; NULL: for none */
	uint32_t hold; /* number of the question, or of the one that it ends; 0: none */
};

struct pipeline_actions {
	/* A statement's text from the stopped process, malloc'ed, at most SQL_TEXT_MAX + 1 bytes. Negative errno. */
	int (*read_text)(const struct actor *actor, uint64_t address, char **ret_text, size_t *ret_length,
			 void *userdata);
	/* Ends the process, or lets it go on. */
	int (*kill)(const struct actor *actor, void *userdata);
	int (*resume)(const struct actor *actor, void *userdata);
	/* Makes the call fail that a process stands stopped at, and lets the process go on (refuse.h). What the
	 * kernel keeps of the call is dropped before that. */
	int (*refuse)(const struct event *event, void *userdata);
	/* Keeps a process that stands stopped for a hold from going on by somebody's SIGCONT, as far as that can be. */
	void (*secure)(const struct actor *actor, void *userdata);
	/* Answers to holds, for the kernel (loader.h). */
	int (*grant)(const struct grant_key *key, const struct grant *grant, void *userdata);
	void (*revoke)(const struct grant_key *key, void *userdata);
	void (*drop_held)(const struct actor *actor, void *userdata);
	/* Begins to find out what is at stake; pipeline_set_stake() brings it. */
	void (*weigh)(const struct hold *hold, void *userdata);
	/* One line for a process, on its own standard error. */
	void (*tell)(const struct process_id *process, const char *line, size_t length, void *userdata);
	/* A session maps a file to execute that was not looked at yet (RECORD_MAP). */
	void (*mapped)(const struct event *event, void *userdata);
	/* Which function the program called. */
	enum libpq_function (*outer_function)(const struct record_sql *record, void *userdata);
	/* Where a statement goes; what is not learned stays empty. */
	void (*read_connection)(const struct record_sql *record, struct connection *ret_connection, void *userdata);
	/* Path of a cgroup by its id, malloc'ed. Negative errno: it is gone. */
	int (*cgroup_path)(uint64_t cgroup, char **ret_path, void *userdata);
	/* Learns a container's names. Negative errno: nothing new. */
	int (*name_container)(struct container *container, void *userdata);
	/* Learns what lies behind a container's mounts, as one of its processes has them. Negative errno: nothing. */
	int (*find_volumes)(uint32_t pid, struct volumes *ret_volumes, void *userdata);
	/* A question was opened, weighed ("stake"), timed out or closed: `change` in one word. */
	void (*hold_changed)(const struct hold *hold, const char *change, uint64_t now, void *userdata);
	/* A session has begun; has ended. */
	void (*session_begun)(const struct session *session, void *userdata);
	void (*session_ended)(const struct session *session, void *userdata);
	/* One finished line with its newline, for readers over the socket. */
	void (*publish)(const char *line, size_t length, const struct session *session, int op, enum verdict verdict,
			void *userdata);
	/* Does anybody read what is published? NULL: always. */
	bool (*has_readers)(void *userdata);
	/* Each operation, once it is decided, and done what was to be done about it (the event's flags tell), and before
	 * its event is given out. */
	void (*judged)(const struct pipeline_judgement *judgement, void *userdata);
	/*
	 * What a statement does, where that is on record and cannot be found out again: the text was masked, the parser
	 * had failed on it. False: it is to be judged. The judgement is the caller's to free.
	 */
	bool (*recorded_judgement)(const struct event *event, struct sql_judgement *ret_judgement, void *userdata);
	bool quiet; /* what the kernel and userspace decide differently is told by `judged` alone */
	unsigned int sql_timeout; /* milliseconds for the parser of SQL; 0: SQL_TIMEOUT_DEFAULT */
	void *userdata;
};

struct pipeline_counts {
	uint64_t ops[OP_COUNT];
	uint64_t verdicts[VERDICT_COUNT];
	uint64_t by_op[OP_COUNT][VERDICT_COUNT];
	uint64_t mismatches; /* the kernel and userspace decided differently: a defect */
	uint64_t malformed;
	uint64_t consulted; /* processes that stood stopped until userspace had decided */
};

/* The registry and the sinks are borrowed. host: this machine's name, or NULL. */
int pipeline_new(const struct pipeline_actions *actions, struct agent_registry *agents, struct sinks *sinks,
		 const char *host, struct clock clock, struct pipeline **ret_pipeline);
void pipeline_free(struct pipeline *pipeline);

/* Number of the next event: of a stream whose beginning is lost. */
void pipeline_set_sequence(struct pipeline *pipeline, uint64_t sequence);
uint64_t pipeline_sequence(const struct pipeline *pipeline);

/* The policy in force from the next record on; taken over. The one before is kept for records still under way. */
void pipeline_set_policy(struct pipeline *pipeline, struct policy *policy);
const struct policy *pipeline_policy(const struct pipeline *pipeline);

/* One record of any kind. Returns 0, or -ENOMEM; a malformed record is counted and passed over. */
int pipeline_record(struct pipeline *pipeline, const void *bytes, size_t length);

struct sessions *pipeline_sessions(struct pipeline *pipeline);
const struct pipeline_counts *pipeline_counts(const struct pipeline *pipeline);
void pipeline_set_clock(struct pipeline *pipeline, struct clock clock);

/* --- holds: `now` is in nanoseconds since boot --- */

struct holds *pipeline_holds(struct pipeline *pipeline);

/* holds_decide, with an event that tells who decided. */
int pipeline_decide(struct pipeline *pipeline, uint32_t number, const struct hold_decision *decision,
		    const struct reviewer *by, const char *reason, uint64_t now);
/* Tells that somebody tried to decide who may not, and why not. */
void pipeline_refuse_review(struct pipeline *pipeline, uint32_t number, const struct hold_decision *decision,
			    const struct reviewer *by, const char *error, uint64_t now);
void pipeline_set_stake(struct pipeline *pipeline, uint32_t number, const struct hold_stake *stake, uint64_t now);
/* {"holds":[...]}: every question that can be answered. A new reference, or NULL. */
json_t *pipeline_pending(struct pipeline *pipeline, uint64_t now);

/* What is held since before this moment was held in the time of another daemon: its deadline counts from now. */
void pipeline_resume(struct pipeline *pipeline, uint64_t now);

/* Records of this session are passed over: the self-test's. */
void pipeline_ignore(struct pipeline *pipeline, const struct session_id *id);

#endif
