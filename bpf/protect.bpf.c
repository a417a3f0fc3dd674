/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The guard guards itself, on the lsm tier: a member of a session, root or not, may not signal or trace the daemon,
 * take hold of BPF objects that it did not make, unmount the file system of the pins, or write into, remove or rename
 * the daemon's own files. Whatever the policy says; each attempt is told of. So is a SIGCONT to what is held, which may
 * be a program's way of ending another (timeout(1) sends one behind its SIGTERM): that passes, and the hold stays.
 */
#include "reprieve.bpf.h"

#define PTRACE_MODE_ATTACH 0x02 /* include/linux/ptrace.h */
#define BPF_FS_MAGIC 0xcafe4a11 /* include/uapi/linux/magic.h */

struct protected_map protected SEC(".maps");

static __always_inline int tell(__u32 what, __u64 detail)
{
	int slot = op_begin(RECORD_TAMPER);
	struct scratch *scratch = scratch_of(slot);

	if (slot < 0 || !scratch)
		return 0;
	scratch->rec.tamper.what = what;
	scratch->rec.tamper.detail = detail;
	scratch->pending.fixed = sizeof(struct record_tamper);
	emit(slot, 1);
	scratch_release(slot);
	return 0;
}

/* Is this one of the daemon's own files or directories? One comparison says no to most. */
__noinline int is_protected(__u64 ino, __u32 dev)
{
	struct file_id key = {.ino = ino, .dev = dev};

	return settings.protect_mask >> (ino & 63) & 1 && bpf_map_lookup_elem(&protected, &key);
}

/* A function of its own: what an LSM program returns must be plain to the verifier. Nonzero: the signal is refused. */
__noinline int signal_seen(__u32 tgid, __u32 tid, __u32 signal)
{
	if (signal == SIGCONT && is_member() && held_is((__u64)tgid << 32 | tid))
		tell(TAMPER_WAKE, tgid);
	if (!signal || tgid != settings.guard_pid || !is_member())
		return 0;
	tell(TAMPER_SIGNAL, signal);
	return 1;
}

SEC("lsm/task_kill")
int BPF_PROG(protect_kill, struct task_struct *task, struct kernel_siginfo *info, int signal, const struct cred *cred,
	     int ret)
{
	if (ret || signal_seen(task->tgid, task->pid, signal))
		return -EPERM;
	return 0;
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(protect_trace, struct task_struct *child, unsigned int mode, int ret)
{
	if (ret)
		return -EPERM;
	if (!(mode & PTRACE_MODE_ATTACH) || (__u32)child->tgid != settings.guard_pid || !is_member())
		return 0;
	tell(TAMPER_TRACE, mode);
	return -EPERM;
}

/* Commands that lead to objects of others: by a pin, by a number, or off where they are attached. */
static __always_inline bool reaches_others(int command)
{
	return command == BPF_OBJ_GET || command == BPF_PROG_GET_FD_BY_ID || command == BPF_MAP_GET_FD_BY_ID ||
	       command == BPF_LINK_GET_FD_BY_ID || command == BPF_LINK_DETACH || command == BPF_PROG_DETACH;
}

SEC("lsm/bpf")
int protect_bpf(__u64 *ctx)
{
	int command = ctx[0];

	if (!reaches_others(command) || !is_member())
		return 0;
	tell(TAMPER_BPF, command);
	return -EPERM;
}

SEC("lsm/sb_umount")
int BPF_PROG(protect_umount, struct vfsmount *mnt, int flags, int ret)
{
	if (ret)
		return -EPERM;
	if (mnt->mnt_sb->s_magic != BPF_FS_MAGIC || !is_member())
		return 0;
	tell(TAMPER_UMOUNT, flags);
	return -EPERM;
}
