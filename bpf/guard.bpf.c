/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * LSM hooks: the lsm tier. The hook sees the kernel's own objects, after the names were resolved and before anything
 * is lost, whichever way the call came: 64-bit, 32-bit, io_uring, static program. Results come from fexit on the
 * function that does the work, so that no system call tracepoint has to be armed.
 */
#include "reprieve.bpf.h"

#define S_IFBLK 0060000
#define FMODE_WRITE 2
#define O_APPEND 02000
#define O_TRUNC 01000
#define FALLOC_PUNCH_HOLE 0x02
#define FALLOC_COLLAPSE_RANGE 0x08
#define FALLOC_ZERO_RANGE 0x10
#define FALLOC_DESTROYS (FALLOC_PUNCH_HOLE | FALLOC_COLLAPSE_RANGE | FALLOC_ZERO_RANGE)
#define FS_IOC_UNRESVSP_16 0x5829 /* include/linux/falloc.h: 'X' and 41, 43, 57 */
#define FS_IOC_UNRESVSP64_16 0x582b
#define FS_IOC_ZERO_RANGE_16 0x5839
#define IORING_OP_FALLOCATE 17
#define SYS_IOCTL 16
#define SYS_IOCTL_32 54
#define SYS_FALLOCATE 285
#define SYS_FALLOCATE_32 324
#define SYS_WRITE 1
#define SYS_WRITEV 20
#define SYS_SENDFILE 40
#define SYS_SPLICE 275
#define SYS_COPY_FILE_RANGE 326
#define SYS_WRITE_32 4
#define SYS_WRITEV_32 146
#define SYS_SENDFILE_32 187
#define SYS_SENDFILE64_32 239
#define SYS_SPLICE_32 313
#define SYS_COPY_FILE_RANGE_32 377
#define SYS_TRUNCATE 76
#define SYS_FTRUNCATE 77
#define SYS_TRUNCATE_32 92
#define SYS_FTRUNCATE_32 93
#define SYS_TRUNCATE64_32 193 /* the length in two registers */
#define SYS_FTRUNCATE64_32 194
#define TS_COMPAT 0x2 /* arch/x86/include/asm/thread_info.h: the system call came by the 32-bit entry */
#define MAY_WRITE 2
#define SYS_EXECVEAT 322
#define SYS_EXECVEAT_32 358

/* Set before load, from the kernel's BTF (user/loader.c): how many arguments a function takes there. */
const volatile __u32 args_path_rename = 5; /* flags since commit 100f59d96405 (5.19) */
const volatile __u32 args_vfs_unlink = 4; /* mnt_userns since commit 6521f8917082 (5.12) */
const volatile __u32 args_vfs_rmdir = 3;
const volatile __u32 args_vfs_rename = 1; /* struct renamedata since commit 9fe61450972d (5.12) */
const volatile __u32 args_do_truncate = 5;

/* io workers carry the task's membership but no system call of its own. */
static __always_inline __u32 flags_of_current(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	__u32 flags = have_pt_regs ? bpf_get_current_task_btf()->flags : BPF_CORE_READ(task, flags);

	return flags & PF_IO_WORKER ? OP_IO_URING : 0;
}

/*
 * --- what all hooks have in common ---
 *
 * A hook's program takes from its arguments what its call is about. What follows has three steps: a slot for the
 * operation, the path and the judgement of each of its names, and the decision carried out. All of them are one function
 * in the hook's program, guard_step, that another program replaces before the hook's is attached
 * (BPF_PROG_TYPE_EXT): the verifier, which would walk the steps once for each hook, walks them once. Programs whose
 * names end in _whole have the steps in them, for kernels that take no such program.
 */
enum guard_step {
	STEP_BEGIN = 0, /* first: enum op; second: enum hook; a dentry. Returns the slot, -1 for nobody's operation */
	STEP_NAME = 1, /* first: slot; second: enum guard_name; a dentry, its mount */
	STEP_END =
		2, /* first: slot; second: 1 where a result will be known; the dentry of each name, 0: one only. enum act */
	STEP_HEAL = 3, /* see task_heal */
};

enum guard_name { NAME_FIRST = 0, NAME_SECOND = 1, NAME_ONLY_TOLD = 2 /* a second one, under which nothing is lost */ };

__noinline int guard_begin(__u32 op, __u32 hook, __u64 dentry)
{
	struct scratch *scratch;
	int slot;

	slot = op_begin(RECORD_OP);
	if (slot < 0 && settings.homes && task_heal())
		slot = op_begin(RECORD_OP);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return -1;
	scratch->rec.op.op = op;
	scratch->rec.op.source = SOURCE_LSM;
	scratch->rec.op.detail = hook;
	scratch->rec.op.flags = flags_of_current() | OP_SIZE_KNOWN;
	target_of_inode(&scratch->rec.op.target, BPF_CORE_READ((struct dentry *)dentry, d_inode));
	return slot;
}

__noinline int guard_name(__u32 slot, __u32 which, __u64 dentry, __u64 mount)
{
	int length = path_walk(slot, dentry, mount) < 0 ? -1 : path_forward(slot);

	if (which != NAME_ONLY_TOLD)
		op_judge_name(slot, which, length);
	else if (length >= 0)
		op_name_only(slot);
	return 0;
}

static __always_inline bool may_be_protected(__u64 ino)
{
	return settings.protect_mask >> (ino & 63) & 1;
}

/* What an operation is done to is the daemon's own, or lies in a directory of its own. */
static __always_inline bool is_own(const struct record_op *rec, struct dentry *dentry)
{
	struct inode *parent = BPF_CORE_READ(dentry, d_parent, d_inode);
	__u64 ino = BPF_CORE_READ(parent, i_ino);

	if (may_be_protected(ino) && is_protected(ino, BPF_CORE_READ(parent, i_sb, s_dev)))
		return true;
	if (may_be_protected(rec->target.ino) && is_protected(rec->target.ino, rec->target.dev))
		return true;
	return may_be_protected(rec->replaced.ino) && is_protected(rec->replaced.ino, rec->replaced.dev);
}

/* Refuses the operation in the slot, whatever the policy says. */
static __always_inline void refuse_own(__u32 slot, struct scratch *scratch)
{
	struct record_op *rec = &scratch->rec.op;

	rec->verdict = VERDICT_DENY;
	rec->rule = RULE_DEFAULT;
	rec->tier = TIER_LSM;
	rec->flags |= OP_SELF | OP_ACTED;
	scratch->pending.fixed = sizeof(*rec);
	count(COUNT_OPS + (rec->op & (OP_COUNT - 1)));
}

/* Carries the decision out, and tells of it: now where the call ends or stops here, with its result otherwise. */
__noinline int guard_end(__u32 slot, __u32 has_result, __u64 dentry, __u64 other)
{
	struct scratch *scratch = scratch_of(slot);
	int act = ACT_DENY;

	if (!scratch)
		return ACT_PASS;
	if (settings.protect_mask && dentry &&
	    (is_own(&scratch->rec.op, (struct dentry *)dentry) ||
	     (other && is_own(&scratch->rec.op, (struct dentry *)other))))
		refuse_own(slot, scratch);
	else
		act = op_judge(slot, TIER_LSM);
	if (act == ACT_DENY) {
		scratch->rec.op.result = -EPERM;
		scratch->rec.op.flags |= OP_RESULT_KNOWN;
	}
	if (act == ACT_PASS && has_result) {
		scratch->pending.match = dentry;
		op_tell(slot);
	} else if (act != ACT_HOLD_AGAIN) {
		emit(slot, act != ACT_PASS);
	}
	scratch_release(slot);
	return act;
}

static __always_inline int guard_steps(__u32 step, __u32 first, __u32 second, __u64 third, __u64 fourth)
{
	switch (step) {
	case STEP_BEGIN:
		return guard_begin(first, second, third);
	case STEP_NAME:
		return guard_name(first, second, third, fourth);
	case STEP_END:
		return guard_end(first, second, third, fourth);
	default:
		return task_heal();
	}
}

/* Until it is replaced no operation is anybody's. */
__noinline int guard_step(__u32 step, __u32 first, __u32 second, __u64 third, __u64 fourth)
{
	int answer = step == STEP_BEGIN ? -1 : 0;

	asm volatile("" : "+r"(answer) : "r"(first), "r"(second), "r"(third), "r"(fourth) : "memory");
	return answer;
}

__noinline int guard_step_whole(__u32 step, __u32 first, __u32 second, __u64 third, __u64 fourth)
{
	return guard_steps(step, first, second, third, fourth);
}

/* `whole` is a constant, and one of the two no part of a program. */
#define STEP(whole, ...) ((whole) ? guard_step_whole(__VA_ARGS__) : guard_step(__VA_ARGS__))

/* No to most bystanders, before anything is read. */
static __always_inline bool may_be_judged(void)
{
	return maybe_member(bpf_get_current_pid_tgid() >> 32) || settings.homes;
}

static __always_inline struct scratch *hook_begin(bool whole, __u32 op, __u32 hook, __u64 dentry, int *ret_slot)
{
	int slot = STEP(whole, STEP_BEGIN, op, hook, dentry, 0);

	*ret_slot = slot;
	return slot < 0 ? NULL : scratch_of(slot);
}

static __always_inline void hook_name(bool whole, int slot, __u32 which, __u64 dentry, struct vfsmount *mount)
{
	STEP(whole, STEP_NAME, slot, which, dentry, (__u64)mount);
}

/* What a hook has to return: constants, since the verifier wants to see an errno; the barriers keep the paths apart. */
static __always_inline int answer_of_act(int act)
{
	if (act == ACT_HOLD || act == ACT_HOLD_AGAIN) {
		asm volatile("");
		return -ERESTARTNOINTR;
	}
	if (act) {
		asm volatile("");
		return -EPERM;
	}
	return 0;
}

static __always_inline int hook_end(bool whole, int slot, bool has_result, __u64 dentry, __u64 other)
{
	return answer_of_act(STEP(whole, STEP_END, slot, has_result, dentry, other));
}

static __always_inline bool hook_is_member(bool whole)
{
	return task_entry_current() || (settings.homes && STEP(whole, STEP_HEAL, 0, 0, 0, 0));
}

/*
 * A hook's program, and the same with the steps in it. What another BPF program has refused already (ret) stays refused;
 * the verifier accepts no errno but a constant.
 */
#define GUARD(name, hook, ret, body)                  \
	SEC("lsm/" hook)                              \
	int guard_##name(__u64 *ctx)                  \
	{                                             \
		const bool whole = false;             \
		return (int)ctx[ret] ? -EPERM : body; \
	}                                             \
	SEC("lsm/" hook)                              \
	int guard_##name##_whole(__u64 *ctx)          \
	{                                             \
		const bool whole = true;              \
		return (int)ctx[ret] ? -EPERM : body; \
	}

static __always_inline int guard_delete(bool whole, const __u64 *ctx, __u32 op, __u32 hook)
{
	struct path *dir = (struct path *)ctx[0];
	__u64 dentry;
	int slot;

	if (!may_be_judged())
		return 0;
	dentry = address_of((void *)ctx[1]);
	slot = STEP(whole, STEP_BEGIN, op, hook, dentry, 0);
	if (slot < 0)
		return 0;
	hook_name(whole, slot, NAME_FIRST, dentry, BPF_CORE_READ(dir, mnt));
	return hook_end(whole, slot, true, dentry, 0);
}

GUARD(unlink, "path_unlink", 2, guard_delete(whole, ctx, OP_UNLINK, HOOK_PATH_UNLINK))
GUARD(rmdir, "path_rmdir", 2, guard_delete(whole, ctx, OP_RMDIR, HOOK_PATH_RMDIR))

/* Before 5.19 an exchange comes as two calls without flags; each is then judged as a rename that replaces. */
static __always_inline int guard_rename_body(bool whole, const __u64 *ctx, __u32 flags)
{
	struct path *old_dir = (struct path *)ctx[0], *new_dir = (struct path *)ctx[2];
	struct dentry *old = (struct dentry *)ctx[1], *new = (struct dentry *)ctx[3];
	__u64 old_address, new_address;
	struct scratch *scratch;
	struct inode *replaced;
	int slot;

	if (!may_be_judged())
		return 0;
	old_address = address_of(old);
	new_address = address_of(new);
	scratch = hook_begin(whole, OP_RENAME, HOOK_PATH_RENAME, old_address, &slot);
	if (!scratch)
		return 0;
	scratch->rec.op.argument = flags;
	replaced = BPF_CORE_READ(new, d_inode);
	if (replaced) {
		target_of_inode(&scratch->rec.op.replaced, replaced);
		scratch->rec.op.flags |= flags & RENAME_EXCHANGE ? OP_EXCHANGE : OP_REPLACED;
	}
	hook_name(whole, slot, NAME_FIRST, old_address, BPF_CORE_READ(old_dir, mnt));
	hook_name(whole, slot, replaced ? NAME_SECOND : NAME_ONLY_TOLD, new_address, BPF_CORE_READ(new_dir, mnt));
	return hook_end(whole, slot, true, old_address, new_address);
}

static __always_inline int guard_rename_any(bool whole, const __u64 *ctx)
{
	if (args_path_rename == 5)
		return ctx[5] ? -EPERM : guard_rename_body(whole, ctx, ctx[4]);
	return ctx[4] ? -EPERM : guard_rename_body(whole, ctx, 0);
}

SEC("lsm/path_rename")
int guard_rename(__u64 *ctx)
{
	return guard_rename_any(false, ctx);
}

SEC("lsm/path_rename")
int guard_rename_whole(__u64 *ctx)
{
	return guard_rename_any(true, ctx);
}

/*
 * The length that the system call under way gives a file; 0 where it is an open that empties it, or is not known: the
 * hooks are not told the length. The registers are those saved at entry, which no other thread can change.
 */
static __always_inline __u64 truncate_length(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pt_regs *regs;
	__u64 number;

	regs = regs_of_current();
	if (!in_system_call(regs))
		return 0;
	number = BPF_CORE_READ(regs, orig_ax);
	if (!(BPF_CORE_READ(task, thread_info.status) & TS_COMPAT))
		return number == SYS_TRUNCATE || number == SYS_FTRUNCATE ? BPF_CORE_READ(regs, si) : 0;
	if (number == SYS_TRUNCATE_32 || number == SYS_FTRUNCATE_32)
		return (__u32)BPF_CORE_READ(regs, cx);
	if (number == SYS_TRUNCATE64_32 || number == SYS_FTRUNCATE64_32)
		return (__u32)BPF_CORE_READ(regs, cx) | BPF_CORE_READ(regs, dx) << 32;
	return 0;
}

/* A file loses content: regular, with a name, and something in it beyond the new length. */
static __always_inline int guard_content(bool whole, const struct path *path, __u32 hook)
{
	struct scratch *scratch;
	struct target *target;
	__u64 dentry;
	int slot;

	if (!may_be_judged())
		return 0;
	dentry = (__u64)BPF_CORE_READ(path, dentry);
	scratch = hook_begin(whole, OP_TRUNCATE, hook, dentry, &slot);
	if (!scratch)
		return 0;
	target = &scratch->rec.op.target;
	scratch->rec.op.argument = truncate_length();
	if ((target->mode & S_IFMT) != S_IFREG || !target->nlink || scratch->rec.op.argument >= target->size) {
		scratch_release(slot);
		return 0;
	}
	hook_name(whole, slot, NAME_FIRST, dentry, BPF_CORE_READ(path, mnt));
	return hook_end(whole, slot, true, dentry, 0);
}

GUARD(path_truncate, "path_truncate", 1, guard_content(whole, (struct path *)ctx[0], HOOK_PATH_TRUNCATE))
/* Since commit 3350607dc563 (6.2) ftruncate and open with O_TRUNC come here and no longer to path_truncate. */
GUARD(file_truncate, "file_truncate", 1, guard_content(whole, &((struct file *)ctx[0])->f_path, HOOK_FILE_TRUNCATE))

/*
 * Content that is replaced in place. A file opened for writing is judged at the open, once: each write is not told of.
 * What was opened before, or by somebody else who handed the descriptor over, is judged at its first write.
 */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* address of the struct file */
	__type(value, __u64); /* number of its inode: a freed address serves another file */
} opened SEC(".maps");

static __always_inline void opened_add(__u64 file, __u64 ino)
{
	bpf_map_update_elem(&opened, &file, &ino, BPF_ANY);
}

/* Judges an open file as one whose content may be lost. Returns what the hook has to return. */
static __always_inline int guard_written(bool whole, const struct file *file, __u32 op, __u32 hook, __u64 argument)
{
	__u64 dentry = (__u64)BPF_CORE_READ(file, f_path.dentry), address, ino;
	struct scratch *scratch;
	int slot, act;

	scratch = hook_begin(whole, op, hook, dentry, &slot);
	if (!scratch)
		return 0;
	scratch->rec.op.argument = argument;
	address = number_of(scratch, file);
	ino = scratch->rec.op.target.ino;
	hook_name(whole, slot, NAME_FIRST, dentry, BPF_CORE_READ(file, f_path.mnt));
	/* The result of an open is that of no loss yet, and a write's is not learned. */
	act = STEP(whole, STEP_END, slot, hook == HOOK_FILE_PERMISSION && argument, dentry, 0);
	if (!act)
		opened_add(address, ino);
	return answer_of_act(act);
}

static __always_inline bool has_content(const struct file *file, const struct inode *inode)
{
	return (inode->i_mode & S_IFMT) == S_IFREG && inode->i_nlink && inode->i_size && !(file->f_flags & O_APPEND);
}

static __always_inline bool is_own_file(const struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;
	struct inode *inode = dentry->d_inode, *parent = dentry->d_parent->d_inode;

	return settings.protect_mask &&
	       (is_protected(inode->i_ino, inode->i_sb->s_dev) || is_protected(parent->i_ino, parent->i_sb->s_dev));
}

static __always_inline int guard_open(bool whole, const struct file *file)
{
	struct inode *inode;

	if (!(file->f_mode & FMODE_WRITE) || !hook_is_member(whole))
		return 0;
	inode = file->f_inode;
	if ((inode->i_mode & S_IFMT) == S_IFBLK)
		return guard_written(whole, file, OP_RAWWRITE, HOOK_FILE_OPEN, file->f_flags);
	/* O_TRUNC is a truncation, and judged as that; what is appended to loses nothing, but is not the agent's to change. */
	if ((has_content(file, inode) && !(file->f_flags & O_TRUNC)) || is_own_file(file))
		return guard_written(whole, file, OP_OVERWRITE, HOOK_FILE_OPEN, file->f_flags);
	if ((inode->i_mode & S_IFMT) == S_IFREG)
		opened_add(address_of(file), inode->i_ino);
	return 0;
}

GUARD(file_open, "file_open", 1, guard_open(whole, (struct file *)ctx[0]))

/* Before commit e32cf5dfbe22 (5.17), which gave it to all kernel threads. */
struct task_struct___io_worker {
	void *pf_io_worker;
} __attribute__((preserve_access_index));

/* What io_uring keeps for an io worker; NULL where this kernel has none of these. */
static __always_inline struct io_worker *io_worker_of(struct task_struct *task)
{
	struct task_struct___io_worker *older = (void *)task;

	if (bpf_core_field_exists(task->worker_private))
		return BPF_CORE_READ(task, worker_private);
	if (bpf_core_field_exists(older->pf_io_worker))
		return BPF_CORE_READ(older, pf_io_worker);
	return NULL;
}

/* The mode of the fallocate that an io worker is at: io_uring leaves every one to them. 0: it is at something else. */
static __always_inline __u64 fallocate_mode_of_worker(struct task_struct *task)
{
	struct io_worker *worker = io_worker_of(task);
	struct io_wq_work *work = BPF_CORE_READ(worker, cur_work);
	struct io_kiocb *request = (void *)((char *)work - bpf_core_field_offset(struct io_kiocb, work));

	if (!work || BPF_CORE_READ(request, opcode) != IORING_OP_FALLOCATE)
		return 0;
	return (__u32)BPF_CORE_READ((struct io_sync *)request, mode);
}

/* A destructive mode where an ioctl (fs/ioctl.c, ioctl_preallocate) is one that ends in vfs_fallocate. */
static __always_inline __u64 fallocate_mode_of_ioctl(__u64 command)
{
	switch (command & 0xffff) { /* type and number: the size is another one for 32-bit programs */
	case FS_IOC_UNRESVSP_16:
	case FS_IOC_UNRESVSP64_16:
		return FALLOC_PUNCH_HOLE;
	case FS_IOC_ZERO_RANGE_16:
		return FALLOC_ZERO_RANGE;
	default:
		return 0;
	}
}

/*
 * The mode of the fallocate that asks for permission, which it does as a write does; 0: it is a write. Not noted by a
 * program at vfs_fallocate: such a one is passed by while another task is preempted in it.
 */
static __always_inline __u64 fallocate_mode(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pt_regs *regs = regs_of_current();
	__u64 number;

	if (BPF_CORE_READ(task, flags) & PF_IO_WORKER)
		return fallocate_mode_of_worker(task);
	number = BPF_CORE_READ(regs, orig_ax);
	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT) {
		if (number == SYS_IOCTL_32)
			return fallocate_mode_of_ioctl(BPF_CORE_READ(regs, cx));
		return number == SYS_FALLOCATE_32 ? BPF_CORE_READ(regs, cx) : 0;
	}
	if (number == SYS_IOCTL)
		return fallocate_mode_of_ioctl(BPF_CORE_READ(regs, si));
	return number == SYS_FALLOCATE ? BPF_CORE_READ(regs, si) : 0;
}

/*
 * Does the write under way begin where its file stands? All others name a place of their own (pwrite, io_uring, a splice
 * with an offset), of which the hook is not told.
 */
static __always_inline bool writes_where_it_stands(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pt_regs *regs = regs_of_current();
	__u64 number;

	if (!in_system_call(regs))
		return false;
	number = BPF_CORE_READ(regs, orig_ax);
	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT) {
		if (number == SYS_SPLICE_32 || number == SYS_COPY_FILE_RANGE_32)
			return !(__u32)BPF_CORE_READ(regs, si);
		return number == SYS_WRITE_32 || number == SYS_WRITEV_32 || number == SYS_SENDFILE_32 ||
		       number == SYS_SENDFILE64_32;
	}
	if (number == SYS_SPLICE || number == SYS_COPY_FILE_RANGE)
		return !BPF_CORE_READ(regs, r10);
	return number == SYS_WRITE || number == SYS_WRITEV || number == SYS_SENDFILE;
}

static __always_inline int guard_write(bool whole, const struct file *file, int mask)
{
	__u64 address, mode, *ino;
	struct inode *inode;

	if (mask != MAY_WRITE || !hook_is_member(whole))
		return 0;
	address = address_of(file);
	mode = fallocate_mode();
	if (mode & FALLOC_DESTROYS)
		return guard_written(whole, file, OP_OVERWRITE, HOOK_FILE_PERMISSION, mode);
	inode = file->f_inode;
	/* A write behind the end loses nothing: output that was redirected to a file goes on there. */
	if (!has_content(file, inode) || (file->f_pos >= inode->i_size && writes_where_it_stands()))
		return 0;
	ino = bpf_map_lookup_elem(&opened, &address);
	if (ino && *ino == inode->i_ino)
		return 0;
	return guard_written(whole, file, OP_OVERWRITE, HOOK_FILE_PERMISSION, 0);
}

/* Armed only where a rule wants more than a record of an overwrite, since every read and write passes here. */
GUARD(file_permission, "file_permission", 2, guard_write(whole, (struct file *)ctx[0], ctx[1]))

/*
 * Exec, before the point of no return: refused or held here, nothing of the old program is gone. The arguments are
 * read where the caller has them, as the kernel did a moment before; one that another thread changes in between is met
 * again at sched_process_exec (bpf/task.bpf.c), as the kernel took them.
 */

#define EXEC_ARGS_MAX 128 /* arguments that are read */
#define EXEC_ARGS_SOME 16 /* of them by one call: the verifier walks as many */

/* Where the i-th argument of the execve under way lies; 0: there is none. */
static __always_inline __u64 exec_arg_address(__u32 i)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pt_regs *regs = regs_of_current();
	__u64 number = BPF_CORE_READ(regs, orig_ax), vector, address = 0;

	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT) {
		vector = number == SYS_EXECVEAT_32 ? BPF_CORE_READ(regs, dx) : BPF_CORE_READ(regs, cx);
		bpf_probe_read_user(&address, 4, (void *)(vector + i * 4));
	} else {
		vector = number == SYS_EXECVEAT ? BPF_CORE_READ(regs, dx) : BPF_CORE_READ(regs, si);
		bpf_probe_read_user(&address, 8, (void *)(vector + i * 8));
	}
	return address;
}

/* The i-th argument behind the strings so far. Returns its length with its NUL, 0 behind the last one, -1: unread. */
__noinline int exec_arg(__u32 slot, __u32 i)
{
	struct scratch *scratch = scratch_of(slot);
	__u64 address = exec_arg_address(i);
	__u32 used;
	long length;

	if (!scratch)
		return -1;
	if (!address)
		return 0;
	used = scratch->pending.text_used & (SCRATCH_TEXT - 1);
	length = bpf_probe_read_user_str(&scratch->text[used], ARGS_BYTES, (void *)address);
	if (length <= 0)
		return -1;
	scratch->pending.text_used = used + length;
	return length;
}

/* The arguments from the first-th. As exec_arg; positive: there may be more. */
__noinline int exec_args_some(__u32 slot, __u32 first)
{
	struct scratch *scratch = scratch_of(slot);
	int length = 1;

	if (!scratch)
		return -1;
	for (__u32 i = 0; i < EXEC_ARGS_SOME; i++) {
		length = exec_arg(slot, first + i);
		if (length <= 0 || scratch->pending.text_used >= ARGS_BYTES)
			break;
	}
	return length;
}

/* Puts the arguments into the record; nonzero: not all of them. */
__noinline int exec_args_of_call(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	int length = 1;

	if (!scratch)
		return 1;
	for (__u32 i = 0; i < EXEC_ARGS_MAX; i += EXEC_ARGS_SOME) {
		length = exec_args_some(slot, i);
		if (length <= 0 || scratch->pending.text_used >= ARGS_BYTES)
			break;
	}
	if (scratch->pending.text_used >= ARGS_BYTES) {
		scratch->pending.text_used = ARGS_BYTES;
		length = 1;
	}
	scratch->rec.op.args.offset = sizeof(scratch->rec);
	scratch->rec.op.args.length = scratch->pending.text_used;
	return length != 0;
}

/*
 * Facts and decision of the exec in the slot, as exec_judge has them. Nonzero: a rule is about it. Of a script the hook
 * is called again for its interpreter, which counts only where a stricter rule is about that one.
 */
__noinline int exec_decide(__u32 slot, __u32 cut, __u32 interpreter)
{
	struct scratch *scratch = scratch_of(slot);
	__u64 key = bpf_get_current_pid_tgid();
	__u32 text, length, verdict, *before;

	if (!scratch)
		return 0;
	length = scratch->rec.op.args.length;
	text = text_add(slot);
	scratch->rec.op.path.offset = text >> 16;
	scratch->rec.op.path.length = text;
	scratch->rec.op.agent = scratch->facts.agent;
	scratch->facts.op = OP_EXEC;
	scratch->facts.unknown = 1 << FAMILY_WORKSPACE;
	if (!scratch->out_length) {
		scratch->facts.unknown |= 1 << FAMILY_PATH;
		scratch->rec.op.flags |= OP_PATH_UNKNOWN;
	}
	match_path(slot);
	match_args(slot, 0, length ? length - 1 : 0, cut);
	if (judge(slot))
		return 0;
	verdict = scratch->decision.verdict;
	before = bpf_map_lookup_elem(&execs, &key);
	if (interpreter && before && verdict <= *before)
		return 0;
	bpf_map_update_elem(&execs, &key, &verdict, BPF_ANY);
	if (scratch->decision.rule != RULE_DEFAULT)
		return 1;
	if (!interpreter)
		count(COUNT_OPS + OP_EXEC);
	return 0;
}

SEC("lsm/bprm_check_security")
int BPF_PROG(guard_exec, struct linux_binprm *bprm, int ret)
{
	struct dentry *dentry;
	struct scratch *scratch;
	struct file *file;
	int slot, cut;

	if (ret)
		return -EPERM;
	if (!may_be_judged())
		return 0;
	if (!settings.watch_execs) {
		/* Whoever was missed is a member before its exec is told of. */
		if (settings.homes)
			task_heal();
		return 0;
	}
	file = BPF_CORE_READ(bprm, file);
	dentry = BPF_CORE_READ(file, f_path.dentry);
	slot = guard_begin(OP_EXEC, HOOK_BPRM_CHECK, (__u64)dentry);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 0;
	scratch->rec.op.flags &= ~OP_SIZE_KNOWN;
	cut = exec_args_of_call(slot);
	scratch->out_length = 0;
	if (path_walk(slot, (__u64)dentry, (__u64)BPF_CORE_READ(file, f_path.mnt)) >= 0)
		path_forward(slot);
	if (!exec_decide(slot, cut, BPF_CORE_READ(bprm, interp) != BPF_CORE_READ(bprm, filename))) {
		scratch_release(slot);
		return 0;
	}
	return answer_of_act(guard_end(slot, 0, 0, 0));
}

/* Behind the programs that it is put into: they are loaded in this order. */
SEC("freplace/guard_step")
int guard_step_body(__u32 step, __u32 first, __u32 second, __u64 third, __u64 fourth)
{
	return guard_steps(step, first, second, third, fourth);
}

/* The result of the operation that waits for this dentry; a nested call (overlayfs to its upper layer) is another's. */
static __always_inline int result_of(enum op op, struct dentry *dentry, long result)
{
	__u64 key = bpf_get_current_pid_tgid();
	struct inflight *inflight;
	struct brief *brief;

	if (!maybe_member(key >> 32))
		return 0;
	if (!(settings.results_seen & 1 << op)) {
		settings.results_seen |= 1 << op;
		settings.known_results |= 1 << op;
	}
	brief = bpf_map_lookup_elem(&briefs, &key);
	if (brief) {
		if (brief->pending.match == (__u64)dentry)
			inflight_emit(key, (int)result, 1);
		return 0;
	}
	inflight = bpf_map_lookup_elem(&inflights, &key);
	if (inflight && inflight->pending.match == (__u64)dentry)
		inflight_emit(key, (int)result, 1);
	return 0;
}

SEC("fexit/vfs_unlink")
int result_unlink(__u64 *ctx)
{
	if (args_vfs_unlink == 4)
		return result_of(OP_UNLINK, (struct dentry *)ctx[2], ctx[4]);
	return result_of(OP_UNLINK, (struct dentry *)ctx[1], ctx[3]);
}

SEC("fexit/vfs_rmdir")
int result_rmdir(__u64 *ctx)
{
	if (args_vfs_rmdir == 4)
		return result_of(OP_RMDIR, (struct dentry *)ctx[2], ctx[4]);
	if (args_vfs_rmdir == 3)
		return result_of(OP_RMDIR, (struct dentry *)ctx[2], ctx[3]);
	return result_of(OP_RMDIR, (struct dentry *)ctx[1], ctx[2]);
}

SEC("fexit/vfs_rename")
int result_rename(__u64 *ctx)
{
	if (args_vfs_rename == 1)
		return result_of(OP_RENAME, BPF_CORE_READ((struct renamedata *)ctx[0], old_dentry), ctx[1]);
	return result_of(OP_RENAME, (struct dentry *)ctx[1], ctx[6]);
}

SEC("fexit/do_truncate")
int result_truncate(__u64 *ctx)
{
	if (args_do_truncate == 5)
		return result_of(OP_TRUNCATE, (struct dentry *)ctx[1], ctx[5]);
	return result_of(OP_TRUNCATE, (struct dentry *)ctx[0], ctx[4]);
}

SEC("fexit/vfs_fallocate")
int BPF_PROG(result_fallocate, struct file *file, int mode, loff_t offset, loff_t length, int ret)
{
	return result_of(OP_OVERWRITE, BPF_CORE_READ(file, f_path.dentry), ret);
}
