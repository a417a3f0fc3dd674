/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "adopt.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>

#include "workspace.h"

#define SCANS_MAX 8
#define ARGUMENTS_LOOKED_AT 6 /* as exec_script in bpf/task.bpf.c */

struct adoption {
	struct guard *guard;
	const struct policy *policy;
	const struct adopt_sink *sink;
	uint64_t time;
	size_t found;
};

static uint64_t boot_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* --- cgroups --- */

#define DEPTH_MAX 64 /* of cgroups in one another */

struct marking {
	struct guard *guard;
	const struct dfa *dfa;
};

static int mark_cgroup(const struct marking *marking, int directory, const char *path)
{
	struct rule_set agents;
	struct stat facts;
	uint32_t agent;

	dfa_match_part(marking->dfa, DFA_CGROUP, path, strlen(path), &agents);
	agent = rule_set_first(&agents);
	if (!*path || agent == RULE_DEFAULT || fstat(directory, &facts))
		return 0;
	/* The id of a cgroup is its directory's inode number (kernfs, 64-bit). */
	return guard_add_cgroup(marking->guard, facts.st_ino, agent);
}

/*
 * One cgroup and all below it. Not by nftw(3), which gives up where a directory goes while it walks: cgroups come and go
 * all the time, and what is gone needs no mark.
 */
static int mark_below(const struct marking *marking, int parent, const char *name, const char *path, unsigned int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), error;
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	char below[PATH_MAX];

	if (!directory) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	error = mark_cgroup(marking, fd, path);
	while (!error && depth < DEPTH_MAX && (entry = readdir(directory))) {
		if (entry->d_type != DT_DIR || streq(entry->d_name, ".") || streq(entry->d_name, ".."))
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) < (int)sizeof(below))
			error = mark_below(marking, fd, entry->d_name, below, depth + 1);
	}
	closedir(directory);
	return error;
}

static int mark_cgroups(struct guard *guard, const struct policy *policy, const char *root)
{
	struct marking marking = {guard, &policy_image(policy)->dfa};

	return mark_below(&marking, AT_FDCWD, root, "", 0);
}

/* --- which agent a process is --- */

static uint32_t agent_of_text(const struct policy *policy, const char *text)
{
	struct rule_set agents;
	uint32_t agent;

	dfa_match_part(&policy_image(policy)->dfa, DFA_EXE, text, strlen(text), &agents);
	agent = rule_set_first(&agents);
	return agent == RULE_DEFAULT ? 0 : agent;
}

/* A name as the process would resolve it, without following links: joined to its working directory. */
static uint32_t agent_of_name(const struct policy *policy, const struct snapshot_process *process, const char *name)
{
	_cleanup_free_ char *path = NULL;

	if (name[0] == '/')
		return agent_of_text(policy, name);
	if (asprintf(&path, "%s/%s", process->cwd ? process->cwd : "", name) < 0) {
		path = NULL;
		return 0;
	}
	return agent_of_text(policy, path);
}

/* The script that an interpreter was given: its first argument that is no option. */
static const char *script_of(const struct snapshot_process *process)
{
	const char *at = process->args, *end = at + process->args_length;

	for (int i = 0; at && at < end && i < ARGUMENTS_LOOKED_AT; i++, at += strlen(at) + 1) {
		if (i == 0)
			continue;
		if (at[0] != '-')
			return at;
		if (at[1] == 'c')
			return NULL;
	}
	return NULL;
}

static uint32_t agent_of_cgroup(const struct policy *policy, const struct snapshot_process *process)
{
	struct rule_set agents;
	uint32_t agent;

	if (!process->cgroup_path)
		return 0;
	dfa_match_part(&policy_image(policy)->dfa, DFA_CGROUP, process->cgroup_path, strlen(process->cgroup_path),
		       &agents);
	agent = rule_set_first(&agents);
	return agent == RULE_DEFAULT ? 0 : agent;
}

/*
 * A runtime's own process that is about to become a container: with its exec it begins the session in the kernel, in the
 * container's directory. Met before, it stands in the runtime's.
 */
static bool is_runtime(const struct snapshot_process *process)
{
	char path[64];
	struct stat root, host;
	const char *name = process->exe ? strrchr(process->exe, '/') : NULL;

	/* Before it is in the container's root directory it may bear any name. */
	snprintf(path, sizeof(path), "/proc/%u/root", process->pid);
	if (!stat(path, &root) && !stat("/proc/1/root", &host) && root.st_dev == host.st_dev &&
	    root.st_ino == host.st_ino)
		return true;
	return !strncmp(process->comm, "runc:[", strlen("runc:[")) || (name && streq(name, "/crun"));
}

static uint32_t agent_of_pod(const struct adopt_sink *sink, const struct snapshot_process *process)
{
	if (is_runtime(process))
		return 0;
	return sink->pod_agent && process->cgroup_path ? sink->pod_agent(process->cgroup_path, sink->userdata) : 0;
}

static uint32_t agent_of_environ(const struct policy *policy, const struct snapshot_process *process)
{
	struct rule_set agents;
	uint32_t agent;

	if (!process->environ)
		return 0;
	dfa_match_environ(&policy_image(policy)->dfa, process->environ, process->environ_length, &agents);
	agent = rule_set_first(&agents);
	return agent == RULE_DEFAULT ? 0 : agent;
}

/* As exec_agent and exec_environ in bpf/task.bpf.c decide, from what /proc still tells; and by cgroup. */
static uint32_t agent_of_process(const struct policy *policy, const struct adopt_sink *sink,
				 const struct snapshot_process *process, uint32_t *ret_flags)
{
	const char *script;
	uint32_t by_exe = process->exe ? agent_of_text(policy, process->exe) : 0, agent, pod;

	*ret_flags = EXEC_BY_EXE;
	if (by_exe && by_exe != EXE_INTERPRETER)
		return by_exe;
	*ret_flags = EXEC_BY_SCRIPT;
	agent = process->args_length ? agent_of_name(policy, process, process->args) : 0;
	if (agent && agent != EXE_INTERPRETER)
		return agent;
	script = by_exe == EXE_INTERPRETER ? script_of(process) : NULL;
	agent = script ? agent_of_name(policy, process, script) : 0;
	if (agent && agent != EXE_INTERPRETER)
		return agent;
	*ret_flags = EXEC_BY_CGROUP;
	agent = agent_of_cgroup(policy, process);
	pod = agent ? 0 : agent_of_pod(sink, process);
	agent = agent ? agent : pod & ~CGROUP_UNRESOLVED;
	if (agent)
		return agent;
	*ret_flags = EXEC_BY_ENVIRON;
	agent = agent_of_environ(policy, process);
	return agent ? agent : pod;
}

/* --- making it a session --- */

static int begin_session(struct adoption *adoption, const struct snapshot_process *process)
{
	struct workspace_place place = {};
	char link[64];
	int error;

	snprintf(link, sizeof(link), "/proc/%u/cwd", process->pid);
	if (workspace_resolve(link, &place))
		return guard_add_session(adoption->guard, &process->session, process->agent, 0, 0, NULL);
	error = guard_add_session(adoption->guard, &process->session, process->agent, place.dev, place.ino, place.path);
	workspace_done(&place);
	return error;
}

static int enlist(struct adoption *adoption, struct snapshot_process *process)
{
	struct process_id id = {.start = process->start, .pid = process->pid};
	int error = 0;

	if (process->flags & EXEC_NEW_SESSION)
		error = begin_session(adoption, process);
	if (!error)
		error = guard_add_task(adoption->guard, &id, &process->session, process->agent);
	if (error)
		return error;
	adoption->found += 1;
	process->flags |= EXEC_SNAPSHOT;
	return adoption->sink->found(process, adoption->time, adoption->sink->userdata);
}

static int await(struct adoption *adoption, const struct snapshot_process *process)
{
	struct process_id id = {.start = process->start, .pid = process->pid};
	int error = guard_await_task(adoption->guard, &id, process->cgroup);

	if (!error && adoption->sink->awaits)
		adoption->sink->awaits(adoption->sink->userdata);
	return error;
}

/* The session of a process's parent, which stands before it in the snapshot; else one of its own, or none. */
static int look_at(struct adoption *adoption, const struct snapshot *snapshot, struct snapshot_process *process)
{
	const struct snapshot_process *parent = snapshot_find(snapshot, process->ppid);
	uint32_t flags = 0, agent;

	if (parent && parent->session.start) {
		process->session = parent->session;
		process->agent = parent->agent;
		return enlist(adoption, process);
	}
	agent = agent_of_process(adoption->policy, adoption->sink, process, &flags);
	if (!agent)
		return 0;
	if (agent & CGROUP_UNRESOLVED)
		return await(adoption, process);
	process->agent = agent;
	process->flags = flags | EXEC_NEW_SESSION;
	if (flags & EXEC_BY_CGROUP)
		process->session = (struct session_id){.start = process->cgroup};
	else
		process->session = (struct session_id){.start = process->start, .pid = process->pid};
	return enlist(adoption, process);
}

static int by_pid(const void *left, const void *right)
{
	const struct snapshot_start *a = left, *b = right;

	return a->pid < b->pid ? -1 : a->pid > b->pid;
}

/* What the kernel says of each process: its exact start, and the session where it is a member already. */
static int add_kernel_facts(struct guard *guard, struct snapshot *snapshot)
{
	_cleanup_free_ struct snapshot_entry *entries = NULL;
	_cleanup_free_ struct snapshot_start *starts = NULL;
	size_t count;
	int error = guard_snapshot(guard, &entries, &count);

	if (error)
		return error;
	starts = calloc(MAX(count, (size_t)1), sizeof(*starts));
	if (!starts)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		starts[i] = (struct snapshot_start){entries[i].tgid, entries[i].ppid, entries[i].start};
	qsort(starts, count, sizeof(*starts), by_pid);
	error = snapshot_set_starts(snapshot, starts, count);
	for (size_t i = 0; i < count && !error; i++) {
		struct snapshot_process *process = snapshot_find(snapshot, entries[i].tgid);

		if (!process)
			continue;
		process->session = entries[i].session;
		process->cgroup = entries[i].cgroup;
	}
	return error;
}

static int scan_once(struct adoption *adoption)
{
	struct snapshot snapshot = {};
	bool environment = policy_image(adoption->policy)->dfa.start[DFA_ENVIRON] != DFA_DEAD;
	int error = snapshot_take(NULL, environment ? SNAPSHOT_ENVIRON : 0, &snapshot);

	if (error)
		return error;
	adoption->time = boot_time();
	error = add_kernel_facts(adoption->guard, &snapshot);
	for (size_t i = 0; i < snapshot.count && !error; i++) {
		struct snapshot_process *process = &snapshot.processes[i];

		if (process->session.start || !process->start_exact || (pid_t)process->pid == getpid())
			continue;
		error = look_at(adoption, &snapshot, process);
	}
	snapshot_free(&snapshot);
	return error;
}

int adopt_members(struct guard *guard, const struct adopt_sink *sink)
{
	struct snapshot snapshot = {};
	int error = snapshot_take(NULL, 0, &snapshot);
	uint64_t time = boot_time();

	if (error)
		return error;
	error = add_kernel_facts(guard, &snapshot);
	for (size_t i = 0; i < snapshot.count && !error; i++) {
		struct snapshot_process *process = &snapshot.processes[i];

		if (!process->session.start || !process->start_exact)
			continue;
		process->flags = EXEC_SNAPSHOT;
		if (process->pid == process->session.pid && process->start == process->session.start)
			process->flags |= EXEC_NEW_SESSION;
		guard_session_agent(guard, &process->session, &process->agent);
		error = sink->found(process, time, sink->userdata);
	}
	snapshot_free(&snapshot);
	return error;
}

int adopt_running(struct guard *guard, const struct policy *policy, const char *cgroup_root,
		  const struct adopt_sink *sink)
{
	struct adoption adoption = {.guard = guard, .policy = policy, .sink = sink};
	const struct dfa *dfa = &policy_image(policy)->dfa;
	int error = 0;

	if (dfa->start[DFA_CGROUP] != DFA_DEAD && cgroup_root)
		error = mark_cgroups(guard, policy, cgroup_root);
	if (!sink->pod_agent && dfa->start[DFA_EXE] == DFA_DEAD && dfa->start[DFA_CGROUP] == DFA_DEAD &&
	    dfa->start[DFA_ENVIRON] == DFA_DEAD)
		return error;
	for (int i = 0; i < SCANS_MAX && !error; i++) {
		size_t before = adoption.found;

		error = scan_once(&adoption);
		if (adoption.found == before)
			break;
	}
	return error;
}
