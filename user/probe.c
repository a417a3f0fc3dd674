/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "probe.h"

#include <fcntl.h>
#include <mntent.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "self.skel.h"

#define TRACEFS "/sys/kernel/tracing"

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/* What each trial is triggered by. */
static void trigger_rmdir(void)
{
	char directory[] = "/tmp/reprieve-probe-XXXXXX";

	if (mkdtemp(directory))
		rmdir(directory);
}

/* A file emptied, filled, renamed, removed. */
static void trigger_file(void)
{
	char file[] = "/tmp/reprieve-probe-XXXXXX", renamed[sizeof(file) + 1];
	int fd = mkstemp(file);

	if (fd < 0)
		return;
	snprintf(renamed, sizeof(renamed), "%s2", file);
	if (ftruncate(fd, 4096) || fallocate(fd, 0, 0, 4096) || rename(file, renamed))
		unlink(file);
	unlink(renamed);
	close(fd);
}

static void trigger_fork(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	if (child > 0)
		waitpid(child, NULL, 0);
}

/* The function that the uprobe stands on. */
__attribute__((noinline)) int reprieve_probe_target(int value);

int reprieve_probe_target(int value)
{
	asm volatile("" : "+r"(value));
	return value;
}

static void trigger_call(void)
{
	reprieve_probe_target(1);
}

struct trial {
	size_t result; /* offset of the struct probe in struct kernel_facts */
	const char *program;
	void (*trigger)(void); /* NULL: a load is enough */
};

static const struct trial trials[] = {
	{offsetof(struct kernel_facts, tp_btf), "self_tp_btf", trigger_fork},
	{offsetof(struct kernel_facts, tracepoint), "self_tracepoint", trigger_rmdir},
	{offsetof(struct kernel_facts, uprobe), "self_uprobe", trigger_call},
	{offsetof(struct kernel_facts, uprobe_sleeps), "self_uprobe_sleeps", trigger_call},
	{offsetof(struct kernel_facts, uprobe_multi), "self_uprobe_multi", trigger_call},
	{offsetof(struct kernel_facts, lsm), "self_lsm", trigger_rmdir},
	{offsetof(struct kernel_facts, fexit), "self_fexit", trigger_file},
	{offsetof(struct kernel_facts, fexit_rmdir), "self_fexit_rmdir", trigger_rmdir},
	{offsetof(struct kernel_facts, fexit_rename), "self_fexit_rename", trigger_file},
	{offsetof(struct kernel_facts, fexit_truncate), "self_fexit_truncate", trigger_file},
	{offsetof(struct kernel_facts, fexit_fallocate), "self_fexit_fallocate", trigger_file},
	{offsetof(struct kernel_facts, cookie), "self_cookie", NULL},
	{offsetof(struct kernel_facts, pt_regs), "self_pt_regs", NULL},
};

static struct bpf_link *attach_trial(struct bpf_program *program)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = "reprieve_probe_target");

	if (!starts_with(bpf_program__section_name(program), "uprobe"))
		return bpf_program__attach(program);
	return bpf_program__attach_uprobe_opts(program, getpid(), "/proc/self/exe", 0, &options);
}

/* Where in its file a function of ours lies. */
static int own_offset(const void *function, uint64_t *ret_offset)
{
	_cleanup_fclose_ FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end, offset;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) != 3 || (unsigned long)function < start ||
		    (unsigned long)function >= end)
			continue;
		*ret_offset = (unsigned long)function - start + offset;
		return 0;
	}
	return -ENOENT;
}

int uprobe_multi_link(int program, const char *path, const uint64_t *offsets, const uint64_t *cookies, uint32_t count)
{
	/* union bpf_attr, link_create, uprobe_multi (include/uapi/linux/bpf.h of 6.6) */
	struct {
		uint32_t program, target, type, link_flags;
		uint64_t path, offsets, counters, cookies;
		uint32_t count, flags, pid, zero;
	} attributes = {
		.program = (uint32_t)program,
		.type = UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)offsets,
		.cookies = (uintptr_t)cookies,
		.count = count,
	};
	long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attributes, sizeof(attributes));

	return fd < 0 ? -errno : (int)fd;
}

static enum probe_result run_multi(struct self *self, struct bpf_program *program, const struct trial *trial)
{
	uint64_t offset, cookie = 1;
	_cleanup_close_ int link = -1;

	if (own_offset((const void *)reprieve_probe_target, &offset))
		return PROBE_REFUSED;
	link = uprobe_multi_link(bpf_program__fd(program), "/proc/self/exe", &offset, &cookie, 1);
	if (link < 0) {
		errno = -link;
		return PROBE_REFUSED;
	}
	trial->trigger();
	return self->bss->seen ? PROBE_WORKS : PROBE_SILENT;
}

static enum probe_result run_trial(struct self *self, struct bpf_program *program, const struct trial *trial)
{
	struct bpf_link *link;

	if (!trial->trigger)
		return PROBE_WORKS;
	if (program == self->progs.self_uprobe_multi)
		return run_multi(self, program, trial);
	link = attach_trial(program);
	if (!link)
		return PROBE_REFUSED;
	trial->trigger();
	bpf_link__destroy(link);
	return self->bss->seen ? PROBE_WORKS : PROBE_SILENT;
}

static void try_one(const struct trial *trial, struct probe *ret_probe)
{
	struct bpf_program *program, *wanted = NULL;
	struct self *self = self__open();

	ret_probe->result = PROBE_REFUSED;
	ret_probe->error = errno;
	if (!self)
		return;
	self->rodata->self_pid = getpid();
	bpf_program__set_expected_attach_type(self->progs.self_uprobe_multi, UPROBE_MULTI);
	bpf_object__for_each_program (program, self->obj) {
		bool match = streq(bpf_program__name(program), trial->program);

		bpf_program__set_autoload(program, match);
		if (match)
			wanted = program;
	}
	errno = 0;
	if (wanted && !self__load(self))
		ret_probe->result = run_trial(self, wanted, trial);
	ret_probe->error = ret_probe->result == PROBE_REFUSED ? errno : 0;
	self__destroy(self);
}

static void read_first_line(const char *path, char *to, size_t size)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");

	to[0] = '\0';
	if (!file || !fgets(to, (int)size, file))
		return;
	to[strcspn(to, "\n")] = '\0';
}

static bool find_tracefs(void)
{
	if (!access(TRACEFS "/events/syscalls", F_OK) || !access("/sys/kernel/debug/tracing/events/syscalls", F_OK))
		return true;
	return !mount("tracefs", TRACEFS, "tracefs", 0, NULL) && !access(TRACEFS "/events/syscalls", F_OK);
}

/* Where cgroup2 is mounted: the only hierarchy whose ids BPF programs see. */
static bool find_cgroup2(char *to, size_t size)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	struct mntent *entry;
	bool found = false;

	if (!mounts)
		return false;
	while (!found && (entry = getmntent(mounts))) {
		if (!streq(entry->mnt_type, "cgroup2"))
			continue;
		snprintf(to, size, "%s", entry->mnt_dir);
		found = true;
	}
	endmntent(mounts);
	return found;
}

static void try_all(struct kernel_facts *facts)
{
	libbpf_print_fn_t print = libbpf_set_print(silent);

	for (size_t i = 0; i < ARRAY_SIZE(trials); i++)
		try_one(&trials[i], (struct probe *)((char *)facts + trials[i].result));
	libbpf_set_print(print);
}

/* --- quickly: one program of a few instructions for each kind, loaded and not attached --- */

#define CALL(helper)                                        \
	{                                                   \
		.code = BPF_JMP | BPF_CALL, .imm = (helper) \
	}
#define RETURN_0                                                     \
	{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0}, \
	{                                                            \
		.code = BPF_JMP | BPF_EXIT                           \
	}

static const struct bpf_insn returns[] = {RETURN_0};
static const struct bpf_insn asks_cookie[] = {CALL(BPF_FUNC_get_attach_cookie), RETURN_0};
static const struct bpf_insn asks_registers[] = {
	CALL(BPF_FUNC_get_current_task_btf),
	{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_0},
	CALL(BPF_FUNC_task_pt_regs),
	RETURN_0,
};

struct load {
	size_t result; /* offset of the struct probe in struct kernel_facts */
	enum bpf_prog_type type;
	enum bpf_attach_type attach_type;
	const char *function; /* in the kernel's BTF, where the kind asks for one */
	const struct bpf_insn *instructions;
	size_t count;
};

#define LOAD(field, type, attach_type, function, instructions)                                   \
	{                                                                                        \
		offsetof(struct kernel_facts, field), type, attach_type, function, instructions, \
			ARRAY_SIZE(instructions)                                                 \
	}

static const struct load loads[] = {
	LOAD(tp_btf, BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, "btf_trace_sched_process_fork", returns),
	LOAD(tracepoint, BPF_PROG_TYPE_TRACEPOINT, 0, NULL, returns),
	LOAD(uprobe, BPF_PROG_TYPE_KPROBE, 0, NULL, returns),
	LOAD(cookie, BPF_PROG_TYPE_KPROBE, 0, NULL, asks_cookie),
	LOAD(lsm, BPF_PROG_TYPE_LSM, BPF_LSM_MAC, "bpf_lsm_path_unlink", returns),
	LOAD(pt_regs, BPF_PROG_TYPE_TRACEPOINT, 0, NULL, asks_registers),
	LOAD(fexit, BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, "vfs_unlink", returns),
	LOAD(fexit_rmdir, BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, "vfs_rmdir", returns),
	LOAD(fexit_rename, BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, "vfs_rename", returns),
	LOAD(fexit_truncate, BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, "do_truncate", returns),
	LOAD(fexit_fallocate, BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, "vfs_fallocate", returns),
};

static void load_one(const struct kernel_btf *btf, const struct load *load, struct probe *ret_probe)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = load->attach_type);
	_cleanup_close_ int fd = -1;

	if (load->function) {
		options.attach_btf_id = kernel_btf_find(btf, load->function).id;
		if (!options.attach_btf_id) {
			*ret_probe = (struct probe){PROBE_REFUSED, ENOENT};
			return;
		}
	}
	fd = bpf_prog_load(load->type, "self", "Dual BSD/GPL", load->instructions, load->count, &options);
	*ret_probe = fd < 0 ? (struct probe){PROBE_REFUSED, errno} : (struct probe){PROBE_WORKS, 0};
}

/* What a probe in libc may be: able to have pages read in, and set on many functions at once. */
static void load_uprobes(struct kernel_facts *facts)
{
	LIBBPF_OPTS(bpf_prog_load_opts, sleeps, .prog_flags = BPF_F_SLEEPABLE);
	LIBBPF_OPTS(bpf_prog_load_opts, multi, .expected_attach_type = UPROBE_MULTI);
	const uint64_t nowhere = 0, cookie = 1;
	_cleanup_close_ int fd =
		bpf_prog_load(BPF_PROG_TYPE_KPROBE, "self", "Dual BSD/GPL", returns, ARRAY_SIZE(returns), &sleeps);
	_cleanup_close_ int many = -1;
	int error;

	facts->uprobe_sleeps = fd < 0 ? (struct probe){PROBE_REFUSED, errno} : (struct probe){PROBE_WORKS, 0};
	many = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "self", "Dual BSD/GPL", returns, ARRAY_SIZE(returns), &multi);
	error = many < 0 ? -errno : uprobe_multi_link(many, "/", &nowhere, &cookie, 1);
	/* Kernels before 6.6 take any such program, and know no such link; the others see that this is no file. */
	facts->uprobe_multi = error == -EBADF ? (struct probe){PROBE_WORKS, 0} : (struct probe){PROBE_REFUSED, -error};
}

static bool names_bpf(const char *list)
{
	for (; *list; list += *list == ',') {
		size_t length = strcspn(list, ",");

		if (length == 3 && !strncmp(list, "bpf", 3))
			return true;
		list += length;
	}
	return false;
}

static void load_all(struct kernel_facts *facts)
{
	for (size_t i = 0; i < ARRAY_SIZE(loads); i++)
		load_one(facts->btf, &loads[i], (struct probe *)((char *)facts + loads[i].result));
	load_uprobes(facts);
	if (access("/sys/bus/event_source/devices/uprobe", F_OK))
		facts->uprobe = (struct probe){PROBE_REFUSED, ENOENT};
	/* LSM programs are loaded and attached, and never called, where "bpf" is not among the active LSMs. */
	if (facts->lsm.result == PROBE_WORKS && facts->lsm_list[0] && !names_bpf(facts->lsm_list))
		facts->lsm.result = PROBE_SILENT;
}

int probe_kernel(enum probe_depth depth, struct kernel_facts *ret_facts)
{
	struct kernel_facts facts = {};
	struct utsname name;
	int error;

	if (geteuid() != 0)
		return -EPERM;
	if (uname(&name) == 0)
		snprintf(facts.release, sizeof(facts.release), "%s", name.release);
	error = kernel_btf_new(&facts.btf);
	if (error)
		return error;
	facts.tracefs = find_tracefs();
	facts.cgroup2 = find_cgroup2(facts.cgroup_root, sizeof(facts.cgroup_root));
	read_first_line("/sys/kernel/security/lsm", facts.lsm_list, sizeof(facts.lsm_list));
	if (depth == PROBE_THOROUGH)
		try_all(&facts);
	else
		load_all(&facts);
	*ret_facts = facts;
	return 0;
}

void probe_done(struct kernel_facts *facts)
{
	kernel_btf_free(facts->btf);
	facts->btf = NULL;
}

const char *probe_result_name(enum probe_result result)
{
	static const char *const names[] = {
		[PROBE_UNKNOWN] = "unknown",
		[PROBE_WORKS] = "works",
		[PROBE_REFUSED] = "refused",
		[PROBE_SILENT] = "never called",
	};

	return result < ARRAY_SIZE(names) ? names[result] : "?";
}
