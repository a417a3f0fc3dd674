/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One accessor for each kernel field that was renamed or moved, with the commit that did it. */
#ifndef REPRIEVE_COMPAT_BPF_H
#define REPRIEVE_COMPAT_BPF_H

#include "vmlinux.h"

#include <bpf/bpf_core_read.h>

/* A vfsmount lies inside its struct mount; fs/mount.h keeps the outer one private. */
static __always_inline struct mount *mount_of(struct vfsmount *mnt)
{
	return (struct mount *)((char *)mnt - bpf_core_field_offset(struct mount, mnt));
}

/* The descriptor's file, or NULL. Only read, never followed without a further probe read. */
static __always_inline struct file *file_of_fd(struct task_struct *task, int fd)
{
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;
	struct file **table;

	if (!fdt || fd < 0 || (unsigned int)fd >= BPF_CORE_READ(fdt, max_fds))
		return NULL;
	table = BPF_CORE_READ(fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &table[fd]);
	return file;
}

#endif
