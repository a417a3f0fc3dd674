/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Makes a call fail at which a process was stopped by a probe, before the function did anything. */
#ifndef REPRIEVE_REFUSE_H
#define REPRIEVE_REFUSE_H

#include "decode.h"

/*
 * refuse_call - ends the call that the event tells of, and lets the process go on behind it
 *
 * The event is a RECORD_OP of SOURCE_LIBC or a RECORD_SQL whose process was stopped at the function's entry (OP_HELD,
 * OP_CONSULT). The libc function fails with EPERM, as if the kernel had refused; the libpq function returns what it
 * returns when it could not send: 0, or NULL. Nothing is written into the process's memory.
 *
 * Takes some 0.2 ms, a second at most where the thread does not come to a stop. Returns 0; -ESRCH: the process is gone;
 * -ENOTSUP: the record does not say where the call is; -EPERM: the process is traced by somebody else; -ESTALE: the
 * thread is no longer at that call, somebody else let it go on; -ETIMEDOUT; or what ptrace(2) says. On an error the
 * process is stopped, or dead after -ETIMEDOUT, and the call has not been done, -ESTALE aside: ending it is the caller's
 * part.
 *
 * Must not be called on a process that the caller itself traces. Waits for that one thread only; where it is a child of
 * the caller's and ends meanwhile, its exit status is left for whoever else waits for it.
 */
int refuse_call(const struct event *event);

#endif
