/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * System call tracepoints: the signal tier, and comparison where the lsm tier decides.
 *
 * A name is read at entry; where its page is not resident the read fails, as it may not fault there, and the call is
 * judged at its exit instead, when the kernel itself has read the page. Calls that open a file are judged at exit
 * always: only then is it known which file was opened, by its own path, and whether it was there before. A signal
 * sent at exit is as early as one sent at entry: the process gets it on its way back to user space, after the call.
 */
#include "reprieve.bpf.h"

#define AT_REMOVEDIR 0x200
#define O_TRUNC 01000
#define FALLOC_DESTROYS (0x02 | 0x08 | 0x10) /* PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE */
#define FMODE_CREATED 0x100000 /* include/linux/fs.h: the open made the file */
#define LATE_NAME 1 /* judged at exit, by name */
#define LATE_OPEN 2 /* judged at exit, by the file that was opened */

static __always_inline struct call call_of(struct trace_event_raw_sys_enter *ctx, __u32 op)
{
	struct call call = {.op = op, .number = ctx->id, .dirfd = AT_FDCWD, .new_dirfd = AT_FDCWD};

	return call;
}

static __always_inline struct scratch *enter_begin(const struct call *call, int *ret_slot)
{
	int slot = op_begin(RECORD_OP);
	struct scratch *scratch = scratch_of(slot);

	if (slot < 0 || !scratch)
		return NULL;
	scratch->pending.call = *call;
	scratch->pending.slot_policy = scratch->policy;
	scratch->rec.op.op = call->op;
	scratch->rec.op.source = SOURCE_SYSCALL;
	scratch->rec.op.detail = call->number;
	scratch->rec.op.argument = call->argument;
	if (libc_judged(slot)) {
		scratch_release(slot);
		return NULL;
	}
	*ret_slot = slot;
	return scratch;
}

/* An operation on names. */
static __always_inline int enter_name(const struct call *call)
{
	struct scratch *scratch;
	int slot;

	scratch = enter_begin(call, &slot);
	if (!scratch)
		return 0;
	if (call->op == OP_RENAME)
		op_rename_flags(scratch);
	if (op_by_name(slot))
		scratch->pending.late = LATE_NAME;
	else
		op_judge(slot, TIER_SIGNAL);
	inflight_put(slot);
	scratch_release(slot);
	return 0;
}

/* An operation on a descriptor, which is the call's dirfd. */
static __always_inline int enter_file(const struct call *call, bool to_length)
{
	struct scratch *scratch;
	int slot;

	scratch = enter_begin(call, &slot);
	if (!scratch)
		return 0;
	if (!op_by_file(slot, to_length)) {
		op_judge(slot, TIER_SIGNAL);
		inflight_put(slot);
	}
	scratch_release(slot);
	return 0;
}

/* A call that opens, and empties what was there. */
static __always_inline int enter_open(struct call *call, __u64 flags)
{
	struct scratch *scratch;
	int slot;

	if (!(flags & O_TRUNC))
		return 0;
	call->argument = flags;
	scratch = enter_begin(call, &slot);
	if (!scratch)
		return 0;
	scratch->pending.late = LATE_OPEN;
	inflight_put(slot);
	scratch_release(slot);
	return 0;
}

SEC("tp/syscalls/sys_enter_unlink")
int enter_unlink(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_UNLINK);

	call.name = ctx->args[0];
	return enter_name(&call);
}

SEC("tp/syscalls/sys_enter_unlinkat")
int enter_unlinkat(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, ctx->args[2] & AT_REMOVEDIR ? OP_RMDIR : OP_UNLINK);

	call.dirfd = ctx->args[0];
	call.name = ctx->args[1];
	return enter_name(&call);
}

SEC("tp/syscalls/sys_enter_rmdir")
int enter_rmdir(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_RMDIR);

	call.name = ctx->args[0];
	return enter_name(&call);
}

SEC("tp/syscalls/sys_enter_rename")
int enter_rename(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_RENAME);

	call.name = ctx->args[0];
	call.new_name = ctx->args[1];
	return enter_name(&call);
}

SEC("tp/syscalls/sys_enter_renameat")
int enter_renameat(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_RENAME);

	call.dirfd = ctx->args[0];
	call.name = ctx->args[1];
	call.new_dirfd = ctx->args[2];
	call.new_name = ctx->args[3];
	return enter_name(&call);
}

SEC("tp/syscalls/sys_enter_renameat2")
int enter_renameat2(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_RENAME);

	call.dirfd = ctx->args[0];
	call.name = ctx->args[1];
	call.new_dirfd = ctx->args[2];
	call.new_name = ctx->args[3];
	call.argument = (__u32)ctx->args[4];
	return enter_name(&call);
}

SEC("tp/syscalls/sys_enter_truncate")
int enter_truncate(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_TRUNCATE);

	call.name = ctx->args[0];
	call.argument = ctx->args[1];
	return enter_name(&call);
}

SEC("tp/syscalls/sys_enter_ftruncate")
int enter_ftruncate(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_TRUNCATE);

	call.dirfd = ctx->args[0];
	call.argument = ctx->args[1];
	return enter_file(&call, true);
}

SEC("tp/syscalls/sys_enter_fallocate")
int enter_fallocate(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_OVERWRITE);

	if (!(ctx->args[1] & FALLOC_DESTROYS))
		return 0;
	call.dirfd = ctx->args[0];
	call.argument = ctx->args[1];
	return enter_file(&call, false);
}

SEC("tp/syscalls/sys_enter_creat")
int enter_creat(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_TRUNCATE);

	call.name = ctx->args[0];
	return enter_open(&call, O_TRUNC);
}

SEC("tp/syscalls/sys_enter_open")
int enter_open_call(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_TRUNCATE);

	call.name = ctx->args[0];
	return enter_open(&call, ctx->args[1]);
}

SEC("tp/syscalls/sys_enter_openat")
int enter_openat(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_TRUNCATE);

	call.dirfd = ctx->args[0];
	call.name = ctx->args[1];
	return enter_open(&call, ctx->args[2]);
}

SEC("tp/syscalls/sys_enter_openat2")
int enter_openat2(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = call_of(ctx, OP_TRUNCATE);
	__u64 flags = 0;

	call.dirfd = ctx->args[0];
	call.name = ctx->args[1];
	/* struct open_how begins with its flags; where it cannot be read yet, it is at exit. */
	if (bpf_probe_read_user(&flags, sizeof(flags), (void *)ctx->args[2])) {
		flags = O_TRUNC;
		call.new_name = ctx->args[2];
	}
	return enter_open(&call, flags);
}

/* Judges a call that opened a file, at its exit. Nonzero: nothing was lost, and there is nothing to tell. */
static __always_inline int exit_opened(__u32 slot, struct scratch *scratch, long fd)
{
	struct file *file = file_of_fd((struct task_struct *)bpf_get_current_task(), fd);
	struct target *target = &scratch->rec.op.target;
	struct path path = {};

	if (!file || BPF_CORE_READ(file, f_mode) & FMODE_CREATED)
		return 1;
	BPF_CORE_READ_INTO(&path, file, f_path);
	target_of_inode(target, BPF_CORE_READ(path.dentry, d_inode));
	target->size = 0;
	if ((target->mode & S_IFMT) != S_IFREG || !target->nlink)
		return 1;
	op_judge_name(slot, 0, path_walk(slot, (__u64)path.dentry, (__u64)path.mnt) < 0 ? -1 : path_forward(slot));
	return 0;
}

/* The names of a call whose names could not be read at entry, or that failed to open: by now they are resident. */
static __always_inline void exit_named(__u32 slot, struct scratch *scratch, bool opens)
{
	if (op_by_name(slot)) {
		scratch->rec.op.flags |= OP_PATH_AS_GIVEN;
		op_judge_name(slot, 0, -1);
	}
	if (!opens)
		scratch->rec.op.flags |= OP_PATH_LATE;
}

/* Puts what waits under a key back into a fresh slot and judges it. Returns the slot with the record complete, or -1. */
static __always_inline int exit_late(struct inflight *inflight, long result)
{
	struct scratch *scratch;
	__u32 late = inflight->pending.late;
	struct call call = inflight->pending.call;
	__u32 flags = inflight->rec.flags;
	__u64 open_flags = 0;
	int slot;

	scratch = enter_begin(&call, &slot);
	if (!scratch)
		return -1;
	if (late == LATE_OPEN && call.new_name &&
	    (bpf_probe_read_user(&open_flags, sizeof(open_flags), (void *)call.new_name) || !(open_flags & O_TRUNC))) {
		scratch_release(slot);
		return -1;
	}
	scratch->rec.op.flags = flags | OP_JUDGED_LATE | OP_RESULT_KNOWN;
	scratch->rec.op.result = result;
	if (late == LATE_OPEN && result >= 0) {
		if (exit_opened(slot, scratch, result)) {
			scratch_release(slot);
			return -1;
		}
	} else {
		exit_named(slot, scratch, late == LATE_OPEN);
	}
	if (result < 0)
		scratch->rec.op.flags |= OP_NOT_LOST;
	op_judge(slot, TIER_SIGNAL);
	return slot;
}

/* One body for the exit of every call above: a thread has at most one of them under way. */
SEC("tp/syscalls/sys_exit_unlink")
int exit_call(struct trace_event_raw_sys_exit *ctx)
{
	__u64 key = bpf_get_current_pid_tgid();
	struct inflight *inflight = bpf_map_lookup_elem(&inflights, &key);
	struct scratch *scratch;
	int slot;

	/* What the probe in libc judged may still be waiting for its system call. Of id the kernel writes 32 bits only. */
	if (!inflight || inflight->pending.call.number != (__u32)ctx->id)
		return 0;
	if (!inflight->pending.late) {
		inflight_emit(key, ctx->ret, 1);
		return 0;
	}
	slot = exit_late(inflight, ctx->ret);
	bpf_map_delete_elem(&inflights, &key);
	scratch = scratch_of(slot);
	if (slot < 0 || !scratch)
		return 0;
	emit(slot, scratch->rec.op.flags & OP_ACTED);
	scratch_release(slot);
	return 0;
}
