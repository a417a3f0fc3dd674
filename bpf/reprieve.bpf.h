/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the BPF objects share: scratch space, the functions that one object offers the others, and limits.
 *
 * Functions that are called from several programs are global and take only numbers (a scratch slot, addresses): the
 * verifier then checks each of them once instead of once a call, and kernel 5.10 accepts no other arguments.
 */
#ifndef REPRIEVE_BPF_H
#define REPRIEVE_BPF_H

#include "vmlinux.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "event.h"
#include "maps.h"
#include "compat.bpf.h"

#define BPF_F_INNER_MAP (1 << 12) /* include/uapi/linux/bpf.h, commit 4a8f87e60f6d (5.10) */
#define SCRATCH_BACK 2048
#define SCRATCH_BACK_TOP 1536 /* a path is built downwards from here */
#define SCRATCH_TEXT 8192 /* strings of one record */
#define RECORD_ROOM 16384 /* a record's fixed part and strings; a power of two, so that a mask proves a size */
#define WALK_DEPTH 64 /* parents and mounts crossed; a longer path is "unknown" */
#define SLOT_NONE 0xffffffff

#define EPERM 1
#define ERESTARTNOINTR 513 /* include/linux/errno.h: the system call runs again, whatever its handlers' SA_RESTART */
#define SIGKILL 9
#define SIGCONT 18
#define SIGSTOP 19
#define ENVIRON_CHUNK 512 /* bytes of an environment that are read at a time; given[] holds them */
#define AT_FDCWD -100
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define S_IFMT 0170000
#define S_IFREG 0100000
#define PF_IO_WORKER 0x10 /* include/linux/sched.h */
#define AT_REMOVEDIR 0x200

/* A system call or a hook, put into one form. Addresses of names are the process's own. */
struct call {
	__u64 name;
	__u64 new_name;
	__u64 argument;
	__s32 dirfd;
	__s32 new_dirfd;
	__u32 op; /* enum op */
	__u32 number; /* of the system call */
};

/* What has to be remembered of an operation until its result is known. */
struct pending {
	struct call call;
	__u64 match; /* the kernel object that the result will be recognised by */
	__u32 fixed; /* bytes of the record's fixed part that have a meaning */
	__u32 text_used; /* bytes of strings */
	__u32 late; /* 1: not judged yet */
	__u32 zero;
};

#define MATCH_REFUSED 1 /* pending.match of a record of SOURCE_LIBC: userspace made the call fail */

#define INFLIGHT_TEXT (2 * PATH_BYTES + 64)

struct inflight {
	struct pending pending;
	struct record_op rec;
	char fixed_rest[RECORD_FIXED_BYTES - sizeof(struct record_op)];
	char text[INFLIGHT_TEXT];
};

#define BRIEF_TEXT 256

/*
 * The same with short strings, as nearly all are. To copy a record into the map costs as much as to judge it, and a map
 * copies the whole of a value. Only records of SOURCE_LSM lie here.
 */
struct brief {
	struct pending pending;
	struct record_op rec;
	char fixed_rest[RECORD_FIXED_BYTES - sizeof(struct record_op)];
	char text[BRIEF_TEXT];
};

/*
 * Room for one program's work. A slot is taken for the time of one program: LSM and tracing programs can be preempted
 * by another task that runs the same program on the same CPU, so a bare per-CPU buffer is not enough, and a record
 * reserved in the ring and thrown away again would still fill it (facts: ringbuf discards wait for the reader).
 */
struct scratch {
	volatile __u32 busy;
	__u32 policy; /* slot of the policy this operation is judged by */
	struct facts facts;
	struct decision decision;
	struct rule_set certain, possible; /* see decide_narrow() */
	struct rate_key rate_key; /* here and not on the stack, of which a chain of calls has 512 bytes */
	struct rate_value rate_first;
	struct rule_set counted; /* rules whose rate this operation has counted for */
	__u32 mode; /* enum mode of that policy */
	__u32 rates; /* rules of that policy with a rate */
	__u32 unresolved; /* 1: of a pod that is not known; see op_await */
	__u32 ws_dev; /* the session's workspace */
	__u64 ws_ino;
	__u32 ws_name_length;
	volatile __u64 address; /* see number_of() */
	volatile __u64 walk_dentry; /* where the walk stands */
	volatile __u64 walk_mount;
	volatile __u64 walk_root; /* of that mount */
	/* a path, walked from its leaf up: lies in back[back_pos .. SCRATCH_BACK_TOP) */
	volatile __u32 back_pos;
	volatile __u32 depth; /* components of it */
	volatile __u32 ws_length; /* bytes of it that name the workspace; 0: not inside */
	volatile __u32 crossed; /* the walk met the workspace */
	/* a path in forward order: out[0 .. out_length) */
	volatile __u32 out_length;
	volatile __u32 component; /* where the component being written starts */
	volatile __u32 pushed; /* components written after the base */
	volatile __u32 popped; /* components of the base taken off by ".." */
	volatile __u32 low; /* shortest that out ever became */
	volatile __u32 given_length;
	volatile __u32 args_state; /* the walk over arguments, between two chunks */
	volatile __u32 args_first;
	volatile __u32 scan_hash; /* the scan of a statement, between two chunks */
	volatile __u32 scan_hit;
	volatile __u32 scan_last;
	__u16 start[WALK_DEPTH]; /* start of each component in back[], from the leaf */
	__u16 slash[512]; /* start of each component in out[], after the base */
	char back[SCRATCH_BACK + NAME_BYTES];
	char given[PATH_BYTES + NAME_BYTES] __attribute__((aligned(8)));
	char out[2 * PATH_BYTES + NAME_BYTES] __attribute__((aligned(8))); /* compared by words */
	char ws_name[WORKSPACE_BYTES] __attribute__((aligned(8)));
	/* From here on as in struct inflight and struct brief. */
	struct pending pending;
	union {
		struct record head;
		struct record_fork fork;
		struct record_exec exec;
		struct record_exit exit;
		struct record_join join;
		struct record_op op;
		struct record_sql sql;
		struct record_map map;
		struct record_tamper tamper;
		char fixed[RECORD_FIXED_BYTES];
	} rec;
	char text[RECORD_ROOM - RECORD_FIXED_BYTES]; /* follows the fixed part: both leave in one copy */
};

/* emit.bpf.c */
int scratch_take(void);
int scratch_release(__u32 slot);
int count(__u32 counter);
int text_add(__u32 slot);
int emit(__u32 slot, __u32 force);
int inflight_put(__u32 slot);
int op_tell(__u32 slot);
int inflight_emit(__u64 key, __s64 result, __u32 known);

/* path.bpf.c */
int path_up(__u32 slot);
int path_up_some(__u32 slot);
int path_join_chunk(__u32 slot, __u32 at);
int path_join_block(__u32 slot, __u32 at);
int path_component(__u32 slot);
int path_walk(__u32 slot, __u64 dentry, __u64 mnt);
int path_forward(__u32 slot);
int path_join(__u32 slot);
int path_base(__u32 slot, __s32 dirfd);

/* judge.bpf.c */
int judge(__u32 slot);
int judge_narrow(__u32 slot);
int judge_finish(__u32 slot);
int rate_exceeded(__u32 slot, __u32 which);
int facts_rate(__u32 slot, __u32 which);
int facts_user(__u32 slot);
int match_chunk(__u32 slot, __u32 state, __u32 at);
int match_state(__u32 slot, __u32 part);
int match_path(__u32 slot);
int match_text(__u32 slot, __u32 part);
int match_args_byte(__u32 slot, __u32 at);
int match_args_chunk(__u32 slot, __u32 at, __u32 end);
int match_args(__u32 slot, __u32 at, __u32 end, __u32 cut);
int match_environ_byte(__u32 slot, __u32 state, __u32 at);
int match_environ_word(__u32 slot, __u32 state, __u32 at);
int match_environ_words(__u32 slot, __u32 at, __u32 length);
int match_environ_chunk(__u32 slot, __u32 length);
int match_environ_begin(__u32 slot);
int workspace_side(__u32 slot);
int op_open(__u32 kind);
int op_begin(__u32 kind);
int op_judge_name(__u32 slot, __u32 which, __s32 length);
int op_name_only(__u32 slot);
int op_judge(__u32 slot, __u32 tier);
int op_by_name(__u32 slot);
int op_target(__u32 slot, __u64 inode);
int op_by_file(__u32 slot, __u32 to_length);

/* protect.bpf.c */
int is_protected(__u64 ino, __u32 dev);

/* hold.bpf.c */
int rule_key(__u32 slot);
int op_hold(__u32 slot);
int op_stop(__u32 slot);
int op_await(__u32 slot);
int held_restore(__u32 slot);
int held_end(void);
int held_is(__u64 key);
int held_put(__u32 slot);
int held_settle(void);

/* libc.bpf.c */
int libc_judged(__u32 slot);

/* guard.bpf.c */
int guard_begin(__u32 op, __u32 hook, __u64 dentry);
int guard_name(__u32 slot, __u32 which, __u64 dentry, __u64 mount);
int guard_end(__u32 slot, __u32 has_result, __u64 dentry, __u64 other);
int guard_step(__u32 step, __u32 first, __u32 second, __u64 third, __u64 fourth);
int guard_step_whole(__u32 step, __u32 first, __u32 second, __u64 third, __u64 fourth);

/* What op_judge says is to be done with the call. */
enum act {
	ACT_PASS = 0,
	ACT_DENY = 1,
	ACT_HOLD = 2, /* the process is stopped, and the call has to run again; to be told of */
	ACT_HOLD_AGAIN = 3, /* the same, told of already */
};

/* What is not known of an operation whose session is not. */
#define UNRESOLVED_FACTS (1 << FAMILY_AGENT | 1 << FAMILY_WORKSPACE | 1 << FAMILY_RATE)

/* Whose the current process, in a pod's cgroup, turns out to be. */
enum standing {
	STANDING_NOBODY = 0, /* the pod is no agent's, or the process is in none */
	STANDING_UNRESOLVED = 1, /* nobody has told of the pod yet */
	STANDING_MEMBER = 2, /* of its session now */
};

/* task.bpf.c */
int actor_fill(__u32 slot);
int task_resolve(void);

/* sql.bpf.c */
int map_seen(__u64 file, __u32 flags);
int map_inherit(__u32 parent, __u32 child);

#define MAP_OF(name, map_type, key_type, value_type, entries) \
	struct name##_map {                                   \
		__uint(type, map_type);                       \
		__uint(max_entries, entries);                 \
		__type(key, key_type);                        \
		__type(value, value_type);                    \
	}

/*
 * Arrays that are looked up in nearly every function. With BPF_F_INNER_MAP the look-up stays a call: in its place the
 * verifier would write eight instructions, and copy the whole program with all that it knows of it for each of them, which
 * took longer than to verify it.
 */
struct scratches_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, SCRATCH_PER_CPU);
	__type(key, __u32);
	__type(value, struct scratch);
};
MAP_OF(tasks, BPF_MAP_TYPE_HASH, __u32, struct task_entry, 32768);
MAP_OF(sessions, BPF_MAP_TYPE_HASH, struct session_id, struct session_info, 4096);
MAP_OF(cgroups, BPF_MAP_TYPE_HASH, __u64, __u32, 16384);
struct policies_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags,
	       BPF_F_MMAPABLE |
		       BPF_F_INNER_MAP); /* a value of megabytes is no good through one allocation of the kernel's */
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct policy_image);
};
MAP_OF(inflights, BPF_MAP_TYPE_HASH, __u64, struct inflight, 1024);
MAP_OF(briefs, BPF_MAP_TYPE_HASH, __u64, struct brief, 1024);

MAP_OF(execs, BPF_MAP_TYPE_LRU_HASH, __u64, __u32, 4096);

MAP_OF(protected, BPF_MAP_TYPE_HASH, struct file_id, __u32, PROTECTED_MAX);

extern struct execs_map execs SEC(".maps");
extern struct scratches_map scratches SEC(".maps");
extern struct tasks_map tasks SEC(".maps");
extern struct sessions_map sessions SEC(".maps");
extern struct cgroups_map cgroups SEC(".maps");
extern struct policies_map policies SEC(".maps");
extern struct inflights_map inflights SEC(".maps");
extern struct briefs_map briefs SEC(".maps");

extern volatile struct settings settings;

/*
 * How many entries of `tasks` there are for process numbers that are equal modulo MEMBER_SLOTS: one load tells most
 * bystanders that they are none. It is raised before an entry is made and lowered after one is gone, so it is never too
 * low; writing over an entry leaves it too high, which costs a look-up and nothing else.
 */
extern volatile __u32 members[MEMBER_SLOTS];

/* Set before load (user/loader.c). */
extern const volatile __u32 instance;

static __always_inline bool is_active(void)
{
	return settings.instance == instance || settings.next_instance == instance;
}

static __always_inline bool maybe_member(__u32 tgid)
{
	return members[tgid & (MEMBER_SLOTS - 1)] && is_active();
}

static __always_inline void members_add(__u32 tgid, __s32 change)
{
	__sync_fetch_and_add(&members[tgid & (MEMBER_SLOTS - 1)], change);
}

/*
 * An address as a plain number. The verifier knows what a hook's arguments point to, and since 6.x refuses to pass such
 * a pointer where a function takes a number; through memory it forgets.
 */
static __always_inline __u64 number_of(struct scratch *scratch, const void *pointer)
{
	scratch->address = (__u64)pointer;
	return scratch->address;
}

/* The same where no slot is at hand yet. */
static __always_inline __u64 address_of(const void *pointer)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

/* The session that tries the probes: nothing stops it, for nobody would let it go on. */
static __always_inline bool is_selftest(const struct actor *actor)
{
	return actor->session.pid == settings.selftest.pid && actor->session.start == settings.selftest.start;
}

/* Which program of its process the current task runs, so that an answer does not outlive it. */
static __always_inline __u32 exec_id_current(void)
{
	return BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), self_exec_id);
}

/* Set before load (user/loader.c): bpf_task_pt_regs, commit dd6e10fbd9fb (5.15), and what it needs. */
extern const volatile bool have_pt_regs;

#define KERNEL_STACK_BYTES 16384 /* arch/x86/include/asm/page_64_types.h, without KASAN */

/* The registers of the system call under way as saved at entry, which no other thread can change. For probe reads. */
static __always_inline struct pt_regs *regs_of_current(void)
{
	char *stack;

	if (have_pt_regs)
		return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	/* Before 5.15 nothing lies between them and the end of the stack (TOP_OF_KERNEL_STACK_PADDING is 0). */
	stack = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), stack);
	return (struct pt_regs *)(stack + KERNEL_STACK_BYTES - bpf_core_type_size(struct pt_regs));
}

/* The entry of the process that a task belongs to, be it a member of a session or in a pod that is not known yet. */
static __always_inline struct task_entry *task_entry_any(struct task_struct *task)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct task_entry *entry;

	if (!maybe_member(tgid))
		return NULL;
	entry = bpf_map_lookup_elem(&tasks, &tgid);
	if (!entry || entry->start != BPF_CORE_READ(task, group_leader, start_boottime))
		return NULL;
	return entry;
}

/* The same of members alone. */
static __always_inline struct task_entry *task_entry_of(struct task_struct *task)
{
	struct task_entry *entry = task_entry_any(task);

	return entry && !entry->awaiting ? entry : NULL;
}

/* The same for the current task. */
static __always_inline struct task_entry *task_entry_current_any(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct task_entry *entry;
	struct task_struct *task;

	if (!maybe_member(tgid))
		return NULL;
	entry = bpf_map_lookup_elem(&tasks, &tgid);
	if (!entry)
		return NULL;
	task = (struct task_struct *)bpf_get_current_task();
	return entry->start == BPF_CORE_READ(task, group_leader, start_boottime) ? entry : NULL;
}

static __always_inline struct task_entry *task_entry_current(void)
{
	struct task_entry *entry = task_entry_current_any();

	return entry && !entry->awaiting ? entry : NULL;
}

/* Set before load (user/loader.c): the map `homes` exists. */
extern const volatile bool have_homes;

int task_heal(void);

/* Is the current task a member? For LSM programs: one that was missed becomes a member here. */
static __always_inline bool is_member(void)
{
	return task_entry_current() || (settings.homes && task_heal());
}

/* Is the current task one, or may it turn out to be one? What it does then begins with op_begin(), which asks. */
static __always_inline bool may_be_member(void)
{
	return task_entry_current_any() || (settings.homes && task_heal());
}

/* Who acts, into a slot's record: the current task, whose process began at `start`. */
static __always_inline void actor_set(struct scratch *scratch, __u64 start)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 ids = bpf_get_current_pid_tgid(), user = bpf_get_current_uid_gid();
	struct actor *actor = &scratch->rec.op.actor;

	actor->process.pid = ids >> 32;
	actor->process.start = start;
	actor->tid = ids;
	actor->ppid = BPF_CORE_READ(task, real_parent, tgid);
	actor->uid = user;
	actor->gid = user >> 32;
	bpf_get_current_comm(actor->comm, sizeof(actor->comm));
}

static __always_inline struct scratch *scratch_of(__u32 slot)
{
	return bpf_map_lookup_elem(&scratches, &slot);
}

/* A call that was made to fail seems refused to its process, whatever the kernel found wrong with it. */
static __always_inline __s64 libc_result(const struct inflight *inflight, __s64 result)
{
	if (inflight->rec.source == SOURCE_LIBC && inflight->pending.match == MATCH_REFUSED && result < 0)
		return -EPERM;
	return result;
}

/* What the flags of a rename say of what may be lost under the new name. */
static __always_inline void op_rename_flags(struct scratch *scratch)
{
	__u64 flags = scratch->pending.call.argument;

	if (flags & RENAME_EXCHANGE)
		scratch->rec.op.flags |= OP_EXCHANGE;
	else if (!(flags & RENAME_NOREPLACE))
		scratch->rec.op.flags |= OP_REPLACED_UNKNOWN;
}

#define INODE_HEAD 96 /* bytes */

/* A field from the bytes read; from the inode where this kernel has it behind them. The offset is a constant by load. */
#define INODE_FIELD(bytes, inode, field)                                                                     \
	(bpf_core_field_offset(struct inode, field) <= INODE_HEAD - sizeof((inode)->field)                   \
		 ? *(typeof((inode)->field) *)((char *)(bytes) + bpf_core_field_offset(struct inode, field)) \
		 : BPF_CORE_READ(inode, field))

/* One read of memory costs more than all that is done with what it yields. */
static __always_inline void target_of_inode(struct target *target, struct inode *inode)
{
	__u64 bytes[INODE_HEAD / 8] = {};
	struct super_block *sb;

	if (!inode)
		return;
	bpf_probe_read_kernel(bytes, sizeof(bytes), inode);
	sb = INODE_FIELD(bytes, inode, i_sb);
	target->ino = INODE_FIELD(bytes, inode, i_ino);
	target->dev = BPF_CORE_READ(sb, s_dev);
	target->mode = INODE_FIELD(bytes, inode, i_mode);
	target->nlink = INODE_FIELD(bytes, inode, i_nlink);
	target->size = INODE_FIELD(bytes, inode, i_size);
}

#endif
