/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a dry run would have done: every denied operation, once, with what would have been lost. */
#ifndef REPRIEVE_DRY_RUN_H
#define REPRIEVE_DRY_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The policy of a dry run. */
extern const char dry_run_policy[];

struct dry_run;

int dry_run_new(struct dry_run **ret_dry_run);
void dry_run_free(struct dry_run *dry_run);

/* One event, a line of JSON; all but denied operations are passed over. -ENOMEM. */
int dry_run_add(struct dry_run *dry_run, const char *line, size_t length);

/* The list and the sums: for people, or one JSON object. */
int dry_run_print(const struct dry_run *dry_run, bool json, FILE *to);

#endif
