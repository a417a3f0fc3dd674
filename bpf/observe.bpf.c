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

#define O_TRUNC 01000
#define FALLOC_DESTROYS (0x02 | 0x08 | 0x10) /* PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE */
#define FMODE_CREATED 0x100000 /* include/linux/fs.h: the open made the file */
/* arch/x86/entry/syscalls/syscall_64.tbl */
#define SYS_OPEN 2
#define SYS_TRUNCATE 76
#define SYS_FTRUNCATE 77
#define SYS_RENAME 82
#define SYS_RMDIR 84
#define SYS_CREAT 85
#define SYS_UNLINK 87
#define SYS_OPENAT 257
#define SYS_UNLINKAT 263
#define SYS_RENAMEAT 264
#define SYS_FALLOCATE 285
#define SYS_RENAMEAT2 316
#define SYS_OPENAT2 437
#define LATE_NAME 1 /* judged at exit, by name */
#define LATE_OPEN 2 /* judged at exit, by the file that was opened */

/* What a system call leads to its object by. */
enum call_form {
	CALL_NONE = 0,
	CALL_NAME = 1,
	CALL_FILE = 2 /* a descriptor, in the place of the name */,
	CALL_OPEN = 3
};

/*
 * Exits are armed from the first session on (user/loader.c), which its own start may precede by some milliseconds: what
 * is done in these is judged by what is known at entry.
 */
static __always_inline bool exits_armed(__u32 op)
{
	return settings.known_results >> (op & (OP_COUNT - 1)) & 1;
}

static __always_inline struct scratch *enter_begin(const struct call *call, int *ret_slot)
{
	int slot = op_begin(RECORD_OP);
	struct scratch *scratch = scratch_of(slot);

	if (slot < 0 || !scratch)
		return NULL;
	scratch->pending.call = *call;
	scratch->rec.op.op = call->op;
	scratch->rec.op.source = SOURCE_SYSCALL;
	scratch->rec.op.detail = call->number;
	scratch->rec.op.argument = call->argument;
	if (libc_judged(slot)) {
		if (!exits_armed(call->op))
			inflight_emit(bpf_get_current_pid_tgid(), 0, 0);
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
	if (!op_by_name(slot)) {
		op_judge(slot, TIER_SIGNAL);
	} else if (exits_armed(call->op)) {
		scratch->pending.late = LATE_NAME;
	} else {
		op_judge_name(slot, 0, -1);
		op_judge(slot, TIER_SIGNAL);
	}
	op_tell(slot);
	scratch_release(slot);
	return 0;
}

/* An operation on a descriptor, which is the call's dirfd. */
static __always_inline int enter_file(const struct call *call)
{
	struct scratch *scratch;
	int slot;

	scratch = enter_begin(call, &slot);
	if (!scratch)
		return 0;
	if (!op_by_file(slot, call->op == OP_TRUNCATE)) {
		op_judge(slot, TIER_SIGNAL);
		op_tell(slot);
	}
	scratch_release(slot);
	return 0;
}

/* A call that opens, and empties what was there. */
static __always_inline int enter_open(const struct call *call)
{
	struct scratch *scratch;
	int slot;

	if (!(call->argument & O_TRUNC))
		return 0;
	scratch = enter_begin(call, &slot);
	if (!scratch)
		return 0;
	if (exits_armed(call->op)) {
		scratch->pending.late = LATE_OPEN;
	} else {
		if (op_by_name(slot))
			op_judge_name(slot, 0, -1);
		op_judge(slot, TIER_SIGNAL);
	}
	op_tell(slot);
	scratch_release(slot);
	return 0;
}

/* struct open_how begins with its flags; where it cannot be read yet, it is at exit. */
static __always_inline void open_how_read(struct call *call, __u64 how)
{
	if (!bpf_probe_read_user(&call->argument, sizeof(call->argument), (void *)how))
		return;
	call->argument = O_TRUNC;
	call->new_name = how;
}

/* What a system call asks for, in one form. Returns how it is judged, CALL_NONE where it loses nothing. */
static __always_inline enum call_form call_read(struct trace_event_raw_sys_enter *ctx, struct call *call)
{
	__u64 args[6] = {};

	/* The kernel attaches no program to a call that loads more arguments than the call has; there is room for six. */
	bpf_probe_read_kernel(args, sizeof(args), ctx->args);
	call->number = ctx->id;
	call->dirfd = AT_FDCWD;
	call->new_dirfd = AT_FDCWD;
	call->name = args[0];
	call->op = OP_TRUNCATE;
	switch ((__u32)ctx->id) { /* an int with undefined bytes behind it (perf_call_bpf_enter) */
	case SYS_UNLINK:
	case SYS_RMDIR:
		call->op = (__u32)ctx->id == SYS_RMDIR ? OP_RMDIR : OP_UNLINK;
		return CALL_NAME;
	case SYS_UNLINKAT:
		call->op = args[2] & AT_REMOVEDIR ? OP_RMDIR : OP_UNLINK;
		call->dirfd = args[0];
		call->name = args[1];
		return CALL_NAME;
	case SYS_RENAME:
		call->op = OP_RENAME;
		call->new_name = args[1];
		return CALL_NAME;
	case SYS_RENAMEAT2:
		call->argument = (__u32)args[4];
		/* fall through */
	case SYS_RENAMEAT:
		call->op = OP_RENAME;
		call->dirfd = args[0];
		call->name = args[1];
		call->new_dirfd = args[2];
		call->new_name = args[3];
		return CALL_NAME;
	case SYS_TRUNCATE:
	case SYS_FTRUNCATE:
		call->argument = args[1];
		return (__u32)ctx->id == SYS_TRUNCATE ? CALL_NAME : CALL_FILE;
	case SYS_FALLOCATE:
		call->op = OP_OVERWRITE;
		call->argument = args[1];
		return call->argument & FALLOC_DESTROYS ? CALL_FILE : CALL_NONE;
	case SYS_CREAT:
	case SYS_OPEN:
		call->argument = (__u32)ctx->id == SYS_CREAT ? O_TRUNC : args[1];
		return CALL_OPEN;
	case SYS_OPENAT:
		call->dirfd = args[0];
		call->name = args[1];
		call->argument = args[2];
		return CALL_OPEN;
	case SYS_OPENAT2:
		call->dirfd = args[0];
		call->name = args[1];
		open_how_read(call, args[2]);
		return CALL_OPEN;
	}
	return CALL_NONE;
}

/*
 * One program for the entry of every call above, told apart by its number: each program that is loaded is verified with
 * all that it calls.
 */
SEC("tp/syscalls/sys_enter_unlink")
int enter_call(struct trace_event_raw_sys_enter *ctx)
{
	struct call call = {};

	if (!maybe_member(bpf_get_current_pid_tgid() >> 32))
		return 0;
	switch (call_read(ctx, &call)) {
	case CALL_NAME:
		return enter_name(&call);
	case CALL_FILE:
		call.dirfd = call.name;
		call.name = 0;
		return enter_file(&call);
	case CALL_OPEN:
		return enter_open(&call);
	default:
		return 0;
	}
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
	op_target(slot, (__u64)BPF_CORE_READ(path.dentry, d_inode));
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
		inflight_emit(key, libc_result(inflight, ctx->ret), 1);
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
