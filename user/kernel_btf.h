/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Functions and tracepoints in the kernel's own BTF. libbpf looks a name up by walking all types, some 130,000; a start
 * asks for a few dozen, so here they are indexed in one pass.
 */
#ifndef REPRIEVE_KERNEL_BTF_H
#define REPRIEVE_KERNEL_BTF_H

#include <stddef.h>
#include <stdint.h>

struct kernel_btf;

/* What is known of a function, or of a tracepoint (btf_trace_...). */
struct kernel_function {
	uint32_t id; /* of its BTF type; 0: this kernel has none of that name */
	uint32_t arguments; /* of a function */
};

/* Reads it. -ENOENT: this kernel has none. -EPROTO: it is of a form that we do not know. */
int kernel_btf_new(struct kernel_btf **ret_btf);

/* NULL is fine. */
void kernel_btf_free(struct kernel_btf *btf);

struct kernel_function kernel_btf_find(const struct kernel_btf *btf, const char *name);

/*
 * kernel_btf_extract - writes BTF with the structures and unions of these names and all that they contain
 *
 * Pointers in it lead nowhere: relocations ask where a member lies, never what a pointer points to. Ids are not those
 * of the kernel. -ENOMEM, -EIO.
 */
int kernel_btf_extract(const struct kernel_btf *btf, const char *const *names, size_t count, int fd);

#endif
