/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Libraries that few runs need, loaded when they are first asked for: libcurl alone brings thirty others, and would be most
 * of what a start spends before main() and a good part of the memory. Each has a header late_NAME.h, included in the one
 * file that uses it in place of the library's own: it has pointers stand for the functions, valid once late_NAME() has
 * returned 0. kube_curl.h is the like for several files that share them.
 */
#ifndef REPRIEVE_LATE_H
#define REPRIEVE_LATE_H

#include <stddef.h>

struct late_symbol {
	const char *name;
	void *to; /* where its address goes: a pointer to a function */
};

/* Loads a library, by its soname, for good. -ENOENT, with a message, where it or one of the symbols is not there. */
int late_load(const char *library, const struct late_symbol *symbols, size_t count);

#endif
