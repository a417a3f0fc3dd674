/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is done to other processes. Every one of them is checked to be the process meant, by its start time. */
#ifndef REPRIEVE_ACTION_H
#define REPRIEVE_ACTION_H

#include "event.h"
#include "util.h"

/* SIGKILL, SIGCONT, SIGSTOP to the process, if it still is that process: -ESRCH otherwise. */
int action_signal(const struct process_id *process, int signal);

/*
 * A NUL-terminated text at an address of a process, at most `limit` bytes of it: malloc'ed, with a NUL behind it.
 * -EFAULT: not readable, -E2BIG: no NUL within the limit (what was read is returned all the same).
 */
int action_read_text(pid_t pid, uint64_t address, size_t limit, char **ret_text, size_t *ret_length);

/* Is the process of this number still the one meant? To within a hundredth of a second, as /proc tells it. */
bool action_is_process(const struct process_id *process);

/* State of a thread as /proc shows it, 'T' for stopped; 0: it is gone. */
char action_thread_state(pid_t pid, pid_t tid);

/* Start of a process in clock ticks since boot (/proc/PID/stat), to tell it from a later owner of its number. */
int process_start_ticks(pid_t pid, uint64_t *ret_ticks);

#endif
