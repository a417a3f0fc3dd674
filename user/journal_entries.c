/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "journal_entries.h"

#include <pwd.h>
#include <sys/utsname.h>

#include "opts.h"
#include "policy_internal.h"
#include "redact.h"
#include "snapshot.h"

static void add_text(struct journal *journal, enum journal_tag tag, const char *text)
{
	journal_add_text(journal, tag, span_of(text));
}

static void add_bytes(struct journal *journal, enum journal_tag tag, const void *bytes, size_t length)
{
	journal_add_text(journal, tag, (struct span){bytes, length});
}

static uint16_t redacted(const struct journal *journal)
{
	return journal_redacts(journal) ? JOURNAL_REDACTED : 0;
}

void journal_put_record(struct journal *journal, const void *record, size_t size, uint16_t flags)
{
	_cleanup_buffer_ struct buffer masked = {};

	if (journal_redacts(journal) && redact_record(record, size, &masked))
		journal_record(journal, masked.data, masked.length, flags | JOURNAL_REDACTED);
	else
		journal_record(journal, record, size, flags);
}

/* --- the guard itself --- */

void journal_put_start(struct journal *journal, uint64_t time, json_t *facts)
{
	_cleanup_free_ char *text = journal && facts ? json_dumps(facts, JSON_COMPACT) : NULL;
	struct utsname names = {};

	if (!journal)
		return;
	uname(&names);
	journal_begin(journal, JOURNAL_START, 0, time);
	add_text(journal, JOURNAL_TAG_HOST, names.nodename);
	add_text(journal, JOURNAL_TAG_KERNEL, names.release);
	add_text(journal, JOURNAL_TAG_MACHINE, names.machine);
	add_text(journal, JOURNAL_TAG_VERSION, REPRIEVE_VERSION);
	journal_add_number(journal, JOURNAL_TAG_PID, (uint64_t)getpid());
	add_text(journal, JOURNAL_TAG_FACTS, text);
	journal_end(journal);
}

void journal_put_stop(struct journal *journal, uint64_t time)
{
	journal_put_moment(journal, JOURNAL_STOP, time);
}

void journal_put_moment(struct journal *journal, enum journal_kind kind, uint64_t time)
{
	journal_begin(journal, kind, 0, time);
	journal_end(journal);
}

void journal_put_clock(struct journal *journal, int64_t boot_to_real_ns, uint16_t flags, uint64_t time)
{
	journal_begin(journal, JOURNAL_CLOCK, flags, time);
	journal_add_number(journal, JOURNAL_TAG_OFFSET, (uint64_t)boot_to_real_ns);
	journal_end(journal);
}

static void put_agents(struct journal *journal, const struct agent_registry *agents, uint16_t flags, uint64_t time)
{
	journal_begin(journal, JOURNAL_AGENTS, flags, time);
	add_bytes(journal, JOURNAL_TAG_TEXT, builtin_agents, (size_t)(builtin_agents_end - builtin_agents));
	for (uint32_t i = 1; i < AGENTS_MAX; i++) {
		if (!agent_name(agents, i))
			continue;
		journal_add_number(journal, JOURNAL_TAG_AGENT, i);
		add_text(journal, JOURNAL_TAG_NAME, agent_name(agents, i));
	}
	journal_end(journal);
}

/* The users that rules name: another machine has other numbers for them. */
static json_t *users_of(const struct policy *policy)
{
	json_t *users = json_object();

	for (uint16_t i = 0; i < policy_rule_count(policy); i++) {
		const struct policy_strings *names = &policy_rule(policy, i)->users;

		for (size_t user = 0; user < names->count; user++) {
			const struct passwd *row = getpwnam(names->items[user]);

			if (row)
				json_object_set_new(users, names->items[user], json_integer((json_int_t)row->pw_uid));
		}
	}
	return users;
}

void journal_put_policy(struct journal *journal, const struct policy *policy, const struct agent_registry *agents,
			bool observe, uint16_t flags, uint64_t time)
{
	_cleanup_free_ char *text = NULL, *users = NULL;
	json_t *names;

	if (!journal)
		return;
	put_agents(journal, agents, flags, time);
	names = users_of(policy);
	users = json_dumps(names, JSON_COMPACT);
	json_decref(names);
	text = strdup(policy_text(policy));
	if (text && journal_redacts(journal))
		redact_policy(text);
	journal_begin(journal, JOURNAL_POLICY, flags | redacted(journal), time);
	journal_add_number(journal, JOURNAL_TAG_GENERATION, policy_image(policy)->rules.generation);
	journal_add_number(journal, JOURNAL_TAG_OBSERVE, observe);
	add_text(journal, JOURNAL_TAG_ORIGIN, policy_origin(policy));
	add_text(journal, JOURNAL_TAG_USERS, users);
	add_text(journal, JOURNAL_TAG_TEXT, text);
	journal_end(journal);
}

/* --- operations --- */

static void add_sql_text(struct journal *journal, enum journal_tag tag, struct span text)
{
	_cleanup_buffer_ struct buffer masked = {};

	if (text.data && journal_redacts(journal)) {
		redact_sql(text, &masked);
		text = (struct span){masked.data, masked.error ? 0 : masked.length};
	}
	journal_add_text(journal, tag, text);
}

static uint64_t function_of(const char *name)
{
	for (unsigned int i = 1; name && i < PQ_FUNCTION_COUNT; i++)
		if (streq(libpq_function_name(i), name))
			return i;
	return PQ_UNKNOWN;
}

/* What was learned of a statement from the process, and what came of it: none of it can be learned again. */
static void add_sql(struct journal *journal, const struct event *event, const struct event_sql *sql)
{
	struct span recorded = event_text(event, event->sql.statement);

	journal_add_number(journal, JOURNAL_TAG_CLASSES, sql->classes);
	journal_add_number(journal, JOURNAL_TAG_TABLES_KNOWN, sql->tables_known);
	for (size_t i = 0; i < sql->table_count; i++)
		add_text(journal, JOURNAL_TAG_TABLE, sql->tables[i]);
	add_text(journal, JOURNAL_TAG_TRUST, sql->trust);
	if (sql->statement.data != recorded.data)
		add_sql_text(journal, JOURNAL_TAG_STATEMENT, sql->statement);
	journal_add_number(journal, JOURNAL_TAG_CUT, sql->cut);
	if (sql->function)
		journal_add_number(journal, JOURNAL_TAG_FUNCTION, function_of(sql->function));
	add_text(journal, JOURNAL_TAG_DATABASE, sql->database);
	add_text(journal, JOURNAL_TAG_USER, sql->user);
	add_text(journal, JOURNAL_TAG_SERVER, sql->host);
	if (sql->port)
		journal_add_number(journal, JOURNAL_TAG_PORT, sql->port);
}

/* A record alone tells of an operation that nothing came of but what the kernel decided. */
static bool is_told_by_record(const struct pipeline_judgement *judgement)
{
	const struct event *event = judgement->event;
	struct record_op recorded;

	if (event->head.kind != RECORD_OP || judgement->question)
		return false;
	memcpy(&recorded, event->bytes, MIN((size_t)event->head.fixed, sizeof(recorded)));
	if (event->head.fixed < offsetof(struct record_op, agent))
		return false;
	return recorded.verdict == judgement->decision.verdict && recorded.rule == judgement->decision.rule &&
	       recorded.flags == event->op.flags;
}

bool journal_put_judgement(struct journal *journal, const struct pipeline_judgement *judgement)
{
	bool urgent = judgement->decision.verdict >= VERDICT_HOLD;
	const struct event *event = judgement->event;

	if (!journal || is_told_by_record(judgement))
		return urgent;
	journal_begin(journal, JOURNAL_VERDICT, event->head.kind == RECORD_SQL ? redacted(journal) : 0,
		      event->head.time);
	journal_add_number(journal, JOURNAL_TAG_VERDICT, judgement->decision.verdict);
	journal_add_number(journal, JOURNAL_TAG_RULE, judgement->decision.rule);
	add_text(journal, JOURNAL_TAG_RULE_NAME, judgement->rule);
	journal_add_number(journal, JOURNAL_TAG_FLAGS, event_op_flags(event));
	if (event->head.kind == RECORD_OP && event->op.flags & OP_RESULT_KNOWN)
		journal_add_number(journal, JOURNAL_TAG_RESULT, (uint64_t)event->op.result);
	if (judgement->question)
		journal_add_number(journal, JOURNAL_TAG_HOLD, judgement->question->number);
	if (judgement->sql)
		add_sql(journal, event, judgement->sql);
	journal_end(journal);
	return urgent;
}

void journal_put_cgroup(struct journal *journal, uint64_t cgroup, const char *path, uint64_t time)
{
	journal_begin(journal, JOURNAL_CGROUP, 0, time);
	journal_add_number(journal, JOURNAL_TAG_CGROUP, cgroup);
	add_text(journal, JOURNAL_TAG_PATH, path);
	journal_end(journal);
}

/* --- holds --- */

static void add_stake(struct journal *journal, const struct hold_stake *stake)
{
	journal_add_number(journal, JOURNAL_TAG_FILES, stake->files);
	journal_add_number(journal, JOURNAL_TAG_DIRECTORIES, stake->directories);
	journal_add_number(journal, JOURNAL_TAG_BYTES, stake->bytes);
	journal_add_number(journal, JOURNAL_TAG_KNOWN, stake->known);
	journal_add_number(journal, JOURNAL_TAG_AT_LEAST, stake->at_least);
	add_text(journal, JOURNAL_TAG_NOTE, stake->note);
}

void journal_put_stake(struct journal *journal, uint32_t number, const struct hold_stake *stake, uint64_t time)
{
	journal_begin(journal, JOURNAL_STAKE, 0, time);
	journal_add_number(journal, JOURNAL_TAG_HOLD, number);
	add_stake(journal, stake);
	journal_end(journal);
}

void journal_put_hold(struct journal *journal, const struct hold *hold, const char *change, uint16_t flags,
		      uint64_t time)
{
	journal_begin(journal, JOURNAL_HOLD, flags, time);
	journal_add_number(journal, JOURNAL_TAG_HOLD, hold->number);
	add_text(journal, JOURNAL_TAG_CHANGE, change);
	journal_add_number(journal, JOURNAL_TAG_STATE, hold->state);
	journal_add_number(journal, JOURNAL_TAG_OP, hold->op);
	add_text(journal, JOURNAL_TAG_RULE_NAME, hold->terms.rule);
	add_bytes(journal, JOURNAL_TAG_PROCESS, &hold->process->id, sizeof(hold->process->id));
	add_bytes(journal, JOURNAL_TAG_SESSION_ID, &hold->session, sizeof(hold->session));
	journal_add_number(journal, JOURNAL_TAG_SINCE, hold->since);
	journal_add_number(journal, JOURNAL_TAG_DEADLINE, hold->deadline);
	add_stake(journal, &hold->stake);
	journal_end(journal);
}

void journal_put_review(struct journal *journal, uint32_t number, const struct hold_decision *decision,
			const struct reviewer *by, const char *reason, const char *error, uint64_t time)
{
	journal_begin(journal, JOURNAL_REVIEW, 0, time);
	journal_add_number(journal, JOURNAL_TAG_HOLD, number);
	journal_add_number(journal, JOURNAL_TAG_VERDICT, decision->verdict);
	journal_add_number(journal, JOURNAL_TAG_SCOPE, decision->scope);
	journal_add_number(journal, JOURNAL_TAG_DURATION, decision->duration);
	journal_add_number(journal, JOURNAL_TAG_PID, (uint64_t)by->pid);
	journal_add_number(journal, JOURNAL_TAG_UID, by->uid);
	add_text(journal, JOURNAL_TAG_USER, by->user);
	add_text(journal, JOURNAL_TAG_COMM, by->comm);
	add_text(journal, JOURNAL_TAG_SESSION, by->session_id);
	add_text(journal, JOURNAL_TAG_NAME, by->session_name);
	add_text(journal, JOURNAL_TAG_TEXT, reason);
	add_text(journal, JOURNAL_TAG_ERROR, error);
	journal_end(journal);
}

/* --- sessions --- */

void journal_put_session(struct journal *journal, const struct session_id *id, const struct session_setup *setup,
			 uint16_t flags, uint64_t time)
{
	journal_begin(journal, JOURNAL_SESSION, flags, time);
	add_bytes(journal, JOURNAL_TAG_SESSION_ID, id, sizeof(*id));
	add_text(journal, JOURNAL_TAG_NAME, setup->name);
	add_text(journal, JOURNAL_TAG_WORKSPACE, setup->workspace);
	if (setup->agent)
		journal_add_number(journal, JOURNAL_TAG_AGENT, *setup->agent);
	journal_end(journal);
}

void journal_put_ignore(struct journal *journal, const struct session_id *id, uint64_t time)
{
	journal_begin(journal, JOURNAL_IGNORE, 0, time);
	add_bytes(journal, JOURNAL_TAG_SESSION_ID, id, sizeof(*id));
	journal_end(journal);
}

struct state {
	struct journal *journal;
	uint64_t time;
	const struct process **processes;
	size_t count, room;
};

static int put_session(struct session *session, void *userdata)
{
	struct state *state = userdata;
	struct session_setup setup = {.name = session->name_source == NAME_GIVEN ? session->name : NULL,
				      .workspace = session->workspace,
				      .agent = session->agent_known ? &session->agent : NULL};

	journal_put_session(state->journal, &session->id, &setup, JOURNAL_AGAIN, state->time);
	return 0;
}

static int list_process(struct process *process, void *userdata)
{
	struct state *state = userdata;

	if (state->count < state->room)
		state->processes[state->count++] = process;
	return 0;
}

static int by_start(const void *left, const void *right)
{
	const struct process *a = *(const struct process *const *)left, *b = *(const struct process *const *)right;

	return a->id.start < b->id.start ? -1 : a->id.start > b->id.start;
}

/* The process as a scan of /proc would have found it, from what is known of it already. */
static void put_process(const struct state *state, const struct process *process)
{
	const struct program *program = process->program;
	struct snapshot_process row = {.pid = process->id.pid,
				       .ppid = process->parent ? process->parent->id.pid : 0,
				       .uid = process->uid,
				       .gid = process->gid,
				       .start = process->id.start,
				       .session = process->session->id,
				       .agent = process->session->agent,
				       .flags = EXEC_SNAPSHOT};
	_cleanup_buffer_ struct buffer record = {};
	_cleanup_free_ char *exe = NULL, *cwd = NULL;

	memcpy(row.comm, process->comm, sizeof(row.comm));
	if (process->session->root == process)
		row.flags |= EXEC_NEW_SESSION | (process->session->flags & ~(uint32_t)EXEC_ARGS_CUT);
	if (process->cgroup) {
		row.cgroup = process->cgroup->id;
		row.cgroup_path = process->cgroup->path;
	}
	if (program) {
		exe = program->exe.data ? strndup(program->exe.data, program->exe.length) : NULL;
		cwd = program->cwd.data ? strndup(program->cwd.data, program->cwd.length) : NULL;
		row.exe = exe;
		row.cwd = cwd;
		row.args = (char *)program->args.data;
		row.args_length = program->args.length;
		row.exe_ino = program->ino;
		row.exe_dev = program->dev;
	}
	if (!snapshot_record(&row, state->time, (struct span){NULL, 0}, &record))
		journal_put_record(state->journal, record.data, record.length, JOURNAL_AGAIN);
}

static int put_hold(struct hold *hold, void *userdata)
{
	const struct state *state = userdata;

	journal_put_hold(state->journal, hold, "kept", JOURNAL_AGAIN, state->time);
	return 0;
}

void journal_put_state(struct journal *journal, struct pipeline *pipeline, uint64_t time)
{
	struct sessions *sessions = pipeline_sessions(pipeline);
	size_t room = sessions_process_count(sessions);
	_cleanup_free_ const struct process **processes = calloc(MAX(room, (size_t)1), sizeof(*processes));
	struct state state = {journal, time, processes, 0, room};

	if (!journal || !processes)
		return;
	sessions_for_each(sessions, put_session, &state);
	sessions_for_each_process(sessions, list_process, &state);
	/* Parents before their children. */
	qsort(processes, state.count, sizeof(*processes), by_start);
	for (size_t i = 0; i < state.count; i++)
		put_process(&state, processes[i]);
	holds_for_each(pipeline_holds(pipeline), put_hold, &state);
}
