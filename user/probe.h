/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What this kernel can do, asked by trial and once, into one struct. Nothing here compares versions: a kernel may
 * have a feature backported, or accept a program that it will never call.
 */
#ifndef REPRIEVE_PROBE_H
#define REPRIEVE_PROBE_H

#include "kernel_btf.h"
#include "types.h"
#include "util.h"

enum probe_result {
	PROBE_UNKNOWN = 0,
	PROBE_WORKS = 1,
	PROBE_REFUSED = 2, /* the load or the attachment failed: see the error */
	PROBE_SILENT = 3, /* loaded and attached, and never called */
};

struct probe {
	enum probe_result result;
	int error; /* positive errno where refused */
};

struct kernel_facts {
	char release[128]; /* uname -r */
	char lsm_list[256]; /* active LSMs; empty where securityfs does not tell */
	struct kernel_btf *btf; /* owned; NULL: there is none */
	bool tracefs; /* mounted, by us where it was not */
	bool cgroup2; /* mounted; its root is in cgroup_root */
	char cgroup_root[128];
	struct probe lsm; /* LSM programs are called */
	struct probe fexit; /* on vfs_unlink; other functions may be inlined where they are called (rmdir in 5.10): */
	struct probe fexit_rmdir, fexit_rename, fexit_truncate, fexit_fallocate;
	struct probe tracepoint; /* system call tracepoints */
	struct probe tp_btf; /* scheduler tracepoints, for sessions */
	struct probe uprobe;
	struct probe uprobe_sleeps; /* a uprobe program may fault: 6.0 */
	struct probe uprobe_multi; /* one link for many functions: 6.6 */
	struct probe cookie;
	struct probe pt_regs;
};

enum probe_depth {
	PROBE_QUICK = 0, /* what a start needs: programs are loaded, and the self-test shows which of them are called */
	PROBE_THOROUGH = 1, /* each is also attached, triggered and looked at: waits for the kernel a few hundred ms */
};

/*
 * probe_kernel - asks what works here
 *
 * Mounts tracefs at /sys/kernel/tracing where it is not mounted. Needs root. Returns 0, -EPERM without the privileges,
 * -ENOENT without BTF (nothing else can work then). probe_done releases what the facts hold.
 */
int probe_kernel(enum probe_depth depth, struct kernel_facts *ret_facts);
void probe_done(struct kernel_facts *facts);

#define UPROBE_MULTI 48 /* BPF_TRACE_UPROBE_MULTI: libbpf 1.1 and its header do not know it */

/*
 * Attaches a program, loaded for UPROBE_MULTI, to `count` places of a file, each with its cookie. The link's descriptor,
 * which detaches all when it is closed, or a negative errno.
 */
int uprobe_multi_link(int program, const char *path, const uint64_t *offsets, const uint64_t *cookies, uint32_t count);

const char *probe_result_name(enum probe_result result);

#endif
