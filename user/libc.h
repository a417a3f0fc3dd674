/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The probes in libc, set while a session lives: a call of any process through a probed function costs that process some
 * microseconds, so that nobody pays while there is nobody to guard.
 */
#ifndef REPRIEVE_LIBC_H
#define REPRIEVE_LIBC_H

#include "decode.h"
#include "loader.h"

#define LIBC_GRACE_NS (5 * NSEC_PER_SEC) /* that the probes stay behind the last session */

struct libc_probes;

/* The guard is borrowed. Where it does not guard files by libc, nothing below does anything. -ENOMEM. */
int libc_probes_new(struct guard *guard, struct libc_probes **ret_probes);
/* Takes the probes away. NULL is fine. */
void libc_probes_free(struct libc_probes *probes);

/*
 * A session lives: sets the probes in every libc that a process maps now, in any mount namespace, unless they are set.
 * Takes some 50 ms, and on kernels that probe one function at a time 40 ms more for each. What cannot be probed is
 * warned of, and stays on the signal tier.
 */
void libc_probes_arm(struct libc_probes *probes);

/*
 * A process maps a file that was not looked through yet (RECORD_MAP): where it holds a libc, that is probed. A negative
 * errno: not all could be looked at.
 */
int libc_probes_mapped(struct libc_probes *probes, const struct event *event);

/* To be called now and then: takes the probes away once no session has lived for LIBC_GRACE_NS. */
void libc_probes_tick(struct libc_probes *probes, bool session_lives, uint64_t now);

/* How many libcs are probed now. */
size_t libc_probes_count(const struct libc_probes *probes);

/* Sets the probes in our own libc, for the self-test; guard_unprobe_libc takes them away. */
void libc_probe_self(struct guard *guard);

#endif
