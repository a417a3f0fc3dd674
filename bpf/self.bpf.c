/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Does this kind of program run here? One small program for each kind, tried one at a time by user/probe.c: some
 * kernels refuse a kind, and some load and attach LSM programs and then never call them ("bpf" missing in lsm=).
 */
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 self_pid = 0; /* thread group whose calls count */
volatile __u32 seen = 0;

static __always_inline int seen_by_self(void)
{
	if (bpf_get_current_pid_tgid() >> 32 == self_pid)
		seen += 1;
	return 0;
}

SEC("lsm/path_rmdir")
int self_lsm(void *ctx)
{
	return seen_by_self();
}

/* One for each function that gives a result: where a compiler has put one into its only caller, it is never called. */
#define SELF_FEXIT(name, function)     \
	SEC("fexit/" function)         \
	int name(void *ctx)            \
	{                              \
		return seen_by_self(); \
	}

SELF_FEXIT(self_fexit, "vfs_unlink")
SELF_FEXIT(self_fexit_rmdir, "vfs_rmdir")
SELF_FEXIT(self_fexit_rename, "vfs_rename")
SELF_FEXIT(self_fexit_truncate, "do_truncate")
SELF_FEXIT(self_fexit_fallocate, "vfs_fallocate")

SEC("tp/syscalls/sys_enter_rmdir")
int self_tracepoint(void *ctx)
{
	return seen_by_self();
}

SEC("tp_btf/sched_process_fork")
int self_tp_btf(void *ctx)
{
	return seen_by_self();
}

SEC("uprobe")
int self_uprobe(void *ctx)
{
	return seen_by_self();
}

/* May fault, so that a name on a page that is not resident can be read. */
SEC("uprobe.s")
int self_uprobe_sleeps(void *ctx)
{
	return seen_by_self();
}

/* One link for many functions. */
SEC("uprobe")
int self_uprobe_multi(void *ctx)
{
	return bpf_get_attach_cookie(ctx) == 1 ? seen_by_self() : 0;
}

/* Needs bpf_get_attach_cookie. */
SEC("uprobe")
int self_cookie(void *ctx)
{
	return bpf_get_attach_cookie(ctx) == 1;
}

/* Needs bpf_task_pt_regs. */
SEC("tp/syscalls/sys_enter_rmdir")
int self_pt_regs(void *ctx)
{
	return bpf_task_pt_regs(bpf_get_current_task_btf()) == 0 ? 0 : 0;
}
