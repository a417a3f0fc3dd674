/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The least that anyone must pay at the places where the guard stands: what `make bench` divides by. Each program is
 * attached alone.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define RECORD_BYTES 400

struct peer_record {
	__u64 time;
	__u64 ids;
	__u64 user;
	char comm[16];
	__u64 ino;
	char path[RECORD_BYTES - 48];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
} ring SEC(".maps");

SEC("lsm/path_unlink")
int BPF_PROG(lsm_empty, struct path *dir, struct dentry *dentry, int ret)
{
	return 0;
}

/* The least that a refusal can be: of every unlink in the machine, so only for a machine that has nothing else to do. */
SEC("lsm/path_unlink")
int BPF_PROG(lsm_refuse, struct path *dir, struct dentry *dentry, int ret)
{
	return -1; /* -EPERM */
}

SEC("tp/syscalls/sys_enter_unlinkat")
int tp_empty(struct trace_event_raw_sys_enter *ctx)
{
	return 0;
}

static __always_inline struct peer_record *record_of(struct dentry *dentry)
{
	struct peer_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return NULL;
	record->time = bpf_ktime_get_boot_ns();
	record->ids = bpf_get_current_pid_tgid();
	record->user = bpf_get_current_uid_gid();
	record->ino = BPF_CORE_READ(dentry, d_inode, i_ino);
	bpf_get_current_comm(record->comm, sizeof(record->comm));
	return record;
}

SEC("lsm/path_unlink")
int BPF_PROG(lsm_record, struct path *dir, struct dentry *dentry, int ret)
{
	struct peer_record *record = record_of(dentry);

	if (!record)
		return 0;
	bpf_d_path(dir, record->path, sizeof(record->path));
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

/* For kernels that refuse bpf_d_path at this hook (6.1). */
SEC("lsm/path_unlink")
int BPF_PROG(lsm_record_name, struct path *dir, struct dentry *dentry, int ret)
{
	struct peer_record *record = record_of(dentry);

	if (!record)
		return 0;
	bpf_probe_read_kernel_str(record->path, sizeof(record->path), BPF_CORE_READ(dentry, d_name.name));
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}
