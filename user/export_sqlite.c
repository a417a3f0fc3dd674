/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A database ready for questions, written in one transaction. */
#include "export.h"
#include "late_sqlite.h"

/*
 * user_version counts changes that a reader must know of. Times are text as in events, with a twin in nanoseconds since
 * 1970. An operation that was held has two rows, of which the second says what came of it (again = 1).
 */
static const char schema[] =
	"PRAGMA application_id = 0x52505256;" /* "RPRV" */
	"PRAGMA user_version = 1;"
	"CREATE TABLE info (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
	"CREATE TABLE sessions (id TEXT PRIMARY KEY, name TEXT, agent TEXT, how TEXT, workspace TEXT, host TEXT,"
	" started TEXT, ended TEXT, duration_ns INTEGER, processes INTEGER, files_lost INTEGER, bytes_lost INTEGER,"
	" files_spared INTEGER, bytes_spared INTEGER);"
	"CREATE TABLE processes (id INTEGER PRIMARY KEY, host TEXT, session_id TEXT REFERENCES sessions(id), pid INTEGER,"
	" start INTEGER, ppid INTEGER, uid INTEGER, gid INTEGER, comm TEXT, exe TEXT, command TEXT, args TEXT, cwd TEXT,"
	" cgroup TEXT, ancestry TEXT);"
	"CREATE TABLE operations (id INTEGER PRIMARY KEY, process_id INTEGER REFERENCES processes(id), %s);"
	"CREATE TABLE holds (id INTEGER PRIMARY KEY, host TEXT, session_id TEXT REFERENCES sessions(id), hold INTEGER,"
	" process_id INTEGER REFERENCES processes(id), %s);"
	"CREATE TABLE reviews (id INTEGER PRIMARY KEY, hold_id INTEGER REFERENCES holds(id), %s);"
	"CREATE TABLE policies (id INTEGER PRIMARY KEY, time_ns INTEGER, origin TEXT, text TEXT);"
	"CREATE TABLE others (id INTEGER PRIMARY KEY, %s);";

static const char indexes[] =
	"CREATE INDEX operations_session ON operations(session_id, id);"
	"CREATE INDEX operations_path ON operations(path);"
	"CREATE INDEX operations_time ON operations(time_ns);"
	"CREATE INDEX operations_process ON operations(process_id);"
	"CREATE INDEX operations_verdict ON operations(verdict, op);"
	"CREATE INDEX operations_hold ON operations(hold) WHERE hold IS NOT NULL;"
	"CREATE INDEX reviews_hold ON reviews(hold_id);"
	"CREATE VIEW lost_files AS SELECT o.id, o.time, o.session_id, s.name AS session_name, s.agent, o.op,"
	" coalesce(CASE WHEN o.op = 'rename' THEN o.new_path END, o.path) AS path, o.lost_size AS size, o.bytes_lost,"
	" o.lost_nlink AS nlink, o.dev, o.ino, o.verdict, o.rule, p.pid, p.command"
	" FROM operations o LEFT JOIN sessions s ON s.id = o.session_id LEFT JOIN processes p ON p.id = o.process_id"
	" WHERE o.files_lost = 1;"
	"CREATE VIEW lost_by_directory AS SELECT session_id, rtrim(path, replace(path, '/', '')) AS directory,"
	" count(*) AS files, sum(bytes_lost) AS bytes FROM lost_files GROUP BY 1, 2;"
	"CREATE VIEW hold_decisions AS SELECT h.hold, h.session_id, h.rule, h.op, h.state, h.since, r.time AS decided,"
	" r.answer, r.scope, r.user, r.uid, r.after_ms, r.reason, p.command, h.stake_files, h.stake_bytes"
	" FROM holds h LEFT JOIN reviews r ON r.hold_id = h.id AND r.refused IS NULL"
	" LEFT JOIN processes p ON p.id = h.process_id;";

static void value_again(const struct export_column *column, const json_t *event, const struct told_op *op,
			struct buffer *scratch, struct export_value *ret_value)
{
	(void)column;
	(void)event;
	(void)scratch;
	*ret_value = (struct export_value){.type = EXPORT_INTEGER, .integer = op && op->again};
}

/* Of what is lost: a rename's is the file that it replaces. */
static void value_lost(const struct export_column *column, const json_t *event, const struct told_op *op,
		       struct buffer *scratch, struct export_value *ret_value)
{
	int64_t number;

	(void)event;
	(void)scratch;
	if (op && told_number(op->lost, column->key, &number))
		*ret_value = (struct export_value){.type = EXPORT_INTEGER, .integer = number};
}

static const struct export_column operation_columns[] = {
	{"seq", "INTEGER", NULL, "seq", NULL},
	{"time", "TEXT", NULL, "time", NULL},
	{"time_ns", "INTEGER", NULL, "time", export_time_ns},
	{"host", "TEXT", NULL, "host", NULL},
	{"session_id", "TEXT", "session", "id", NULL},
	{"tid", "INTEGER", "process", "tid", NULL},
	{"op", "TEXT", NULL, "op", NULL},
	{"verdict", "TEXT", NULL, "verdict", NULL},
	{"rule", "TEXT", NULL, "rule", NULL},
	{"tier", "TEXT", NULL, "tier", NULL},
	{"outcome", "TEXT", NULL, NULL, export_outcome},
	{"again", "INTEGER", NULL, NULL, value_again},
	{"result", "INTEGER", NULL, "result", NULL},
	{"enforced", "TEXT", NULL, "enforced", NULL},
	{"answer", "TEXT", NULL, "answer", NULL},
	{"hold", "INTEGER", NULL, "hold", NULL},
	{"notes", "TEXT", NULL, "notes", export_words},
	{"path", "TEXT", "target", "path", NULL},
	{"path_bytes", "BLOB", "target", "path", export_bytes},
	{"new_path", "TEXT", "target", "new_path", NULL},
	{"new_path_bytes", "BLOB", "target", "new_path", export_bytes},
	{"type", "TEXT", "target", "type", NULL},
	{"dev", "TEXT", "target", "dev", NULL},
	{"ino", "INTEGER", "target", "ino", NULL},
	{"size", "INTEGER", "target", "size", NULL},
	{"new_size", "INTEGER", "target", "new_size", NULL},
	{"nlink", "INTEGER", "target", "nlink", NULL},
	{"files_lost", "INTEGER", NULL, NULL, export_files_lost},
	{"bytes_lost", "INTEGER", NULL, NULL, export_bytes_lost},
	{"lost_size", "INTEGER", NULL, "size", value_lost},
	{"lost_nlink", "INTEGER", NULL, "nlink", value_lost},
	{"args", "TEXT", "target", "args", export_json},
	{"statement", "TEXT", "sql", "statement", NULL},
	{"sql_class", "TEXT", "sql", "class", export_words},
	{"tables", "TEXT", "sql", "tables", export_json},
	{"\"database\"", "TEXT", "sql", "database", NULL},
	{"db_user", "TEXT", "sql", "user", NULL},
	{"db_host", "TEXT", "sql", "host", NULL},
	{"db_port", "INTEGER", "sql", "port", NULL},
	{"message", "TEXT", NULL, "message", NULL},
	{"event", "TEXT", NULL, NULL, export_json},
};

static const struct export_column process_columns[] = {
	{"pid", NULL, "process", "pid", NULL},		{"start", NULL, "process", "start", NULL},
	{"ppid", NULL, "process", "ppid", NULL},	{"uid", NULL, "process", "uid", NULL},
	{"gid", NULL, "process", "gid", NULL},		{"comm", NULL, "process", "comm", NULL},
	{"exe", NULL, "process", "exe", NULL},		{"command", NULL, "process", "args", export_command},
	{"args", NULL, "process", "args", export_json}, {"cwd", NULL, "process", "cwd", NULL},
	{"cgroup", NULL, "process", "cgroup", NULL},	{"ancestry", NULL, NULL, "ancestry", export_json},
};

static const struct export_column hold_columns[] = {
	{"state", "TEXT", NULL, "state", NULL},
	{"rule", "TEXT", NULL, "rule", NULL},
	{"message", "TEXT", NULL, "message", NULL},
	{"op", "TEXT", NULL, "op", NULL},
	{"tier", "TEXT", NULL, "tier", NULL},
	{"path", "TEXT", "target", "path", NULL},
	{"statement", "TEXT", "sql", "statement", NULL},
	{"since", "TEXT", NULL, "since", NULL},
	{"deadline", "TEXT", NULL, "deadline", NULL},
	{"changed", "TEXT", NULL, "time", NULL},
	{"waiting_ms", "INTEGER", NULL, "waiting_ms", NULL},
	{"timeout_ms", "INTEGER", NULL, "timeout_ms", NULL},
	{"on_timeout", "TEXT", NULL, "on_timeout", NULL},
	{"operations", "INTEGER", NULL, "operations", NULL},
	{"killed", "INTEGER", NULL, "killed", NULL},
	{"stake_files", "INTEGER", "stake", "files", NULL},
	{"stake_directories", "INTEGER", "stake", "directories", NULL},
	{"stake_bytes", "INTEGER", "stake", "bytes", NULL},
	{"stake_at_least", "INTEGER", "stake", "at_least", NULL},
};

static const struct export_column review_columns[] = {
	{"hold", "INTEGER", NULL, "hold", NULL},
	{"time", "TEXT", NULL, "time", NULL},
	{"time_ns", "INTEGER", NULL, "time", export_time_ns},
	{"answer", "TEXT", NULL, "answer", NULL},
	{"scope", "TEXT", NULL, "scope", NULL},
	{"for_ms", "INTEGER", NULL, "for_ms", NULL},
	{"after_ms", "INTEGER", NULL, "after_ms", NULL},
	{"reason", "TEXT", NULL, "reason", NULL},
	{"refused", "TEXT", NULL, "refused", NULL},
	{"uid", "INTEGER", "by", "uid", NULL},
	{"user", "TEXT", "by", "user", NULL},
	{"pid", "INTEGER", "by", "pid", NULL},
	{"comm", "TEXT", "by", "comm", NULL},
};

/* Losses, reaches for the guard, and kinds to come. */
static const struct export_column other_columns[] = {
	{"time", "TEXT", NULL, "time", NULL},	    {"time_ns", "INTEGER", NULL, "time", export_time_ns},
	{"host", "TEXT", NULL, "host", NULL},	    {"seq", "INTEGER", NULL, "seq", NULL},
	{"kind", "TEXT", NULL, "kind", NULL},	    {"session_id", "TEXT", "session", "id", NULL},
	{"event", "TEXT", NULL, NULL, export_json},
};

enum statement {
	ADD_OPERATION,
	ADD_PROCESS,
	FIND_PROCESS,
	ADD_SESSION,
	START_SESSION,
	END_SESSION,
	FIND_HOLD,
	ADD_HOLD,
	CHANGE_HOLD,
	ADD_REVIEW,
	ADD_OTHER,
	ADD_POLICY,
	ADD_INFO,
	STATEMENT_COUNT,
};

struct database {
	sqlite3 *handle;
	sqlite3_stmt *statements[STATEMENT_COUNT];
	char *session; /* whose row is there */
	json_t *process, *ancestry; /* whose row is process_id */
	int64_t process_id; /* 0: none */
	struct buffer scratch;
};

/* --- statements --- */

static int failed(const struct export *export, const struct database *database)
{
	int code = sqlite3_extended_errcode(database->handle);

	log_error("%s: %s", export->path, sqlite3_errmsg(database->handle));
	return (code & 0xff) == SQLITE_NOMEM ? -ENOMEM : (code & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO;
}

static void add_names(struct buffer *sql, const struct export_column *columns, size_t count, bool types)
{
	for (size_t i = 0; i < count; i++) {
		buffer_text(sql, i ? ", " : "");
		buffer_text(sql, columns[i].name);
		if (types)
			buffer_format(sql, " %s", columns[i].type);
	}
}

static int prepare(struct export *export, struct database *database, enum statement statement, const char *sql)
{
	if (sqlite3_prepare_v3(database->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &database->statements[statement],
			       NULL) != SQLITE_OK)
		return failed(export, database);
	return 0;
}

/* INSERT INTO table(first, columns) VALUES (?, ...) */
static int prepare_insert(struct export *export, struct database *database, enum statement statement, const char *table,
			  const char *first, size_t first_count, const struct export_column *columns, size_t count)
{
	_cleanup_buffer_ struct buffer sql = {};

	buffer_format(&sql, "INSERT INTO %s(%s%s", table, first, first_count ? ", " : "");
	add_names(&sql, columns, count, false);
	buffer_text(&sql, ") VALUES (");
	for (size_t i = 0; i < first_count + count; i++)
		buffer_text(&sql, i ? ", ?" : "?");
	buffer_text(&sql, ")");
	return buffer_string(&sql) ? prepare(export, database, statement, sql.data) : -ENOMEM;
}

/* Statements of constant text. */
static const struct {
	enum statement statement;
	const char *sql;
} constant_statements[] = {
	{FIND_PROCESS, "SELECT id FROM processes WHERE host IS ?1 AND session_id IS ?2 AND pid IS ?3 AND start IS ?4 "
		       "AND exe IS ?5 AND args IS ?6"},
	{ADD_SESSION, "INSERT INTO sessions(id, name, agent, workspace, host, how) VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
		      "ON CONFLICT(id) DO NOTHING"},
	{START_SESSION, "UPDATE sessions SET started = ?2, how = coalesce(?3, how) WHERE id = ?1"},
	{END_SESSION, "UPDATE sessions SET ended = ?2, name = ?3, agent = ?4, workspace = ?5, duration_ns = ?6, "
		      "processes = ?7, files_lost = ?8, bytes_lost = ?9, files_spared = ?10, bytes_spared = ?11 "
		      "WHERE id = ?1"},
	{FIND_HOLD, "SELECT id FROM holds WHERE host IS ?1 AND session_id IS ?2 AND hold = ?3"},
	{ADD_POLICY, "INSERT INTO policies(time_ns, origin, text) VALUES (?1, ?2, ?3)"},
	{ADD_INFO, "INSERT INTO info(key, value) VALUES (?1, ?2)"},
};

static int prepare_hold_change(struct export *export, struct database *database)
{
	_cleanup_buffer_ struct buffer sql = {};

	buffer_text(&sql, "UPDATE holds SET ");
	for (size_t i = 0; i < ARRAY_SIZE(hold_columns); i++)
		buffer_format(&sql, "%s%s = coalesce(?%zu, %s)", i ? ", " : "", hold_columns[i].name, i + 2,
			      hold_columns[i].name);
	buffer_text(&sql, " WHERE id = ?1");
	return buffer_string(&sql) ? prepare(export, database, CHANGE_HOLD, sql.data) : -ENOMEM;
}

static int prepare_all(struct export *export, struct database *database)
{
	int error = prepare_insert(export, database, ADD_OPERATION, "operations", "process_id", 1, operation_columns,
				   ARRAY_SIZE(operation_columns));

	if (!error)
		error = prepare_insert(export, database, ADD_PROCESS, "processes", "host, session_id", 2,
				       process_columns, ARRAY_SIZE(process_columns));
	if (!error)
		error = prepare_insert(export, database, ADD_HOLD, "holds", "host, session_id, hold, process_id", 4,
				       hold_columns, ARRAY_SIZE(hold_columns));
	if (!error)
		error = prepare_insert(export, database, ADD_REVIEW, "reviews", "hold_id", 1, review_columns,
				       ARRAY_SIZE(review_columns));
	if (!error)
		error = prepare_insert(export, database, ADD_OTHER, "others", "", 0, other_columns,
				       ARRAY_SIZE(other_columns));
	if (!error)
		error = prepare_hold_change(export, database);
	for (size_t i = 0; !error && i < ARRAY_SIZE(constant_statements); i++)
		error = prepare(export, database, constant_statements[i].statement, constant_statements[i].sql);
	return error;
}

/* --- values --- */

static void bind_value(sqlite3_stmt *statement, int at, const struct export_value *value)
{
	switch (value->type) {
	case EXPORT_INTEGER:
		sqlite3_bind_int64(statement, at, value->integer);
		break;
	case EXPORT_TEXT:
		sqlite3_bind_text64(statement, at, value->text.data, value->text.length, SQLITE_TRANSIENT, SQLITE_UTF8);
		break;
	case EXPORT_BLOB:
		sqlite3_bind_blob64(statement, at, value->text.data, value->text.length, SQLITE_TRANSIENT);
		break;
	default:
		sqlite3_bind_null(statement, at);
	}
}

static void bind_columns(struct database *database, enum statement which, int at, const struct export_column *columns,
			 size_t count, const json_t *event, const struct told_op *op)
{
	struct export_value value;

	for (size_t i = 0; i < count; i++) {
		export_value_of(&columns[i], event, op, &database->scratch, &value);
		bind_value(database->statements[which], at + (int)i, &value);
	}
}

/* A member by its name; of the same words as a column's. */
static void bind_member(struct database *database, enum statement which, int at, const json_t *event,
			const char *object, const char *key)
{
	const struct export_column column = {.object = object, .key = key};

	bind_columns(database, which, at, &column, 1, event, NULL);
}

static int run(struct export *export, struct database *database, enum statement which)
{
	sqlite3_stmt *statement = database->statements[which];
	int code = sqlite3_step(statement);

	if (code != SQLITE_DONE && code != SQLITE_ROW)
		return failed(export, database);
	sqlite3_reset(statement);
	return 0;
}

/* The number in the first row; 0: there is none. */
static int find(struct export *export, struct database *database, enum statement which, int64_t *ret_id)
{
	sqlite3_stmt *statement = database->statements[which];
	int code = sqlite3_step(statement);
	int64_t id = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;

	if (code != SQLITE_DONE && code != SQLITE_ROW)
		return failed(export, database);
	sqlite3_reset(statement);
	*ret_id = id;
	return 0;
}

/* --- rows --- */

static int need_session(struct export *export, struct database *database, const json_t *event)
{
	const char *id = told_text(json_object_get(event, "session"), "id");
	static const char *const keys[] = {"id", "name", "agent", "workspace"};

	if (!id || (database->session && streq(database->session, id)))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		bind_member(database, ADD_SESSION, (int)i + 1, event, "session", keys[i]);
	bind_member(database, ADD_SESSION, 5, event, NULL, "host");
	bind_member(database, ADD_SESSION, 6, event, "session", "how");
	free(database->session);
	database->session = strdup(id);
	return database->session ? run(export, database, ADD_SESSION) : -ENOMEM;
}

static void bind_process_key(struct database *database, const json_t *event)
{
	const struct export_column args = {.object = "process", .key = "args", .compute = export_json};

	bind_member(database, FIND_PROCESS, 1, event, NULL, "host");
	bind_member(database, FIND_PROCESS, 2, event, "session", "id");
	bind_member(database, FIND_PROCESS, 3, event, "process", "pid");
	bind_member(database, FIND_PROCESS, 4, event, "process", "start");
	bind_member(database, FIND_PROCESS, 5, event, "process", "exe");
	bind_columns(database, FIND_PROCESS, 6, &args, 1, event, NULL);
}

static void remember_process(struct database *database, const json_t *event)
{
	json_decref(database->process);
	json_decref(database->ancestry);
	database->process = json_deep_copy(json_object_get(event, "process"));
	database->ancestry = json_deep_copy(json_object_get(event, "ancestry"));
}

/* The row of the event's process, made where it is not there; *ret_id 0: the event names none. */
static int need_process(struct export *export, struct database *database, const json_t *event, int64_t *ret_id)
{
	const json_t *process = json_object_get(event, "process");
	int64_t id = 0;
	int error;

	*ret_id = 0;
	if (!json_is_object(process))
		return 0;
	if (database->process_id && json_equal(process, database->process) &&
	    json_equal(json_object_get(event, "ancestry"), database->ancestry)) {
		*ret_id = database->process_id;
		return 0;
	}
	bind_process_key(database, event);
	error = find(export, database, FIND_PROCESS, &id);
	if (!error && !id) {
		bind_member(database, ADD_PROCESS, 1, event, NULL, "host");
		bind_member(database, ADD_PROCESS, 2, event, "session", "id");
		bind_columns(database, ADD_PROCESS, 3, process_columns, ARRAY_SIZE(process_columns), event, NULL);
		error = run(export, database, ADD_PROCESS);
		id = sqlite3_last_insert_rowid(database->handle);
	}
	if (error)
		return error;
	remember_process(database, event);
	database->process_id = *ret_id = id;
	return 0;
}

static void bind_id(struct database *database, enum statement which, int at, int64_t id)
{
	if (id)
		sqlite3_bind_int64(database->statements[which], at, id);
	else
		sqlite3_bind_null(database->statements[which], at);
}

static int add_operation(struct export *export, struct database *database, const json_t *event,
			 const struct told_op *op)
{
	int64_t process;
	int error = need_process(export, database, event, &process);

	if (error)
		return error;
	bind_id(database, ADD_OPERATION, 1, process);
	bind_columns(database, ADD_OPERATION, 2, operation_columns, ARRAY_SIZE(operation_columns), event, op);
	return run(export, database, ADD_OPERATION);
}

static int add_session_event(struct export *export, struct database *database, const json_t *event)
{
	static const char *const session_keys[] = {"name", "agent", "workspace"};
	static const char *const totals[] = {"files_lost", "bytes_lost", "files_spared", "bytes_spared"};
	const char *change = told_text(event, "change");
	bool end = change && streq(change, "end");
	enum statement which = end ? END_SESSION : START_SESSION;

	bind_member(database, which, 1, event, "session", "id");
	bind_member(database, which, 2, event, NULL, "time");
	if (!end) {
		bind_member(database, which, 3, event, NULL, "how");
		return run(export, database, which);
	}
	for (size_t i = 0; i < ARRAY_SIZE(session_keys); i++)
		bind_member(database, which, 3 + (int)i, event, "session", session_keys[i]);
	bind_member(database, which, 6, event, NULL, "duration_ns");
	bind_member(database, which, 7, event, NULL, "processes");
	for (size_t i = 0; i < ARRAY_SIZE(totals); i++)
		bind_member(database, which, 8 + (int)i, event, "totals", totals[i]);
	return run(export, database, which);
}

static int find_hold(struct export *export, struct database *database, const json_t *event, int64_t *ret_id)
{
	bind_member(database, FIND_HOLD, 1, event, NULL, "host");
	bind_member(database, FIND_HOLD, 2, event, "session", "id");
	bind_member(database, FIND_HOLD, 3, event, NULL, "hold");
	return find(export, database, FIND_HOLD, ret_id);
}

static int add_hold(struct export *export, struct database *database, const json_t *event)
{
	int64_t id, process;
	int error = find_hold(export, database, event, &id);

	if (!error)
		error = need_process(export, database, event, &process);
	if (error)
		return error;
	if (id) {
		bind_id(database, CHANGE_HOLD, 1, id);
		bind_columns(database, CHANGE_HOLD, 2, hold_columns, ARRAY_SIZE(hold_columns), event, NULL);
		return run(export, database, CHANGE_HOLD);
	}
	bind_member(database, ADD_HOLD, 1, event, NULL, "host");
	bind_member(database, ADD_HOLD, 2, event, "session", "id");
	bind_member(database, ADD_HOLD, 3, event, NULL, "hold");
	bind_id(database, ADD_HOLD, 4, process);
	bind_columns(database, ADD_HOLD, 5, hold_columns, ARRAY_SIZE(hold_columns), event, NULL);
	return run(export, database, ADD_HOLD);
}

static int add_review(struct export *export, struct database *database, const json_t *event)
{
	int64_t hold;
	int error = find_hold(export, database, event, &hold);

	if (error)
		return error;
	bind_id(database, ADD_REVIEW, 1, hold);
	bind_columns(database, ADD_REVIEW, 2, review_columns, ARRAY_SIZE(review_columns), event, NULL);
	return run(export, database, ADD_REVIEW);
}

static int add(struct export *export, const json_t *event, const char *line, size_t length)
{
	struct database *database = export->state;
	const char *kind = told_text(event, "kind");
	struct told_op op;
	int error = need_session(export, database, event);

	(void)line;
	(void)length;
	if (error)
		return error;
	if (told_op(event, &op))
		return add_operation(export, database, event, &op);
	if (kind && streq(kind, "session"))
		return add_session_event(export, database, event);
	if (kind && streq(kind, "hold"))
		return add_hold(export, database, event);
	if (kind && streq(kind, "review"))
		return add_review(export, database, event);
	bind_columns(database, ADD_OTHER, 1, other_columns, ARRAY_SIZE(other_columns), event, NULL);
	return run(export, database, ADD_OTHER);
}

/* --- the whole --- */

static int execute(struct export *export, struct database *database, const char *sql)
{
	return sqlite3_exec(database->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(export, database);
}

static int make_tables(struct export *export, struct database *database)
{
	_cleanup_buffer_ struct buffer operations = {}, holds = {}, reviews = {}, others = {};
	_cleanup_free_ char *sql = NULL;

	add_names(&operations, operation_columns, ARRAY_SIZE(operation_columns), true);
	add_names(&holds, hold_columns, ARRAY_SIZE(hold_columns), true);
	add_names(&reviews, review_columns, ARRAY_SIZE(review_columns), true);
	add_names(&others, other_columns, ARRAY_SIZE(other_columns), true);
	if (!buffer_string(&operations) || !buffer_string(&holds) || !buffer_string(&reviews) ||
	    !buffer_string(&others) ||
	    asprintf(&sql, schema, operations.data, holds.data, reviews.data, others.data) < 0)
		return -ENOMEM;
	return execute(export, database, sql);
}

static int add_info(struct export *export, struct database *database, const char *key, const char *value)
{
	sqlite3_bind_text(database->statements[ADD_INFO], 1, key, -1, SQLITE_TRANSIENT);
	sqlite3_bind_text(database->statements[ADD_INFO], 2, value, -1, SQLITE_TRANSIENT);
	return run(export, database, ADD_INFO);
}

/* What is not whole is removed, never repaired: no journal beside it. */
static int begin(struct export *export)
{
	struct database *database = calloc(1, sizeof(*database));
	int error = late_sqlite();

	if (error || !database) {
		free(database);
		return error ? error : -ENOMEM;
	}
	export->state = database;
	if (sqlite3_open_v2(export->path, &database->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL))
		return failed(export, database);
	error = execute(export, database, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;");
	if (!error)
		error = make_tables(export, database);
	if (!error)
		error = execute(export, database,
				"CREATE UNIQUE INDEX processes_key ON processes(host, session_id, pid, "
				"start, exe, args); CREATE INDEX holds_key ON holds(host, session_id, "
				"hold); BEGIN");
	if (!error)
		error = prepare_all(export, database);
	if (!error)
		error = add_info(export, database, "source", export->source);
	return error;
}

static int end(struct export *export)
{
	struct database *database = export->state;
	int error = export->integrity ? add_info(export, database, "integrity", export->integrity) : 0;

	if (!error)
		error = execute(export, database, indexes);
	return error ? error : execute(export, database, "COMMIT; ANALYZE");
}

int export_sqlite_policy(struct export *export, const struct export_policy *policy)
{
	struct database *database = export->state;
	sqlite3_stmt *statement = database->statements[ADD_POLICY];

	sqlite3_bind_int64(statement, 1, policy->time);
	sqlite3_bind_text(statement, 2, policy->origin, -1, SQLITE_TRANSIENT);
	sqlite3_bind_text(statement, 3, policy->text, -1, SQLITE_TRANSIENT);
	return run(export, database, ADD_POLICY);
}

static void free_database(struct export *export)
{
	struct database *database = export->state;

	if (!database)
		return;
	for (size_t i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(database->statements[i]);
	sqlite3_close(database->handle);
	json_decref(database->process);
	json_decref(database->ancestry);
	buffer_free(&database->scratch);
	free(database->session);
	free(database);
	export->state = NULL;
}

const struct export_format export_sqlite = {.name = "sqlite",
					    .binary = true,
					    .database = true,
					    .begin = begin,
					    .add = add,
					    .end = end,
					    .free = free_database};
