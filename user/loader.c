/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "loader.h"

#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "maps.h"
#include "reprieve.skel.h"

#define RING_BYTES (32u << 20)

struct guard {
	struct reprieve *skel;
	struct guard_tier tiers[OP_COUNT];
	struct bpf_link **links;
	size_t link_count;
	struct bpf_link *overwrite; /* of guard_file_permission, while that is armed */
	struct bpf_link **libc_links; /* of the probes in libc, where each has its own */
	size_t libc_link_count;
	int *libc_multi; /* links of all functions of one file each */
	size_t libc_multi_count;
	struct policy_image *policies; /* both slots, mapped */
	uint32_t active; /* slot of the policy in force */
	size_t ring_bytes;
};

enum need {
	NEED_ALWAYS = 0, /* on every tier */
	NEED_LSM = 1, /* on the lsm tier */
	NEED_LSM_OVERWRITE = 2, /* there, where the kernel tells a program the registers; see guard_arm_overwrite */
	NEED_FEXIT = 3, /* there, where fexit works */
	NEED_SIGNAL = 4, /* on the signal tier, or with --tracepoints */
	NEED_BY_HAND = 5, /* attached to each library as it is found */
	NEED_LIBC_MULTI = 6, /* on the uprobe tier, attached to each libc while a session lives; by one link */
	NEED_LIBC = 7, /* the same, by a link for each function */
};

/* Every program, when it is armed, and what it is attached to where its section does not say. */
struct program_row {
	const char *name;
	enum need need;
	const char *tracepoint; /* of "syscalls" */
	const char *btf_function; /* armed only where the kernel's BTF has it */
	bool optional; /* its absence is no loss on kernels that do not have the system call */
};

static const struct program_row program_rows[] = {
	{"process_fork", NEED_ALWAYS, NULL, NULL, false},
	{"process_exec", NEED_ALWAYS, NULL, NULL, false},
	{"process_exit", NEED_ALWAYS, NULL, NULL, false},
	{"cgroup_made", NEED_ALWAYS, NULL, NULL, false},
	{"cgroup_gone", NEED_ALWAYS, NULL, NULL, false},
	{"cgroup_attached", NEED_ALWAYS, NULL, NULL, false},
	{"snapshot", NEED_BY_HAND, NULL, NULL, false},
	{"guard_unlink", NEED_LSM, NULL, "bpf_lsm_path_unlink", false},
	{"guard_rmdir", NEED_LSM, NULL, "bpf_lsm_path_rmdir", false},
	{"guard_rename", NEED_LSM, NULL, "bpf_lsm_path_rename", false},
	{"guard_path_truncate", NEED_LSM, NULL, "bpf_lsm_path_truncate", false},
	{"guard_file_truncate", NEED_LSM, NULL, "bpf_lsm_file_truncate", false},
	{"guard_file_permission", NEED_LSM_OVERWRITE, NULL, "bpf_lsm_file_permission", false},
	{"map_file", NEED_LSM, NULL, "bpf_lsm_mmap_file", false},
	{"result_unlink", NEED_FEXIT, NULL, "vfs_unlink", false},
	{"result_rmdir", NEED_FEXIT, NULL, "vfs_rmdir", false},
	{"result_rename", NEED_FEXIT, NULL, "vfs_rename", false},
	{"result_truncate", NEED_FEXIT, NULL, "do_truncate", false},
	{"result_fallocate", NEED_FEXIT, NULL, "vfs_fallocate", false},
	{"enter_unlink", NEED_SIGNAL, "sys_enter_unlink", NULL, true},
	{"enter_unlinkat", NEED_SIGNAL, "sys_enter_unlinkat", NULL, false},
	{"enter_rmdir", NEED_SIGNAL, "sys_enter_rmdir", NULL, true},
	{"enter_rename", NEED_SIGNAL, "sys_enter_rename", NULL, true},
	{"enter_renameat", NEED_SIGNAL, "sys_enter_renameat", NULL, true},
	{"enter_renameat2", NEED_SIGNAL, "sys_enter_renameat2", NULL, false},
	{"enter_truncate", NEED_SIGNAL, "sys_enter_truncate", NULL, false},
	{"enter_ftruncate", NEED_SIGNAL, "sys_enter_ftruncate", NULL, false},
	{"enter_fallocate", NEED_SIGNAL, "sys_enter_fallocate", NULL, false},
	{"enter_creat", NEED_SIGNAL, "sys_enter_creat", NULL, true},
	{"enter_open_call", NEED_SIGNAL, "sys_enter_open", NULL, true},
	{"enter_openat", NEED_SIGNAL, "sys_enter_openat", NULL, false},
	{"enter_openat2", NEED_SIGNAL, "sys_enter_openat2", NULL, true},
	{"enter_mmap", NEED_SIGNAL, "sys_enter_mmap", NULL, false},
	{"exit_call", NEED_SIGNAL, NULL, NULL, false}, /* attached once for each call above */
	{"libc_any", NEED_LIBC_MULTI, NULL, NULL, false},
	{"libc_unlink", NEED_LIBC, NULL, NULL, false},
	{"libc_unlinkat", NEED_LIBC, NULL, NULL, false},
	{"libc_rmdir", NEED_LIBC, NULL, NULL, false},
	{"libc_remove", NEED_LIBC, NULL, NULL, false},
	{"libc_rename", NEED_LIBC, NULL, NULL, false},
	{"libc_renameat", NEED_LIBC, NULL, NULL, false},
	{"libc_renameat2", NEED_LIBC, NULL, NULL, false},
	{"libc_truncate", NEED_LIBC, NULL, NULL, false},
	{"libc_ftruncate", NEED_LIBC, NULL, NULL, false},
	{"pq_send_query", NEED_BY_HAND, NULL, NULL, false},
	{"pq_send_query_params", NEED_BY_HAND, NULL, NULL, false},
	{"pq_send_prepare", NEED_BY_HAND, NULL, NULL, false},
	{"pq_send_query_prepared", NEED_BY_HAND, NULL, NULL, false},
	{"pq_fn", NEED_BY_HAND, NULL, NULL, false},
	{"pq_exec", NEED_BY_HAND, NULL, NULL, false},
	{"pq_exec_params", NEED_BY_HAND, NULL, NULL, false},
	{"pq_prepare", NEED_BY_HAND, NULL, NULL, false},
	{"pq_exec_prepared", NEED_BY_HAND, NULL, NULL, false},
};

#define SIGNAL_NOTE "the call under way completes; not 32-bit programs, not io_uring; symlinks in names not resolved"

#define LIBC_NOTE                                                                                                         \
	"only calls through a shared libc; static programs, programs that make system calls themselves, 32-bit programs " \
	"and io_uring are not stopped, nor surely what several threads do at once; symlinks in names not resolved"

/* The tiers of an operation, strongest first. */
struct tier_row {
	enum op op;
	enum tier tier;
	const char *by;
	const char *note;
};

static const struct tier_row tier_rows[] = {
	{OP_UNLINK, TIER_LSM, "path_unlink", ""},
	{OP_UNLINK, TIER_UPROBE, "uprobes on libc's unlink, unlinkat", LIBC_NOTE},
	{OP_UNLINK, TIER_SIGNAL, "tracepoints of unlink, unlinkat", SIGNAL_NOTE},
	{OP_RMDIR, TIER_LSM, "path_rmdir", ""},
	{OP_RMDIR, TIER_UPROBE, "uprobes on libc's rmdir, unlinkat", LIBC_NOTE},
	{OP_RMDIR, TIER_SIGNAL, "tracepoints of rmdir, unlinkat", SIGNAL_NOTE},
	{OP_RENAME, TIER_LSM, "path_rename", ""},
	{OP_RENAME, TIER_UPROBE, "uprobes on libc's rename, renameat, renameat2",
	 LIBC_NOTE "; not known whether a target was replaced"},
	{OP_RENAME, TIER_SIGNAL, "tracepoints of rename, renameat, renameat2",
	 SIGNAL_NOTE "; not known whether a target was replaced"},
	{OP_TRUNCATE, TIER_LSM, "path_truncate, file_truncate", ""},
	{OP_TRUNCATE, TIER_UPROBE, "uprobes on libc's truncate, ftruncate",
	 LIBC_NOTE "; open with O_TRUNC and creat are only reported; size before only for ftruncate"},
	{OP_TRUNCATE, TIER_SIGNAL, "tracepoints of truncate, ftruncate, creat, open, openat, openat2",
	 SIGNAL_NOTE "; size before only for ftruncate"},
	{OP_OVERWRITE, TIER_LSM, "file_permission in fallocate, where a rule asks for it",
	 "plain writes into a file and shared mappings are not seen"},
	{OP_OVERWRITE, TIER_SIGNAL, "tracepoint of fallocate", SIGNAL_NOTE "; plain writes are not seen"},
	{OP_EXEC, TIER_UPROBE, "sched_process_exec, before the program's first instruction",
	 "a denial or a hold cannot be given yet"},
	{OP_SQL, TIER_UPROBE, "uprobes on libpq", "clients that do not use libpq are not seen"},
};

/* Of which operations the lsm tier learns the result: a mask of 1 << enum op. */
static __u32 known_results(const struct kernel_facts *facts)
{
	const struct probe *const probes[OP_COUNT] = {
		[OP_UNLINK] = &facts->fexit,
		[OP_RMDIR] = &facts->fexit_rmdir,
		[OP_RENAME] = &facts->fexit_rename,
		[OP_TRUNCATE] = &facts->fexit_truncate,
		[OP_OVERWRITE] = &facts->fexit_fallocate,
	};
	__u32 known = 0;

	for (size_t op = 0; op < OP_COUNT; op++)
		if (probes[op] && probes[op]->result == PROBE_WORKS)
			known |= 1u << op;
	return known;
}

static bool is_by_libc(enum op op, enum tier tier)
{
	return tier == TIER_UPROBE && op != OP_SQL && op != OP_EXEC;
}

/* The tracepoints are the net below: they give results, and see what does not come through libc. */
static bool libc_works(const struct kernel_facts *facts)
{
	return facts->uprobe.result == PROBE_WORKS && facts->tracepoint.result == PROBE_WORKS;
}

void guard_plan(const struct kernel_facts *facts, bool tracepoints, struct guard_tier ret_tiers[OP_COUNT])
{
	for (size_t i = 0; i < OP_COUNT; i++)
		ret_tiers[i] = (struct guard_tier){TIER_NONE, false, "nothing", "not guarded by this version"};
	for (size_t i = 0; i < ARRAY_SIZE(tier_rows); i++) {
		const struct tier_row *row = &tier_rows[i];
		bool works = facts->tp_btf.result == PROBE_WORKS;

		if (row->tier == TIER_LSM)
			works = works && facts->lsm.result == PROBE_WORKS && !tracepoints;
		else if (row->tier == TIER_SIGNAL)
			works = works && facts->tracepoint.result == PROBE_WORKS;
		else if (row->op == OP_SQL)
			works = works && facts->uprobe.result == PROBE_WORKS;
		else if (is_by_libc(row->op, row->tier))
			works = works && libc_works(facts) && !tracepoints;
		if (works && ret_tiers[row->op].tier < row->tier)
			ret_tiers[row->op] = (struct guard_tier){row->tier, false, row->by, row->note};
	}
	for (size_t op = 0; op < OP_COUNT; op++)
		if (ret_tiers[op].tier == TIER_LSM && !(known_results(facts) & 1u << op) && !*ret_tiers[op].note)
			ret_tiers[op].note = "whether the call then succeeded is not learned";
	/* The hook is not told what fallocate does: that is read from the system call's registers. */
	if (ret_tiers[OP_OVERWRITE].tier == TIER_LSM && facts->pt_regs.result != PROBE_WORKS)
		ret_tiers[OP_OVERWRITE] = (struct guard_tier){TIER_NONE, false, "nothing",
							      "LSM programs of this kernel cannot read a system call's "
							      "arguments (bpf_task_pt_regs, 5.15)"};
}

static const struct program_row *program_row(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(program_rows); i++)
		if (streq(program_rows[i].name, name))
			return &program_rows[i];
	return NULL;
}

/* How many arguments a kernel function takes; -ENOENT where BTF does not know it. */
static int function_arguments(struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_FUNC);
	const struct btf_type *type;

	if (id < 0)
		return -ENOENT;
	type = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
	return type ? btf_vlen(type) : -ENOENT;
}

static void set_arguments(struct btf *btf, const char *name, volatile const __u32 *to)
{
	int count = function_arguments(btf, name);

	if (count > 0)
		*(__u32 *)to = count;
}

static void set_constants(struct reprieve *skel, struct btf *btf, const struct kernel_facts *facts)
{
	skel->rodata->has_cookie = facts->cookie.result == PROBE_WORKS;
	skel->rodata->known_results = known_results(facts);
	skel->rodata->libc_sleeps = facts->uprobe_sleeps.result == PROBE_WORKS;
	skel->rodata->have_pt_regs = facts->pt_regs.result == PROBE_WORKS;
	set_arguments(btf, "bpf_lsm_path_rename", &skel->rodata->args_path_rename);
	set_arguments(btf, "vfs_unlink", &skel->rodata->args_vfs_unlink);
	set_arguments(btf, "vfs_rmdir", &skel->rodata->args_vfs_rmdir);
	set_arguments(btf, "vfs_rename", &skel->rodata->args_vfs_rename);
	set_arguments(btf, "do_truncate", &skel->rodata->args_do_truncate);
}

struct arming {
	const struct kernel_facts *facts;
	const struct guard_options *options;
	struct btf *btf;
	bool lsm;
	bool libc;
	bool signal;
};

static bool is_wanted(const struct arming *arming, const struct program_row *row)
{
	if (row->btf_function && function_arguments(arming->btf, row->btf_function) < 0)
		return false;
	switch (row->need) {
	case NEED_LSM:
		return arming->lsm;
	case NEED_LSM_OVERWRITE:
		return arming->lsm && arming->facts->pt_regs.result == PROBE_WORKS;
	case NEED_FEXIT:
		return arming->lsm && known_results(arming->facts);
	case NEED_SIGNAL:
		return arming->signal;
	case NEED_LIBC_MULTI:
		return arming->libc && arming->facts->uprobe_multi.result == PROBE_WORKS;
	case NEED_LIBC:
		return arming->libc && arming->facts->uprobe_multi.result != PROBE_WORKS;
	default:
		return true;
	}
}

static int keep_link(struct guard *guard, struct bpf_link *link)
{
	struct bpf_link **links;

	if (!link)
		return -errno;
	links = realloc(guard->links, (guard->link_count + 1) * sizeof(*links));
	if (!links) {
		bpf_link__destroy(link);
		return -ENOMEM;
	}
	guard->links = links;
	guard->links[guard->link_count++] = link;
	return 0;
}

static int attach_tracepoint(struct guard *guard, struct bpf_program *program, const char *name)
{
	return keep_link(guard, bpf_program__attach_tracepoint(program, "syscalls", name));
}

/* The entry of a system call, and the common exit program on its exit. */
static int attach_syscall(struct guard *guard, struct bpf_program *program, const struct program_row *row)
{
	char exit_name[64];
	int error = attach_tracepoint(guard, program, row->tracepoint);

	if (error == -ENOENT && row->optional)
		return 0;
	if (error || streq(row->name, "enter_mmap"))
		return error;
	snprintf(exit_name, sizeof(exit_name), "sys_exit_%s", row->tracepoint + strlen("sys_enter_"));
	return attach_tracepoint(guard, guard->skel->progs.exit_call, exit_name);
}

int guard_arm_overwrite(struct guard *guard, bool arm)
{
	struct bpf_program *program = guard->skel->progs.guard_file_permission;

	if (!bpf_program__autoload(program))
		return 0;
	if (!arm) {
		bpf_link__destroy(guard->overwrite);
		guard->overwrite = NULL;
	} else if (!guard->overwrite) {
		guard->overwrite = bpf_program__attach(program);
		if (!guard->overwrite)
			return -errno;
	}
	return 0;
}

static int attach_one(struct guard *guard, struct bpf_program *program, const struct program_row *row)
{
	int error;

	if (row->need >= NEED_BY_HAND || streq(row->name, "exit_call"))
		return 0;
	if (row->need == NEED_LSM_OVERWRITE)
		return guard_arm_overwrite(guard, true);
	if (row->tracepoint)
		error = attach_syscall(guard, program, row);
	else
		error = keep_link(guard, bpf_program__attach(program));
	if (error)
		log_error("cannot attach %s: %s", row->name, strerror(-error));
	return error;
}

static int attach_all(struct guard *guard)
{
	struct bpf_program *program;
	int error;

	bpf_object__for_each_program (program, guard->skel->obj) {
		if (!bpf_program__autoload(program))
			continue;
		error = attach_one(guard, program, program_row(bpf_program__name(program)));
		if (error)
			return error;
	}
	return 0;
}

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_DEBUG || (level == LIBBPF_INFO && log_max_level < LOG_LEVEL_DEBUG))
		return 0;
	return vfprintf(stderr, format, args);
}

static int open_skeleton(struct guard *guard, const struct arming *arming)
{
	int cpus = libbpf_num_possible_cpus();
	struct bpf_program *program;

	guard->skel = reprieve__open();
	if (!guard->skel)
		return -errno;
	set_constants(guard->skel, arming->btf, arming->facts);
	if (bpf_map__set_max_entries(guard->skel->maps.scratches, SCRATCH_PER_CPU * MAX(cpus, 1)) ||
	    bpf_map__set_max_entries(guard->skel->maps.ring, guard->ring_bytes))
		return -EINVAL;
	bpf_object__for_each_program (program, guard->skel->obj) {
		const struct program_row *row = program_row(bpf_program__name(program));

		if (!row)
			return -ENOENT;
		bpf_program__set_autoload(program, is_wanted(arming, row));
		if (row->need >= NEED_LIBC_MULTI && arming->facts->uprobe_sleeps.result == PROBE_WORKS)
			bpf_program__set_flags(program, BPF_F_SLEEPABLE);
		if (row->need == NEED_LIBC_MULTI)
			bpf_program__set_expected_attach_type(program, UPROBE_MULTI);
	}
	return 0;
}

static int map_policies(struct guard *guard)
{
	void *policies = mmap(NULL, 2 * sizeof(*guard->policies), PROT_READ | PROT_WRITE, MAP_SHARED,
			      bpf_map__fd(guard->skel->maps.policies), 0);

	if (policies == MAP_FAILED)
		return -errno;
	guard->policies = policies;
	return 0;
}

int guard_load(const struct kernel_facts *facts, const struct guard_options *options, struct guard **ret_guard)
{
	struct arming arming = {.facts = facts, .options = options};
	struct guard *guard = calloc(1, sizeof(*guard));
	int error;

	if (!guard)
		return -ENOMEM;
	guard->ring_bytes = options->ring_bytes ? options->ring_bytes : RING_BYTES;
	guard_plan(facts, options->tracepoints, guard->tiers);
	arming.lsm = guard->tiers[OP_UNLINK].tier == TIER_LSM;
	arming.libc = guard->tiers[OP_UNLINK].tier == TIER_UPROBE;
	arming.signal = arming.libc || guard->tiers[OP_UNLINK].tier == TIER_SIGNAL;
	libbpf_set_print(print_libbpf);
	error = -ENOTSUP;
	if (!arming.lsm && !arming.signal)
		goto fail;
	arming.btf = btf__load_vmlinux_btf();
	error = arming.btf ? open_skeleton(guard, &arming) : -errno;
	if (!error)
		error = reprieve__load(guard->skel);
	if (!error)
		error = map_policies(guard);
	if (!error)
		guard->skel->bss->settings.members_only = options->members_only;
	if (!error)
		error = attach_all(guard);
	if (error)
		goto fail;
	btf__free(arming.btf);
	*ret_guard = guard;
	return 0;
fail:
	btf__free(arming.btf);
	guard_free(guard);
	return error;
}

void guard_free(struct guard *guard)
{
	if (!guard)
		return;
	for (size_t i = 0; i < guard->link_count; i++)
		bpf_link__destroy(guard->links[i]);
	free(guard->links);
	guard_unprobe_libc(guard);
	bpf_link__destroy(guard->overwrite);
	if (guard->policies)
		munmap(guard->policies, 2 * sizeof(*guard->policies));
	reprieve__destroy(guard->skel);
	free(guard);
}

const struct guard_tier *guard_tiers(const struct guard *guard)
{
	return guard->tiers;
}

/* The strongest row of an operation below the probes in libc. */
static const struct tier_row *tier_below_libc(enum op op)
{
	for (size_t i = 0; i < ARRAY_SIZE(tier_rows); i++)
		if (tier_rows[i].op == op && tier_rows[i].tier == TIER_SIGNAL)
			return &tier_rows[i];
	return NULL;
}

void guard_mark_proven(struct guard *guard, enum op op, bool by_libc)
{
	struct guard_tier *tier = &guard->tiers[op];
	const struct tier_row *row = tier_below_libc(op);

	if (is_by_libc(op, tier->tier) && !by_libc && row) {
		log_warning("%s: %s are armed, but did not see an operation of our own; the signal tier did",
			    op_name(op), tier->by);
		*tier = (struct guard_tier){row->tier, false, row->by, row->note};
	}
	tier->proven = true;
}

void guard_drop_unproven(struct guard *guard)
{
	for (enum op op = 0; op < OP_COUNT; op++) {
		struct guard_tier *tier = &guard->tiers[op];

		if (tier->tier == TIER_NONE || tier->proven || op == OP_SQL)
			continue;
		log_warning("%s is not guarded: %s is armed, but did not see an operation of our own", op_name(op),
			    tier->by);
		*tier = (struct guard_tier){TIER_NONE, false, "nothing", "armed, and not called by this kernel"};
	}
}

int guard_ring_fd(const struct guard *guard)
{
	return bpf_map__fd(guard->skel->maps.ring);
}

size_t guard_ring_bytes(const struct guard *guard)
{
	return guard->ring_bytes;
}

/* The users of a slot: those of the policy that was there before go, the new ones come. */
static int set_users(struct guard *guard, uint32_t slot, const struct guard_policy *policy)
{
	struct bpf_map *map = guard->skel->maps.users;
	struct user_key key, next, *from = NULL;

	while (!bpf_map__get_next_key(map, from, &next, sizeof(next))) {
		if (from && key.policy == slot)
			bpf_map__delete_elem(map, &key, sizeof(key), 0);
		key = next;
		from = &key;
	}
	if (from && key.policy == slot)
		bpf_map__delete_elem(map, &key, sizeof(key), 0);
	for (size_t i = 0; i < policy->user_count; i++) {
		key = (struct user_key){.policy = slot, .uid = policy->users[i].uid};
		if (bpf_map__update_elem(map, &key, sizeof(key), &policy->users[i].rules, sizeof(struct rule_set),
					 BPF_ANY))
			return -errno;
	}
	return 0;
}

/* Writes what is in use; cells and states beyond that are never reached, and their pages stay untouched. */
static void copy_image(struct policy_image *to, const struct policy_image *from)
{
	size_t cells = MIN((size_t)from->dfa.states << from->dfa.shift, (size_t)DFA_CELLS);
	size_t states = MIN((size_t)from->dfa.states, (size_t)DFA_STATES);

	to->rules = from->rules;
	memcpy(&to->dfa, &from->dfa, offsetof(struct dfa, next));
	memcpy(to->dfa.next, from->dfa.next, cells * sizeof(from->dfa.next[0]));
	memcpy(to->dfa.accept, from->dfa.accept, states * sizeof(from->dfa.accept[0]));
}

int guard_set_policy(struct guard *guard, const struct guard_policy *policy)
{
	const struct policy_image *image = policy->image;
	uint32_t slot = !guard->active;
	int error = set_users(guard, slot, policy);

	if (error)
		return error;
	copy_image(&guard->policies[slot], image);
	guard->skel->bss->settings.watch_exe = image->dfa.start[DFA_EXE] != DFA_DEAD;
	guard->skel->bss->settings.watch_cgroups = image->dfa.start[DFA_CGROUP] != DFA_DEAD;
	guard->skel->bss->settings.inspect_maps = policy->inspect;
	guard->skel->bss->settings.watch_execs = policy->watch_execs;
	__atomic_store_n(&guard->skel->bss->settings.active_policy, slot, __ATOMIC_SEQ_CST);
	guard->active = slot;
	return 0;
}

int guard_add_session(struct guard *guard, const struct session_id *id, uint32_t agent, uint32_t ws_dev,
		      uint64_t ws_ino, const char *ws_name)
{
	struct session_info info = {.ws_ino = ws_ino, .ws_dev = ws_dev, .agent = agent};
	size_t length = ws_name ? strlen(ws_name) : 0;

	if (length && length < WORKSPACE_BYTES) {
		memcpy(info.ws_name, ws_name, length);
		info.ws_name_length = length;
	}
	return bpf_map__update_elem(guard->skel->maps.sessions, id, sizeof(*id), &info, sizeof(info), BPF_ANY) ? -errno
													       : 0;
}

void guard_remove_session(struct guard *guard, const struct session_id *id)
{
	bpf_map__delete_elem(guard->skel->maps.sessions, id, sizeof(*id), 0);
}

/* The count by which programs pass bystanders over; see `members` in bpf/reprieve.bpf.h. */
static void members_add(struct guard *guard, uint32_t pid, int change)
{
	__atomic_fetch_add((__u32 *)&guard->skel->bss->members[pid & (MEMBER_SLOTS - 1)], change, __ATOMIC_SEQ_CST);
}

int guard_add_task(struct guard *guard, const struct process_id *process, const struct session_id *session,
		   uint32_t agent)
{
	struct task_entry entry = {.start = process->start, .session = *session, .agent = agent};
	uint32_t pid = process->pid;
	int error;

	members_add(guard, pid, 1);
	if (!bpf_map__update_elem(guard->skel->maps.tasks, &pid, sizeof(pid), &entry, sizeof(entry), BPF_ANY))
		return 0;
	error = -errno;
	members_add(guard, pid, -1);
	return error;
}

int guard_find_task(struct guard *guard, uint32_t pid, struct process_id *ret_process, struct session_id *ret_session)
{
	struct task_entry entry;

	if (bpf_map__lookup_elem(guard->skel->maps.tasks, &pid, sizeof(pid), &entry, sizeof(entry), 0))
		return -ENOENT;
	*ret_process = (struct process_id){.start = entry.start, .pid = pid};
	*ret_session = entry.session;
	return 0;
}

int guard_add_cgroup(struct guard *guard, uint64_t cgroup, uint32_t agent)
{
	return bpf_map__update_elem(guard->skel->maps.cgroups, &cgroup, sizeof(cgroup), &agent, sizeof(agent), BPF_ANY)
		       ? -errno
		       : 0;
}

static struct bpf_program *libpq_program(struct reprieve *skel, enum libpq_function function)
{
	struct bpf_program *const programs[PQ_FUNCTION_COUNT] = {
		[PQ_SEND_QUERY] = skel->progs.pq_send_query,
		[PQ_SEND_QUERY_PARAMS] = skel->progs.pq_send_query_params,
		[PQ_SEND_PREPARE] = skel->progs.pq_send_prepare,
		[PQ_SEND_QUERY_PREPARED] = skel->progs.pq_send_query_prepared,
		[PQ_FN] = skel->progs.pq_fn,
		[PQ_EXEC] = skel->progs.pq_exec,
		[PQ_EXEC_PARAMS] = skel->progs.pq_exec_params,
		[PQ_PREPARE] = skel->progs.pq_prepare,
		[PQ_EXEC_PREPARED] = skel->progs.pq_exec_prepared,
	};

	return programs[function];
}

static void drop_links(struct guard *guard, size_t keep)
{
	while (guard->link_count > keep)
		bpf_link__destroy(guard->links[--guard->link_count]);
}

int guard_attach_libpq(struct guard *guard, const struct libpq_library *library)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options);
	size_t before = guard->link_count;

	if (guard->skel->rodata->has_cookie)
		options.bpf_cookie = library->id;
	for (enum libpq_function i = 1; i < PQ_FUNCTION_COUNT; i++) {
		struct bpf_link *link;
		int error;

		if (!(library->functions.probe & (1u << i)))
			continue;
		link = bpf_program__attach_uprobe_opts(libpq_program(guard->skel, i), -1, library->path,
						       library->functions.place[i].offset, &options);
		error = keep_link(guard, link);
		if (error) {
			/* None rather than some: the library will be found again, and a probe set twice tells twice. */
			drop_links(guard, before);
			log_warning("%s: cannot probe %s: %s; its statements are not seen", library->name,
				    libpq_function_name(i), strerror(-error));
			return error;
		}
	}
	log_debug("probing libpq at %s", library->name);
	return 0;
}

static struct bpf_program *libc_program(struct reprieve *skel, enum libc_function function)
{
	struct bpf_program *const programs[LIBC_FUNCTION_COUNT] = {
		[LIBC_UNLINK] = skel->progs.libc_unlink,       [LIBC_UNLINKAT] = skel->progs.libc_unlinkat,
		[LIBC_RMDIR] = skel->progs.libc_rmdir,	       [LIBC_REMOVE] = skel->progs.libc_remove,
		[LIBC_RENAME] = skel->progs.libc_rename,       [LIBC_RENAMEAT] = skel->progs.libc_renameat,
		[LIBC_RENAMEAT2] = skel->progs.libc_renameat2, [LIBC_TRUNCATE] = skel->progs.libc_truncate,
		[LIBC_FTRUNCATE] = skel->progs.libc_ftruncate,
	};

	return programs[function];
}

static int probe_libc_at_once(struct guard *guard, const char *path, const struct libc_functions *functions)
{
	uint64_t offsets[LIBC_FUNCTION_COUNT], cookies[LIBC_FUNCTION_COUNT];
	int *links = reallocarray(guard->libc_multi, guard->libc_multi_count + 1, sizeof(*links)), link;
	uint32_t count = 0;

	if (!links)
		return -ENOMEM;
	guard->libc_multi = links;
	for (uint64_t i = 1; i < LIBC_FUNCTION_COUNT; i++) {
		if (!(functions->probe & 1u << i))
			continue;
		offsets[count] = functions->place[i].offset;
		cookies[count++] = i;
	}
	link = uprobe_multi_link(bpf_program__fd(guard->skel->progs.libc_any), path, offsets, cookies, count);
	if (link < 0)
		return link;
	guard->libc_multi[guard->libc_multi_count++] = link;
	return 0;
}

static int probe_libc_each(struct guard *guard, const char *path, const struct libc_functions *functions)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options);
	size_t before = guard->libc_link_count;
	struct bpf_link **links =
		reallocarray(guard->libc_links, before + LIBC_FUNCTION_COUNT, sizeof(struct bpf_link *));

	if (!links)
		return -ENOMEM;
	guard->libc_links = links;
	for (enum libc_function i = 1; i < LIBC_FUNCTION_COUNT; i++) {
		struct bpf_link *link;

		if (!(functions->probe & 1u << i))
			continue;
		link = bpf_program__attach_uprobe_opts(libc_program(guard->skel, i), -1, path,
						       functions->place[i].offset, &options);
		if (!link) {
			int error = -errno;

			while (guard->libc_link_count > before)
				bpf_link__destroy(guard->libc_links[--guard->libc_link_count]);
			return error;
		}
		guard->libc_links[guard->libc_link_count++] = link;
	}
	return 0;
}

int guard_probe_libc(struct guard *guard, const char *path, const struct libc_functions *functions)
{
	if (bpf_program__autoload(guard->skel->progs.libc_any))
		return probe_libc_at_once(guard, path, functions);
	return probe_libc_each(guard, path, functions);
}

void guard_unprobe_libc(struct guard *guard)
{
	for (size_t i = 0; i < guard->libc_multi_count; i++)
		close(guard->libc_multi[i]);
	for (size_t i = 0; i < guard->libc_link_count; i++)
		bpf_link__destroy(guard->libc_links[i]);
	free(guard->libc_multi);
	free(guard->libc_links);
	guard->libc_multi = NULL;
	guard->libc_links = NULL;
	guard->libc_multi_count = guard->libc_link_count = 0;
}

void guard_forget_inspected(struct guard *guard)
{
	struct bpf_map *map = guard->skel->maps.inspected;
	struct file_key key;

	while (!bpf_map__get_next_key(map, NULL, &key, sizeof(key)))
		if (bpf_map__delete_elem(map, &key, sizeof(key), 0))
			return;
}

void guard_inspected(struct guard *guard, const struct record_map *record)
{
	struct file_key key = {
		.ino = record->ino, .size = record->size, .dev = record->dev, .generation = record->inode_generation};
	uint32_t done = INSPECT_DONE;

	bpf_map__update_elem(guard->skel->maps.inspected, &key, sizeof(key), &done, sizeof(done), BPF_ANY);
}

int guard_counters(const struct guard *guard, uint64_t ret_counters[COUNT_SIZE])
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ uint64_t *values = calloc(MAX(cpus, 1), sizeof(*values));

	if (!values)
		return -ENOMEM;
	for (uint32_t i = 0; i < COUNT_SIZE; i++) {
		ret_counters[i] = 0;
		if (bpf_map__lookup_elem(guard->skel->maps.counters, &i, sizeof(i), values, cpus * sizeof(*values), 0))
			return -errno;
		for (int cpu = 0; cpu < cpus; cpu++)
			ret_counters[i] += values[cpu];
	}
	return 0;
}

static int read_all(int fd, char **ret_data, size_t *ret_length)
{
	size_t length = 0, capacity = 1 << 16;
	char *data = malloc(capacity), *more;
	ssize_t got = 0;

	while (data) {
		got = read(fd, data + length, capacity - length);
		if (got <= 0)
			break;
		length += got;
		if (capacity - length >= 4096)
			continue;
		capacity *= 2;
		more = realloc(data, capacity);
		if (!more)
			free(data);
		data = more;
	}
	if (!data || got < 0) {
		free(data);
		return data ? -errno : -ENOMEM;
	}
	*ret_data = data;
	*ret_length = length;
	return 0;
}

int guard_snapshot(struct guard *guard, struct snapshot_entry **ret_processes, size_t *ret_count)
{
	struct bpf_link *link = bpf_program__attach_iter(guard->skel->progs.snapshot, NULL);
	_cleanup_close_ int fd = -1;
	char *data = NULL;
	size_t length = 0;
	int error;

	if (!link)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(link));
	error = fd < 0 ? -errno : read_all(fd, &data, &length);
	bpf_link__destroy(link);
	if (error)
		return error;
	*ret_processes = (struct snapshot_entry *)data;
	*ret_count = length / sizeof(struct snapshot_entry);
	return 0;
}

int guard_process_start(struct guard *guard, uint32_t pid, __u64 *ret_start)
{
	_cleanup_free_ struct snapshot_entry *processes = NULL;
	size_t count;
	int error = guard_snapshot(guard, &processes, &count);

	if (error)
		return error;
	for (size_t i = 0; i < count; i++) {
		if (processes[i].tgid != pid)
			continue;
		*ret_start = processes[i].start;
		return 0;
	}
	return -ESRCH;
}

int guard_grant(struct guard *guard, const struct grant_key *key, const struct grant *grant)
{
	return bpf_map__update_elem(guard->skel->maps.grants, key, sizeof(*key), grant, sizeof(*grant), BPF_ANY)
		       ? -errno
		       : 0;
}

void guard_revoke(struct guard *guard, const struct grant_key *key)
{
	bpf_map__delete_elem(guard->skel->maps.grants, key, sizeof(*key), 0);
}

void guard_drop_held(struct guard *guard, const struct actor *actor)
{
	uint64_t key = (uint64_t)actor->process.pid << 32 | actor->tid;

	bpf_map__delete_elem(guard->skel->maps.helds, &key, sizeof(key), 0);
}

void guard_set_traced(struct guard *guard, uint32_t pid)
{
	__atomic_store_n(&guard->skel->bss->settings.traced, pid, __ATOMIC_SEQ_CST);
}

bool guard_is_held(const struct guard *guard, uint32_t pid, uint32_t tid)
{
	const struct bpf_map *map = guard->skel->maps.helds;
	uint64_t key = (uint64_t)pid << 32 | tid;
	_cleanup_free_ char *value = malloc(bpf_map__value_size(map));

	/* Without memory the process stays stopped rather than going on too early. */
	return !value || !bpf_map__lookup_elem(map, &key, sizeof(key), value, bpf_map__value_size(map), 0);
}

int guard_for_each_held(struct guard *guard, int (*each)(const void *record, size_t size, void *userdata),
			void *userdata)
{
	size_t value_bytes = bpf_map__value_size(guard->skel->maps.helds);
	_cleanup_free_ char *value = malloc(value_bytes);
	const struct record *record;
	uint64_t key, *before = NULL;
	int error = 0;

	if (!value)
		return -ENOMEM;
	record = (const struct record *)(value + value_bytes - HELD_RECORD_BYTES);
	while (!error && !bpf_map__get_next_key(guard->skel->maps.helds, before, &key, sizeof(key))) {
		before = &key;
		if (!bpf_map__lookup_elem(guard->skel->maps.helds, &key, sizeof(key), value, value_bytes, 0))
			error = each(record, record->size, userdata);
	}
	return error;
}
