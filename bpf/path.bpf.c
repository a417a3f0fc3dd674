/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Paths, as the process's mount namespace shows them.
 *
 * path_walk goes from a dentry up to the root of the namespace (not of the process: a chroot hides nothing) and meets
 * the session's workspace by inode on the way. path_join continues such a path with a name that a system call was
 * given, taking "." and ".." off lexically; symlinks inside the name stay as they are (OP_PATH_AS_GIVEN).
 *
 * State that changes inside the loops lies in the scratch slot and not in registers: read back from memory it is an
 * unknown number each time, so the verifier sees the same state again instead of a new one each round.
 */
#include "reprieve.bpf.h"

#define DENTRY_HEAD 64 /* bytes */

/* What a walk needs of a dentry. One read of memory costs more than all that is done with what it yields. */
struct dentry_head {
	struct dentry *parent;
	struct inode *inode;
	const unsigned char *name;
	__u32 length;
};

/* A field from the bytes read; from the dentry where this kernel has it behind them. The offset is a constant by load. */
#define HEAD_FIELD(bytes, dentry, field)                                                                       \
	(bpf_core_field_offset(struct dentry, field) <= DENTRY_HEAD - sizeof((dentry)->field)                  \
		 ? *(typeof((dentry)->field) *)((char *)(bytes) + bpf_core_field_offset(struct dentry, field)) \
		 : BPF_CORE_READ(dentry, field))

static __always_inline void dentry_read(struct dentry *dentry, struct dentry_head *ret_head)
{
	__u64 bytes[DENTRY_HEAD / 8] = {};

	bpf_probe_read_kernel(bytes, sizeof(bytes), dentry);
	ret_head->parent = HEAD_FIELD(bytes, dentry, d_parent);
	ret_head->inode = HEAD_FIELD(bytes, dentry, d_inode);
	ret_head->name = HEAD_FIELD(bytes, dentry, d_name.name);
	ret_head->length = HEAD_FIELD(bytes, dentry, d_name.len);
}

/* Puts one component and the slash before it in front of what is there. Nonzero: no room. */
static __always_inline int path_prepend(struct scratch *scratch, const struct dentry_head *head)
{
	__u32 length = head->length;
	__u32 pos = scratch->back_pos;

	if (length > NAME_BYTES - 1 || SCRATCH_BACK_TOP - pos + length + 1 > PATH_BYTES)
		return -1;
	length &= NAME_BYTES - 1;
	pos -= length;
	bpf_probe_read_kernel(&scratch->back[pos & (SCRATCH_BACK - 1)], length, head->name);
	scratch->start[scratch->depth & (WALK_DEPTH - 1)] = pos;
	scratch->depth += 1;
	pos -= 1;
	scratch->back[pos & (SCRATCH_BACK - 1)] = '/';
	scratch->back_pos = pos;
	return 0;
}

static __always_inline void path_meet_workspace(struct scratch *scratch, struct inode *inode)
{
	if (scratch->crossed || !scratch->ws_ino)
		return;
	if (BPF_CORE_READ(inode, i_ino) != scratch->ws_ino || BPF_CORE_READ(inode, i_sb, s_dev) != scratch->ws_dev)
		return;
	scratch->crossed = 1;
	/* Kept as the distance from the top, and turned into a length when the walk has ended. */
	scratch->ws_length = scratch->back_pos;
}

enum step { STEP_ON = 0, STEP_DONE = 1, STEP_FAILED = 2 };

/* One step up: to the parent, or across a mount to where it is mounted. Returns enum step. */
__noinline int path_up(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct dentry_head head;
	struct mount *mount, *outer;
	struct dentry *dentry;

	if (!scratch)
		return STEP_FAILED;
	dentry = (struct dentry *)scratch->walk_dentry;
	dentry_read(dentry, &head);
	path_meet_workspace(scratch, head.inode);
	if ((__u64)dentry == scratch->walk_root) {
		mount = (struct mount *)scratch->walk_mount;
		outer = BPF_CORE_READ(mount, mnt_parent);
		if (outer == mount)
			return STEP_DONE;
		scratch->walk_dentry = (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
		scratch->walk_mount = (__u64)outer;
		scratch->walk_root = (__u64)BPF_CORE_READ(outer, mnt.mnt_root);
		return STEP_ON;
	}
	if (head.parent == dentry)
		return STEP_DONE;
	scratch->walk_dentry = (__u64)head.parent;
	return path_prepend(scratch, &head) ? STEP_FAILED : STEP_ON;
}

#define WALK_CHUNK 8 /* steps */

__noinline int path_up_some(__u32 slot)
{
	int step = STEP_ON;

	for (long i = 0; i < WALK_CHUNK && step == STEP_ON; i++)
		step = path_up(slot);
	return step;
}

/*
 * The path of a dentry in a mount into back[]. Returns its length in bytes (0 for the root itself), or -1 where it is
 * longer than PATH_BYTES or deeper than WALK_DEPTH.
 */
__noinline int path_walk(__u32 slot, __u64 dentry, __u64 mnt)
{
	struct scratch *scratch = scratch_of(slot);
	int step = STEP_ON;

	if (!scratch)
		return -1;
	scratch->walk_dentry = dentry;
	scratch->walk_mount = (__u64)mount_of((struct vfsmount *)mnt);
	scratch->walk_root = (__u64)BPF_CORE_READ((struct vfsmount *)mnt, mnt_root);
	scratch->back_pos = SCRATCH_BACK_TOP;
	scratch->depth = 0;
	scratch->crossed = 0;
	scratch->ws_length = 0;
	scratch->low = 2 * PATH_BYTES;
	for (long i = 0; i < WALK_DEPTH / WALK_CHUNK && step == STEP_ON; i++)
		step = path_up_some(slot);
	if (step != STEP_DONE)
		return -1;
	if (scratch->crossed) {
		/* The workspace's path is what lies above the place where it was met; it may be the root itself. */
		scratch->ws_length -= scratch->back_pos;
		if (!scratch->ws_length)
			scratch->ws_length = 1;
	}
	return SCRATCH_BACK_TOP - scratch->back_pos;
}

/* The walked path in forward order into out[]; "/" for the root. Returns its length. */
__noinline int path_forward(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	__u32 length;

	if (!scratch)
		return -1;
	length = (SCRATCH_BACK_TOP - scratch->back_pos) & (2 * PATH_BYTES - 1);
	bpf_probe_read_kernel(scratch->out, length, &scratch->back[scratch->back_pos & (SCRATCH_BACK - 1)]);
	if (!length) {
		scratch->out[0] = '/';
		length = 1;
	}
	scratch->out_length = length;
	return length;
}

/* The directory that a name is relative to: the process's root, its working directory, or a descriptor's. */
__noinline int path_base(__u32 slot, __s32 dirfd)
{
	struct scratch *scratch = scratch_of(slot);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct path path = {};
	struct file *file;

	if (!scratch)
		return -1;
	if (scratch->given[0] == '/') {
		BPF_CORE_READ_INTO(&path, task, fs, root);
	} else if (dirfd == AT_FDCWD) {
		BPF_CORE_READ_INTO(&path, task, fs, pwd);
	} else {
		file = file_of_fd(task, dirfd);
		if (!file)
			return -1;
		BPF_CORE_READ_INTO(&path, file, f_path);
	}
	return path_walk(slot, (__u64)path.dentry, (__u64)path.mnt);
}

/* Takes the last component off: one of the name's own, or one of the base. At the root there is none. */
static __always_inline void path_pop(struct scratch *scratch)
{
	__u32 component = scratch->component;

	if (scratch->pushed) {
		scratch->pushed -= 1;
		component = scratch->slash[scratch->pushed & 511];
	} else if (scratch->popped < scratch->depth) {
		component = scratch->start[scratch->popped & (WALK_DEPTH - 1)] - scratch->back_pos;
		scratch->popped += 1;
	}
	scratch->component = component;
	scratch->out_length = component;
	if (component < scratch->low)
		scratch->low = component;
}

/* A component has ended: keep it, or take "." and ".." away. */
__noinline int path_component(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	__u32 component, length;

	if (!scratch)
		return -1;
	component = scratch->component & (2 * PATH_BYTES - 1);
	length = scratch->out_length - scratch->component;
	if (!length)
		return 0;
	if (length == 1 && scratch->out[component] == '.') {
		scratch->out_length = component;
		return 0;
	}
	if (length == 2 && scratch->out[component] == '.' && scratch->out[component + 1] == '.') {
		path_pop(scratch);
		return 0;
	}
	scratch->slash[scratch->pushed & 511] = component;
	scratch->pushed += 1;
	scratch->out[scratch->out_length & (2 * PATH_BYTES - 1)] = '/';
	scratch->out_length += 1;
	scratch->component = scratch->out_length;
	return 0;
}

#define JOIN_CHUNK 8 /* bytes */
#define JOIN_BLOCK 64

/* The next bytes of given[], from `at`, behind out[]. A function of its own, so that the verifier walks it once. */
__noinline int path_join_chunk(__u32 slot, __u32 at)
{
	struct scratch *scratch = scratch_of(slot);

	if (!scratch)
		return -1;
	for (long i = 0; i < JOIN_CHUNK; i++) {
		char byte;

		if (at + i >= scratch->given_length)
			break;
		byte = scratch->given[(at + i) & (PATH_BYTES - 1)];
		if (byte == '/') {
			path_component(slot);
		} else {
			scratch->out[scratch->out_length & (2 * PATH_BYTES - 1)] = byte;
			scratch->out_length += 1;
		}
	}
	return 0;
}

__noinline int path_join_block(__u32 slot, __u32 at)
{
	struct scratch *scratch = scratch_of(slot);

	if (!scratch)
		return -1;
	for (long i = 0; i < JOIN_BLOCK / JOIN_CHUNK; i++) {
		if (at + i * JOIN_CHUNK >= scratch->given_length)
			break;
		path_join_chunk(slot, at + i * JOIN_CHUNK);
	}
	return 0;
}

/*
 * out[] = the walked base, continued by given[]. Returns the length, or -1 where it does not fit. ws_length and low
 * tell afterwards whether the result lies below the workspace that the base was found in.
 */
__noinline int path_join(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	__u32 length;

	if (!scratch)
		return -1;
	length = (SCRATCH_BACK_TOP - scratch->back_pos) & (2 * PATH_BYTES - 1);
	bpf_probe_read_kernel(scratch->out, length, &scratch->back[scratch->back_pos & (SCRATCH_BACK - 1)]);
	scratch->out[length & (2 * PATH_BYTES - 1)] = '/';
	scratch->out_length = scratch->component = scratch->low = length + 1;
	scratch->pushed = scratch->popped = 0;
	for (long i = 0; i < PATH_BYTES / JOIN_BLOCK; i++) {
		if (i * JOIN_BLOCK >= scratch->given_length)
			break;
		path_join_block(slot, i * JOIN_BLOCK);
	}
	path_component(slot);
	if (scratch->out_length > 1 && scratch->out_length == scratch->component)
		scratch->out_length -= 1;
	if (scratch->out_length > PATH_BYTES)
		return -1;
	return scratch->out_length;
}
