/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The uprobe tier: probes at the entry of libc's functions, where the kernel has no LSM programs.
 *
 * What is judged here is not judged again when the system call behind it enters the kernel: the record waits among the
 * operations under way, for that call to recognise it and for its exit to give it its result. System calls that come
 * without one (static programs, own system calls) are judged at their tracepoints, on the signal tier.
 *
 * Which function was called a cookie tells, where all of them are probed by one link; else there is a program for each.
 */
#include "reprieve.bpf.h"

#define FRAME_BYTES 128 /* see libc_judged */
#define PAGE_BYTES 4096

const volatile bool libc_sleeps = false; /* these programs are sleepable: commit 8c7dcb84e3b7 (6.0) */

/* A call that was stopped goes on as it is: by an answer, or because somebody else woke its process. */
static __always_inline void went_on(struct inflight *inflight)
{
	bool stood = held_settle();

	inflight->rec.flags |= stood || inflight->rec.flags & OP_CONSULT ? OP_ACT_FAILED : OP_APPROVED;
}

/*
 * Has the probe judged the call that enters the kernel now, whose tracepoint's slot this is? It has where the thread is
 * still in the frame of that very function, with the name it was given. A call that was refused (user/refuse.c) comes
 * with a name or a descriptor of all ones. Returns 0 or 1.
 */
__noinline int libc_judged(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	__u64 key = bpf_get_current_pid_tgid(), stack;
	struct inflight *inflight = bpf_map_lookup_elem(&inflights, &key);
	struct call *call;

	if (!scratch || !inflight || inflight->rec.source != SOURCE_LIBC)
		return 0;
	call = &scratch->pending.call;
	if (inflight->pending.call.op != call->op)
		return 0;
	if (scratch->rec.op.source == SOURCE_LIBC && inflight->rec.detail != LIBC_RENAMEAT2)
		return 0;
	stack = scratch->rec.op.source == SOURCE_LIBC ? scratch->rec.op.entry.stack
						      : BPF_CORE_READ(regs_of_current(), sp);
	if (inflight->rec.entry.stack - stack > FRAME_BYTES)
		return 0;
	if (call->name == ~0ull || (!call->name && call->dirfd == -1)) {
		inflight->pending.match = MATCH_REFUSED;
		inflight->rec.flags |= inflight->rec.flags & OP_CONSULT ? OP_ACTED : OP_REFUSED | OP_ACTED;
	} else if (call->name != inflight->pending.call.name) {
		return 0;
	} else if (inflight->rec.flags & OP_HELD_BEFORE) {
		went_on(inflight);
	}
	inflight->pending.call.number = call->number;
	return 1;
}

/* A sleepable program can have the pages of a name read in; the reads behind this one cannot. A name is on two at most. */
static __always_inline void fault_in(__u64 name)
{
	char byte;

	if (!libc_sleeps || !name)
		return;
	bpf_copy_from_user(&byte, sizeof(byte), (void *)name);
	bpf_copy_from_user(&byte, sizeof(byte), (void *)((name | (PAGE_BYTES - 1)) + 1));
}

static __always_inline struct scratch *libc_begin(struct pt_regs *ctx, const struct call *call, int *ret_slot)
{
	int slot = op_begin(RECORD_OP);
	struct scratch *scratch = scratch_of(slot);
	struct record_op *rec;

	if (slot < 0 || !scratch)
		return NULL;
	scratch->pending.call = *call;
	scratch->pending.call.number = 0;
	rec = &scratch->rec.op;
	rec->op = call->op;
	rec->source = SOURCE_LIBC;
	rec->detail = call->number;
	rec->argument = call->argument;
	rec->entry.address = PT_REGS_IP(ctx);
	rec->entry.stack = PT_REGS_SP(ctx);
	/* renameat2 without flags ends in renameat. Nothing else is passed over here: a mark may be left of a call before,
	 * since the kernel skips a tracepoint's programs now and then (trace_call_bpf, bpf_prog_active). */
	if (call->number == LIBC_RENAMEAT && libc_judged(slot)) {
		scratch_release(slot);
		return NULL;
	}
	count(COUNT_LIBC + (call->op & (OP_COUNT - 1)));
	*ret_slot = slot;
	return scratch;
}

/*
 * What is to follow the judgement. The record of a call that stands stopped goes out at once, for userspace to act; what
 * waits for the call itself goes out a second time, with what became of it.
 */
static __always_inline void libc_end(__u32 slot, struct scratch *scratch)
{
	struct record_op *rec = &scratch->rec.op;
	int act = op_judge(slot, TIER_UPROBE);

	if (act == ACT_PASS) {
		inflight_put(slot);
		return;
	}
	if (act == ACT_HOLD_AGAIN)
		return;
	/* Nobody will answer a question that did not get through. */
	if (emit(slot, 1) && act == ACT_HOLD && rec->flags & OP_CONSULT)
		bpf_send_signal(SIGKILL);
	if (act != ACT_HOLD)
		return;
	rec->flags = (rec->flags & ~OP_HELD) | OP_HELD_BEFORE;
	inflight_put(slot);
}

/* An operation on names. */
static __always_inline void libc_name(__u32 slot, struct scratch *scratch, const struct call *call)
{
	if (call->op == OP_RENAME) {
		op_rename_flags(scratch);
		fault_in(call->new_name);
	}
	fault_in(call->name);
	/* A name that cannot be read is left to the system call: the kernel will have read it by its exit. */
	if (!op_by_name(slot))
		libc_end(slot, scratch);
}

/* The arguments, by what each function takes. `remove` is judged as what it tries first. */
static __always_inline void libc_arguments(struct pt_regs *ctx, struct call *call)
{
	switch (call->number) {
	case LIBC_UNLINK:
	case LIBC_RMDIR:
	case LIBC_REMOVE:
		call->op = call->number == LIBC_RMDIR ? OP_RMDIR : OP_UNLINK;
		call->name = PT_REGS_PARM1(ctx);
		return;
	case LIBC_UNLINKAT:
		call->op = PT_REGS_PARM3(ctx) & AT_REMOVEDIR ? OP_RMDIR : OP_UNLINK;
		call->dirfd = PT_REGS_PARM1(ctx);
		call->name = PT_REGS_PARM2(ctx);
		return;
	case LIBC_RENAME:
		call->op = OP_RENAME;
		call->name = PT_REGS_PARM1(ctx);
		call->new_name = PT_REGS_PARM2(ctx);
		return;
	case LIBC_RENAMEAT:
	case LIBC_RENAMEAT2:
		call->op = OP_RENAME;
		call->dirfd = PT_REGS_PARM1(ctx);
		call->name = PT_REGS_PARM2(ctx);
		call->new_dirfd = PT_REGS_PARM3(ctx);
		call->new_name = PT_REGS_PARM4(ctx);
		if (call->number == LIBC_RENAMEAT2)
			call->argument = (__u32)PT_REGS_PARM5(ctx);
		return;
	case LIBC_TRUNCATE:
		call->name = PT_REGS_PARM1(ctx);
		call->op = OP_TRUNCATE;
		call->argument = PT_REGS_PARM2(ctx);
		return;
	default:
		call->dirfd = PT_REGS_PARM1(ctx);
		call->op = OP_TRUNCATE;
		call->argument = PT_REGS_PARM2(ctx);
	}
}

static __always_inline int libc_call(struct pt_regs *ctx, __u32 function)
{
	struct call call = {.number = function, .dirfd = AT_FDCWD, .new_dirfd = AT_FDCWD};
	struct scratch *scratch;
	int slot;

	libc_arguments(ctx, &call);
	scratch = libc_begin(ctx, &call, &slot);
	if (!scratch)
		return 0;
	if (function != LIBC_FTRUNCATE)
		libc_name(slot, scratch, &call);
	else if (!op_by_file(slot, 1))
		libc_end(slot, scratch);
	scratch_release(slot);
	return 0;
}

/* Attached to all functions of a libc at once, with the function as the cookie: commit 89ae89f53d20 (6.6). */
SEC("uprobe")
int libc_any(struct pt_regs *ctx)
{
	return libc_call(ctx, bpf_get_attach_cookie(ctx));
}

/* Attached each to its function, elsewhere. */
#define LIBC_PROBE(name, function)               \
	SEC("uprobe")                            \
	int name(struct pt_regs *ctx)            \
	{                                        \
		return libc_call(ctx, function); \
	}

LIBC_PROBE(libc_unlink, LIBC_UNLINK)
LIBC_PROBE(libc_unlinkat, LIBC_UNLINKAT)
LIBC_PROBE(libc_rmdir, LIBC_RMDIR)
LIBC_PROBE(libc_remove, LIBC_REMOVE)
LIBC_PROBE(libc_rename, LIBC_RENAME)
LIBC_PROBE(libc_renameat, LIBC_RENAMEAT)
LIBC_PROBE(libc_renameat2, LIBC_RENAMEAT2)
LIBC_PROBE(libc_truncate, LIBC_TRUNCATE)
LIBC_PROBE(libc_ftruncate, LIBC_FTRUNCATE)
