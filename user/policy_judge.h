/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which objects are good and fit, found out by a child process: globs of whoever may make objects can take seconds to
 * refuse, and the guard goes on deciding meanwhile.
 */
#ifndef REPRIEVE_POLICY_JUDGE_H
#define REPRIEVE_POLICY_JUDGE_H

#include <systemd/sd-event.h>

#include "policy_set.h"

struct policy_judge;

/*
 * policy_judge_new - begins at once with the set as it is now
 *
 * done: called once from the event loop; 0: the set's items have their verdicts, as far as they are the same still.
 * -ETIMEDOUT: it took too long; -ECHILD: the child failed. The judge is to be freed then, which may be done from the call.
 * -ENOMEM, or what pipe2(2) and fork(2) say.
 */
int policy_judge_new(sd_event *event, struct policy_set *set, struct agent_registry *registry,
		     void (*done)(int error, void *userdata), void *userdata, struct policy_judge **ret_judge);
/* Ends the child where it is still at work. NULL is fine. */
void policy_judge_free(struct policy_judge *judge);

#endif
