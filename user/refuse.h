/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Lets a process go on that a probe stopped at a function's entry, with that call or with its failure.
 *
 * A SIGCONT wakes every thread of a process, those too that stand at a call of their own which nobody has answered yet.
 * So where there are several threads, all are traced for a moment: a process goes on only when none of them stands so.
 */
#ifndef REPRIEVE_REFUSE_H
#define REPRIEVE_REFUSE_H

#include "decode.h"

/* Each is called by another thread than the caller's, which waits; and while no thread of the process can move. */
struct call_hooks {
	/* Does this thread stand stopped at a call that was not answered? NULL: none can. */
	bool (*stands)(uint32_t pid, uint32_t tid, void *userdata);
	/* The process is to run, though only a step at a time, whatever kept it from that besides its stop. NULL: nothing. */
	void (*loosen)(const struct process_id *process, void *userdata);
	/* Keeps it from running whoever wakes it; or lets go of it for good. NULL: there is no such thing. */
	int (*secure)(const struct process_id *process, bool keep, void *userdata);
	void *userdata;
};

/*
 * secure_call - has `secure` keep a process that stands stopped at a call, from a SIGCONT of anybody's
 *
 * All threads are traced until that is done: the tracer is quicker than whoever sends signals. -ESTALE: none of them stands
 * any more, and nothing was done; or what `secure` says.
 */
int secure_call(const struct actor *actor, const struct call_hooks *hooks);

/*
 * resume_call - lets the process go on with the call that the thread was stopped at
 *
 * It stays stopped where `stands` says so of another thread (with a thread of 0, of any); the answer to that one then lets
 * it go. -ESRCH: it is gone.
 */
int resume_call(const struct actor *actor, const struct call_hooks *hooks);

/*
 * refuse_call - ends the call that the event tells of, and lets the process go on behind it, as resume_call does
 *
 * The event is a RECORD_OP of SOURCE_LIBC or a RECORD_SQL whose process was stopped at the function's entry (OP_HELD,
 * OP_CONSULT). The libc function fails with EPERM, as if the kernel had refused; the libpq function returns what it
 * returns when it could not send: 0, or NULL. Nothing is written into the process's memory.
 *
 * Takes some 0.2 ms; three seconds at most, and 10 ms for each other thread, where threads do not come to a stop. Returns 0;
 * -ESRCH: the process is gone; -ENOTSUP: the record does not say where the call is; -EPERM: the process is traced by
 * somebody else; -ESTALE: the thread is no longer at that call, somebody else let it go on; -ETIMEDOUT; or what ptrace(2)
 * says. On an error the process is stopped, or dead after -ETIMEDOUT, and the call has not been done, -ESTALE aside: ending
 * it is the caller's part.
 *
 * Must not be called on a process that the caller itself traces. Waits for threads of that process only; where it is a
 * child of the caller's and ends meanwhile, its exit status is left for whoever else waits for it. No hooks: NULL.
 */
int refuse_call(const struct event *event, const struct call_hooks *hooks);

#endif
