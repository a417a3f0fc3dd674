/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What events say, added up: sessions, losses, statements, rules. */
#include "report.h"

#define SESSIONS_MAX 1000
#define DIRECTORIES_MAX 20000
#define REPORT_RULES_MAX 256
#define HOLDS_MAX 20000 /* each settles what was spared by it */

/* --- lists and texts --- */

void *report_list_add(struct report *report, struct report_list *list, size_t size)
{
	void *entry = list->count < list->limit ? calloc(1, size) : NULL;

	if (!entry) {
		report->failed |= list->count < list->limit;
		list->left_out++;
		return NULL;
	}
	if (list->last)
		*(void **)list->last = entry;
	else
		list->first = entry;
	list->last = entry;
	list->count++;
	return entry;
}

char *report_copy(struct report *report, const struct buffer *text)
{
	size_t length = MIN(text->length, (size_t)REPORT_TEXT_MAX);
	char *copy = malloc(length + sizeof("..."));

	if (!copy || text->error) {
		report->failed = true;
		free(copy);
		return NULL;
	}
	/* Never in the middle of a character. */
	while (length && length < text->length && ((unsigned char)text->data[length] & 0xc0) == 0x80)
		length--;
	if (length)
		memcpy(copy, text->data, length);
	strcpy(copy + length, length < text->length ? "..." : "");
	return copy;
}

char *report_copy_member(struct report *report, const json_t *object, const char *key)
{
	_cleanup_buffer_ struct buffer text = {};

	return text_of_member(&text, object, key) ? report_copy(report, &text) : NULL;
}

char *report_copy_text(struct report *report, const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	report->failed |= text && !copy;
	return copy;
}

/* --- sessions --- */

static bool is_session(const void *entry, const void *wanted)
{
	return streq(((const struct report_session *)entry)->id, wanted);
}

static struct report_session *session_new(struct report *report, const json_t *event, const json_t *told, uint64_t hash)
{
	struct report_session *session = report_list_add(report, &report->sessions, sizeof(*session));

	if (!session)
		return NULL;
	session->id = report_copy_member(report, told, "id");
	session->name = report_copy_member(report, told, "name");
	session->agent = report_copy_member(report, told, "agent");
	session->workspace = report_copy_member(report, told, "workspace");
	session->how = report_copy_member(report, told, "how");
	session->host = report_copy_member(report, event, "host");
	session->first = text_time_ns(told_text(event, "time"));
	report->failed |= !session->id || report_index_add(&report->index[REPORT_INDEX_SESSIONS], hash, session);
	return session;
}

struct report_session *report_session_of(struct report *report, const json_t *event)
{
	const json_t *told = json_object_get(event, "session");
	const char *id = told_text(told, "id");
	struct report_session *session;
	uint64_t hash;

	if (!id)
		return NULL;
	hash = report_hash(REPORT_HASH_START, id, strlen(id));
	session = report_index_find(&report->index[REPORT_INDEX_SESSIONS], hash, is_session, id);
	if (!session)
		session = session_new(report, event, told, hash);
	if (session)
		session->last = MAX(session->last, text_time_ns(told_text(event, "time")));
	return session;
}

static void add_session_event(struct report *report, const json_t *event, struct report_session *session)
{
	const char *change = told_text(event, "change");
	int64_t processes;

	if (!session)
		return;
	session->began |= change && streq(change, "start");
	session->ended |= change && streq(change, "end");
	if (!session->how)
		session->how = report_copy_member(report, event, "how");
	/* A name and an agent may be given after the start. */
	if (change && streq(change, "end")) {
		free(session->name);
		session->name = report_copy_member(report, json_object_get(event, "session"), "name");
	}
	if (told_number(event, "processes", &processes))
		session->processes = (uint64_t)processes;
	report_process_root(report, event, session);
	report_line_text(report, text_time_ns(told_text(event, "time")), NULL,
			 change && streq(change, "end") ? "session-end" : "session-start");
	if (report->lines.last)
		((struct report_line *)report->lines.last)->path = report_copy_text(report, session->id);
}

/* --- rules --- */

static struct report_rule *rule_of(struct report *report, const json_t *event, const char *name)
{
	struct report_rule *rule;

	for (rule = report->rules.first; rule; rule = rule->next)
		if (name && rule->name ? streq(name, rule->name) : name == rule->name)
			return rule;
	rule = report_list_add(report, &report->rules, sizeof(*rule));
	if (!rule)
		return NULL;
	rule->name = report_copy_text(report, name);
	rule->message = report_copy_member(report, event, "message");
	return rule;
}

static void count_rule(struct report *report, const json_t *event, const struct told_op *op)
{
	int verdict = op->verdict ? verdict_from_name(op->verdict) : -EINVAL;
	struct report_rule *rule = verdict >= 0 ? rule_of(report, event, op->rule) : NULL;

	if (!rule)
		return;
	rule->verdicts[verdict]++;
	rule->not_enforced += verdict > VERDICT_ALERT && op->enforced && !streq(op->enforced, "deny");
}

/* --- losses --- */

static struct report_loss loss_of(const struct told_op *op)
{
	return (struct report_loss){
		.files = op->loses_file,
		.directories = op->loses_directory,
		.bytes = op->bytes,
		.unsized_files = op->loses_file && !op->size_known,
	};
}

static uint64_t device_of(const json_t *inode)
{
	const char *dev = told_text(inode, "dev");
	unsigned int major, minor;

	return dev && sscanf(dev, "%u:%u", &major, &minor) == 2 ? (uint64_t)major << 20 | minor : 0;
}

/* An inode's number is a string where it is past 2^63 - 1. */
static uint64_t inode_of(const json_t *inode)
{
	const char *text = told_text(inode, "ino");
	int64_t number = 0;

	if (text)
		return strtoull(text, NULL, 10);
	told_number(inode, "ino", &number);
	return (uint64_t)number;
}

static void add_row(struct report *report, struct report_list *list, const struct told_op *op, const json_t *event,
		    struct report_process *process, const struct buffer *path)
{
	struct report_row *row = report_list_add(report, list, sizeof(*row));
	int64_t number;

	if (!row)
		return;
	row->time = text_time_ns(told_text(event, "time"));
	row->process = process;
	row->op = report_copy_text(report, op->op);
	row->verdict = report_copy_text(report, op->verdict);
	row->rule = report_copy_text(report, op->rule);
	row->path = path->length ? report_copy(report, path) : NULL;
	row->directory = op->loses_directory;
	row->size_known = op->size_known;
	row->bytes = op->bytes;
	row->nlink = told_number(op->lost, "nlink", &number) ? number : -1;
	row->size = told_number(op->lost, "size", &number) ? (uint64_t)number : 0;
	row->dev = device_of(op->lost);
	row->ino = inode_of(op->lost);
}

/* For the look at what is still open: of a file that has no row at least the number. */
static void keep_inode(struct report *report, const struct told_op *op, int64_t time)
{
	struct report_inode inode = {device_of(op->lost), inode_of(op->lost), time};
	size_t capacity = MAX(report->inode_capacity * 2, (size_t)1024);
	struct report_inode *inodes;

	if (!inode.dev || !op->loses_file || report->inode_count >= REPORT_INODES_MAX) {
		report->look.not_looked_for += op->loses_file;
		return;
	}
	if (report->inode_count == report->inode_capacity) {
		inodes = reallocarray(report->inodes, capacity, sizeof(*inodes));
		if (!inodes) {
			report->failed = true;
			return;
		}
		report->inodes = inodes;
		report->inode_capacity = capacity;
	}
	report->inodes[report->inode_count++] = inode;
}

static void add_lost(struct report *report, const struct told_op *op, const json_t *event,
		     struct report_session *session, struct report_process *process, struct buffer *path)
{
	struct report_loss loss = loss_of(op);

	report_loss_add(&report->lost, &loss);
	if (session)
		report_loss_add(&session->lost, &loss);
	if (process)
		report_loss_add(&process->lost, &loss);
	report_directory_add(report, path->length ? buffer_string(path) : NULL, &loss);
	if (report->lost_rows.count < report->lost_rows.limit)
		add_row(report, &report->lost_rows, op, event, process, path);
	else if (report->lost_rows.left_out++, op->loses_file)
		keep_inode(report, op, text_time_ns(told_text(event, "time")));
}

static void add_stopped(struct report *report, const struct told_op *op, const json_t *event,
			struct report_session *session, struct report_process *process, const struct buffer *path)
{
	struct report_loss loss = loss_of(op);

	report_loss_add(&report->stopped, &loss);
	if (session)
		report_loss_add(&session->stopped, &loss);
	if (process)
		process->stopped += !op->again;
	add_row(report, &report->stopped_rows, op, event, process, path);
}

/* --- SQL --- */

struct object_wanted {
	const char *name, *database;
};

static bool is_object(const void *entry, const void *wanted)
{
	const struct report_object *object = entry;
	const struct object_wanted *want = wanted;

	return streq(object->name, want->name) && streq(object->database, want->database);
}

static char *joined(struct report *report, const json_t *array, const char *empty)
{
	_cleanup_buffer_ struct buffer text = {};
	const json_t *word;
	size_t i;

	json_array_foreach (array, i, word) {
		buffer_text(&text, i ? ", " : "");
		buffer_text(&text, json_is_string(word) ? json_string_value(word) : "?");
	}
	if (!text.length)
		buffer_text(&text, empty);
	return text.length ? report_copy(report, &text) : NULL;
}

static struct report_object *object_of(struct report *report, const char *name, const json_t *sql)
{
	const char *database = told_text(sql, "database");
	struct object_wanted wanted = {name, database ? database : ""};
	uint64_t hash = report_hash(report_hash(REPORT_HASH_START, name, strlen(name) + 1), wanted.database,
				    strlen(wanted.database));
	struct report_object *object =
		report_index_find(&report->index[REPORT_INDEX_OBJECTS], hash, is_object, &wanted);

	if (object)
		return object;
	object = report_list_add(report, &report->objects, sizeof(*object));
	if (!object)
		return NULL;
	object->name = report_copy_text(report, name);
	object->database = report_copy_text(report, wanted.database);
	object->classes = joined(report, json_object_get(sql, "class"), "");
	report->failed |= !object->name || !object->database ||
			  report_index_add(&report->index[REPORT_INDEX_OBJECTS], hash, object);
	return report->failed ? NULL : object;
}

static void count_objects(struct report *report, const json_t *sql, enum fate fate)
{
	const json_t *name;
	size_t i;

	json_array_foreach (json_object_get(sql, "tables"), i, name) {
		struct report_object *object =
			json_is_string(name) ? object_of(report, json_string_value(name), sql) : NULL;

		if (!object)
			continue;
		object->sent += fate == FATE_DONE;
		object->stopped += fate == FATE_STOPPED;
		object->held += fate == FATE_HELD;
	}
}

static void add_statement(struct report *report, const struct told_op *op, const json_t *event,
			  struct report_process *process)
{
	const json_t *sql = json_object_get(event, "sql");
	struct report_statement *statement;

	report->statements_sent += op->fate == FATE_DONE;
	report->statements_stopped += op->fate == FATE_STOPPED;
	report->statements_held += op->fate == FATE_HELD;
	count_objects(report, sql, op->fate);
	statement = report_list_add(report, &report->statements, sizeof(*statement));
	if (!statement)
		return;
	statement->time = text_time_ns(told_text(event, "time"));
	statement->hold = op->hold;
	statement->process = process;
	statement->text = report_copy_member(report, sql, "statement");
	statement->classes = joined(report, json_object_get(sql, "class"), "");
	statement->tables = joined(report, json_object_get(sql, "tables"), "");
	statement->database = report_copy_member(report, sql, "database");
	statement->host = report_copy_member(report, sql, "host");
	statement->verdict = report_copy_text(report, op->verdict);
	statement->rule = report_copy_text(report, op->rule);
	statement->fate = op->fate;
}

/* --- operations --- */

static void count_op(struct report *report, const struct told_op *op, const json_t *event,
		     struct report_session *session, struct report_process *process)
{
	/* What was held has come to its end. */
	if (op->again) {
		if (report->by_fate[FATE_HELD]) {
			report->by_fate[FATE_HELD]--;
			report->by_fate[op->fate]++;
		}
		return;
	}
	report->ops++;
	report->by_fate[op->fate]++;
	report->unenforced += op->enforced && streq(op->enforced, "failed");
	count_rule(report, event, op);
	if (session)
		session->ops++;
	if (process) {
		process->ops++;
		process->held += op->fate == FATE_HELD;
	}
}

static void add_op(struct report *report, const struct told_op *op, const json_t *event, struct report_session *session)
{
	struct report_process *process = report_process_of(report, event, session);
	const json_t *target = json_object_get(event, "target");
	_cleanup_buffer_ struct buffer path = {};
	bool loses = op->loses_file || op->loses_directory;

	text_of_member(&path, target, op->lost_path);
	count_op(report, op, event, session, process);
	if (op->hold)
		report_hold_op(report, op, event);
	if (json_is_object(json_object_get(event, "sql")))
		add_statement(report, op, event, process);
	else if (op->fate == FATE_DONE && loses)
		add_lost(report, op, event, session, process, &path);
	else if (op->fate == FATE_STOPPED)
		add_stopped(report, op, event, session, process, &path);
	else if (op->fate == FATE_UNKNOWN && loses)
		report_loss_add(&report->unknown_loss, &(struct report_loss){.files = op->loses_file,
									     .directories = op->loses_directory,
									     .bytes = op->bytes});
	report->execs_stopped += op->fate == FATE_STOPPED && streq(op->op, "exec");
	report_bucket_add(report, text_time_ns(told_text(event, "time")), op);
	report_line_op(report, op, event, text_time_ns(told_text(event, "time")), process,
		       path.length ? buffer_string(&path) : NULL);
}

/* --- other kinds --- */

static void add_loss_event(struct report *report, const json_t *event, int64_t time)
{
	_cleanup_buffer_ struct buffer text = {};
	int64_t total = 0;

	told_number(event, "total", &total);
	report->losses++;
	report->lost_records += (uint64_t)MAX(total, INT64_C(0));
	text_add_counted(&text, (uint64_t)MAX(total, INT64_C(0)),
			 "record was lost: what it told of is not in this report",
			 "records were lost: what they told of is not in this report");
	report_line_text(report, time, NULL, buffer_string(&text));
}

static void add_tamper(struct report *report, const json_t *event, int64_t time, struct report_session *session)
{
	_cleanup_buffer_ struct buffer text = {};
	const char *what = told_text(event, "what");

	report->tampers++;
	buffer_text(&text, "reached for the guard itself (");
	buffer_text(&text, what ? what : "?");
	buffer_text(&text, "): refused");
	report_line_text(report, time, report_process_of(report, event, session), buffer_string(&text));
}

static void note_event(struct report *report, const json_t *event, int64_t time)
{
	const char *host = told_text(event, "host");
	int64_t start;

	report->events++;
	/* A process begins at some time before its event, mostly a little: the smallest difference is close to the boot. */
	if (time && told_number(json_object_get(event, "process"), "start", &start) && start > 0 && start < time)
		report->booted = report->booted ? MIN(report->booted, time - start) : time - start;
	if (time) {
		report->first = report->first ? MIN(report->first, time) : time;
		report->last = MAX(report->last, time);
	}
	if (!host || (report->host && streq(host, report->host)))
		return;
	report->hosts++;
	if (!report->host)
		report->host = report_copy_text(report, host);
}

int report_add(struct report *report, const json_t *event)
{
	const char *kind = told_text(event, "kind");
	int64_t time = text_time_ns(told_text(event, "time"));
	struct report_session *session;
	struct told_op op;

	if (!kind)
		return 0;
	note_event(report, event, time);
	session = report_session_of(report, event);
	if (told_op(event, &op))
		add_op(report, &op, event, session);
	else if (streq(kind, "session"))
		add_session_event(report, event, session);
	else if (streq(kind, "hold"))
		report_hold_event(report, event, session);
	else if (streq(kind, "review"))
		report_review_event(report, event);
	else if (streq(kind, "loss"))
		add_loss_event(report, event, time);
	else if (streq(kind, "tamper"))
		add_tamper(report, event, time, session);
	return report->failed ? -ENOMEM : 0;
}

void report_finish(struct report *report)
{
	report_holds_settle(report);
	report_processes_mark(report);
}

/* --- life --- */

int report_new(size_t rows, struct report **ret_report)
{
	struct report *report = calloc(1, sizeof(*report));

	if (!report)
		return -ENOMEM;
	report->rows = rows;
	report->sessions.limit = MIN(rows, (size_t)SESSIONS_MAX);
	report->directories.limit = DIRECTORIES_MAX;
	report->rules.limit = REPORT_RULES_MAX;
	report->processes.limit = report->lost_rows.limit = report->stopped_rows.limit = rows;
	report->statements.limit = report->objects.limit = report->lines.limit = rows;
	report->holds.limit = MAX(rows, (size_t)HOLDS_MAX);
	*ret_report = report;
	return 0;
}

static void free_entries(struct report_list *list, const size_t *texts, size_t count)
{
	for (void *entry = list->first, *next; entry; entry = next) {
		next = *(void **)entry;
		for (size_t i = 0; i < count; i++)
			free(*(char **)((char *)entry + texts[i]));
		free(entry);
	}
	*list = (struct report_list){};
}

#define FREE_ENTRIES(list, ...)                               \
	do {                                                  \
		static const size_t texts[] = {__VA_ARGS__};  \
		free_entries(list, texts, ARRAY_SIZE(texts)); \
	} while (0)
#define TEXT(type, member) offsetof(struct report_##type, member)

static void free_rows(struct report_list *list)
{
	FREE_ENTRIES(list, TEXT(row, op), TEXT(row, verdict), TEXT(row, rule), TEXT(row, path), TEXT(row, found));
}

static void free_holds(struct report *report)
{
	for (struct report_hold *hold = report->holds.first; hold; hold = hold->next)
		FREE_ENTRIES(&hold->reviews, TEXT(review, answer), TEXT(review, scope), TEXT(review, reason),
			     TEXT(review, refused), TEXT(review, user), TEXT(review, comm), TEXT(review, session));
	FREE_ENTRIES(&report->holds, TEXT(hold, state), TEXT(hold, rule), TEXT(hold, message), TEXT(hold, op),
		     TEXT(hold, what), TEXT(hold, command), TEXT(hold, ancestry), TEXT(hold, on_timeout),
		     TEXT(hold, stake_note), TEXT(hold, tier));
}

static void free_extra(struct report_row *row)
{
	struct report_list list = {.first = row};

	free_rows(&list);
}

void report_free(struct report *report)
{
	if (!report)
		return;
	free_holds(report);
	free_rows(&report->lost_rows);
	free_rows(&report->stopped_rows);
	free_extra(report->look.extra);
	FREE_ENTRIES(&report->sessions, TEXT(session, id), TEXT(session, name), TEXT(session, agent),
		     TEXT(session, how), TEXT(session, workspace), TEXT(session, host));
	FREE_ENTRIES(&report->processes, TEXT(process, comm), TEXT(process, exe), TEXT(process, command),
		     TEXT(process, cwd));
	FREE_ENTRIES(&report->directories, TEXT(directory, name));
	FREE_ENTRIES(&report->statements, TEXT(statement, text), TEXT(statement, classes), TEXT(statement, tables),
		     TEXT(statement, database), TEXT(statement, host), TEXT(statement, verdict), TEXT(statement, rule));
	FREE_ENTRIES(&report->objects, TEXT(object, name), TEXT(object, database), TEXT(object, classes));
	FREE_ENTRIES(&report->lines, TEXT(line, op), TEXT(line, verdict), TEXT(line, rule), TEXT(line, path),
		     TEXT(line, text));
	FREE_ENTRIES(&report->rules, TEXT(rule, name), TEXT(rule, message));
	for (size_t i = 0; i < REPORT_INDEX_COUNT; i++)
		report_index_free(&report->index[i]);
	free(report->inodes);
	free(report->look.why_not);
	free(report->host);
	free(report);
}
