/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What would be lost: files and bytes below the operands of the stopped program, counted by a thread of its own while
 * the process stands stopped. What is not finished in time is told as far as it came.
 */
#ifndef REPRIEVE_STAKE_H
#define REPRIEVE_STAKE_H

#include <systemd/sd-event.h>

#include "hold.h"

#define STAKE_BUDGET_NS (2 * NSEC_PER_SEC)

/*
 * stake_count - files and bytes below a program's operands
 *
 * root, cwd: descriptors of the process's directories. args: each ended by a NUL. Symbolic links are not followed, other
 * file systems not entered. Bytes are those of files whose last name this is. Returns 0, or -ENOENT where the program's
 * arguments do not tell what it is going to remove.
 */
int stake_count(int root, int cwd, struct span args, uint64_t budget_ns, struct hold_stake *ret_stake);

struct stakes;

/* `done` is called from the event loop. */
int stakes_new(sd_event *event, void (*done)(uint32_t number, const struct hold_stake *stake, void *userdata),
	       void *userdata, struct stakes **ret_stakes);
void stakes_free(struct stakes *stakes);

/* Has a question's process looked at; `done` comes only where there is something to say. -ENOMEM, -ESRCH. */
int stakes_begin(struct stakes *stakes, uint32_t number, const struct process_id *process, struct span args);

#endif
