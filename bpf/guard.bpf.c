/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * LSM hooks: the lsm tier. The hook sees the kernel's own objects, after the names were resolved and before anything
 * is lost, whichever way the call came: 64-bit, 32-bit, io_uring, static program. Results come from fexit on the
 * function that does the work, so that no system call tracepoint has to be armed.
 */
#include "reprieve.bpf.h"

#define PF_IO_WORKER 0x10
#define S_IFMT 0170000
#define S_IFREG 0100000
#define RENAME_EXCHANGE 2
#define FALLOC_DESTROYS (0x02 | 0x08 | 0x10)
#define SYS_FALLOCATE 285
#define SYS_FALLOCATE_32 324
#define SYS_TRUNCATE 76
#define SYS_FTRUNCATE 77
#define SYS_TRUNCATE_32 92
#define SYS_FTRUNCATE_32 93
#define SYS_TRUNCATE64_32 193 /* the length in two registers */
#define SYS_FTRUNCATE64_32 194
#define TS_COMPAT 0x2 /* arch/x86/include/asm/thread_info.h: the system call came by the 32-bit entry */
#define MAY_WRITE 2

/* Set before load, from the kernel's BTF (user/loader.c): how many arguments a function takes there. */
const volatile __u32 args_path_rename = 5; /* flags since commit 100f59d96405 (5.19) */
const volatile __u32 args_vfs_unlink = 4; /* mnt_userns since commit 6521f8917082 (5.12) */
const volatile __u32 args_vfs_rmdir = 3;
const volatile __u32 args_vfs_rename = 1; /* struct renamedata since commit 9fe61450972d (5.12) */
const volatile __u32 args_do_truncate = 5;
const volatile bool have_pt_regs = true; /* bpf_task_pt_regs: commit dd6e10fbd9fb (5.15) */

/* A hook that another BPF program has refused already (ret) stays refused; the verifier accepts no errno but a constant. */

/* io workers carry the task's membership but no system call of its own. */
static __always_inline __u32 flags_of_current(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return BPF_CORE_READ(task, flags) & PF_IO_WORKER ? OP_IO_URING : 0;
}

static __always_inline struct scratch *guard_begin(__u32 op, __u32 hook, int *ret_slot)
{
	struct scratch *scratch;
	int slot;

	if (!maybe_member(bpf_get_current_pid_tgid() >> 32))
		return NULL;
	slot = op_begin(RECORD_OP);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return NULL;
	scratch->rec.op.op = op;
	scratch->rec.op.source = SOURCE_LSM;
	scratch->rec.op.detail = hook;
	scratch->rec.op.flags = flags_of_current();
	*ret_slot = slot;
	return scratch;
}

/* Carries the decision out, and tells of it: now where the call ends here, with its result otherwise. */
static __always_inline int guard_end(int slot, struct scratch *scratch, struct dentry *dentry)
{
	int answer = 0;

	/* A constant on each path, since the verifier wants to see an errno; the barrier keeps them apart. */
	if (op_judge(slot, TIER_LSM)) {
		asm volatile("");
		answer = -EPERM;
		scratch->rec.op.result = answer;
		scratch->rec.op.flags |= OP_RESULT_KNOWN;
		emit(slot, 1);
	} else {
		scratch->pending.match = number_of(scratch, dentry);
		op_tell(slot);
	}
	scratch_release(slot);
	return answer;
}

static __always_inline void guard_name(int slot, __u32 which, __u64 dentry, struct vfsmount *mnt)
{
	op_judge_name(slot, which, path_walk(slot, dentry, (__u64)mnt) < 0 ? -1 : path_forward(slot));
}

/* As target_of_inode, by plain loads: an LSM program may follow its arguments' pointers. */
static __always_inline void target_of_dentry(struct target *target, const struct dentry *dentry)
{
	const struct inode *inode = dentry->d_inode;

	if (!inode)
		return;
	target->ino = inode->i_ino;
	target->dev = inode->i_sb->s_dev;
	target->mode = inode->i_mode;
	target->nlink = inode->i_nlink;
	target->size = inode->i_size;
}

static __always_inline int guard_delete(struct path *dir, struct dentry *dentry, __u32 op, __u32 hook)
{
	struct scratch *scratch;
	int slot;

	scratch = guard_begin(op, hook, &slot);
	if (!scratch)
		return 0;
	target_of_dentry(&scratch->rec.op.target, dentry);
	scratch->rec.op.flags |= OP_SIZE_KNOWN;
	guard_name(slot, 0, number_of(scratch, dentry), BPF_CORE_READ(dir, mnt));
	return guard_end(slot, scratch, dentry);
}

SEC("lsm/path_unlink")
int BPF_PROG(guard_unlink, struct path *dir, struct dentry *dentry, int ret)
{
	return ret ? -EPERM : guard_delete(dir, dentry, OP_UNLINK, HOOK_PATH_UNLINK);
}

SEC("lsm/path_rmdir")
int BPF_PROG(guard_rmdir, struct path *dir, struct dentry *dentry, int ret)
{
	return ret ? -EPERM : guard_delete(dir, dentry, OP_RMDIR, HOOK_PATH_RMDIR);
}

/* Before 5.19 an exchange comes as two calls without flags; each is then judged as a rename that replaces. */
static __always_inline int guard_rename_body(__u64 *ctx, __u32 flags)
{
	struct path *old_dir = (struct path *)ctx[0], *new_dir = (struct path *)ctx[2];
	struct dentry *old = (struct dentry *)ctx[1], *new = (struct dentry *)ctx[3];
	struct scratch *scratch;
	struct inode *replaced;
	int slot;

	scratch = guard_begin(OP_RENAME, HOOK_PATH_RENAME, &slot);
	if (!scratch)
		return 0;
	target_of_dentry(&scratch->rec.op.target, old);
	scratch->rec.op.argument = flags;
	scratch->rec.op.flags |= OP_SIZE_KNOWN;
	guard_name(slot, 0, number_of(scratch, old), BPF_CORE_READ(old_dir, mnt));
	replaced = BPF_CORE_READ(new, d_inode);
	if (replaced) {
		target_of_inode(&scratch->rec.op.replaced, replaced);
		scratch->rec.op.flags |= flags & RENAME_EXCHANGE ? OP_EXCHANGE : OP_REPLACED;
		guard_name(slot, 1, number_of(scratch, new), BPF_CORE_READ(new_dir, mnt));
	} else if (path_walk(slot, number_of(scratch, new), (__u64)BPF_CORE_READ(new_dir, mnt)) >= 0) {
		path_forward(slot);
		op_name_only(slot);
	}
	return guard_end(slot, scratch, old);
}

SEC("lsm/path_rename")
int guard_rename(__u64 *ctx)
{
	int ret;

	if (args_path_rename == 5) {
		ret = ctx[5];
		return ret ? -EPERM : guard_rename_body(ctx, ctx[4]);
	}
	ret = ctx[4];
	return ret ? -EPERM : guard_rename_body(ctx, 0);
}

/*
 * The length that the system call under way gives a file; 0 where it is an open that empties it, or is not known: the
 * hooks are not told the length. The registers are those saved at entry, which no other thread can change.
 */
static __always_inline __u64 truncate_length(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs;
	__u64 number;

	if (BPF_CORE_READ(task, flags) & PF_IO_WORKER)
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
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
static __always_inline int guard_content(const struct path *path, __u32 op, __u32 hook)
{
	struct dentry *dentry = BPF_CORE_READ(path, dentry);
	struct scratch *scratch;
	struct target *target;
	int slot;

	scratch = guard_begin(op, hook, &slot);
	if (!scratch)
		return 0;
	target = &scratch->rec.op.target;
	target_of_inode(target, BPF_CORE_READ(dentry, d_inode));
	if (have_pt_regs)
		scratch->rec.op.argument = truncate_length();
	if ((target->mode & S_IFMT) != S_IFREG || !target->nlink || scratch->rec.op.argument >= target->size) {
		scratch_release(slot);
		return 0;
	}
	scratch->rec.op.flags |= OP_SIZE_KNOWN;
	guard_name(slot, 0, number_of(scratch, dentry), BPF_CORE_READ(path, mnt));
	return guard_end(slot, scratch, dentry);
}

SEC("lsm/path_truncate")
int BPF_PROG(guard_path_truncate, struct path *path, int ret)
{
	return ret ? -EPERM : guard_content(path, OP_TRUNCATE, HOOK_PATH_TRUNCATE);
}

/* Since commit 3350607dc563 (6.2) ftruncate and open with O_TRUNC come here and no longer to path_truncate. */
SEC("lsm/file_truncate")
int BPF_PROG(guard_file_truncate, struct file *file, int ret)
{
	return ret ? -EPERM : guard_content(&file->f_path, OP_TRUNCATE, HOOK_FILE_TRUNCATE);
}

/*
 * fallocate has no hook of its own: vfs_fallocate asks for permission to write. Armed only where a rule wants more
 * than a record, since every read and write passes here.
 */
static __always_inline __u64 fallocate_mode(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u64 number = BPF_CORE_READ(regs, orig_ax);

	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT)
		return number == SYS_FALLOCATE_32 ? BPF_CORE_READ(regs, cx) : 0;
	return number == SYS_FALLOCATE ? BPF_CORE_READ(regs, si) : 0;
}

SEC("lsm/file_permission")
int BPF_PROG(guard_file_permission, struct file *file, int mask, int ret)
{
	struct scratch *scratch;
	struct dentry *dentry;
	__u64 mode;
	int slot;

	if (ret)
		return -EPERM;
	if (mask != MAY_WRITE || !task_entry_current())
		return 0;
	mode = fallocate_mode();
	if (!(mode & FALLOC_DESTROYS))
		return 0;
	dentry = BPF_CORE_READ(file, f_path.dentry);
	scratch = guard_begin(OP_OVERWRITE, HOOK_FILE_PERMISSION, &slot);
	if (!scratch)
		return 0;
	target_of_inode(&scratch->rec.op.target, BPF_CORE_READ(dentry, d_inode));
	scratch->rec.op.flags |= OP_SIZE_KNOWN;
	scratch->rec.op.argument = mode;
	guard_name(slot, 0, number_of(scratch, dentry), BPF_CORE_READ(file, f_path.mnt));
	return guard_end(slot, scratch, dentry);
}

/* The result of the operation that waits for this dentry; a nested call (overlayfs to its upper layer) is another's. */
static __always_inline int result_of(enum op op, struct dentry *dentry, long result)
{
	__u64 key = bpf_get_current_pid_tgid();
	struct inflight *inflight;

	if (!maybe_member(key >> 32))
		return 0;
	if (!(settings.results_seen & 1 << op)) {
		settings.results_seen |= 1 << op;
		settings.known_results |= 1 << op;
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
