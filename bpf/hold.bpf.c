/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Holds: a process stops before the operation until somebody answers.
 *
 * The signal is for the thread at the operation (bpf_send_signal_thread): one for the process may be given to another
 * thread, and this one would go on before that stops it (kernel/signal.c, complete_signal).
 *
 * On the lsm tier the hook sends SIGSTOP and fails the call with -ERESTARTNOINTR: the call ends before anything is
 * lost, with no lock held, the process stops on its way back to user space, and after SIGCONT the same call runs again
 * by itself and meets the answer, or is held again where a stray SIGCONT came without one. A handler of a signal that
 * is pending runs first; the call runs again behind it. On the uprobe tier the process stops before the function's first
 * instruction, and userspace lets it go on or makes the call fail.
 */
#include "reprieve.bpf.h"

#define PT_PTRACED 1
#define SYS_IO_URING_ENTER 426 /* to 32-bit programs too, and with X32_BIT to those of x32 */
#define X32_BIT 0x40000000

struct grants_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GRANTS_MAX);
	__type(key, struct grant_key);
	__type(value, struct grant);
} grants SEC(".maps");

/* As it lies in a scratch slot, from `pending` on. */
struct held {
	struct pending pending;
	char record[HELD_RECORD_BYTES];
};

_Static_assert(__builtin_offsetof(struct scratch, rec) ==
		       __builtin_offsetof(struct scratch, pending) + __builtin_offsetof(struct held, record),
	       "a held call is copied out of its slot in one piece");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HELD_MAX);
	__type(key, __u64);
	__type(value, struct held);
} helds SEC(".maps");

/* The answer under a key, if it is still good. */
static __always_inline __u32 answer_of(struct record_op *rec, const struct grant_key *key)
{
	struct grant *grant = bpf_map_lookup_elem(&grants, key);

	if (!grant || (grant->until && grant->until < bpf_ktime_get_boot_ns()))
		return ANSWER_NONE;
	rec->hold = grant->hold;
	return grant->answer;
}

/* Is there an answer to what the record in the slot tells of? The narrowest counts; one for one operation is used up. */
static __always_inline __u32 answer_find(struct record_op *rec)
{
	struct grant_key key = {.start = rec->actor.process.start,
				.ino = rec->target.ino,
				.pid = rec->actor.process.pid,
				.rule = rec->rule_key,
				.dev = rec->target.dev,
				.op = rec->op,
				.scope = GRANT_OBJECT,
				.exec_id = rec->exec_id};
	__u32 answer = answer_of(rec, &key);

	if (answer) {
		bpf_map_delete_elem(&grants, &key);
		return answer;
	}
	key.ino = 0;
	key.dev = 0;
	key.op = 0;
	key.scope = GRANT_PROCESS;
	answer = answer_of(rec, &key);
	if (answer)
		return answer;
	key.start = rec->actor.session.start;
	key.pid = rec->actor.session.pid;
	key.scope = GRANT_SESSION;
	key.exec_id = 0;
	return answer_of(rec, &key);
}

/* By somebody else than ourselves, who trace the threads of one process for the time of a refusal. */
static __always_inline bool is_traced(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return BPF_CORE_READ(task, ptrace) & PT_PTRACED && bpf_get_current_pid_tgid() >> 32 != settings.traced;
}

/*
 * Can this call be held? An io worker returns to no user space, a call through io_uring would complete with the restart
 * code, outside a system call there is nothing to run again, and a tracer could keep the stop from the process.
 */
static __always_inline bool can_hold(void)
{
	struct pt_regs *regs = regs_of_current();

	return in_system_call(regs) && !is_traced() && (BPF_CORE_READ(regs, orig_ax) & ~X32_BIT) != SYS_IO_URING_ENTER;
}

/* Was this very call held before, and is back? */
static __always_inline bool is_same_call(const struct held *held, const struct record_op *rec)
{
	const struct record_op *before = (const struct record_op *)held->record;

	return before->op == rec->op && before->target.ino == rec->target.ino &&
	       before->target.dev == rec->target.dev && before->actor.process.start == rec->actor.process.start;
}

/* The record in the slot, of any kind, as what the current thread is stopped at. Nonzero: no room, counted. */
__noinline int held_put(__u32 slot)
{
	__u64 key = bpf_get_current_pid_tgid();
	struct scratch *scratch = scratch_of(slot);
	__u32 size;

	if (!scratch)
		return -1;
	size = sizeof(scratch->rec) + scratch->pending.text_used;
	if (size > HELD_RECORD_BYTES)
		size = HELD_RECORD_BYTES;
	scratch->rec.head.size = size;
	scratch->rec.head.fixed = scratch->pending.fixed;
	scratch->rec.head.time = bpf_ktime_get_boot_ns();
	if (!bpf_map_update_elem(&helds, &key, &scratch->pending, BPF_ANY))
		return 0;
	count(COUNT_HELD_FULL);
	return -1;
}

/*
 * Keeps the record of a call that is to be held, for the next daemon too. Returns ACT_HOLD, ACT_HOLD_AGAIN where this
 * call is kept already, ACT_DENY where there is no room.
 */
static __always_inline int held_keep(__u32 slot, struct scratch *scratch, __u64 key)
{
	struct held *held = bpf_map_lookup_elem(&helds, &key);

	if (held && is_same_call(held, &scratch->rec.op)) {
		count(COUNT_HELD_AGAIN);
		return ACT_HOLD_AGAIN;
	}
	return held_put(slot) ? ACT_DENY : ACT_HOLD;
}

/* Stops the process at the operation in the slot; the flags tell what came of it. Returns enum act. */
static __always_inline int held_stop(__u32 slot, struct scratch *scratch)
{
	struct record_op *rec = &scratch->rec.op;
	__u64 key = bpf_get_current_pid_tgid();
	int act;

	rec->flags |= OP_HELD;
	act = held_keep(slot, scratch, key);
	if (act != ACT_DENY && !bpf_send_signal_thread(SIGSTOP))
		return act;
	if (act != ACT_DENY) {
		count(COUNT_SIGNAL_FAILED);
		bpf_map_delete_elem(&helds, &key);
	}
	rec->flags &= ~OP_HELD;
	return ACT_DENY;
}

/* The call is told of a last time, now with its end: nothing of it is kept. */
static __always_inline void held_forget(struct record_op *rec)
{
	__u64 key = bpf_get_current_pid_tgid();
	struct held *held = bpf_map_lookup_elem(&helds, &key);

	if (!held)
		return;
	if (is_same_call(held, rec))
		rec->flags |= OP_HELD_BEFORE;
	bpf_map_delete_elem(&helds, &key);
}

/* Verdict hold on the lsm tier. Returns enum act. */
__noinline int op_hold(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct record_op *rec;
	__u32 answer;
	int act;

	if (!scratch)
		return ACT_DENY;
	rec = &scratch->rec.op;
	answer = answer_find(rec);
	if (answer) {
		held_forget(rec);
		rec->flags |= answer == ANSWER_APPROVED ? OP_APPROVED : OP_REFUSED | OP_ACTED;
		return answer == ANSWER_APPROVED ? ACT_PASS : ACT_DENY;
	}
	act = can_hold() ? held_stop(slot, scratch) : ACT_DENY;
	if (act == ACT_DENY)
		rec->flags |= OP_ACTED | OP_DENIED_INSTEAD;
	return act;
}

/* A call that can be neither stopped nor made to fail: its process ends before it. */
static __always_inline int op_kill_instead(struct record_op *rec)
{
	rec->flags |= bpf_send_signal(SIGKILL) ? OP_ACT_FAILED : OP_ACTED;
	return ACT_DENY;
}

/*
 * Verdict hold or deny on the uprobe tier: nothing here can make the call fail, so the process stops and userspace does
 * it (OP_CONSULT), or waits for the answer (OP_HELD). Returns ACT_PASS or ACT_HOLD, or ACT_DENY where the process ends
 * instead.
 */
__noinline int op_stop(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct record_op *rec;
	__u32 answer = ANSWER_REFUSED;

	if (!scratch)
		return ACT_PASS;
	rec = &scratch->rec.op;
	if (rec->verdict == VERDICT_HOLD) {
		answer = answer_find(rec);
		if (answer == ANSWER_APPROVED) {
			rec->flags |= OP_APPROVED;
			return ACT_PASS;
		}
		if (answer == ANSWER_REFUSED)
			rec->flags |= OP_REFUSED;
	}
	/* A tracer could keep the stop from the process, and only one can make the call fail. */
	if (is_traced())
		return op_kill_instead(rec);
	if (answer == ANSWER_NONE && held_stop(slot, scratch) != ACT_DENY)
		return ACT_HOLD;
	/* Kept too: while one thread stands at its call, none of the process may be let go on. */
	rec->flags |= OP_CONSULT;
	if (!held_put(slot) && !bpf_send_signal_thread(SIGSTOP))
		return ACT_HOLD;
	held_end();
	count(COUNT_SIGNAL_FAILED);
	rec->flags &= ~OP_CONSULT;
	return op_kill_instead(rec);
}

/*
 * An operation of a pod that nobody told of yet. Where every rule, whoever the pod may turn out to be, lets it pass it
 * does; else it waits, stopped as for a hold: userspace lets it go once the pod is known, and it comes again. Returns enum
 * act; nothing but ACT_HOLD is to be told of.
 */
__noinline int op_await(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct record_op *rec;
	int act = ACT_DENY;

	if (!scratch)
		return ACT_PASS;
	rec = &scratch->rec.op;
	rec->flags |= OP_UNRESOLVED;
	if (rec->verdict == VERDICT_ALLOW || rec->flags & OP_NOT_LOST || scratch->mode == MODE_OBSERVE ||
	    rec->tier <= TIER_SIGNAL)
		return ACT_PASS;
	count(COUNT_UNRESOLVED);
	/* Not where whoever would let it go is away, and has been for longer than anything is to wait. */
	if (!(settings.await_until && settings.await_until < bpf_ktime_get_boot_ns()) &&
	    (rec->tier == TIER_LSM ? can_hold() : !is_traced()))
		act = held_stop(slot, scratch);
	if (act != ACT_DENY)
		return act;
	if (!settings.unresolved_denied)
		return ACT_PASS;
	return rec->tier == TIER_LSM ? ACT_DENY : op_kill_instead(rec);
}

/*
 * A call that was held and is back stays held, even where the rate that it exceeded has calmed down meanwhile: only an
 * answer ends a hold. Puts the verdict that held it back into the record. Nonzero where it did.
 */
__noinline int held_restore(__u32 slot)
{
	__u64 key = bpf_get_current_pid_tgid();
	struct scratch *scratch = scratch_of(slot);
	struct held *held = bpf_map_lookup_elem(&helds, &key);
	const struct record_op *before;

	if (!scratch || !held || !is_same_call(held, &scratch->rec.op))
		return 0;
	before = (const struct record_op *)held->record;
	scratch->rec.op.verdict = before->verdict;
	scratch->rec.op.rule = before->rule;
	scratch->rec.op.rule_key = before->rule_key;
	scratch->rec.op.flags |= OP_HELD_BEFORE;
	return 1;
}

/* The current thread goes on from what it was stopped at. Returns 1 where nobody had answered it, else 0. */
__noinline int held_settle(void)
{
	__u64 key = bpf_get_current_pid_tgid();

	return !bpf_map_delete_elem(&helds, &key);
}

/* Is this thread (its process in the upper half) held? Returns 0 or 1. */
__noinline int held_is(__u64 key)
{
	return bpf_map_lookup_elem(&helds, &key) != NULL;
}

/* The current thread ends: nothing of it is held any more. */
__noinline int held_end(void)
{
	__u64 key = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&helds, &key);
	return 0;
}
