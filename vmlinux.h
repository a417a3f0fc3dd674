/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's types, trimmed to those in use. Made by `make vmlinux` (tools/vmlinux) from Linux 6.18: not to be
 * edited. Fields that are not used are left out, so sizes and offsets here say nothing: programs are relocated (CO-RE).
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_iter__task;
struct bpf_iter_meta;
struct bpf_raw_tracepoint_args;
struct cgroup;
struct cgroup_root;
struct cred;
struct css_set;
struct dentry;
struct fdtable;
struct file;
struct files_struct;
struct fs_struct;
struct inode;
struct io_kiocb;
struct io_sync;
struct io_worker;
struct io_wq_work;
struct kernel_siginfo;
struct kernfs_node;
struct mm_struct;
struct mount;
struct renamedata;
struct seq_file;
struct signal_struct;
struct super_block;
struct task_struct;
struct trace_event_raw_sys_enter;
struct trace_event_raw_sys_exit;
struct vfsmount;

enum {
	false = 0,
	true = 1,
};

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum bpf_cmd {
	BPF_OBJ_GET = 7,
	BPF_PROG_DETACH = 9,
	BPF_PROG_GET_FD_BY_ID = 13,
	BPF_MAP_GET_FD_BY_ID = 14,
	BPF_LINK_GET_FD_BY_ID = 30,
	BPF_LINK_DETACH = 34,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

enum {
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1024,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
};

enum {
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
};

typedef unsigned char __u8;

typedef short unsigned int __u16;

typedef int __s32;

typedef unsigned int __u32;

typedef long long int __s64;

typedef long long unsigned int __u64;

typedef __u16 __be16;

typedef __u32 __be32;

typedef __u32 __wsum;

typedef _Bool bool;

typedef long long int __kernel_loff_t;

typedef __kernel_loff_t loff_t;

typedef __u32 u32;

struct thread_info {
	u32 status;
};

typedef int __kernel_pid_t;

typedef __kernel_pid_t pid_t;

typedef __u64 u64;

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	unsigned int ptrace;
	struct mm_struct *mm;
	int exit_code;
	pid_t pid;
	pid_t tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	void *worker_private;
	u64 start_boottime;
	char comm[16];
	struct fs_struct *fs;
	struct files_struct *files;
	struct signal_struct *signal;
	u64 self_exec_id;
	struct css_set *cgroups;
};

struct pt_regs {
	long unsigned int r10;
	long unsigned int r8;
	long unsigned int ax;
	long unsigned int cx;
	long unsigned int dx;
	long unsigned int si;
	long unsigned int di;
	long unsigned int orig_ax;
	long unsigned int ip;
	long unsigned int sp;
};

struct mm_struct {
	struct {
		long unsigned int arg_start;
		long unsigned int arg_end;
		long unsigned int env_start;
		long unsigned int env_end;
	};
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
	int group_exit_code;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef unsigned int fmode_t;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	fmode_t f_mode;
	struct inode *f_inode;
	unsigned int f_flags;
	union {
		const struct path f_path;
	};
	loff_t f_pos;
};

struct qstr {
	union {
		struct {
			u32 len;
		};
	};
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	union {
		const struct qstr d_name;
	};
	struct inode *d_inode;
	struct super_block *d_sb;
};

typedef short unsigned int umode_t;

struct inode {
	umode_t i_mode;
	struct super_block *i_sb;
	long unsigned int i_ino;
	union {
		const unsigned int i_nlink;
	};
	loff_t i_size;
	u32 i_generation;
};

typedef u32 __kernel_dev_t;

typedef __kernel_dev_t dev_t;

struct super_block {
	dev_t s_dev;
	long unsigned int s_magic;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct kernfs_node {
	u64 id;
};

struct linux_binprm {
	struct file *file;
	int argc;
	const char *filename;
	const char *interp;
};

struct cgroup_root {
	int hierarchy_id;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct io_wq_work {
};

typedef __u8 u8;

struct io_kiocb {
	u8 opcode;
	struct io_wq_work work;
};

struct trace_event_raw_sys_enter {
	long int id;
	long unsigned int args[6];
};

struct trace_event_raw_sys_exit {
	long int id;
	long int ret;
};

struct bpf_iter_meta {
	union {
		struct seq_file *seq;
	};
};

struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

struct bpf_iter__task {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct task_struct *task;
	};
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct renamedata {
	struct dentry *old_dentry;
};

struct io_sync {
	int mode;
};

struct io_worker {
	struct io_wq_work *cur_work;
};

#pragma clang attribute pop

#endif
