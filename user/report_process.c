/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The processes of a recording as a tree, and the directories that something was lost from. */
#include "report.h"

/* --- processes --- */

struct process_wanted {
	const struct report_session *session;
	int64_t pid, start; /* start 0: not known, any */
	const char *exe; /* NULL: not known, any */
	const char *command; /* NULL: any */
};

static bool same_text(const char *a, const char *b)
{
	return a && b && streq(a, b);
}

/* One process may run several programs, one after the other. */
static bool is_process(const void *entry, const void *wanted)
{
	const struct report_process *process = entry;
	const struct process_wanted *want = wanted;

	if (process->session != want->session || process->pid != want->pid)
		return false;
	if (want->start && process->start && process->start != want->start)
		return false;
	if (want->exe && !same_text(process->exe, want->exe))
		return false;
	return !want->command || !process->command || streq(process->command, want->command);
}

static uint64_t hash_of(const struct process_wanted *wanted)
{
	uint64_t hash = report_hash(REPORT_HASH_START, &wanted->session, sizeof(wanted->session));

	return report_hash(hash, &wanted->pid, sizeof(wanted->pid));
}

static void adopt(struct report_process *parent, struct report_process *child)
{
	if (!parent || child->parent || parent == child)
		return;
	for (struct report_process *up = parent; up; up = up->parent)
		if (up == child)
			return;
	child->parent = parent;
	if (parent->last_child)
		parent->last_child->sibling = child;
	else
		parent->child = child;
	parent->last_child = child;
}

static struct report_process *process_new(struct report *report, const struct process_wanted *wanted,
					  const json_t *told)
{
	struct report_process *process = report_list_add(report, &report->processes, sizeof(*process));
	struct report_index *index = &report->index[wanted->start ? REPORT_INDEX_PROCESSES : REPORT_INDEX_ANCESTORS];

	if (!process)
		return NULL;
	process->session = (struct report_session *)wanted->session;
	process->pid = wanted->pid;
	process->start = wanted->start;
	process->number = report->processes.count;
	process->uid = -1;
	told_number(told, "uid", &process->uid);
	process->comm = report_copy_member(report, told, "comm");
	process->exe = report_copy_member(report, told, "exe");
	process->cwd = report_copy_member(report, told, "cwd");
	process->command = report_copy_text(report, wanted->command);
	report->failed |= report_index_add(index, hash_of(wanted), process) != 0;
	if (wanted->start)
		report->failed |=
			report_index_add(&report->index[REPORT_INDEX_ANCESTORS], hash_of(wanted), process) != 0;
	return process;
}

/* What an ancestry lacks, the process's own event, or a hold, may tell. */
static void learn(struct report *report, struct report_process *process, const struct process_wanted *wanted,
		  const json_t *told)
{
	if (!process->start)
		process->start = wanted->start;
	if (!process->command)
		process->command = report_copy_text(report, wanted->command);
	if (process->uid < 0)
		told_number(told, "uid", &process->uid);
	if (!process->cwd)
		process->cwd = report_copy_member(report, told, "cwd");
}

/* told: `process` of an event, or an entry of its ancestry. */
static struct report_process *process_told(struct report *report, const json_t *told, struct report_session *session)
{
	_cleanup_buffer_ struct buffer exe = {}, command = {};
	struct process_wanted wanted = {.session = session};
	struct report_process *process = NULL;

	if (!told_number(told, "pid", &wanted.pid))
		return NULL;
	told_number(told, "start", &wanted.start);
	if (text_of_member(&exe, told, "exe"))
		wanted.exe = buffer_string(&exe);
	if (text_of_args(&command, told, "args")) {
		command.length = MIN(command.length, (size_t)REPORT_TEXT_MAX);
		wanted.command = buffer_string(&command);
	}
	if (wanted.start)
		process = report_index_find(&report->index[REPORT_INDEX_PROCESSES], hash_of(&wanted), is_process,
					    &wanted);
	if (!process)
		process = report_index_find(&report->index[REPORT_INDEX_ANCESTORS], hash_of(&wanted), is_process,
					    &wanted);
	if (!process)
		return process_new(report, &wanted, told);
	learn(report, process, &wanted, told);
	return process;
}

struct report_process *report_process_of(struct report *report, const json_t *event, struct report_session *session)
{
	const json_t *ancestry = json_object_get(event, "ancestry");
	struct report_process *above = NULL, *process;

	for (size_t i = json_array_size(ancestry); i > 0; i--) {
		process = process_told(report, json_array_get(ancestry, i - 1), session);
		if (!process)
			continue;
		adopt(above, process);
		above = process;
	}
	process = process_told(report, json_object_get(event, "process"), session);
	if (process)
		adopt(above, process);
	return process;
}

void report_process_root(struct report *report, const json_t *event, struct report_session *session)
{
	const json_t *told = json_object_get(event, "process");
	_cleanup_buffer_ struct buffer exe = {}, command = {};
	struct process_wanted wanted = {.session = session};
	struct report_process *process;

	if (!told_number(told, "pid", &wanted.pid) || !text_of_member(&exe, told, "exe") ||
	    !text_of_args(&command, told, "args"))
		return;
	wanted.exe = buffer_string(&exe);
	command.length = MIN(command.length, (size_t)REPORT_TEXT_MAX);
	process = report_index_find(&report->index[REPORT_INDEX_ANCESTORS], hash_of(&wanted), is_process, &wanted);
	wanted.command = buffer_string(&command);
	if (process)
		learn(report, process, &wanted, told);
}

static void mark(struct report_process *process, size_t depth)
{
	size_t children = 0;

	process->shown = true;
	if (depth >= REPORT_DEPTH_SHOWN)
		return;
	for (struct report_process *child = process->child; child; child = child->sibling)
		if (children++ < REPORT_CHILDREN_SHOWN)
			mark(child, depth + 1);
}

void report_processes_mark(struct report *report)
{
	size_t roots = 0;

	for (struct report_process *process = report->processes.first; process; process = process->next)
		if (!process->parent && roots++ < REPORT_ROWS_DEFAULT)
			mark(process, 0);
}

/* --- directories --- */

struct directory_wanted {
	const struct report_directory *parent;
	const char *name;
	size_t length;
};

static bool is_directory(const void *entry, const void *wanted)
{
	const struct report_directory *directory = entry;
	const struct directory_wanted *want = wanted;

	return directory->parent == want->parent && strlen(directory->name) == want->length &&
	       !memcmp(directory->name, want->name, want->length);
}

static struct report_directory *directory_new(struct report *report, struct report_directory *parent, const char *name,
					      size_t length, uint64_t hash)
{
	struct report_directory *directory = report_list_add(report, &report->directories, sizeof(*directory));

	if (!directory)
		return NULL;
	directory->name = strndup(name, length);
	directory->parent = parent;
	if (!directory->name ||
	    (parent && report_index_add(&report->index[REPORT_INDEX_DIRECTORIES], hash, directory))) {
		report->failed = true;
		return NULL;
	}
	if (parent) {
		directory->sibling = parent->child;
		parent->child = directory;
		parent->children++;
	}
	return directory;
}

static struct report_directory *directory_below(struct report *report, struct report_directory *parent,
						const char *name, size_t length)
{
	struct directory_wanted wanted = {parent, name, length};
	uint64_t hash = report_hash(report_hash(REPORT_HASH_START, &parent, sizeof(parent)), name, length);
	struct report_directory *found =
		report_index_find(&report->index[REPORT_INDEX_DIRECTORIES], hash, is_directory, &wanted);

	return found ? found : directory_new(report, parent, name, length, hash);
}

/* Where the limit is reached, a loss counts for the nearest directory above that is known. */
void report_directory_add(struct report *report, const char *path, const struct report_loss *loss)
{
	const char *slash;

	if (!report->root)
		report->root = directory_new(report, NULL, "/", 1, 0);
	if (!report->root)
		return;

	struct report_directory *directory = report->root;

	report_loss_add(&directory->below, loss);
	for (path = path && *path == '/' ? path + 1 : ""; (slash = strchr(path, '/')); path = slash + 1) {
		struct report_directory *next =
			slash > path ? directory_below(report, directory, path, (size_t)(slash - path)) : directory;

		if (!next)
			break;
		if (next != directory)
			report_loss_add(&next->below, loss);
		directory = next;
	}
	report_loss_add(&directory->own, loss);
}
