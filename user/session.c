/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "session.h"

#include <sys/stat.h>

#define BUCKETS_AT_START 256
#define SESSION_BUCKETS 64
#define CGROUP_BUCKETS 256
/* How long an ended process may still be named by late records, and how many such are kept at most. */
#define LINGER_NS (5 * NSEC_PER_SEC)
#define LINGER_MAX 4096
/* Ancestors kept whole. Beyond, dead ones are left out: a chain of forks whose parents exit would grow for ever. */
#define ANCESTRY_MAX 64
#define ANCESTRY_WALK 4096

struct sessions {
	struct session_hooks hooks;
	struct clock clock;
	uint64_t now; /* time of the record being applied */
	struct process **buckets; /* by pid */
	size_t bucket_count; /* a power of two */
	size_t process_count;
	struct process *linger_first, *linger_last;
	size_t lingering;
	struct session *sessions[SESSION_BUCKETS];
	size_t session_count; /* not ended */
	struct cgroup *cgroups[CGROUP_BUCKETS];
};

static size_t hash_bits(uint64_t key)
{
	return (size_t)((key * 0x9e3779b97f4a7c15ULL) >> 32);
}

/* Numbers for struct process and struct session: never the same twice, in whichever table. */
static uint64_t next_version(void)
{
	static uint64_t last;

	return ++last;
}

static char *copy_text(struct span text)
{
	char *copy = malloc(text.length + 1);

	if (!copy)
		return NULL;
	if (text.length)
		memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	return copy;
}

/* ---- programs ---- */

static struct span program_text(struct program *program, size_t *at, struct span text)
{
	char *to = program->bytes + *at;

	if (!text.data)
		return text;
	memcpy(to, text.data, text.length);
	*at += text.length;
	return (struct span){to, text.length};
}

static struct program *program_new(const struct event *event)
{
	const struct record_exec *exec = &event->exec;
	size_t at = 0;
	struct program *program;

	program = calloc(1, sizeof(*program) + exec->exe.length + exec->filename.length + exec->args.length +
				    exec->cwd.length);
	if (!program)
		return NULL;
	program->refs = 1;
	program->argc = exec->argc;
	program->flags = exec->flags;
	program->dev = exec->dev;
	program->ino = exec->ino;
	program->exe = program_text(program, &at, event_text(event, exec->exe));
	program->filename = program_text(program, &at, event_text(event, exec->filename));
	program->args = program_text(program, &at, event_text(event, exec->args));
	program->cwd = program_text(program, &at, event_text(event, exec->cwd));
	return program;
}

static struct program *program_ref(struct program *program)
{
	if (program)
		program->refs++;
	return program;
}

static void program_unref(struct program *program)
{
	if (!program || --program->refs)
		return;
	free(program->json_exe);
	free(program->json_rest);
	free(program);
}

/* What its events tell of a process is no longer what it was; its descendants tell it as an ancestor. */
static void process_changed(struct process *process)
{
	process->version = next_version();
	if (process->children)
		process->session->version = next_version();
}

/* ---- cgroups ---- */

static struct cgroup **cgroup_bucket(struct sessions *sessions, uint64_t id)
{
	return &sessions->cgroups[hash_bits(id) % CGROUP_BUCKETS];
}

static struct cgroup *cgroup_find(struct sessions *sessions, uint64_t id)
{
	struct cgroup *cgroup = *cgroup_bucket(sessions, id);

	while (cgroup && cgroup->id != id)
		cgroup = cgroup->next;
	return cgroup;
}

static void cgroup_unref(struct sessions *sessions, struct cgroup *cgroup)
{
	struct cgroup **at;

	if (!cgroup || --cgroup->refs)
		return;
	at = cgroup_bucket(sessions, cgroup->id);
	while (*at != cgroup)
		at = &(*at)->next;
	*at = cgroup->next;
	free(cgroup->path);
	container_free(cgroup->container);
	free(cgroup);
}

void cgroup_changed(struct cgroup *cgroup)
{
	cgroup->version = next_version();
}

static int cgroup_set_path(struct cgroup *cgroup, struct span path)
{
	struct container *container = NULL;
	char *copy;

	if (!path.data ||
	    (cgroup->path && strlen(cgroup->path) == path.length && !memcmp(cgroup->path, path.data, path.length)))
		return 0;
	copy = copy_text(path);
	if (!copy)
		return -ENOMEM;
	if (container_new(path.data, path.length, &container) == -ENOMEM) {
		free(copy);
		return -ENOMEM;
	}
	free(cgroup->path);
	container_free(cgroup->container);
	cgroup->path = copy;
	cgroup->container = container;
	cgroup_changed(cgroup);
	return 0;
}

/* id 0 is no cgroup: the process keeps the one it has. */
static int process_set_cgroup(struct sessions *sessions, struct process *process, uint64_t id, struct span path)
{
	struct cgroup *cgroup = id ? cgroup_find(sessions, id) : NULL;
	struct cgroup **bucket = cgroup_bucket(sessions, id);

	if (!id)
		return 0;
	if (!cgroup) {
		cgroup = calloc(1, sizeof(*cgroup));
		if (!cgroup)
			return -ENOMEM;
		cgroup->id = id;
		cgroup->next = *bucket;
		*bucket = cgroup;
	}
	cgroup->refs++;
	cgroup_unref(sessions, process->cgroup);
	process->cgroup = cgroup;
	return cgroup_set_path(cgroup, path);
}

bool sessions_cgroup_is_named(struct sessions *sessions, uint64_t id)
{
	struct cgroup *cgroup = cgroup_find(sessions, id);

	return cgroup && cgroup->path;
}

int sessions_name_cgroup(struct sessions *sessions, uint64_t id, const char *path)
{
	struct cgroup *cgroup = cgroup_find(sessions, id);

	return cgroup ? cgroup_set_path(cgroup, span_of(path)) : -ENOENT;
}

/* ---- sessions ---- */

static struct session **session_bucket(struct sessions *sessions, const struct session_id *id)
{
	return &sessions->sessions[hash_bits(id->start ^ id->pid) % SESSION_BUCKETS];
}

struct session *sessions_find(struct sessions *sessions, const struct session_id *id)
{
	struct session *session = *session_bucket(sessions, id);

	while (session && (session->id.pid != id->pid || session->id.start != id->start))
		session = session->next;
	return session;
}

static void session_unhash(struct sessions *sessions, struct session *session)
{
	struct session **at = session_bucket(sessions, &session->id);

	while (*at && *at != session)
		at = &(*at)->next;
	if (*at)
		*at = session->next;
}

static void session_free(struct session *session)
{
	free(session->name);
	free(session->agent_name);
	free(session->workspace);
	free(session->json);
	free(session);
}

static void session_unref(struct sessions *sessions, struct session *session)
{
	if (!session || --session->refs)
		return;
	session_unhash(sessions, session);
	session_free(session);
}

static void session_changed(struct session *session)
{
	free(session->json);
	session->json = NULL;
	session->version = next_version();
}

/* Nanoseconds may lie before 1970 where the clock is wrong: the id then says 0. */
static void session_write_id(struct session *session)
{
	unsigned long long seconds = 0;

	if (session->began_real > 0)
		seconds = (unsigned long long)session->began_real / NSEC_PER_SEC;
	if (session->id.pid)
		snprintf(session->text_id, sizeof(session->text_id), "s-%u-%llu", session->id.pid, seconds);
	else
		snprintf(session->text_id, sizeof(session->text_id), "c-%llu-%llu",
			 (unsigned long long)session->id.start, seconds);
}

static struct session *session_new(struct sessions *sessions, const struct session_id *id)
{
	struct session *session = calloc(1, sizeof(*session));
	struct session **bucket = session_bucket(sessions, id);

	if (!session)
		return NULL;
	session->id = *id;
	session->refs = 1;
	session->began = id->pid ? id->start : sessions->now;
	session->began_real = clock_real_ns(&sessions->clock, session->began);
	session->incomplete = true;
	session->version = next_version();
	session_write_id(session);
	session->next = *bucket;
	*bucket = session;
	sessions->session_count++;
	return session;
}

/* The session of a record. One that ended is found only by what may come late; anything else begins it anew. */
static struct session *session_get(struct sessions *sessions, const struct session_id *id, bool late)
{
	struct session *session = sessions_find(sessions, id);

	if (session && (!session->ended || late))
		return session;
	if (session)
		session_unhash(sessions, session);
	return session_new(sessions, id);
}

static int session_set_text(struct session *session, char **field, struct span text)
{
	char *copy = copy_text(text);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	session_changed(session);
	return 0;
}

static int session_set_name(struct session *session, struct span name, enum name_source source)
{
	if (!name.length || source <= session->name_source)
		return 0;
	session->name_source = source;
	return session_set_text(session, &session->name, name);
}

/*
 * What a session is called after its root's program. Of a script its own name, not the interpreter's: execve makes
 * it the comm. Of a program run by descriptor (/dev/fd/5) not the number.
 */
static struct span process_program_name(const struct process *process)
{
	const struct program *program = process->program;
	struct span exe = span_basename(program->exe), name = span_basename(program->filename);
	struct span comm = process_comm(process);

	if (name.length && (name.data[0] < '0' || name.data[0] > '9'))
		return name;
	if (!comm.length || program->flags & EXEC_SNAPSHOT || (comm.data[0] >= '0' && comm.data[0] <= '9'))
		return exe;
	/* The beginning of a longer name, cut to what a comm holds. */
	return comm.length <= exe.length && !memcmp(comm.data, exe.data, comm.length) ? exe : comm;
}

static int session_derive_name(struct session *session)
{
	const struct process *root = session->root;

	/* Of the root's program nothing better is learned at each of its events. */
	if (session->name_source >= (session->agent_name ? NAME_AGENT : NAME_PROGRAM))
		return 0;
	if (session->agent_name)
		return session_set_name(session, span_of(session->agent_name), NAME_AGENT);
	if (root && root->program)
		return session_set_name(session, process_program_name(root), NAME_PROGRAM);
	return root ? session_set_name(session, process_comm(root), NAME_COMM) : 0;
}

static int session_set_agent(struct sessions *sessions, struct session *session, uint32_t agent)
{
	const char *name =
		sessions->hooks.agent_name ? sessions->hooks.agent_name(agent, sessions->hooks.userdata) : NULL;

	session->agent = agent;
	session->agent_known = true;
	session_changed(session);
	return name ? session_set_text(session, &session->agent_name, span_of(name)) : 0;
}

/* The agent, from the first record that carries it; and a name once something to name it by is known. */
static int session_learn(struct sessions *sessions, struct session *session, const struct event *event)
{
	uint32_t agent;
	int r = 0;

	/* A session of no particular kind takes the kind of the first agent that runs in it. */
	if ((!session->agent_known || !session->agent) && event_agent(event, &agent) &&
	    (!session->agent_known || agent != session->agent))
		r = session_set_agent(sessions, session, agent);
	if (r < 0)
		return r;
	return session_derive_name(session);
}

/* ---- processes ---- */

static struct process **process_bucket(const struct sessions *sessions, uint32_t pid)
{
	return &sessions->buckets[hash_bits(pid) & (sessions->bucket_count - 1)];
}

struct process *sessions_find_process(struct sessions *sessions, const struct process_id *id)
{
	struct process *process = *process_bucket(sessions, id->pid);

	while (process && (process->id.pid != id->pid || process->id.start != id->start))
		process = process->next;
	return process;
}

struct process *sessions_find_alive(struct sessions *sessions, uint32_t pid)
{
	struct process *process = *process_bucket(sessions, pid);

	while (process && (process->id.pid != pid || !process->alive))
		process = process->next;
	return process;
}

/* More buckets where there are as many processes; without memory the chains just grow longer. */
static void buckets_grow(struct sessions *sessions)
{
	size_t old_count = sessions->bucket_count;
	struct process **old = sessions->buckets;
	struct process **buckets;

	if (sessions->process_count < old_count)
		return;
	buckets = calloc(old_count * 2, sizeof(*buckets));
	if (!buckets)
		return;
	sessions->buckets = buckets;
	sessions->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++) {
		for (struct process *process = old[i], *next; process; process = next) {
			struct process **bucket = process_bucket(sessions, process->id.pid);

			next = process->next;
			process->next = *bucket;
			*bucket = process;
		}
	}
	free(old);
}

static void process_unhash(struct sessions *sessions, struct process *process)
{
	struct process **at = process_bucket(sessions, process->id.pid);

	while (*at != process)
		at = &(*at)->next;
	*at = process->next;
	sessions->process_count--;
}

struct process *process_hold(struct process *process)
{
	process->refs++;
	return process;
}

void process_release(struct sessions *sessions, struct process *process)
{
	while (process && --process->refs == 0) {
		struct process *parent = process->parent;

		process_unhash(sessions, process);
		program_unref(process->program);
		cgroup_unref(sessions, process->cgroup);
		session_unref(sessions, process->session);
		free(process);
		if (parent)
			parent->children--;
		process = parent;
	}
}

static void process_set_parent(struct sessions *sessions, struct process *process, struct process *parent)
{
	struct process *old = process->parent;

	process->parent = parent ? process_hold(parent) : NULL;
	if (parent)
		parent->children++;
	if (old)
		old->children--;
	process_changed(process);
	process_release(sessions, old);
}

static bool is_root(const struct process *process)
{
	const struct session *session = process->session;

	return session && session->id.pid == process->id.pid && session->id.start == process->id.start;
}

struct process *process_ancestor(const struct process *process)
{
	if (is_root(process) || !process->parent || process->parent->session != process->session)
		return NULL;
	return process->parent;
}

static void linger_drop(struct sessions *sessions)
{
	struct process *process = sessions->linger_first;

	sessions->linger_first = process->linger_next;
	if (!sessions->linger_first)
		sessions->linger_last = NULL;
	sessions->lingering--;
	process->lingering = false;
	process->linger_next = NULL;
	process_release(sessions, process);
}

static void linger_expire(struct sessions *sessions)
{
	struct process *process;

	while ((process = sessions->linger_first)) {
		bool old = sessions->now > process->exited && sessions->now - process->exited > LINGER_NS;

		if (!old && sessions->lingering <= LINGER_MAX)
			return;
		linger_drop(sessions);
	}
}

static void linger_add(struct sessions *sessions, struct process *process)
{
	if (process->lingering)
		return;
	process_hold(process);
	process->lingering = true;
	if (sessions->linger_last)
		sessions->linger_last->linger_next = process;
	else
		sessions->linger_first = process;
	sessions->linger_last = process;
	sessions->lingering++;
}

static void session_end(struct sessions *sessions, struct session *session)
{
	struct process *root = session->root;

	session->ended = true;
	session->root = NULL;
	sessions->session_count--;
	if (sessions->hooks.ended) {
		session->root = root;
		sessions->hooks.ended(session, sessions->now, sessions->hooks.userdata);
		session->root = NULL;
	}
	process_release(sessions, root);
	session_unref(sessions, session);
}

/* One process of the session less; the caller holds the session. */
static void session_left(struct sessions *sessions, struct session *session)
{
	if (--session->alive == 0 && !session->ended)
		session_end(sessions, session);
}

static void process_exit(struct sessions *sessions, struct process *process, uint32_t code)
{
	if (!process->alive)
		return;
	process->alive = false;
	process->exited = sessions->now;
	process->exit_code = code;
	linger_add(sessions, process);
	session_left(sessions, process->session);
	process_release(sessions, process);
}

static void session_joined(struct session *session, struct process *process)
{
	session->alive++;
	session->processes++;
	if (!session->root && is_root(process))
		session->root = process_hold(process);
}

static void process_move(struct sessions *sessions, struct process *process, struct session *session)
{
	struct session *old = process->session;

	if (old == session)
		return;
	session->refs++;
	process->session = session;
	process_changed(process);
	old->version = next_version();
	if (process->alive) {
		session_joined(session, process);
		session_left(sessions, old);
	}
	session_unref(sessions, old);
}

/* Of two living processes of one number the older must have ended unseen. */
static void process_supersede(struct sessions *sessions, const struct process *process)
{
	for (struct process *other = process->next; other; other = other->next) {
		if (other->alive && other->id.pid == process->id.pid) {
			process_exit(sessions, other, 0);
			return;
		}
	}
}

static struct process *process_new(struct sessions *sessions, const struct process_id *id, struct session *session)
{
	const struct process *other = sessions_find_alive(sessions, id->pid);
	struct process *process = calloc(1, sizeof(*process));
	struct process **bucket;

	if (!process)
		return NULL;
	session->refs++;
	buckets_grow(sessions);
	bucket = process_bucket(sessions, id->pid);
	process->id = *id;
	process->session = session;
	process->version = next_version();
	process->refs = 1;
	process->next = *bucket;
	*bucket = process;
	sessions->process_count++;
	/* After the session's end, or once the number is used again, records are about a process that is no more. */
	process->alive = !session->ended && !(other && other->id.start > id->start);
	process->exited = sessions->now;
	if (process->alive) {
		session_joined(session, process);
		process_supersede(sessions, process);
	} else {
		linger_add(sessions, process);
		process->refs--;
	}
	return process;
}

/* comm is the acting thread's: the leader's is the process's. Records that userspace makes up have none. */
static void process_update(struct process *process, const struct actor *actor)
{
	process->uid = actor->uid;
	process->gid = actor->gid;
	if (!actor->comm[0] || (actor->tid != actor->process.pid && process->comm[0]) ||
	    !memcmp(process->comm, actor->comm, COMM_BYTES))
		return;
	memcpy(process->comm, actor->comm, COMM_BYTES);
	process_changed(process);
}

/*
 * The parent of a process whose fork was not seen: the real parent as the kernel names it, where that is of the
 * session; else it was given to another, and all that is certain is that it descends from the session's root.
 */
static void process_guess_parent(struct sessions *sessions, struct process *process, uint32_t ppid)
{
	struct session *session = process->session;
	struct process *parent = sessions_find_alive(sessions, ppid);

	process->lineage_known = true;
	if (is_root(process))
		return;
	if (parent && parent != process && parent->session == session && parent->id.start <= process->id.start) {
		process_set_parent(sessions, process, parent);
		return;
	}
	if (!session->id.pid)
		return; /* a cgroup's session begins wherever a process joined the cgroup */
	process->lineage_known = false;
	if (session->root && session->root != process)
		process_set_parent(sessions, process, session->root);
}

static void process_splice_parent(struct sessions *sessions, struct process *process)
{
	struct process *gone = process->parent;

	process->omitted += gone->omitted + 1;
	process_set_parent(sessions, process, gone->parent);
}

static void ancestry_trim(struct sessions *sessions, struct process *process)
{
	int steps = 0;

	while (process->parent && ++steps < ANCESTRY_MAX)
		process = process->parent;
	for (; process->parent && steps < ANCESTRY_WALK; steps++) {
		struct process *parent = process->parent;

		if (!parent->alive && parent->children == 1 && !is_root(parent) && process_ancestor(parent))
			process_splice_parent(sessions, process);
		else
			process = parent;
	}
}

static bool is_descendant(const struct process *process, const struct process *of)
{
	for (; process; process = process->parent)
		if (process == of)
			return true;
	return false;
}

/* ---- records ---- */

/* The acting process, made from the record where it is not known. */
static int actor_process(struct sessions *sessions, const struct event *event, bool late, struct process **ret_process)
{
	const struct actor *actor = event_actor(event);
	struct process *process = sessions_find_process(sessions, &actor->process);
	struct session *session;

	if (process && (!process->alive || (event->head.kind == RECORD_EXEC && event->exec.flags & EXEC_SNAPSHOT))) {
		*ret_process = process;
		return 0;
	}
	session = session_get(sessions, &actor->session, late);
	if (!session)
		return -ENOMEM;
	if (process) {
		process_move(sessions, process, session);
	} else {
		process = process_new(sessions, &actor->process, session);
		if (!process)
			return -ENOMEM;
		process_update(process, actor);
		process_guess_parent(sessions, process, actor->ppid);
	}
	process_update(process, actor);
	*ret_process = process;
	return 0;
}

static int apply_other(struct sessions *sessions, const struct event *event, struct process **ret_process)
{
	return actor_process(sessions, event, true, ret_process);
}

static struct process *fork_child(struct sessions *sessions, const struct event *event, struct process *parent)
{
	struct process *child = sessions_find_process(sessions, &event->fork.child);

	if (!child)
		child = process_new(sessions, &event->fork.child, parent->session);
	if (!child || child == parent || child->lineage_known || (child->children && is_descendant(parent, child)))
		return child;
	process_set_parent(sessions, child, parent);
	child->lineage_known = true;
	ancestry_trim(sessions, child);
	return child;
}

/* The child runs what its parent runs, in its cgroup and directory. */
static int apply_fork(struct sessions *sessions, const struct event *event, struct process **ret_process)
{
	struct process *parent, *child;
	int r;

	r = actor_process(sessions, event, false, &parent);
	if (r < 0)
		return r;
	child = fork_child(sessions, event, parent);
	if (!child)
		return -ENOMEM;
	if (!child->program)
		child->program = program_ref(parent->program);
	if (!child->comm[0]) {
		child->uid = event->fork.actor.uid;
		child->gid = event->fork.actor.gid;
		memcpy(child->comm, event->fork.actor.comm[0] ? event->fork.actor.comm : parent->comm, COMM_BYTES);
	}
	if (!child->cgroup && parent->cgroup) {
		child->cgroup = parent->cgroup;
		child->cgroup->refs++;
	}
	process_changed(child);
	*ret_process = parent;
	return 0;
}

/* The beginning of a session, as its record tells it: how it was recognised, in which directory, under which name. */
static int session_begin(struct session *session, uint32_t flags, struct span cwd)
{
	session->incomplete = false;
	session->flags = flags;
	session_changed(session);
	if (!cwd.data || session->workspace)
		return 0;
	return session_set_text(session, &session->workspace, cwd);
}

static int exec_session(struct session *session, const struct event *event)
{
	int r = 0;

	if (event->exec.flags & EXEC_NEW_SESSION)
		r = session_begin(session, event->exec.flags, event_text(event, event->exec.cwd));
	return r < 0 ? r : session_set_name(session, event_text(event, event->exec.name), NAME_GIVEN);
}

/* A cgroup's session has no root to be named by. */
static int process_join_cgroup(struct sessions *sessions, struct process *process, uint64_t id, struct span path)
{
	int r = process_set_cgroup(sessions, process, id, path);

	if (r < 0 || process->session->id.pid)
		return r;
	return session_set_name(process->session, span_basename(path), NAME_PROGRAM);
}

/* A scan of /proc only adds what no record told: its news may be older than the records before it. */
static int apply_exec(struct sessions *sessions, const struct event *event, struct process **ret_process)
{
	bool snapshot = event->exec.flags & EXEC_SNAPSHOT;
	struct process *process;
	struct program *program;
	int r;

	r = actor_process(sessions, event, false, &process);
	if (r < 0)
		return r;
	*ret_process = process;
	if (!snapshot || !process->program) {
		program = program_new(event);
		if (!program)
			return -ENOMEM;
		program_unref(process->program);
		process->program = program;
		process_changed(process);
		process->execs += !snapshot;
	}
	if (!snapshot || !process->cgroup)
		r = process_join_cgroup(sessions, process, event->exec.cgroup,
					event_text(event, event->exec.cgroup_path));
	return r < 0 ? r : exec_session(process->session, event);
}

static int apply_join(struct sessions *sessions, const struct event *event, struct process **ret_process)
{
	struct process *process;
	int r;

	r = actor_process(sessions, event, false, &process);
	if (r < 0)
		return r;
	*ret_process = process;
	/* A cgroup's session begins with whoever joins first. */
	if (event->join.flags & EXEC_NEW_SESSION || (!process->session->flags && !process->session->id.pid))
		r = session_begin(process->session, event->join.flags, event_text(event, event->join.cwd));
	if (r < 0)
		return r;
	return process_join_cgroup(sessions, process, event->join.cgroup, event_text(event, event->join.cgroup_path));
}

static int session_announce(struct sessions *sessions, struct session *session, const struct event *event)
{
	int r = session_learn(sessions, session, event);

	if (r < 0 || session->announced || session->ended)
		return r;
	session->announced = true;
	if (sessions->hooks.begun)
		sessions->hooks.begun(session, sessions->now, sessions->hooks.userdata);
	return 0;
}

/* Of an unknown process a trace is kept for a while, so that a scan of /proc from before does not revive it. */
static int apply_exit(struct sessions *sessions, const struct event *event, struct process **ret_process)
{
	struct process *process;
	int r;

	r = actor_process(sessions, event, true, &process);
	if (r < 0)
		return r;
	/* The beginning of a session is told before its end. */
	r = session_announce(sessions, process->session, event);
	process_exit(sessions, process, event->exit.code);
	*ret_process = process;
	return r;
}

static int (*const apply_kind[RECORD_KIND_COUNT])(struct sessions *, const struct event *, struct process **) = {
	[RECORD_FORK] = apply_fork, [RECORD_EXEC] = apply_exec,	   [RECORD_EXIT] = apply_exit,
	[RECORD_OP] = apply_other,  [RECORD_SQL] = apply_other,	   [RECORD_MAP] = apply_other,
	[RECORD_JOIN] = apply_join, [RECORD_TAMPER] = apply_other,
};

int sessions_apply(struct sessions *sessions, const struct event *event, struct process **ret_process)
{
	const struct actor *actor = event_actor(event);
	struct process *process = NULL;
	int r;

	sessions->now = event->head.time;
	linger_expire(sessions);
	if (!actor || (!actor->session.pid && !actor->session.start)) {
		*ret_process = NULL;
		return 0;
	}
	r = apply_kind[event->head.kind](sessions, event, &process);
	if (r < 0)
		return r;
	process->session->last = sessions->now;
	r = session_announce(sessions, process->session, event);
	if (r < 0)
		return r;
	*ret_process = process;
	return 0;
}

/* ---- totals ---- */

void event_loss(const struct event *event, uint64_t *ret_files, uint64_t *ret_bytes)
{
	const struct record_op *op = &event->op;
	const struct target *target = op->op == OP_RENAME ? &op->replaced : &op->target;
	bool last_name = target->nlink <= 1;
	__u64 kept = 0;

	*ret_files = 0;
	*ret_bytes = 0;
	if (op->op > OP_OVERWRITE || op->op == OP_RMDIR || S_ISDIR(target->mode) || op->flags & OP_NOT_LOST)
		return;
	if (op->op == OP_RENAME && !(op->flags & OP_REPLACED))
		return;
	*ret_files = 1;
	if (op->op == OP_OVERWRITE || (op->op != OP_RENAME && !(op->flags & OP_SIZE_KNOWN)))
		return;
	if (op->op == OP_TRUNCATE)
		event_new_size(event, &kept);
	else if (!last_name)
		return;
	*ret_bytes = target->size > kept ? target->size - kept : 0;
}

/* A hold spares nothing while the question is open. On the signal tier the operation under way is done. */
static bool is_spared(const struct event *event, enum verdict verdict)
{
	bool refused = verdict > VERDICT_HOLD || event->op.flags & (OP_DENIED_INSTEAD | OP_REFUSED);

	return refused && event->op.flags & OP_ACTED && event->op.tier > TIER_SIGNAL;
}

void session_count(struct session *session, const struct event *event, enum verdict verdict)
{
	struct session_totals *totals = &session->totals;
	uint64_t files, bytes;

	if (!event_ends_hold(event)) {
		totals->ops[event_op(event)]++;
		if (verdict < VERDICT_COUNT)
			totals->verdicts[verdict]++;
	}
	if (event->head.kind != RECORD_OP || event->op.flags & OP_HELD)
		return;
	event_loss(event, &files, &bytes);
	if (event->op.flags & OP_RESULT_KNOWN && event->op.result >= 0) {
		totals->files_lost += files;
		totals->bytes_lost += bytes;
	} else if (is_spared(event, verdict)) {
		totals->files_spared += files;
		totals->bytes_spared += bytes;
	}
}

void session_spare(struct session *session, const struct event *event)
{
	uint64_t files, bytes;

	if (event->head.kind != RECORD_OP)
		return;
	event_loss(event, &files, &bytes);
	session->totals.files_spared += files;
	session->totals.bytes_spared += bytes;
}

/* ---- requests ---- */

int sessions_setup(struct sessions *sessions, const struct session_id *id, const struct session_setup *setup)
{
	struct session *session = session_get(sessions, id, false);
	int r = 0;

	if (!session)
		return -ENOMEM;
	if (setup->agent)
		r = session_set_agent(sessions, session, *setup->agent);
	if (r == 0 && setup->workspace)
		r = session_set_text(session, &session->workspace, span_of(setup->workspace));
	if (r == 0 && setup->name) {
		session->name_source = NAME_NONE;
		r = session_set_name(session, span_of(setup->name), NAME_GIVEN);
	}
	return r;
}

void sessions_forget(struct sessions *sessions, const struct session_id *id)
{
	struct session *session = sessions_find(sessions, id);

	if (!session || session->ended || session->processes)
		return;
	session->ended = true;
	sessions->session_count--;
	session_unref(sessions, session);
}

struct session *sessions_find_text(struct sessions *sessions, const char *text)
{
	struct session *named = NULL;
	size_t matches = 0;

	for (size_t i = 0; i < SESSION_BUCKETS; i++) {
		for (struct session *session = sessions->sessions[i]; session; session = session->next) {
			if (session->ended)
				continue;
			if (streq(session->text_id, text))
				return session;
			if (session->name && streq(session->name, text)) {
				named = session;
				matches++;
			}
		}
	}
	return matches == 1 ? named : NULL;
}

int sessions_for_each(struct sessions *sessions, int (*each)(struct session *session, void *userdata), void *userdata)
{
	for (size_t i = 0; i < SESSION_BUCKETS; i++) {
		for (struct session *session = sessions->sessions[i]; session; session = session->next) {
			int r = session->ended ? 0 : each(session, userdata);

			if (r)
				return r;
		}
	}
	return 0;
}

int sessions_for_each_process(struct sessions *sessions, int (*each)(struct process *process, void *userdata),
			      void *userdata)
{
	for (size_t i = 0; i < sessions->bucket_count; i++) {
		for (struct process *process = sessions->buckets[i]; process; process = process->next) {
			int r = process->alive ? each(process, userdata) : 0;

			if (r)
				return r;
		}
	}
	return 0;
}

size_t sessions_count(const struct sessions *sessions)
{
	return sessions->session_count;
}

size_t sessions_process_count(const struct sessions *sessions)
{
	return sessions->process_count;
}

void sessions_set_clock(struct sessions *sessions, struct clock clock)
{
	sessions->clock = clock;
}

int sessions_new(const struct session_hooks *hooks, struct sessions **ret_sessions)
{
	_cleanup_free_ struct sessions *sessions = calloc(1, sizeof(*sessions));

	if (!sessions)
		return -ENOMEM;
	sessions->bucket_count = BUCKETS_AT_START;
	sessions->buckets = calloc(sessions->bucket_count, sizeof(*sessions->buckets));
	if (!sessions->buckets)
		return -ENOMEM;
	if (hooks)
		sessions->hooks = *hooks;
	*ret_sessions = take_pointer(sessions);
	return 0;
}

static void free_processes(struct sessions *sessions)
{
	for (size_t i = 0; i < sessions->bucket_count; i++) {
		for (struct process *process = sessions->buckets[i], *next; process; process = next) {
			next = process->next;
			program_unref(process->program);
			cgroup_unref(sessions, process->cgroup);
			/* A session replaced by a later one of its id is reached through its processes only. */
			session_unref(sessions, process->session);
			free(process);
		}
	}
	free(sessions->buckets);
}

void sessions_free(struct sessions *sessions)
{
	if (!sessions)
		return;
	free_processes(sessions);
	for (size_t i = 0; i < SESSION_BUCKETS; i++) {
		for (struct session *session = sessions->sessions[i], *next; session; session = next) {
			next = session->next;
			session_free(session);
		}
	}
	free(sessions);
}
