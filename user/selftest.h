/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Proof that what is armed works: a child of ours does harmless operations, and each must be seen. */
#ifndef REPRIEVE_SELFTEST_H
#define REPRIEVE_SELFTEST_H

#include "loader.h"

/*
 * selftest_run - does each file operation once, in a directory of its own
 *
 * The policy in force must allow everything. Marks the operations that were seen (guard_mark_proven). The session it
 * used, whose records are to be passed over, is returned. Negative errno: it could not be done at all.
 */
int selftest_run(struct guard *guard, struct session_id *ret_session);

#endif
