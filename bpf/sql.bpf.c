/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Statements on their way through libpq, and the files in which further copies of libpq may lie.
 *
 * The probes stand on the functions that every other one passes through (user/libpq.c), so that a statement is seen
 * once. A raw scan for words that can do harm clears most statements here. What is left the parser in userspace has
 * to judge: where the policy might stop it, the process stands stopped meanwhile, before the function's first
 * instruction, with nothing sent.
 */
#include "reprieve.bpf.h"

#include "sqlscan.h"

#define PROT_EXEC 4
#define LO_UNLINK 964 /* object ids of functions that PQfn may call (pg_proc.dat) */
#define LO_TRUNCATE 1004
#define LO_TRUNCATE64 3172

const volatile bool has_cookie = false; /* bpf_get_attach_cookie, commit 7adfc6c9b315 (5.15) */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct file_key);
	__type(value, __u32);
} inspected SEC(".maps");

/* By process: the file that it had looked through last. Records are taken in order, so with this one all are done. One of
 * zeros: the process stands stopped until they are. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct file_key);
} inspecting SEC(".maps");

/* Stops the process where userspace has to learn more before it is right to go on. The stop comes before the record:
 * otherwise the answer could overtake it. */
static __always_inline void sql_consult(__u32 slot, struct scratch *scratch)
{
	struct record_sql *rec = &scratch->rec.sql;

	rec->exec_id = exec_id_current();
	rec->flags |= OP_CONSULT;
	held_put(slot);
	if (!bpf_send_signal_thread(SIGSTOP))
		return;
	held_end();
	count(COUNT_SIGNAL_FAILED);
	rec->flags &= ~OP_CONSULT;
	rec->flags |= OP_ACT_FAILED;
}

static __always_inline void sql_act(__u32 slot, struct scratch *scratch)
{
	struct record_sql *rec = &scratch->rec.sql;

	if (scratch->mode == MODE_OBSERVE) {
		if (rec->verdict >= VERDICT_HOLD)
			rec->flags |= OP_OBSERVED;
		return;
	}
	if ((scratch->decision.uncertain &&
	     (rec->verdict >= VERDICT_HOLD || rec->flags & (OP_TEXT_CUT | OP_TEXT_UNREAD))) ||
	    rec->verdict == VERDICT_HOLD || rec->verdict == VERDICT_DENY) {
		sql_consult(slot, scratch);
		return;
	}
	if (rec->verdict == VERDICT_KILL) {
		if (bpf_send_signal(SIGKILL)) {
			count(COUNT_SIGNAL_FAILED);
			rec->flags |= OP_ACT_FAILED;
		} else {
			rec->flags |= OP_ACTED;
		}
	}
}

/* The statement of a pod that is not known yet. */
static __always_inline int sql_await(__u32 slot, struct scratch *scratch)
{
	scratch->facts.unknown |= 1 << FAMILY_AGENT | 1 << FAMILY_RATE;
	scratch->rec.sql.exec_id = exec_id_current();
	if (!judge(slot)) {
		scratch->rec.sql.verdict = scratch->decision.verdict;
		if (op_await(slot) == ACT_HOLD)
			emit(slot, 1);
	}
	scratch_release(slot);
	return 0;
}

/* Decides over the facts so far and tells of it. */
static __always_inline int sql_end(__u32 slot, struct scratch *scratch)
{
	struct record_sql *rec = &scratch->rec.sql;

	scratch->facts.op = OP_SQL;
	/* Where a statement goes, only userspace can tell. */
	scratch->facts.unknown |= 1 << FAMILY_DATABASE | 1 << FAMILY_HOST;
	rec->op = OP_SQL;
	rec->agent = scratch->facts.agent;
	rec->tier = TIER_UPROBE;
	scratch->pending.fixed = sizeof(*rec);
	if (scratch->unresolved)
		return sql_await(slot, scratch);
	if (!judge(slot)) {
		rec->verdict = scratch->decision.verdict;
		rec->rule = scratch->decision.rule;
		rec->rate = scratch->facts.rate;
		if (scratch->decision.uncertain)
			rec->flags |= OP_UNCERTAIN;
		sql_act(slot, scratch);
	}
	count(COUNT_OPS + OP_SQL);
	/* Nobody will answer a question that did not get through: what might have to be killed is, the rest goes on. */
	if (emit(slot, rec->flags & (OP_ACTED | OP_CONSULT)) && rec->flags & OP_CONSULT) {
		held_end();
		bpf_send_signal(rec->verdict >= VERDICT_HOLD ? SIGKILL : SIGCONT);
	}
	scratch_release(slot);
	return 0;
}

static __always_inline struct scratch *sql_begin(struct pt_regs *ctx, __u32 function, int *ret_slot)
{
	int slot = op_begin(RECORD_SQL);
	struct scratch *scratch = scratch_of(slot);
	__u64 caller = 0;

	if (slot < 0 || !scratch)
		return NULL;
	scratch->rec.sql.function = function;
	scratch->rec.sql.connection = PT_REGS_PARM1(ctx);
	scratch->rec.sql.entry.address = PT_REGS_IP(ctx);
	scratch->rec.sql.entry.stack = PT_REGS_SP(ctx);
	if (!bpf_probe_read_user(&caller, sizeof(caller), (void *)PT_REGS_SP(ctx)))
		scratch->rec.sql.caller = caller - PT_REGS_IP(ctx);
	if (has_cookie)
		scratch->rec.sql.library = (__u32)bpf_get_attach_cookie(ctx);
	*ret_slot = slot;
	return scratch;
}

#define SCAN_CHUNK 16
#define SCAN_BLOCK 256

/* The next bytes of the text, from `at`. A function of its own, so that the verifier walks it once. */
__noinline int sql_scan_chunk(__u32 slot, __u32 at)
{
	struct scratch *scratch = scratch_of(slot);
	struct sql_scan_state state;

	if (!scratch)
		return -1;
	state.hash = scratch->scan_hash;
	state.hit = scratch->scan_hit;
	state.last = scratch->scan_last;
	for (long i = 0; i < SCAN_CHUNK; i++) {
		if (at + i >= scratch->rec.sql.text_length)
			break;
		sql_scan_step(&state, (__u8)scratch->text[(at + i) & (SQL_BYTES - 1)]);
	}
	scratch->scan_hash = state.hash;
	scratch->scan_hit = state.hit;
	scratch->scan_last = state.last;
	return 0;
}

__noinline int sql_scan_block(__u32 slot, __u32 at)
{
	struct scratch *scratch = scratch_of(slot);

	if (!scratch)
		return -1;
	for (long i = 0; i < SCAN_BLOCK / SCAN_CHUNK; i++) {
		if (at + i * SCAN_CHUNK >= scratch->rec.sql.text_length)
			break;
		sql_scan_chunk(slot, at + i * SCAN_CHUNK);
	}
	return 0;
}

/* Scans the text in the slot: nonzero where some word of it can do harm. */
static __always_inline int sql_scan_slot(__u32 slot, struct scratch *scratch)
{
	struct sql_scan_state state;

	sql_scan_begin(&state);
	scratch->scan_hash = state.hash;
	scratch->scan_hit = state.hit;
	scratch->scan_last = state.last;
	for (long i = 0; i < SQL_BYTES / SCAN_BLOCK; i++) {
		if (i * SCAN_BLOCK >= scratch->rec.sql.text_length)
			break;
		sql_scan_block(slot, i * SCAN_BLOCK);
	}
	state.hash = scratch->scan_hash;
	state.hit = scratch->scan_hit;
	state.last = scratch->scan_last;
	return sql_scan_hit(&state);
}

static __always_inline int sql_text(struct pt_regs *ctx, __u32 function, __u64 address)
{
	struct scratch *scratch;
	struct record_sql *rec;
	long length;
	int slot;

	scratch = sql_begin(ctx, function, &slot);
	if (!scratch)
		return 0;
	rec = &scratch->rec.sql;
	rec->text_address = address;
	scratch->facts.unknown = 1 << FAMILY_SQL;
	length = bpf_probe_read_user_str(scratch->text, SQL_BYTES, (void *)address);
	if (length < 0) {
		rec->flags |= OP_TEXT_UNREAD;
		return sql_end(slot, scratch);
	}
	rec->text_length = length ? length - 1 : 0;
	rec->statement.offset = sizeof(scratch->rec);
	rec->statement.length = rec->text_length;
	scratch->pending.text_used = rec->text_length & (SQL_BYTES - 1);
	if (length >= SQL_BYTES) {
		rec->flags |= OP_TEXT_CUT;
	} else if (!sql_scan_slot(slot, scratch)) {
		rec->flags |= OP_TEXT_CLEAR;
		scratch->facts.unknown = 0;
	}
	return sql_end(slot, scratch);
}

SEC("uprobe")
int pq_send_query(struct pt_regs *ctx)
{
	return sql_text(ctx, PQ_SEND_QUERY, PT_REGS_PARM2(ctx));
}

SEC("uprobe")
int pq_send_query_params(struct pt_regs *ctx)
{
	return sql_text(ctx, PQ_SEND_QUERY_PARAMS, PT_REGS_PARM2(ctx));
}

SEC("uprobe")
int pq_send_prepare(struct pt_regs *ctx)
{
	return sql_text(ctx, PQ_SEND_PREPARE, PT_REGS_PARM3(ctx));
}

SEC("uprobe")
int pq_exec(struct pt_regs *ctx)
{
	return sql_text(ctx, PQ_EXEC, PT_REGS_PARM2(ctx));
}

SEC("uprobe")
int pq_exec_params(struct pt_regs *ctx)
{
	return sql_text(ctx, PQ_EXEC_PARAMS, PT_REGS_PARM2(ctx));
}

SEC("uprobe")
int pq_prepare(struct pt_regs *ctx)
{
	return sql_text(ctx, PQ_PREPARE, PT_REGS_PARM3(ctx));
}

/* The text was judged when it was prepared; what is run now has only a name. */
static __always_inline int sql_prepared(struct pt_regs *ctx, __u32 function)
{
	struct scratch *scratch;
	long length;
	int slot;

	scratch = sql_begin(ctx, function, &slot);
	if (!scratch)
		return 0;
	scratch->rec.sql.flags |= OP_TEXT_CLEAR;
	length = bpf_probe_read_user_str(scratch->text, NAME_BYTES, (void *)PT_REGS_PARM2(ctx));
	if (length > 0) {
		scratch->rec.sql.statement.offset = sizeof(scratch->rec);
		scratch->rec.sql.statement.length = length - 1;
		scratch->pending.text_used = (length - 1) & (NAME_BYTES - 1);
	}
	return sql_end(slot, scratch);
}

SEC("uprobe")
int pq_send_query_prepared(struct pt_regs *ctx)
{
	return sql_prepared(ctx, PQ_SEND_QUERY_PREPARED);
}

SEC("uprobe")
int pq_exec_prepared(struct pt_regs *ctx)
{
	return sql_prepared(ctx, PQ_EXEC_PREPARED);
}

/* A function of the server called by its number: large objects are deleted and cut this way, without any text. */
static __always_inline int sql_function(struct pt_regs *ctx)
{
	__u32 function = PT_REGS_PARM2(ctx);
	struct scratch *scratch;
	int slot;

	scratch = sql_begin(ctx, PQ_FN, &slot);
	if (!scratch)
		return 0;
	scratch->rec.sql.text_address = function;
	if (function == LO_UNLINK || function == LO_TRUNCATE || function == LO_TRUNCATE64)
		scratch->facts.sql = 1 << SQL_DYNAMIC;
	else
		scratch->rec.sql.flags |= OP_TEXT_CLEAR;
	return sql_end(slot, scratch);
}

SEC("uprobe")
int pq_fn(struct pt_regs *ctx)
{
	return sql_function(ctx);
}

/*
 * One program for all of these, where the kernel hands a probe its cookie: which library it stands in, and above that
 * on which function. The others are for kernels without.
 */
SEC("uprobe")
int pq_call(struct pt_regs *ctx)
{
	__u32 function = bpf_get_attach_cookie(ctx) >> 32;

	if (!maybe_member(bpf_get_current_pid_tgid() >> 32))
		return 0;
	if (function == PQ_FN)
		return sql_function(ctx);
	if (function == PQ_SEND_QUERY_PREPARED || function == PQ_EXEC_PREPARED)
		return sql_prepared(ctx, function);
	if (function == PQ_SEND_PREPARE || function == PQ_PREPARE)
		return sql_text(ctx, function, PT_REGS_PARM3(ctx));
	return sql_text(ctx, function, PT_REGS_PARM2(ctx));
}

/*
 * A member maps a file to run code from it, or runs it (MAP_EXE). Once for each file, whoever maps it first, and again
 * for those who map it before it has been looked through and its probes are set.
 *
 * The process goes on meanwhile, unless a rule may stop what comes through libc: to stop it here would show, since a shell takes a stopped child for one that was
 * suspended, and every program is new once. It is stopped where it matters, at connect_seen().
 */
__noinline int map_seen(__u64 file_address, __u32 flags)
{
	struct file *file = (struct file *)file_address;
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	struct file_key key = {};
	struct scratch *scratch;
	__u32 tgid = bpf_get_current_pid_tgid() >> 32, *state, pending = INSPECT_PENDING;
	long length;
	int slot;

	key.ino = BPF_CORE_READ(inode, i_ino);
	key.size = BPF_CORE_READ(inode, i_size);
	key.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	key.generation = BPF_CORE_READ(inode, i_generation);
	state = bpf_map_lookup_elem(&inspected, &key);
	if (state && *state == INSPECT_DONE)
		return 0;
	slot = op_open(RECORD_MAP);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 0;
	length = bpf_probe_read_kernel_str(scratch->text, NAME_BYTES, BPF_CORE_READ(dentry, d_name.name));
	scratch->pending.text_used = length > 0 ? (length - 1) & (NAME_BYTES - 1) : 0;
	bpf_map_update_elem(&inspected, &key, &pending, BPF_ANY);
	scratch->rec.map.ino = key.ino;
	scratch->rec.map.dev = key.dev;
	scratch->rec.map.size = key.size;
	scratch->rec.map.inode_generation = key.generation;
	scratch->rec.map.flags = flags | (scratch->unresolved ? MAP_UNRESOLVED : 0);
	scratch->rec.map.name.offset = sizeof(scratch->rec);
	scratch->rec.map.name.length = scratch->pending.text_used;
	scratch->pending.fixed = sizeof(struct record_map);
	if (settings.inspect_maps == INSPECT_STOPPED && !is_selftest(&scratch->rec.op.actor) &&
	    !bpf_send_signal_thread(SIGSTOP))
		scratch->rec.map.flags |= MAP_STOPPED;
	if (!emit(slot, 1))
		bpf_map_update_elem(&inspecting, &tgid, &key, BPF_ANY);
	else if (scratch->rec.map.flags & MAP_STOPPED)
		bpf_send_signal(SIGCONT);
	scratch_release(slot);
	return 0;
}

static __always_inline struct file_key *file_awaited(__u32 tgid)
{
	struct file_key *key = bpf_map_lookup_elem(&inspecting, &tgid);
	__u32 *state = key ? bpf_map_lookup_elem(&inspected, key) : NULL;

	return state && *state == INSPECT_PENDING ? key : NULL;
}

/* A library that is mapped already can be used by a child at once. */
__noinline int map_inherit(__u32 parent, __u32 child)
{
	struct file_key *awaited = file_awaited(parent), key;

	if (!awaited)
		return 0;
	key = *awaited;
	bpf_map_update_elem(&inspecting, &child, &key, BPF_ANY);
	return 0;
}

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SERVER_SOCKET ".s.PGSQL." /* what libpq calls a server's socket: UNIXSOCK_PATH in pqcomm.h */
#define SUN_PATH 108 /* unix(7) */

/* Whether an address may be a server's: of unix sockets only those that libpq makes up. */
__noinline int address_may_serve(__u32 slot, __u64 address, __u32 user)
{
	struct scratch *scratch = scratch_of(slot);
	const void *from = (const void *)address;
	__u16 family = AF_INET;
	char *path;
	long error;

	if (!scratch)
		return 1;
	error = user ? bpf_probe_read_user(&family, sizeof(family), from)
		     : bpf_probe_read_kernel(&family, sizeof(family), from);
	if (error || family == AF_INET || family == AF_INET6)
		return 1;
	if (family != AF_UNIX)
		return 0;
	path = scratch->text;
	error = user ? bpf_probe_read_user_str(path, SUN_PATH, from + sizeof(family))
		     : bpf_probe_read_kernel_str(path, SUN_PATH, from + sizeof(family));
	if (error < 0)
		return 1;
	for (long i = 0; i < SUN_PATH - (long)sizeof(SERVER_SOCKET); i++)
		if (path[i] == '.' && path[i + 1] == 's' && path[i + 2] == '.' && path[i + 3] == 'P' &&
		    path[i + 4] == 'G' && path[i + 5] == 'S' && path[i + 6] == 'Q')
			return 1;
	return 0;
}

/*
 * A member connects to what may be a server while a file that it mapped is still being looked through: it stands
 * stopped until that is done. Nothing is sent by a libpq that did not connect after it was mapped.
 */
__noinline int connect_seen(__u64 address, __u32 user)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct file_key none = {};
	struct scratch *scratch;
	int slot;

	if (!file_awaited(tgid))
		return 0;
	slot = op_open(RECORD_MAP);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 0;
	if (!address_may_serve(slot, address, user))
		goto out;
	scratch->pending.text_used = 0;
	scratch->pending.fixed = sizeof(struct record_map);
	scratch->rec.map.flags = MAP_STOPPED | (scratch->unresolved ? MAP_UNRESOLVED : 0);
	/* Asked once, since the file may be one that cannot be looked at; and noted, for the daemon after one that took the
	 * record and was killed. */
	bpf_map_update_elem(&inspecting, &tgid, &none, BPF_ANY);
	/* The stop comes before the record: otherwise the answer could overtake it. */
	if (bpf_send_signal_thread(SIGSTOP))
		count(COUNT_SIGNAL_FAILED);
	else if (emit(slot, 1))
		bpf_send_signal(SIGCONT);
out:
	scratch_release(slot);
	return 0;
}

SEC("lsm/mmap_file")
int BPF_PROG(map_file, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags, int ret)
{
	if (!ret && file && prot & PROT_EXEC && settings.inspect_maps && may_be_member())
		map_seen(address_of(file), 0);
	return ret ? -EPERM : 0;
}

SEC("tp/syscalls/sys_enter_mmap")
int enter_mmap(struct trace_event_raw_sys_enter *ctx)
{
	struct file *file;

	if (!(ctx->args[2] & PROT_EXEC) || (int)ctx->args[4] < 0 || !settings.inspect_maps || !task_entry_current_any())
		return 0;
	file = file_of_fd((struct task_struct *)bpf_get_current_task(), ctx->args[4]);
	return file ? map_seen((__u64)file, 0) : 0;
}

struct socket;
struct sockaddr;

SEC("lsm/socket_connect")
int BPF_PROG(connect_socket, struct socket *socket, struct sockaddr *address, int length, int ret)
{
	if (!ret && settings.inspect_maps == INSPECT_BEFORE_CONNECT && may_be_member())
		connect_seen(address_of(address), 0);
	return ret ? -EPERM : 0;
}

SEC("tp/syscalls/sys_enter_connect")
int enter_connect(struct trace_event_raw_sys_enter *ctx)
{
	if (settings.inspect_maps == INSPECT_BEFORE_CONNECT && task_entry_current_any())
		connect_seen(ctx->args[1], 1);
	return 0;
}
