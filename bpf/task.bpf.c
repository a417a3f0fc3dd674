/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who belongs to which session: begun at exec or in a cgroup, inherited at fork, dropped at exit.
 *
 * Membership is kept by process number and start time. Task storage would spare the bystander some instructions but
 * is lost when a thread other than the leader calls execve: the thread takes the leader's number and start time over,
 * and the leader's storage goes with the leader (fs/exec.c, de_thread).
 */
#include "reprieve.bpf.h"

struct tasks_map tasks SEC(".maps");
struct sessions_map sessions SEC(".maps");
struct cgroups_map cgroups SEC(".maps"); /* ids of cgroups that the policy names, and their agent */

/* Who acts, into the record of a slot: always the current task. */
__noinline int actor_fill(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct task_entry *entry = task_entry_current();

	if (!scratch)
		return -1;
	actor_set(scratch, entry ? entry->start : BPF_CORE_READ(task, group_leader, start_boottime));
	if (entry)
		scratch->rec.op.actor.session = entry->session;
	return 0;
}

/* A slot with an empty record of this kind in it, or -1. */
static __always_inline int record_begin(__u32 kind)
{
	int slot = scratch_take();
	struct scratch *scratch = scratch_of(slot);

	if (slot < 0 || !scratch)
		return -1;
	__builtin_memset(&scratch->rec, 0, sizeof(scratch->rec));
	__builtin_memset(&scratch->pending, 0, sizeof(scratch->pending));
	scratch->ws_ino = 0;
	scratch->unresolved = 0;
	scratch->policy = settings.active_policy & 1;
	scratch->rec.head.kind = kind;
	actor_fill(slot);
	return slot;
}

static __always_inline __u64 cgroup_id_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

/* Makes a process a member; a process that the map has no room for is counted and stays outside. */
static __always_inline struct task_entry *task_join(__u32 tgid, struct task_entry *entry)
{
	members_add(tgid, 1);
	if (bpf_map_update_elem(&tasks, &tgid, entry, BPF_ANY)) {
		members_add(tgid, -1);
		count(COUNT_TASK_FULL);
		return NULL;
	}
	return entry;
}

/* The path of a struct path into out[]; empty where it cannot be told. */
static __always_inline void path_into_out(__u32 slot, struct scratch *scratch, struct path *path)
{
	if (path_walk(slot, (__u64)path->dentry, (__u64)path->mnt) < 0)
		scratch->out_length = 0;
	else
		path_forward(slot);
}

/* Makes a session known, with the task's working directory as its workspace; its path is left in out[]. */
static __always_inline int session_new(__u32 slot, struct scratch *scratch, struct task_struct *task,
				       struct task_entry *entry)
{
	struct session_info *info = (struct session_info *)scratch->given;
	struct path pwd = {};

	BPF_CORE_READ_INTO(&pwd, task, fs, pwd);
	path_into_out(slot, scratch, &pwd);
	__builtin_memset(info, 0, sizeof(*info));
	info->agent = entry->agent;
	info->ws_ino = BPF_CORE_READ(pwd.dentry, d_inode, i_ino);
	info->ws_dev = BPF_CORE_READ(pwd.dentry, d_sb, s_dev);
	if (scratch->out_length && scratch->out_length < WORKSPACE_BYTES) {
		info->ws_name_length = scratch->out_length;
		bpf_probe_read_kernel(info->ws_name, scratch->out_length & (WORKSPACE_BYTES - 1), scratch->out);
	}
	if (!bpf_map_update_elem(&sessions, &entry->session, info, BPF_NOEXIST))
		return 0;
	count(COUNT_SESSION_FULL);
	return -1;
}

static __always_inline void exec_text(__u32 slot, struct text *ret_text)
{
	__u32 text = text_add(slot);

	ret_text->offset = text >> 16;
	ret_text->length = text;
}

/* The record of a process that joins, or may have to: of the session of that cgroup. */
static __always_inline void join_record(struct scratch *scratch, struct task_struct *task, __u32 tgid,
					const struct task_entry *entry)
{
	struct record_join *rec = &scratch->rec.join;

	rec->actor.process.pid = tgid;
	rec->actor.process.start = entry->start;
	rec->actor.session = entry->session;
	rec->actor.ppid = BPF_CORE_READ(task, real_parent, tgid);
	bpf_probe_read_kernel_str(rec->actor.comm, COMM_BYTES, &task->comm);
	rec->cgroup = entry->session.start;
	rec->agent = entry->agent;
	rec->flags |= EXEC_BY_CGROUP;
	scratch->pending.fixed = sizeof(struct record_join);
}

/* Makes a process a member of a cgroup's session, which the first of them begins, and tells by a join record. */
static __always_inline int task_join_session(struct task_struct *task, __u32 tgid, struct task_entry *entry)
{
	struct scratch *scratch;
	int slot;

	slot = record_begin(RECORD_JOIN);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return task_join(tgid, entry) ? 0 : -1;
	if (!bpf_map_lookup_elem(&sessions, &entry->session) && !session_new(slot, scratch, task, entry)) {
		scratch->rec.join.flags = EXEC_NEW_SESSION;
		exec_text(slot, &scratch->rec.join.cwd);
	}
	if (task_join(tgid, entry)) {
		join_record(scratch, task, tgid, entry);
		emit(slot, 0);
	}
	scratch_release(slot);
	return 0;
}

/* A process of a pod that nobody told of yet: what may be its first loss waits. Userspace is told, to be ready. */
static __always_inline int task_await(struct task_struct *task, __u32 tgid, struct task_entry *entry)
{
	struct scratch *scratch;
	int slot;

	entry->agent = 0;
	entry->awaiting = 1;
	if (!task_join(tgid, entry))
		return -1;
	slot = record_begin(RECORD_JOIN);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 0;
	scratch->rec.join.flags = EXEC_UNRESOLVED;
	join_record(scratch, task, tgid, entry);
	emit(slot, 1);
	scratch_release(slot);
	return 0;
}

/*
 * A process in a cgroup that the policy names is a member of that cgroup's session, which the first of them begins: where
 * that one stands is the workspace.
 */
__noinline int cgroup_join_whole(__u64 address, __u32 tgid, __u64 start, __u32 at_exec)
{
	struct task_struct *task = (struct task_struct *)address;
	__u64 cgroup = cgroup_id_of(task);
	__u32 *agent = bpf_map_lookup_elem(&cgroups, &cgroup);
	struct task_entry entry = {.start = start};

	/*
	 * In a container a session begins with the program that it is there for: what the runtime's own process does
	 * before, with the host's mounts or half of its own, is not the agent's doing.
	 */
	if (!agent || at_exec != !!(*agent & CGROUP_INHERITED))
		return 0;
	entry.session.start = cgroup;
	entry.agent = *agent & ~CGROUP_INHERITED;
	if (entry.agent & CGROUP_UNRESOLVED)
		return settings.watch_pods ? task_await(task, tgid, &entry) : 0;
	return entry.agent ? task_join_session(task, tgid, &entry) : 0;
}

/* What is known by now of the pod that an entry waits for: a mark of its cgroup, 0 where there is none. */
static __always_inline __u32 awaited_mark(struct task_struct *task, const struct task_entry *entry)
{
	__u64 cgroup = entry->session.start;
	__u32 *mark = bpf_map_lookup_elem(&cgroups, &cgroup);

	/* Moved on, and the cgroup that it began in is gone. */
	if (!mark) {
		cgroup = cgroup_id_of(task);
		mark = bpf_map_lookup_elem(&cgroups, &cgroup);
	}
	return mark ? *mark & ~CGROUP_INHERITED : 0;
}

/* The current process waits for its pod to be known: whose is it now? Returns enum standing. */
__noinline int task_resolve(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 tgid = bpf_get_current_pid_tgid() >> 32, mark;
	struct task_entry *entry = task_entry_current_any(), joined = {};

	if (!entry)
		return STANDING_NOBODY;
	if (!entry->awaiting)
		return STANDING_MEMBER;
	mark = awaited_mark(task, entry);
	/* The daemon of a node is in a pod too, and would wait for itself. */
	if (mark & CGROUP_UNRESOLVED && settings.watch_pods && tgid != settings.guard_pid)
		return STANDING_UNRESOLVED;
	if (!mark || mark & CGROUP_UNRESOLVED || tgid == settings.guard_pid) {
		if (!bpf_map_delete_elem(&tasks, &tgid))
			members_add(tgid, -1);
		return STANDING_NOBODY;
	}
	joined.start = entry->start;
	joined.session = entry->session;
	joined.agent = mark;
	/* In the place of the entry that it had, so that it is counted once. */
	members_add(tgid, -1);
	return task_join_session(task, tgid, &joined) ? STANDING_NOBODY : STANDING_MEMBER;
}

/* A child waits as its parent does, unless the pod is known not to be an agent's by now. */
static __always_inline int task_await_inherit(struct task_struct *parent, struct task_struct *child,
					      const struct task_entry *entry)
{
	struct task_entry copy = *entry;

	if (!awaited_mark(parent, entry))
		return 0;
	copy.start = child->start_boottime;
	if (task_join(child->tgid, &copy) && settings.inspect_maps)
		map_inherit(parent->tgid, child->tgid);
	return 0;
}

/* The place of that in the programs below: see guard_step. Armed at once only where the policy names cgroups or pods. */
__noinline int cgroup_join(__u64 address, __u32 tgid, __u64 start, __u32 at_exec)
{
	int joined = 0;

	asm volatile("" : "+r"(joined) : "r"(address), "r"(tgid), "r"(start), "r"(at_exec) : "memory");
	return joined;
}

static __always_inline int task_join_cgroup(struct task_struct *task, __u32 tgid, __u64 start, bool at_exec, bool whole)
{
	__u64 address = address_of(task);

	return whole ? cgroup_join_whole(address, tgid, start, at_exec) : cgroup_join(address, tgid, start, at_exec);
}

static __always_inline int fork_seen(struct task_struct *parent, struct task_struct *child, bool whole)
{
	struct task_entry *entry, copy = {};
	struct scratch *scratch;
	int slot;

	if (child->pid != child->tgid)
		return 0;
	entry = task_entry_any(parent);
	if (!entry)
		return settings.watch_cgroups
			       ? task_join_cgroup(child, child->tgid, child->start_boottime, false, whole)
			       : 0;
	if (entry->awaiting)
		return task_await_inherit(parent, child, entry);
	copy.start = child->start_boottime;
	copy.session = entry->session;
	copy.agent = entry->agent;
	task_join(child->tgid, &copy);
	if (settings.inspect_maps)
		map_inherit(parent->tgid, child->tgid);
	slot = record_begin(RECORD_FORK);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 0;
	scratch->rec.fork.child.pid = child->tgid;
	scratch->rec.fork.child.start = child->start_boottime;
	scratch->pending.fixed = sizeof(struct record_fork);
	emit(slot, 0);
	scratch_release(slot);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	return fork_seen(parent, child, false);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork_whole, struct task_struct *parent, struct task_struct *child)
{
	return fork_seen(parent, child, true);
}

/*
 * Where a task comes from, told by the hook at its making. The kernel runs a program at a tracepoint only once at a time
 * on each CPU, and since 7.0 tracepoints can be preempted (with PREEMPT_RT earlier): a fork that comes meanwhile passes
 * the program by, and the child would be nobody's. LSM programs have no such limit.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct home);
} homes SEC(".maps");

const volatile bool have_homes;

SEC("lsm/task_alloc")
int BPF_PROG(task_made, struct task_struct *task, unsigned long clone_flags, int ret)
{
	struct task_entry *entry;
	struct home *home;

	if (ret)
		return -EPERM;
	if (!have_homes || !is_member())
		return 0;
	entry = task_entry_current();
	home = entry ? bpf_task_storage_get(&homes, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE) : NULL;
	if (!home)
		return 0;
	home->session = entry->session;
	home->agent = entry->agent;
	settings.homes = 1;
	return 0;
}

/* Makes the current process a member where its parent was one and nobody noticed. Nonzero: it became one now. */
__noinline int task_heal(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct task_entry entry = {};
	struct task_struct *parent;
	struct scratch *scratch;
	struct home *home;
	int slot;

	if (!have_homes)
		return 0;
	home = bpf_task_storage_get(&homes, bpf_get_current_task_btf(), NULL, 0);
	if (!home || task_entry_current())
		return 0;
	parent = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), real_parent);
	entry.start = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader, start_boottime);
	entry.session = home->session;
	entry.agent = home->agent;
	if (!task_join(tgid, &entry))
		return 0;
	count(COUNT_HEALED);
	slot = record_begin(RECORD_FORK);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 1;
	scratch->rec.fork.child.pid = tgid;
	scratch->rec.fork.child.start = entry.start;
	scratch->rec.fork.actor.process.pid = BPF_CORE_READ(parent, tgid);
	scratch->rec.fork.actor.process.start = BPF_CORE_READ(parent, group_leader, start_boottime);
	scratch->rec.fork.actor.ppid = BPF_CORE_READ(parent, real_parent, tgid);
	bpf_probe_read_kernel_str(scratch->rec.fork.actor.comm, COMM_BYTES, &parent->comm);
	scratch->pending.fixed = sizeof(struct record_fork);
	emit(slot, 0);
	scratch_release(slot);
	return 1;
}

static __always_inline int task_await_end(struct task_struct *task, __u32 tgid)
{
	if (!BPF_CORE_READ(task, signal, live.counter) && !bpf_map_delete_elem(&tasks, &tgid))
		members_add(tgid, -1);
	return 0;
}

/* Ends a process's membership with its last thread. The thread group is dead when no thread of it lives. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct task_entry *entry = task_entry_any(task);
	__u32 tgid = task->tgid;
	struct scratch *scratch;
	int slot;

	if (!entry)
		return 0;
	held_end();
	if (entry->awaiting)
		return task_await_end(task, tgid);
	if (!inflight_emit(bpf_get_current_pid_tgid(), 0, 0))
		inflight_emit(bpf_get_current_pid_tgid(), 0, 0);
	if (BPF_CORE_READ(task, signal, live.counter))
		return 0;
	slot = record_begin(RECORD_EXIT);
	if (bpf_map_delete_elem(&tasks, &tgid))
		goto out;
	members_add(tgid, -1);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 0;
	scratch->rec.exit.code = BPF_CORE_READ(task, group_leader, exit_code);
	if (BPF_CORE_READ(task, signal, group_exit_code))
		scratch->rec.exit.code = BPF_CORE_READ(task, signal, group_exit_code);
	scratch->pending.fixed = sizeof(struct record_exit);
	emit(slot, 0);
out:
	if (slot >= 0)
		scratch_release(slot);
	return 0;
}

/* A name that the process used, made absolute against its working directory, into out[]. */
static __always_inline void name_into_out(__u32 slot, struct scratch *scratch)
{
	if (!scratch->given_length || path_base(slot, AT_FDCWD) < 0 || path_join(slot) < 0)
		scratch->out_length = 0;
}

/* The agent of the lowest bit that out[] is accepted into, 0 for none; EXE_INTERPRETER where only that bit is set. */
static __always_inline __u32 agent_of_out(__u32 slot, struct scratch *scratch)
{
	struct rule_set set;
	__u32 agent;

	if (!scratch->out_length || match_text(slot, DFA_EXE) < 0)
		return 0;
	set = scratch->facts.path;
	agent = rule_set_first(&set);
	return agent == RULE_DEFAULT ? 0 : agent;
}

/* The arguments of the new program, as the kernel has just laid them out, behind the strings so far. */
static __always_inline void exec_args(struct scratch *scratch, struct task_struct *task)
{
	struct record_exec *rec = &scratch->rec.exec;
	__u64 start = BPF_CORE_READ(task, mm, arg_start), end = BPF_CORE_READ(task, mm, arg_end);
	__u32 used = scratch->pending.text_used & (SCRATCH_TEXT - 1);
	__u64 length = end - start;

	if (length > ARGS_BYTES - 1) {
		length = ARGS_BYTES - 1;
		rec->flags |= EXEC_ARGS_CUT;
	}
	length &= ARGS_BYTES - 1;
	if (bpf_probe_read_user(&scratch->text[used], length, (void *)start)) {
		rec->flags |= EXEC_ARGS_UNREAD;
		count(COUNT_ARGS_UNREAD);
		return;
	}
	rec->args.offset = sizeof(scratch->rec) + used;
	rec->args.length = length;
	scratch->pending.text_used = used + length;
}

/*
 * The script among an interpreter's arguments: the first that is no option, given[] = its name. `-c` takes program
 * text, so nothing that follows is looked at. `-e` does in some (perl, node) and is a mere option of every shell: the
 * argument after it is looked at, since program text is no agent's path.
 */
__noinline int exec_script(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 at, end;

	if (!scratch)
		return -1;
	at = BPF_CORE_READ(task, mm, arg_start);
	end = BPF_CORE_READ(task, mm, arg_end);
	for (long i = 0; i < 6; i++) {
		long length = bpf_probe_read_user_str(scratch->given, PATH_BYTES, (void *)at);

		if (length <= 0 || at >= end)
			return -1;
		at += length;
		if (!i)
			continue;
		if (scratch->given[0] != '-') {
			scratch->given_length = length - 1;
			return 0;
		}
		if (scratch->given[1] == 'c')
			return -1;
	}
	return -1;
}

/*
 * Which agent a program is, and by what: its executable, the name it was called by, or the script that an interpreter
 * runs. Returns agent | flags << 8, 0 for none. Leaves the strings of the first two in the record.
 */
__noinline int exec_agent(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	__u32 by_exe, agent;

	if (!scratch)
		return 0;
	by_exe = agent_of_out(slot, scratch);
	if (by_exe && by_exe != EXE_INTERPRETER)
		return by_exe | EXEC_BY_EXE << 8;
	name_into_out(slot, scratch);
	agent = agent_of_out(slot, scratch);
	if (agent && agent != EXE_INTERPRETER)
		return agent | EXEC_BY_SCRIPT << 8;
	if (by_exe != EXE_INTERPRETER && agent != EXE_INTERPRETER)
		return 0;
	if (exec_script(slot) < 0)
		return 0;
	name_into_out(slot, scratch);
	agent = agent_of_out(slot, scratch);
	return agent && agent != EXE_INTERPRETER ? agent | EXEC_BY_SCRIPT << 8 : 0;
}

/* Reads and walks so much of the environment from `start`, at most ENVIRON_CHUNK. Nonzero: it cannot be read. */
__noinline int exec_environ_chunk(__u32 slot, __u64 start, __u64 length)
{
	struct scratch *scratch = scratch_of(slot);

	if (!scratch)
		return -1;
	if (length > ENVIRON_CHUNK)
		length = ENVIRON_CHUNK;
	/* Keeps the mask, which the compiler would find needless and the verifier does not. */
	asm volatile("" : "+r"(length));
	length &= 2 * ENVIRON_CHUNK - 1;
	if (bpf_probe_read_user(scratch->given, length, (void *)start)) {
		count(COUNT_ENVIRON_UNREAD);
		return -1;
	}
	__builtin_memset(&scratch->given[length], 0, 8);
	return match_environ_chunk(slot, length);
}

#define ENVIRON_SOME 8 /* chunks walked by one call: the verifier walks as many */

__noinline int exec_environ_some(__u32 slot, __u64 start, __u64 end)
{
	for (long i = 0; i < ENVIRON_SOME; i++) {
		if (start >= end)
			break;
		if (exec_environ_chunk(slot, start, end - start))
			return -1;
		start += ENVIRON_CHUNK;
	}
	return 0;
}

/*
 * Which agent set the variables that a program was given, 0 for none. A second source: whatever runs below an agent
 * inherits them, and may clear them. execve has just written these pages, so they can be read without a fault.
 */
__noinline int exec_environ(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 start, end;
	struct rule_set set;
	__u32 agent;

	if (!scratch || match_environ_begin(slot))
		return 0;
	start = BPF_CORE_READ(task, mm, env_start);
	end = BPF_CORE_READ(task, mm, env_end);
	if (end > start + ENVIRON_BYTES)
		count(COUNT_ENVIRON_CUT);
	for (long i = 0; i < ENVIRON_BYTES / (ENVIRON_CHUNK * ENVIRON_SOME); i++) {
		if (start >= end || exec_environ_some(slot, start, end))
			break;
		start += ENVIRON_CHUNK * ENVIRON_SOME;
	}
	set = scratch->facts.path;
	agent = rule_set_first(&set);
	return agent == RULE_DEFAULT ? 0 : agent | EXEC_BY_ENVIRON << 8;
}

/* A new session: its root is the process at hand, its workspace the directory it was started in. */
static __always_inline int session_begin(__u32 slot, struct scratch *scratch, struct task_struct *task, __u32 agent)
{
	struct task_entry entry = {};

	entry.start = scratch->rec.exec.actor.process.start;
	entry.session.start = entry.start;
	entry.session.pid = scratch->rec.exec.actor.process.pid;
	entry.agent = agent;
	if (session_new(slot, scratch, task, &entry) || !task_join(entry.session.pid, &entry))
		return -1;
	scratch->rec.exec.actor.session = entry.session;
	return 0;
}

/* The agent of a member's session. One of no particular kind, as `reprieve run` makes them, becomes what runs in it. */
static __always_inline __u32 session_agent(__u32 slot, struct task_entry *entry)
{
	struct session_info *session = bpf_map_lookup_elem(&sessions, &entry->session);
	__u32 found;

	if (!session)
		return entry->agent;
	if (!session->agent && settings.watch_exe) {
		found = exec_agent(slot);
		session->agent = found & 0xff;
	}
	return session->agent;
}

/* The record of an exec by a member: where the program lies, how it was called, and in which directory. */
static __always_inline void exec_record(__u32 slot, struct scratch *scratch, struct task_struct *task, __u32 old_pid)
{
	struct record_exec *rec = &scratch->rec.exec;
	struct path pwd = {};

	exec_args(scratch, task);
	BPF_CORE_READ_INTO(&pwd, task, fs, pwd);
	path_into_out(slot, scratch, &pwd);
	exec_text(slot, &rec->cwd);
	rec->cgroup = cgroup_id_of(task);
	rec->old_pid = old_pid;
	scratch->pending.fixed = sizeof(*rec);
}

/* The cgroup that whoever waits for its pod began in, in the place of a session. */
static __always_inline void awaiting_fill(struct scratch *scratch)
{
	struct task_entry *entry = scratch->unresolved ? task_entry_current_any() : NULL;

	if (!entry)
		return;
	scratch->rec.op.actor.session = entry->session;
	scratch->rec.op.exec_id = exec_id_current();
}

/* Verdicts on execs under way, by thread: taken before the point of no return, on the lsm tier. */
struct execs_map execs SEC(".maps");

/*
 * Judges the exec that the record in the slot tells of, and makes it the record of an operation. A kill is in time: the
 * new program has not run an instruction yet. Nonzero: some rule is about it. The default is not: to run a program is no
 * loss by itself.
 */
__noinline int exec_judge_whole(__u32 slot, __u32 old_pid)
{
	struct scratch *scratch = scratch_of(slot);
	struct record_exec *exec;
	/* The thread that called execve has become the first of its process, and bears that one's number by now. */
	__u64 key = bpf_get_current_pid_tgid() >> 32 << 32 | old_pid;
	__u32 at, end, cut, agent, length, *before;
	struct rule_set none = {};
	struct text exe, args;
	int act;

	if (!scratch)
		return 0;
	exec = &scratch->rec.exec;
	exe = exec->exe;
	args = exec->args;
	agent = exec->agent;
	at = exec->args.offset ? exec->args.offset - sizeof(scratch->rec) : 0;
	/* Without the NUL behind the last one. */
	end = at + (exec->args.length ? exec->args.length - 1 : 0);
	cut = exec->flags & (EXEC_ARGS_CUT | EXEC_ARGS_UNREAD);
	__builtin_memset(&scratch->rec, 0, sizeof(scratch->rec));
	__builtin_memset(&scratch->facts, 0, sizeof(scratch->facts));
	scratch->counted = none;
	scratch->rec.head.kind = RECORD_OP;
	actor_fill(slot);
	awaiting_fill(scratch);
	scratch->rec.op.op = OP_EXEC;
	scratch->rec.op.agent = agent;
	scratch->rec.op.path = exe;
	scratch->rec.op.args = args;
	scratch->facts.op = OP_EXEC;
	scratch->facts.agent = agent;
	scratch->facts.unknown = scratch->unresolved ? UNRESOLVED_FACTS : 1 << FAMILY_WORKSPACE;
	if (!exe.length) {
		scratch->facts.unknown |= 1 << FAMILY_PATH;
		scratch->rec.op.flags |= OP_PATH_UNKNOWN;
	}
	length = exe.length & (2 * PATH_BYTES - 1);
	at &= SCRATCH_TEXT - 1;
	bpf_probe_read_kernel(scratch->out, length,
			      &scratch->text[(exe.offset - sizeof(scratch->rec)) & (SCRATCH_TEXT - 1)]);
	scratch->out_length = length;
	match_path(slot);
	match_args(slot, at, end, cut);
	if (judge(slot))
		return 0;
	/* What the hook before the exec has judged is judged again only where the arguments became other ones meanwhile. */
	before = bpf_map_lookup_elem(&execs, &key);
	act = before && scratch->decision.verdict <= *before;
	bpf_map_delete_elem(&execs, &key);
	if (act)
		return 0;
	if (scratch->decision.rule == RULE_DEFAULT) {
		count(COUNT_OPS + OP_EXEC);
		return 0;
	}
	act = op_judge(slot, TIER_UPROBE);
	return act == ACT_HOLD_AGAIN ? 0 : 1;
}

/* The place of that judgement in process_exec: see guard_step. Armed at once only where a rule is about programs. */
__noinline int exec_judge(__u32 slot, __u32 old_pid)
{
	int judged = 0;

	asm volatile("" : "+r"(judged) : "r"(slot), "r"(old_pid) : "memory");
	return judged;
}

/* The new program of the current process may be the first of a container. */
static __always_inline int exec_join(bool whole)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 start = BPF_CORE_READ(task, group_leader, start_boottime);

	/* runc runs a copy of itself once it is in the cgroup, with the host's mounts still (CVE-2019-5736). */
	if (BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum) == settings.host_mounts)
		return 0;
	return task_join_cgroup(task, bpf_get_current_pid_tgid() >> 32, start, true, whole);
}

/*
 * The new program of a process whose pod nobody told of: it stands stopped before its first instruction where a rule might
 * be about it. It cannot be started once more: userspace judges it by the record, once the pod is known.
 */
static __always_inline void exec_await(__u32 slot, struct scratch *scratch, struct task_struct *task, int old_pid,
				       bool whole)
{
	scratch->unresolved = 1;
	exec_args(scratch, task);
	/* Of a program before this one, which somebody let go on. */
	held_end();
	if ((whole ? exec_judge_whole(slot, old_pid) : exec_judge(slot, old_pid)) && scratch->rec.op.flags & OP_HELD)
		emit(slot, 1);
}

/* What it runs may hold a libc or libpq, by which its first loss comes. */
static __always_inline void exec_awaiting(struct linux_binprm *bprm)
{
	if (settings.inspect_maps && settings.watch_pods && task_entry_current_any())
		map_seen((__u64)BPF_CORE_READ(bprm, file), MAP_EXE);
}

/* Whose a process that is no member turns out to be. Not one within the other, for the sake of the stack. */
static __always_inline struct task_entry *exec_entry(struct task_struct *task, bool whole)
{
	if (settings.watch_pods && task_entry_any(task))
		task_resolve();
	else
		exec_join(whole);
	return task_entry_of(task);
}

static __always_inline int exec_seen(struct task_struct *task, int old_pid, struct linux_binprm *bprm, bool whole)
{
	struct task_entry *entry = task_entry_of(task);
	struct scratch *scratch;
	struct path exe = {};
	struct file *file;
	int slot, found;
	long length;
	bool waits, known = (settings.watch_exe | settings.watch_environ) && !settings.members_only;

	if (!entry && settings.watch_cgroups)
		entry = exec_entry(task, whole);
	waits = !entry && settings.watch_execs && settings.watch_pods && task_entry_any(task);
	if (!entry && !known && !waits) {
		exec_awaiting(bprm);
		return 0;
	}
	slot = record_begin(RECORD_EXEC);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 0;
	length = bpf_probe_read_kernel_str(scratch->given, PATH_BYTES, BPF_CORE_READ(bprm, filename));
	scratch->given_length = length > 0 ? length - 1 : 0;
	bpf_probe_read_kernel(scratch->out, scratch->given_length & (PATH_BYTES - 1), scratch->given);
	scratch->out_length = scratch->given_length;
	exec_text(slot, &scratch->rec.exec.filename);
	file = BPF_CORE_READ(bprm, file);
	BPF_CORE_READ_INTO(&exe, file, f_path);
	path_into_out(slot, scratch, &exe);
	exec_text(slot, &scratch->rec.exec.exe);
	scratch->rec.exec.ino = BPF_CORE_READ(exe.dentry, d_inode, i_ino);
	scratch->rec.exec.dev = BPF_CORE_READ(exe.dentry, d_sb, s_dev);
	scratch->rec.exec.argc = BPF_CORE_READ(bprm, argc);
	if (entry) {
		scratch->rec.exec.agent = session_agent(slot, entry);
	} else {
		found = known ? exec_agent(slot) : 0;
		if (!(found & 0xff) && known && settings.watch_environ)
			found = exec_environ(slot);
		if (!(found & 0xff) || session_begin(slot, scratch, task, found & 0xff)) {
			if (waits)
				exec_await(slot, scratch, task, old_pid, whole);
			goto out;
		}
		scratch->rec.exec.agent = found & 0xff;
		scratch->rec.exec.flags = EXEC_NEW_SESSION | (found >> 8 & 0xff);
	}
	exec_record(slot, scratch, task, old_pid);
	emit(slot, scratch->rec.exec.flags & EXEC_NEW_SESSION);
	if (entry && settings.watch_execs && (whole ? exec_judge_whole(slot, old_pid) : exec_judge(slot, old_pid)))
		emit(slot, scratch->rec.op.flags & (OP_ACTED | OP_HELD));
	scratch_release(slot);
	if (settings.inspect_maps)
		map_seen((__u64)file, MAP_EXE);
	return 0;
out:
	scratch_release(slot);
	exec_awaiting(bprm);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	return exec_seen(task, old_pid, bprm, false);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec_whole, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	return exec_seen(task, old_pid, bprm, true);
}

/* Behind the program that it is put into: they are loaded in this order. */
SEC("freplace/exec_judge")
int exec_judge_body(__u32 slot, __u32 old_pid)
{
	return exec_judge_whole(slot, old_pid);
}

/* What is made below a pod's cgroup is the pod's: its containers, before any process can be in them. */
static __always_inline int cgroup_inherit(struct cgroup *cgroup)
{
	__u64 id = BPF_CORE_READ(cgroup, kn, id), parent = BPF_CORE_READ(cgroup, self.parent, cgroup, kn, id);
	__u32 *agent = bpf_map_lookup_elem(&cgroups, &parent), copy;

	if (!agent || !(*agent & CGROUP_INHERITED))
		return 0;
	copy = *agent;
	bpf_map_update_elem(&cgroups, &id, &copy, BPF_ANY);
	return 1;
}

#define PODS_NAME 0x6b756265706f6473ull /* "kubepods", its first letter highest */

/*
 * Is this the kubelet's: what pods' cgroups are made in, or a container's where the runtime has another mind of paths than
 * the kubelet and puts it elsewhere under such a name? Nobody told of what is made there yet.
 */
__noinline int cgroup_of_kubelet(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	__u64 word = 0;

	if (!scratch)
		return 0;
	for (long i = 0; i < NAME_BYTES; i++) {
		__u8 byte = scratch->given[i];

		word = word << 8 | byte;
		if (!byte || word == PODS_NAME)
			break;
	}
	return word == PODS_NAME;
}

static __always_inline void cgroup_mark_pods(__u32 slot, struct scratch *scratch, struct cgroup *cgroup)
{
	__u32 mark = CGROUP_INHERITED | CGROUP_UNRESOLVED;
	__u64 id = BPF_CORE_READ(cgroup, kn, id);

	if (bpf_probe_read_kernel_str(scratch->given, NAME_BYTES, BPF_CORE_READ(cgroup, kn, name)) > 0 &&
	    cgroup_of_kubelet(slot))
		bpf_map_update_elem(&cgroups, &id, &mark, BPF_ANY);
}

/* A cgroup made below a name that the policy gives is known before any process can be in it. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_made, struct cgroup *cgroup, const char *path)
{
	struct scratch *scratch;
	__u32 agent;
	__u64 id;
	int slot;
	long length;

	if (!settings.watch_cgroups || BPF_CORE_READ(cgroup, root, hierarchy_id) || cgroup_inherit(cgroup))
		return 0;
	slot = scratch_take();
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 0;
	if (settings.watch_pods)
		cgroup_mark_pods(slot, scratch, cgroup);
	scratch->policy = settings.active_policy & 1;
	length = bpf_probe_read_kernel_str(scratch->out, PATH_BYTES, path);
	scratch->out_length = length > 0 ? length - 1 : 0;
	if (match_text(slot, DFA_CGROUP) >= 0) {
		struct rule_set set = scratch->facts.path;

		agent = rule_set_first(&set);
		id = BPF_CORE_READ(cgroup, kn, id);
		if (agent != RULE_DEFAULT)
			bpf_map_update_elem(&cgroups, &id, &agent, BPF_ANY);
	}
	scratch_release(slot);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_gone, struct cgroup *cgroup)
{
	__u64 id = BPF_CORE_READ(cgroup, kn, id);

	if (settings.watch_cgroups)
		bpf_map_delete_elem(&cgroups, &id);
	return 0;
}

/* A process moved into such a cgroup joins, unless it is in a session already: membership is never taken away. */
static __always_inline int attached_seen(struct cgroup *cgroup, struct task_struct *task, bool whole)
{
	if (!settings.watch_cgroups || BPF_CORE_READ(cgroup, root, hierarchy_id) || task_entry_of(task))
		return 0;
	return task_join_cgroup(task, task->tgid, BPF_CORE_READ(task, group_leader, start_boottime), false, whole);
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(cgroup_attached, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	return attached_seen(cgroup, task, false);
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(cgroup_attached_whole, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	return attached_seen(cgroup, task, true);
}

/* Behind the programs that it is put into: they are loaded in this order. */
SEC("freplace/cgroup_join")
int cgroup_join_body(__u64 address, __u32 tgid, __u64 start, __u32 at_exec)
{
	return cgroup_join_whole(address, tgid, start, at_exec);
}

SEC("iter/task")
int snapshot(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct snapshot_entry line = {};
	struct task_entry *entry;

	if (!task || task->pid != task->tgid)
		return 0;
	line.tgid = task->tgid;
	line.ppid = BPF_CORE_READ(task, real_parent, tgid);
	line.start = task->start_boottime;
	line.cgroup = cgroup_id_of(task);
	entry = task_entry_of(task);
	if (entry)
		line.session = entry->session;
	bpf_seq_write(seq, &line, sizeof(line));
	return 0;
}
